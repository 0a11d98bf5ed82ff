"""Kill the main job at random moments and resume it: python benchmarks/kills.py --kills 100 [--seed 1] [--job 3 …]

The job: 12 made-up scenes of 512 × 512 px, all layers, 16 windows of 128 px. It is started, killed with SIGKILL,
started again … until it is let run to its end. --kills is shared out over:

  core     the same steps without Prefect, in one process, which is killed      (what is not given to the others)
  job      `clearyear run` with its embedded server: all its processes are killed (--job)
  flow     only the process of the command; its server is left alone            (--flow)
  server   only the embedded Prefect server                                     (--server)

After every kill each file under a final name must be whole, and each finished window must be one that is trusted.
After the last run: tiles, layers, mosaic, preview and checksums have the bytes of an undisturbed run; report, records
and STAC item say the same but for times; no window that was finished was computed again (its files' inode and time of
writing are what they were); no temporary file and no process is left. Exit code 1 if any of that does not hold.
"""

import argparse
import contextlib
import hashlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

WINDOWS = 16
PATIENCE = 300.0
TIMES = {"figures", "created", "seconds", "updated"}
"""Keys of JSON documents that may differ between equal runs."""


def core_run(scenes: str, out: str) -> None:
    """What the flow does, without Prefect; in a process forked for it, so that its imports cost nothing."""
    from clearyear.completeness import check_plan
    from clearyear.job import Job
    from clearyear.prepare import prepare
    from clearyear.publish import conclude, publish, published
    from clearyear.stores import open_store
    from clearyear.window import compute_window

    plan = prepare(Job.model_validate(job(scenes, out)))
    store = open_store(plan.destination)
    statuses = check_plan(plan, store)
    pending = [w for s, w in zip(statuses, plan.windows, strict=True) if not s.is_done]
    if pending:
        store.remove(plan.item_name)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda window: compute_window(plan, window, store), pending))
    statuses = check_plan(plan, store)
    mosaic, _ = published(plan, store, statuses)
    conclude(plan, store, statuses, mosaic or publish(plan, store, statuses))


def job(scenes: str, out: str) -> dict[str, Any]:
    """The job's keys."""
    return {"scenes": scenes, "period": "2023", "out": out, "tile_size": 128, "layers": ["count", "source"]}


class Forked:
    """The core's run in a process of its own; as much of Popen as is used here."""

    def __init__(self, *arguments: str) -> None:
        self.process = multiprocessing.get_context("fork").Process(target=core_run, args=arguments)
        self.process.start()
        self.pid = self.process.pid or 0

    def poll(self) -> int | None:
        """Its exit code, or None while it runs."""
        return self.process.exitcode

    def wait(self, timeout: float) -> int:
        """Its exit code, once it has ended."""
        self.process.join(timeout)
        return -1 if self.process.exitcode is None else self.process.exitcode


Run = subprocess.Popen[bytes] | Forked


