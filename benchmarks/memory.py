"""Memory: what a window and a whole run take, with and without a limit, against what was computed before.

    python benchmarks/stack.py /tmp/stack
    python benchmarks/memory.py /tmp/stack [--scenes 216 600] [--limits 2GiB] [--run]
    python benchmarks/memory.py --base

Each line is a process of its own. The limit is hard: RLIMIT_DATA, set before the process starts, which counts all
private writable memory, touched or not, and so is stricter than a container's limit on what is touched; a process that
wants more fails. A window's figure is the kernel's high-water mark (VmHWM). A whole run is `clearyear run` with
Prefect's own server: its figure is the largest sum of resident memory over both processes, looked at 50 times a second,
shared pages counted twice; the command's RLIMIT_DATA is the limit less what is set aside for the server. More scenes
than the folder has are links to the same files. Reads: bytes taken from the files over bytes their blocks have.
"""

import argparse
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from common import child

from clearyear.budget import BASE_BYTES, PREFECT_BYTES, process_budget
from clearyear.job import Job
from clearyear.plan import Plan
from clearyear.prepare import make_plan
from clearyear.settings import parse_size

CLEARYEAR = Path(sys.executable).parent / "clearyear"


def linked(folder: Path, count: int, target: Path) -> Path:
    """``count`` scenes, each with a date of its own, as links to the folder's files."""
    files = sorted(folder.glob("T*.tif"))
    target.mkdir(parents=True)
    for number in range(count):
        moment = datetime(2023, 1, 1) + timedelta(hours=14 * number)
        (target / f"T31TCJ_{moment:%Y%m%dT%H%M%S}_TCI.tif").symlink_to(files[number % len(files)].resolve())
    return target


def planned(scenes: Path) -> Plan:
    """The plan of one window a megapixel."""
    return make_plan(Job(scenes=str(scenes), period="all", out="/nowhere"))


def window(scenes: Path, limit: int | None) -> None:
    """In the child: read and reduce one window within the limit, print what that took."""
    from clearyear.reading.direct import DirectSource
    from clearyear.warm import warm
    from clearyear.window import reduce_window

    warm()
    plan = planned(scenes)
    budget = process_budget(plan, plan.windows, workers=1, memory_limit=limit, prefect=False)
    budget.apply()
    indexes = [DirectSource.open(scene.uri).index for scene in plan.scenes]
    stored = sum(int(index.counts.sum()) for index in indexes)
    before = bytes_read()
    layers, _, _ = reduce_window(plan, plan.windows[0], threads=budget.threads, window_bytes=budget.window_bytes)
    assert layers is not None
    result = {
        "stack": plan.stack_bytes(plan.windows[0]),
        "accounted": budget.peak_bytes,
        "measured": status("self")["VmHWM"],
        "reads": (bytes_read() - before) / stored,
        "pixels": hashlib.sha256(b"".join(layers[name].tobytes() for name in sorted(layers))).hexdigest(),
    }
    print(json.dumps(result))


def run(scenes: Path, reader: str, limit: int | None) -> dict[str, Any]:
    """A whole `clearyear run`, watched from outside."""
    plan = planned(scenes)
    stack = plan.stack_bytes(plan.windows[0])
    with tempfile.TemporaryDirectory() as folder:
        job = ["--scenes", str(scenes), "--period", "all", "--out", f"{folder}/out"]
        job += ["--memory-limit", str(limit)] if limit else []
        environment = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
        environment |= {"PREFECT_HOME": f"{folder}/prefect", "CLEARYEAR_READER": reader}
        before = child([CLEARYEAR, "plan", *job, "--json"], environment)
        command = [str(CLEARYEAR), "run", *job]
        with (Path(folder) / "log").open("w+") as log:
            most = watched(command, environment, limit and limit - PREFECT_BYTES, log)
            if most[0]:
                log.seek(0)
                raise SystemExit(f"{' '.join(command)} failed:\n{log.read()}")
        (mosaic,) = Path(folder).glob("out/*/*/*all.tif")
        pixels = hashlib.sha256(mosaic.read_bytes()).hexdigest()
    return {
        "stack": stack,
        "accounted": before["peak_bytes"],
        "measured": most[1],
        "each": most[2],
        "pixels": pixels,
    }


