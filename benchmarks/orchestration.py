"""What Prefect costs: the same run with and without it, in turns, with a server of its own beside it.

    python benchmarks/orchestration.py FOLDER [--runs 5] [--windows 121 1000 10000] [--no-work]

Two questions. *Share*: 121 windows of 512² × 216 scenes (eight files of 5632², 27 names each: every read is done in
full), what a granule asks for at a quarter of its window size. *Growth*: windows of 16² × 3 scenes, where next to
nothing is computed, 121 to 10,000 of them. Without Prefect means the very same steps (prepare, check, compute in as
many threads, check, mosaic, report) called one after the other. Each way runs in a process of its own with the
kernels warm and everything imported. On a busy machine trust the CPU: that of the flow and of the server, less what
the server takes when idle. The server is one `prefect server start` with the settings of clearyear.console.
"""

import argparse
import itertools
import json
import os
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from common import child, spread

from clearyear.console import EMBEDDED
from clearyear.job import Job

SIDES = {121: (176, 176), 1_000: (640, 400), 10_000: (1_600, 1_600)}
"""Windows → width and height of the tiny scenes, in windows of 16 px."""
PATIENCE = 600.0
_TICKS = os.sysconf("SC_CLK_TCK")


def write_scene(path: Path, pixels: Any, block: int) -> None:
    """A tiled GeoTIFF, DEFLATE level 6, predictor 2."""
    import rasterio

    _, height, width = pixels.shape
    profile = {"driver": "GTiff", "count": 3, "dtype": "uint8", "width": width, "height": height, "nodata": 0}
    tiled = {"tiled": True, "blockxsize": block, "blockysize": block, "compress": "deflate", "predictor": 2}
    transform = rasterio.Affine(10, 0, 300000, 0, -10, 4900020)
    with rasterio.open(path, "w", crs="EPSG:32631", transform=transform, interleave="pixel", **profile, **tiled) as to:
        to.write(pixels)


def tiny(folder: Path, windows: int) -> Job:
    """Three scenes of which every 16-px block is a window."""
    width, height = SIDES[windows]
    scenes = folder / f"tiny-{windows}"
    if not scenes.exists():
        scenes.mkdir(parents=True)
        rng = np.random.default_rng(windows)
        for month in (1, 5, 9):
            pixels = rng.integers(60, 90, (3, height, width), dtype=np.uint8)
            write_scene(scenes / f"T31TCJ_2023{month:02d}15T104441_TCI.tif", pixels, 16)
    return Job(scenes=str(scenes), period="2023", out=str(folder / "out"), tile_size=16)


def work(folder: Path) -> Job:
    """216 scenes of 5632², 121 windows of 512²: eight files of the demo's imagery repeated, with 27 names each."""
    from clearyear.demo import make_scenes

    scenes = folder / "work"
    if not scenes.exists():
        import rasterio

        (folder / "files").mkdir(parents=True, exist_ok=True)
        scenes.mkdir()
        for number, path in enumerate(make_scenes(folder / "as-made", count=8, size=512)):
            with rasterio.open(path) as dataset:
                write_scene(folder / "files" / f"{number}.tif", np.tile(dataset.read(), (1, 11, 11)), 512)
        for number, (month, day) in enumerate(itertools.product(range(1, 13), range(1, 19))):
            name = f"T31TCJ_2023{month:02d}{day:02d}T104441_TCI.tif"
            (scenes / name).symlink_to(folder / "files" / f"{number % 8}.tif")
    return Job(scenes=str(scenes), period="2023", out=str(folder / "out"), tile_size=512)


