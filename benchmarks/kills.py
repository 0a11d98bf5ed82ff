"""Kill the main job at random moments and resume it: python benchmarks/kills.py --core 40 --job 10 … [--seed 1]

The job: 12 made-up scenes of 512 × 512 px, all layers, 16 windows of 128 px. It is started, killed with SIGKILL,
started again … until it is let run to its end. What is killed:

  core     the same steps without Prefect, in one process
  job      `clearyear run` with its embedded server: all its processes
  flow     of these only the process of the command; its server is left alone
  server   of these only the embedded server
  child    the flow of a deployment, run by a worker: the process the worker has started for it
  worker   the worker, with that process or alone, in turn by chance; a new one is started
  api      the Prefect server all of these talk to; it is started again within five seconds
  shard    `clearyear run` with a work pool, four windows a shard: the process of one shard
  parent   of these the command; its shards are left alone, and the next run finds them at work

After every kill each file under a final name must be whole, and each finished window must be one that is trusted.
After the last run: tiles, layers, mosaic, preview and checksums have the bytes of an undisturbed run without Prefect;
report, records and STAC item say the same but for times; no window that was finished was computed again (its files'
inode and time of writing are what they were); no temporary file and no process is left. Exit code 1 if any of that
does not hold. With --save the counts are added to a file; --table FILE prints what it holds.
"""

import argparse
import hashlib
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from killing import PATIENCE, WINDOWS, Command, Place
from killing_server import Deployed, Sharded, place_of

KINDS = (*Place.WAYS, *Command.WAYS, *Deployed.WAYS, *Sharded.WAYS)
TIMES = {"figures", "created", "seconds", "updated"}
"""Keys of JSON documents that may differ between equal runs."""

Content = dict[str, Any]
Stamps = dict[str, tuple[int, int]]


@dataclass
class Result:
    """What was counted of one kind."""

    kind: str
    seed: int
    kills: int = 0
    tally: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


def content_of(folder: Path) -> Content:
    """Name → digest of its bytes, or, of a JSON or Markdown document, what it says but for times."""
    return {p.relative_to(folder).as_posix(): said(p) for p in files(folder)}


def said(path: Path) -> Any:
    """What a file says: the digest of its bytes, JSON without its times, or Markdown without its last figures."""
    if path.suffix == ".json":
        return strip(json.loads(path.read_text()))
    if path.name == "report.md":
        return [line for line in path.read_text().splitlines() if not line.startswith(("| window sec", "| made"))]
    return hashlib.sha256(path.read_bytes()).hexdigest()


def strip(document: Any) -> Any:
    """A JSON document without the keys that tell times."""
    if isinstance(document, dict):
        return {key: strip(value) for key, value in document.items() if key not in TIMES}
    return [strip(value) for value in document] if isinstance(document, list) else document


def files(folder: Path) -> Iterator[Path]:
    """All files below, scratch left out."""
    return (p for p in sorted(folder.rglob("*")) if p.is_file() and ".clearyear-tmp" not in p.parts)


def records(place: Place) -> Iterator[tuple[Path, list[dict[str, str]]]]:
    """Each record and what it says of its window's tiles."""
    for path in (place.destination / "tiles").glob("*.json") if place.destination.exists() else ():
        yield path, list(json.loads(path.read_text())["layers"].values())


def harm(place: Place, reference: Content) -> list[str]:
    """What is wrong under final names just after a kill."""
    found = []
    for path in files(place.out):
        name = path.relative_to(place.out).as_posix()
        try:
            if path.suffix in (".tif", ".jpg", ".csv", ".geojson", ".sha256") and "missing" not in name:
                if said(path) != reference.get(name):
                    found.append(f"{name} is not what an undisturbed run writes")
            elif path.suffix == ".json":
                said(path)
        except ValueError:
            found.append(f"{name} is half-written")
    for record, layers in records(place):
        for layer in layers:
            tile = place.destination / layer["name"]
            if not tile.exists() or hashlib.sha256(tile.read_bytes()).hexdigest() != layer["sha256"]:
                found.append(f"{record.name} speaks of a {tile.name} that is not there")
    if list(place.destination.glob("*.stac-item.json")) and place.records() < WINDOWS:
        found.append("an item says complete, and windows are missing")
    return found


def finished(place: Place) -> Stamps:
    """Inode and time of writing of every file of every window that has its record."""
    found = {}
    for record, layers in records(place):
        for name in (record.name, *(Path(layer["name"]).name for layer in layers)):
            info = (record.parent / name).stat()
            found[name] = (info.st_ino, info.st_mtime_ns)
    return found


def one_kill(place: Place, tally: Counter[str]) -> bool:
    """Start, wait for the moment, kill; whether there was something to kill."""
    run = place.start()
    place.wait_for_the_moment(run)
    alive, how = place.kill(run)
    item = list(place.destination.glob("*.stac-item.json")) if place.destination.exists() else []
    when = "amid the windows"
    if not alive:
        when = "ended before"
    elif item:
        when = "published"
    elif place.records() in (0, WINDOWS):
        when = "windows done" if place.records() else "no window yet"
    tally[f"{when}, {how}" if how and alive else when] += 1
    return alive