class Place:
    """Scenes, destination and Prefect's home of one way of running."""

    def __init__(self, folder: Path, kind: str, rng: random.Random) -> None:
        self.folder, self.kind, self.rng = folder, kind, rng
        self.out = folder / "out"
        self.destination = self.out / "luminance-median" / "2023--P1Y"
        (folder / "job.json").write_text(json.dumps(job(str(folder / "scenes"), str(self.out))))
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "CLEARYEAR_", "PYTHONDONT"))},
            "PREFECT_HOME": str(folder / f"prefect-{kind}"),
            "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
        }
        self.reference: dict[str, Any] = {}
        self.seconds = 1.0

    def start(self) -> "Run":
        """The job, in a session of its own."""
        if self.kind == "core":
            return Forked(str(self.folder / "scenes"), str(self.out))
        command = [Path(sys.executable).parent / "clearyear", "run", self.folder / "job.json", "--workers", "2"]
        with (self.folder / f"{self.kind}.log").open("w") as log:
            return subprocess.Popen(
                [str(part) for part in command],
                env=self.environment,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def log(self) -> str:
        """The end of what the last run said."""
        path = self.folder / f"{self.kind}.log"
        return path.read_text()[-2000:] if path.exists() else ""

    def undisturbed(self) -> None:
        """What a run that nobody kills leaves, and about how long that takes."""
        process = self.start()
        started = time.monotonic()
        if process.wait(PATIENCE):
            raise SystemExit(f"the undisturbed run failed:\n{self.log()}")
        self.seconds = time.monotonic() - started
        self.reference = self.content()
        shutil.rmtree(self.out)

    def content(self) -> dict[str, Any]:
        """Name → digest of its bytes, or, of a JSON or Markdown document, what it says but for times."""
        return {p.relative_to(self.out).as_posix(): said(p) for p in files(self.out)}

    def records(self) -> int:
        """Windows whose record is there."""
        return sum(1 for _ in (self.destination / "tiles").glob("*.json")) if self.destination.exists() else 0

    def wait_for_the_moment(self, process: Run) -> None:
        """Somewhere between start and end, at random: by time, or by how many windows are there."""
        if self.records() == WINDOWS or self.rng.random() < 0.2:
            time.sleep(self.rng.uniform(0, self.seconds * (0.5 if self.kind == "core" else 1)))
            return
        wanted = self.rng.randint(min(self.records() + 1, WINDOWS), WINDOWS)
        end = time.monotonic() + PATIENCE
        while process.poll() is None and self.records() < wanted and time.monotonic() < end:
            time.sleep(0.002)
        time.sleep(self.rng.uniform(0, 0.03 if self.kind == "core" else 0.4))

    def kill(self, process: Run) -> bool:
        """Kill what is to be killed; whether it still lived."""
        alive = process.poll() is None
        family = relatives(self.environment["PREFECT_HOME"])
        if self.kind == "server":
            victims = [pid for pid in family if pid != process.pid]
        else:
            victims = [process.pid] if self.kind in ("core", "flow") else [process.pid, *family]
        for pid in victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self.kind == "server" and alive:
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                raise SystemExit(f"without its server the command does not end:\n{self.log()}") from None
        process.wait(PATIENCE)
        return alive

    def clean(self) -> list[str]:
        """End what a kill has left alive; who that was."""
        end = time.monotonic() + 30
        while (left := relatives(self.environment["PREFECT_HOME"])) and time.monotonic() < end:
            time.sleep(0.2)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return [str(pid) for pid in left]


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


def relatives(home: str) -> list[int]:
    """Processes that were started with this PREFECT_HOME."""
    mark, found = f"PREFECT_HOME={home}".encode(), []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark in (process / "environ").read_bytes().split(b"\0"):
                found.append(int(process.name))
    return found


def harm(place: Place) -> list[str]:
    """What is wrong under final names just after a kill."""
    found = []
    for path in files(place.out):
        name = path.relative_to(place.out).as_posix()
        try:
            if path.suffix in (".tif", ".jpg", ".csv", ".geojson", ".sha256") and "missing" not in name:
                if said(path) != place.reference.get(name):
                    found.append(f"{name} is not what an undisturbed run writes")
            elif path.suffix == ".json":
                said(path)
        except ValueError:
            found.append(f"{name} is half-written")
    for record in (place.destination / "tiles").glob("*.json") if place.destination.exists() else ():
        for layer in json.loads(record.read_text())["layers"].values():
            tile = place.destination / layer["name"]
            if not tile.exists() or hashlib.sha256(tile.read_bytes()).hexdigest() != layer["sha256"]:
                found.append(f"{record.name} speaks of a {tile.name} that is not there")
    if (place.destination / "luminance-median_2023--P1Y.stac-item.json").exists() and place.records() < WINDOWS:
        found.append("an item says complete, and windows are missing")
    return found


def finished(place: Place) -> dict[str, tuple[int, int]]:
    """Inode and time of writing of every file of every window that has its record."""
    found = {}
    for record in (place.destination / "tiles").glob("*.json") if place.destination.exists() else ():
        names = [record.name, *(Path(x["name"]).name for x in json.loads(record.read_text())["layers"].values())]
        for name in names:
            info = (record.parent / name).stat()
            found[name] = (info.st_ino, info.st_mtime_ns)
    return found


def rounds(place: Place, kills: int, tally: Counter[str]) -> list[str]:
    """Kill so many times, one to four times a run; what went wrong."""
    wrong: list[str] = []
    done = 0
    while done < kills:
        shutil.rmtree(place.out, ignore_errors=True)
        trusted: dict[str, tuple[int, int]] = {}
        for _ in range(min(place.rng.randint(1, 4), kills - done)):
            process = place.start()
            place.wait_for_the_moment(process)
            alive = place.kill(process)
            left = place.clean() if place.kind != "core" else []
            wrong += [f"{place.kind}: process {pid} outlived the kill by half a minute" for pid in left]
            done += alive
            records = place.records()
            item = list(place.destination.glob("*.stac-item.json")) if place.destination.exists() else []
            when = "ended before" if not alive else "published" if item else "windows done" if records == WINDOWS else (
                "no window yet" if not records else "amid the windows")  # fmt: skip
            tally[f"{place.kind}: killed, {when}"] += 1
            wrong += harm(place)
            now = finished(place)
            wrong += [f"{name} was computed again" for name, mark in trusted.items() if now.get(name) != mark]
            trusted = now
        process = place.start()
        code = process.wait(PATIENCE)
        if code:
            wrong.append(f"the last run ended with {code}: {place.log()}")
            continue
        now = finished(place)
        wrong += [f"{name} was computed again" for name, mark in trusted.items() if now.get(name) != mark]
        content = place.content()
        wrong += [f"{k} differs from an undisturbed run's" for k in content.keys() | place.reference.keys()
                  if content.get(k) != place.reference.get(k)]  # fmt: skip
        wrong += [f"{p} is left" for p in place.out.rglob(".clearyear-tmp")]
        wrong += [f"process {pid} is left" for pid in (place.clean() if place.kind != "core" else [])]
        tally[f"{place.kind}: runs resumed to their end"] += 1
        print(f"{place.kind}: {done} of {kills} kills, {len(wrong)} wrong", file=sys.stderr)
    return wrong


def main() -> int:
    """Make the scenes, kill by each way, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--job", type=int, default=0)
    parser.add_argument("--flow", type=int, default=0)
    parser.add_argument("--server", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    import clearyear.payload  # noqa: F401  what a forked run would import

    share = {"job": arguments.job, "flow": arguments.flow, "server": arguments.server}
    share = {"core": arguments.kills - sum(share.values()), **share}
    tally: Counter[str] = Counter()
    wrong: list[str] = []
    with tempfile.TemporaryDirectory(prefix="clearyear-kills-") as folder:
        code = f"from clearyear.demo import make_scenes; make_scenes(Path({folder!r}) / 'scenes', count=12, size=512)"
        subprocess.run([sys.executable, "-c", f"from pathlib import Path; {code}"], check=True)
        for kind, kills in share.items():
            if kills > 0:
                rng = random.Random(f"{arguments.seed} {kind}")  # noqa: S311  the same moments again
                place = Place(Path(folder), kind, rng)
                shutil.rmtree(place.out, ignore_errors=True)
                place.undisturbed()
                wrong += rounds(place, kills, tally)
    for what, n in sorted(tally.items()):
        print(f"  {what:45} {n:4}")
    print(f"{sum(share.values())} kills, {len(wrong)} times something was wrong")
    for what in wrong[:20]:
        print(f"  {what}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