def bare(job: Job) -> None:
    """What the flow does, without Prefect."""
    from clearyear.completeness import check_plan
    from clearyear.prepare import prepare
    from clearyear.publish import conclude, publish
    from clearyear.settings import Settings
    from clearyear.stores import open_store
    from clearyear.window import compute_window

    plan = prepare(job)
    store = open_store(plan.destination)
    check_plan(plan, store)
    with ThreadPoolExecutor(Settings().workers) as pool:
        list(pool.map(lambda window: compute_window(plan, window, store), plan.windows))
    statuses = check_plan(plan, store)
    report = conclude(plan, store, statuses, publish(plan, store, check_plan(plan, store)))
    assert report.status == "complete", report.sentence()


def flow(job: Job) -> None:
    """The flow itself."""
    from flows.median_composite import median_composite

    state = median_composite(job, return_state=True)
    assert state.is_completed(), state.message


def measure(way: str, job: Job) -> None:
    """In the child: import and warm up, then run once and print."""
    import flows.median_composite  # noqa: F401
    from clearyear.warm import warm

    warm()
    shutil.rmtree(job.out, ignore_errors=True)
    started, before = time.perf_counter(), time.process_time()
    {"bare": bare, "flow": flow}[way](job)
    seconds, cpu = time.perf_counter() - started, time.process_time() - before
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "cpu": cpu, "peak": peak}))