def undisturbed(place: Place) -> Content:
    """What a run that nobody kills leaves; also measures how long that takes."""
    started = time.monotonic()
    if place.start().wait(PATIENCE):
        raise SystemExit(f"the undisturbed run failed:\n{place.log()}")
    place.seconds = time.monotonic() - started
    content = content_of(place.out)
    shutil.rmtree(place.out)
    return content


def rounds(place: Place, kills: int, reference: Content, result: Result) -> Iterator[None]:
    """Kill so many times, one to four times a run; each run that was resumed to its end is a step of this."""
    wrong, tally = result.wrong, result.tally
    wrong += differing(undisturbed(place), reference)
    while result.kills < kills:
        shutil.rmtree(place.out, ignore_errors=True)
        trusted: Stamps = {}
        for _ in range(min(place.rng.randint(1, 4), kills - result.kills)):
            result.kills += one_kill(place, tally)
            wrong += [] if isinstance(place, Sharded) else left_alive(place)  # a parent's shards are meant to live
            wrong += harm(place, reference)
            now = finished(place)
            wrong += again(trusted, now)
            trusted = now
        code = place.start().wait(PATIENCE)
        tally["runs resumed to their end"] += 1
        if code:
            wrong.append(f"the last run ended with {code}: {place.log()}")
        else:
            wrong += again(trusted, finished(place))
            wrong += differing(content_of(place.out), reference)
            wrong += [f"{path} is left" for path in place.out.rglob(".clearyear-tmp")]
            wrong += left_alive(place)
        print(f"{place.kind}: {result.kills} of {kills} kills, {len(wrong)} wrong", file=sys.stderr, flush=True)
        yield


def again(before: Stamps, now: Stamps) -> list[str]:
    """Files of finished windows that are others now."""
    return [f"{name} was computed again" for name, mark in before.items() if now.get(name) != mark]


def differing(content: Content, reference: Content) -> list[str]:
    """Files that are not what an undisturbed run writes."""
    names = sorted(content.keys() | reference.keys())
    return [f"{n} differs from an undisturbed run's" for n in names if content.get(n) != reference.get(n)]


def left_alive(place: Place) -> list[str]:
    """Processes that outlived what they belong to by half a minute."""
    return [f"{place.kind}: process {pid} is left" for pid in place.clean()]


def kill_by(kind: str, kills: int, seed: int, folder: Path, reference: Content) -> Iterator[Result]:
    """All kills of one kind; what is counted so far, after each run."""
    result = Result(kind, seed)
    rng = random.Random(f"{seed} {kind}")  # noqa: S311  the same moments again
    place = place_of(kind)(folder, kind, rng)
    try:
        for _ in rounds(place, kills, reference, result):
            yield result
    finally:
        place.close()
        shutil.rmtree(place.out, ignore_errors=True)


def table(results: list[Result]) -> str:
    """Markdown: kind by kind, what was counted over all results."""
    lines = ["| killed | kills | when | runs resumed | wrong |", "|---|---|---|---|---|"]
    for kind in KINDS:
        mine = [result for result in results if result.kind == kind]
        tally: Counter[str] = sum((Counter(result.tally) for result in mine), Counter())
        resumed = tally.pop("runs resumed to their end", 0)
        when = ", ".join(f"{what} {n}" for what, n in sorted(tally.items()))
        if mine:
            kills, wrong = sum(r.kills for r in mine), sum(len(r.wrong) for r in mine)
            lines.append(f"| {kind} | {kills} | {when} | {resumed} | {wrong} |")
    total, wrong = sum(r.kills for r in results), sum(len(r.wrong) for r in results)
    return "\n".join([*lines, f"\n{total} kills, {wrong} times something was wrong"])


def main() -> int:
    """Make the scenes, kill by each way, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for kind in KINDS:
        parser.add_argument(f"--{kind}", type=int, default=0, metavar="KILLS")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--save", type=Path, help="a JSON file the counts are added to")
    parser.add_argument("--table", type=Path, help="only print what such a file holds")
    arguments = parser.parse_args()
    if arguments.table:
        print(table(load(arguments.table)))
        return 0
    import clearyear.payload  # noqa: F401  what a forked run would import

    before = load(arguments.save) if arguments.save and arguments.save.exists() else []
    results: dict[str, Result] = {}
    with tempfile.TemporaryDirectory(prefix="clearyear-kills-") as name:
        folder = Path(name)
        code = f"from clearyear.demo import make_scenes; make_scenes(Path({name!r}) / 'scenes', count=12, size=512)"
        subprocess.run([sys.executable, "-c", f"from pathlib import Path; {code}"], check=True)
        reference = undisturbed(Place(folder, "alone", random.Random(0)))  # noqa: S311
        for kind in [each for each in KINDS if getattr(arguments, each)]:
            for result in kill_by(kind, getattr(arguments, kind), arguments.seed, folder, reference):
                results[kind] = result
                if arguments.save:
                    document = [vars(each) for each in (*before, *results.values())]
                    arguments.save.write_text(json.dumps(document, indent=1) + "\n")
    print(table(list(results.values())))
    wrong = [what for result in results.values() for what in result.wrong]
    for what in wrong[:20]:
        print(f"  {what}")
    return 1 if wrong else 0


def load(path: Path) -> list[Result]:
    """What --save has written."""
    return [Result(**{**each, "tally": Counter(each["tally"])}) for each in json.loads(path.read_text())]


if __name__ == "__main__":
    sys.exit(main())