def watched(command: list[str], environment: dict[str, str], limit: int | None, log: Any) -> tuple[int, int, list[int]]:
    """(exit code, the largest sum of resident bytes over all processes, each one's high-water mark)."""
    process = subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=hard(limit)
    )
    most, marks = 0, dict[int, int]()  # a process that has ended has none
    while process.poll() is None:
        now = 0
        for pid in tree(process.pid):
            try:
                found = status(pid)
            except (OSError, IndexError):  # it has just ended
                continue
            now += found.get("VmRSS", 0)
            marks[pid] = max(marks.get(pid, 0), found.get("VmHWM", 0))
        most = max(most, now)
        time.sleep(0.02)
    return process.returncode, most, sorted(marks.values(), reverse=True)


def hard(limit: int | None) -> Any:
    """What a child does first: bind itself to the limit."""
    return (lambda: resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))) if limit else None


def tree(pid: int) -> list[int]:
    """The process and all below it."""
    found = [pid]
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [p for child in children.read_text().split() for p in tree(int(child))]
        except OSError:
            continue
    return found


def status(pid: int | str) -> dict[str, int]:
    """The memory figures of /proc/<pid>/status in bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if line.endswith(" kB")}


def bytes_read() -> int:
    """What this process has taken from files so far, by the kernel's count."""
    return int(Path("/proc/self/io").read_text().split("rchar: ")[1].split()[0])


def window_in_child(scenes: Path, reader: str, limit: int | None) -> dict[str, Any]:
    """``window`` in a process of its own, bound to the limit."""
    command = [sys.executable, __file__, "--window", str(scenes), *(["--limits", str(limit)] if limit else [])]
    done = subprocess.run(
        command,
        env=os.environ | {"CLEARYEAR_READER": reader},
        preexec_fn=hard(limit),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def line(what: str, count: int, reader: str, limit: int | None, found: dict[str, Any], pixels: str) -> str:
    """One line of the table; without a limit a window's bar follows from its stack, a run's is what was accounted."""
    stack, measured = found["stack"], found["measured"]
    free = stack // 2 + 200_000_000 if reader == "auto" else 13 * stack // 10
    bar = limit or (free if what == "window" else found["accounted"])
    bounded = measured <= found["accounted"]
    cleared = measured <= bar and found["pixels"] == pixels and bounded
    reads = f"{found['reads']:.2f}" if "reads" in found else ", ".join(f"{n / 1e6:.0f}" for n in found["each"][:2])
    said = "cleared" if cleared else "**not cleared**"
    figures = " | ".join(f"{n / 1e6:,.0f}" for n in (stack, bar, found["accounted"], measured))
    return f"| {what} | {count} | {reader} | {'hard' if limit else 'none'} | {figures} | {reads} | {said} |"


def base() -> None:
    """What Python and Prefect take by themselves: a run of three scenes of 64² px."""
    from clearyear.demo import make_scenes

    with tempfile.TemporaryDirectory() as folder:
        make_scenes(Path(folder) / "s", count=3, size=64)
        each = run(Path(folder) / "s", "auto", None)["each"]
    print(f"the command {each[0] / 1e6:.0f} MB (BASE_BYTES {BASE_BYTES / 1e6:.0f}), ", end="")
    print(f"Prefect's server {each[1] / 1e6:.0f} MB (PREFECT_BYTES {PREFECT_BYTES / 1e6:.0f})")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--scenes", type=int, nargs="+", default=[216, 600])
    parser.add_argument("--limits", type=parse_size, nargs="+", default=[])
    parser.add_argument("--run", action="store_true", help="whole runs too")
    parser.add_argument("--base", action="store_true")
    parser.add_argument("--window", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.base:
        base()
        return
    if arguments.window:
        window(arguments.window, next(iter(arguments.limits), None))
        return
    ways = {"window": window_in_child} | ({"run": run} if arguments.run else {})
    limits = [None, *(arguments.limits or [2 << 30])]
    print("| | scenes | reader | limit | stack MB | bar or limit MB | accounted MB | measured MB | reads, or each | |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for count in arguments.scenes:
            scenes = linked(arguments.folder, count, Path(folder) / str(count))
            for what, measure in ways.items():
                pixels = ""
                for reader in ("auto", "gdal"):
                    for limit in limits:
                        found = measure(scenes, reader, limit)
                        pixels = pixels or found["pixels"]
                        print(line(what, count, reader, limit, found, pixels), flush=True)


if __name__ == "__main__":
    main()