@contextmanager
def server(home: Path, alone: dict[str, str] | None = None) -> Iterator[tuple[dict[str, str], int]]:
    """`prefect server start` with our settings: the environment its clients need, and its process group.

    ``alone`` is for the server and not for its clients.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {name: value for name, value in EMBEDDED.items() if "EPHEMERAL" not in name}
    settings |= {
        "PREFECT_HOME": str(home),
        "PREFECT_LOGGING_LEVEL": "CRITICAL",
        "PREFECT_SERVER_LOGGING_LEVEL": "ERROR",
    }
    command = [str(Path(sys.executable).parent / "prefect"), "server", "start", "--port", str(port)]
    with (home / "server.log").open("w") as log:
        process = subprocess.Popen(
            command,
            env=os.environ | settings | (alone or {}),
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            api = f"http://127.0.0.1:{port}/api"
            _wait(lambda: urllib.request.urlopen(f"{api}/health", timeout=5).status == 200)  # noqa: S310
            yield settings | {"PREFECT_API_URL": api}, process.pid
        finally:
            os.killpg(process.pid, 9)
            process.wait()
        words = (home / "server.log").read_text()
        for complaint in ("database is locked", "queue is full"):
            print(f"server log: {words.count(complaint)} × «{complaint}»")


def _wait(done: Any) -> float:
    """Seconds until ``done`` says so."""
    started = time.monotonic()
    while time.monotonic() - started < PATIENCE:
        try:
            if done():
                return time.monotonic() - started
        except OSError:
            pass
        time.sleep(0.2)
    return float("nan")


def _recorded(api: str, state: str | None = None) -> int:
    """Task runs the server knows, or knows to be in that state."""
    body = {"task_runs": {"state": {"type": {"any_": [state]}}}} if state else {}
    request = urllib.request.Request(  # noqa: S310
        f"{api}/task_runs/count", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    return int(urllib.request.urlopen(request, timeout=60).read())  # noqa: S310


def _usage(group: int) -> tuple[float, float]:
    """Resident MB and CPU seconds of a process group, where /proc tells."""
    resident = cpu = 0.0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[2]) == group:
                resident += int(fields[21]) * os.sysconf("SC_PAGE_SIZE") / 1e6
                cpu += (int(fields[11]) + int(fields[12])) / _TICKS
        except OSError:  # gone
            continue
    return resident, cpu


def compare(job: Job, folder: Path, runs: int, windows: int) -> dict[str, Any]:
    """Both ways in turns; one row of the table."""
    rounds = []
    with tempfile.TemporaryDirectory(dir=folder) as home, server(Path(home)) as (environment, group):
        command = [sys.executable, __file__, str(folder), "--one"]
        for _ in range(runs):
            (_, asleep), began = _usage(group), time.perf_counter()
            found = {"bare": child([*command, "bare", "--job", job.model_dump_json()])}
            (rss, cpu), known = _usage(group), _recorded(environment["PREFECT_API_URL"], "COMPLETED")
            idle = (cpu - asleep) / (time.perf_counter() - began)
            began = time.perf_counter()
            tasks = len(in_batches(windows)) + 1
            found["flow"] = child([*command, "flow", "--job", job.model_dump_json()], environment)
            api, wanted = environment["PREFECT_API_URL"], known + tasks
            settle = _wait(lambda: _recorded(api, "COMPLETED") >= wanted)  # noqa: B023  called at once
            after, spent = _usage(group)
            # What the server takes with nothing to do is not the run's.
            work = max(0.0, spent - cpu - idle * (time.perf_counter() - began))
            found["server"] = {"before": rss, "after": after, "cpu": work, "idle": idle, "settle": settle}
            found["recorded"] = {"wanted": tasks, "is": _recorded(api, "COMPLETED") - known}
            rounds.append(found)
            print(json.dumps(found), file=sys.stderr)
    shutil.rmtree(job.out, ignore_errors=True)
    return {"windows": windows, "rounds": rounds}


def in_batches(windows: int) -> list[Any]:
    """The task runs the flow makes of so many windows."""
    from flows.steps import in_batches as batches

    return batches([""] * windows)


def row(found: dict[str, Any]) -> str:
    """Medians and spreads of one row."""
    rounds, n = found["rounds"], found["windows"]
    extra = [r["flow"]["seconds"] - r["bare"]["seconds"] for r in rounds]
    share = [100 * e / r["bare"]["seconds"] for e, r in zip(extra, rounds, strict=True)]
    ours = [1000 * (r["flow"]["cpu"] - r["bare"]["cpu"]) / n for r in rounds]
    theirs = [1000 * r["server"]["cpu"] / n for r in rounds]
    busy = [n * (a + b) / 10 / r["bare"]["cpu"] for a, b, r in zip(ours, theirs, rounds, strict=True)]
    cells = [
        f"{n:,}",
        f"{rounds[0]['recorded']['wanted']:,}",
        spread([r["bare"]["seconds"] for r in rounds], ".1f"),
        spread([r["flow"]["seconds"] for r in rounds], ".1f"),
        spread(share, ".0f"),
        spread(busy, ".0f"),
        spread([1000 * e / n for e in extra], ".1f"),
        f"{statistics.median(ours):.1f} + {statistics.median(theirs):.1f}",
        f"{min(r['recorded']['is'] for r in rounds):,}",
        f"{statistics.median(r['server']['settle'] for r in rounds):.1f}",
        f"{rounds[0]['server']['before']:.0f} → {rounds[-1]['server']['after']:.0f}",
        f"{max(r['flow']['peak'] for r in rounds):.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Take turns, then print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--windows", type=int, nargs="*", default=list(SIDES), choices=SIDES)
    parser.add_argument("--no-work", action="store_true", help="growth only")
    parser.add_argument("--one", choices=["bare", "flow"], help=argparse.SUPPRESS)
    parser.add_argument("--job", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        measure(arguments.one, Job.model_validate_json(arguments.job))
        return
    arguments.folder.mkdir(parents=True, exist_ok=True)
    jobs = [] if arguments.no_work else [("512² × 216 scenes", 121, work(arguments.folder))]
    jobs += [("16² × 3 scenes", n, tiny(arguments.folder, n)) for n in arguments.windows]
    rows = []
    for what, windows, job in jobs:
        found = compare(job, arguments.folder, arguments.runs, windows)
        rows.append(f"| {what} {row(found)}")
    print(f"\n{arguments.runs} rounds; median (least … most)\n")
    print("| windows of | windows | task runs | without s | with s | extra wall % | extra CPU % | extra ms a window "
          "| CPU ms a window, flow + server | recorded | settled after s | server MB | flow MB |")  # fmt: skip
    print(f"|{'---|' * 13}")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
