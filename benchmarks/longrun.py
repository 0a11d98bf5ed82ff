"""Ten thousand tiny windows through one local server: python benchmarks/longrun.py [--windows 10000] [--runs 12].

`clearyear run` against a `prefect server start` with the settings of clearyear.console, again and again with the same
server and database, each time to an empty destination. While it runs, the resident memory of both is looked at every
two seconds; after each run the server tells what its own is made of. Afterwards: every window is there, every task run
is on the server's record as Completed, and the server's log holds neither «database is locked» nor «queue is full».
Exit code 1 if any of that does not hold. With --bound the server's malloc gives back sooner what it does not need.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from orchestration import SIDES, _recorded, _usage, _wait, in_batches, server, tiny

from clearyear.job import Job

BOUND = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_TRIM_THRESHOLD_": "0",
    "MALLOC_MMAP_THRESHOLD_": "16384",
    "MALLOC_TOP_PAD_": "0",
}
"""For glibc: one arena, its end given back at once, and larger blocks mapped and given back one by one."""
ROWS = {
    "resident MB": ("rss", 1e6),
    "Python's blocks, thousands": ("blocks", 1e3),
    "malloc's MB in use": ("used", 1e6),
    "malloc's MB free": ("free", 1e6),
    "CPU s so far": ("cpu", 1),
}
"""What the last table calls what the server tells."""
EVERY = 2.0
TENTHS = range(1, 11)


def watch(job: Job, environment: dict[str, str], group: int) -> tuple[dict[str, Any], list[tuple[int, float, float]]]:
    """Run the command; what it says at its end, and (windows done, its MB, the server's MB) over time."""
    command = [Path(sys.executable).parent / "clearyear", "run", "--json", "--workers", "2"]
    flags = {"--scenes": job.scenes, "--period": job.period, "--out": job.out, "--tile-size": job.tile_size}
    command += [word for pair in flags.items() for word in pair]
    samples = []
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            [str(word) for word in command],
            env=os.environ | environment,
            stdout=said,
            stderr=sys.stderr,
            start_new_session=True,
        )
        tiles = Path(job.out) / "luminance-median" / "2023--P1Y" / "tiles"
        while process.poll() is None:
            done = sum(entry.name.endswith(".json") for entry in os.scandir(tiles)) if tiles.exists() else 0
            samples.append((done, _usage(process.pid)[0], _usage(group)[0]))
            time.sleep(EVERY)
        said.seek(0)
        lines = said.read().splitlines()
    return json.loads(lines[-1]) if lines else {"status": f"exit {process.returncode}"}, samples


def tenths(samples: list[tuple[int, float, float]], windows: int) -> list[tuple[float, float]]:
    """The most memory of both in each tenth of the windows."""
    found = []
    for tenth in TENTHS:
        mine = [s for s in samples if (tenth - 1) * windows <= 10 * s[0] - 1 < tenth * windows]
        found.append((max((s[1] for s in mine), default=float("nan")), max((s[2] for s in mine), default=float("nan"))))
    return found


def inside(server: int, target: Path) -> dict[str, float]:
    """What the server's memory is made of: resident, Python's blocks, malloc's bytes in use and free."""
    target.unlink(missing_ok=True)
    os.kill(server, signal.SIGUSR1)
    _wait(target.exists)
    found: dict[str, float] = json.loads(target.read_text())
    return found


def main() -> int:
    """Run, watch, and print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--windows", type=int, default=10_000, choices=SIDES)
    parser.add_argument("--runs", type=int, default=12)
    parser.add_argument("--bound", action="store_true")
    arguments = parser.parse_args()
    wrong, parts = [], []
    rows = [f"| run | seconds | MB of | {' | '.join(f'{10 * t} %' for t in TENTHS)} |", f"|{'---|' * 13}"]
    with tempfile.TemporaryDirectory(prefix="clearyear-long-") as name:
        folder, home = Path(name), Path(name) / "prefect"
        home.mkdir()
        job, tasks = tiny(folder, arguments.windows), len(in_batches(arguments.windows)) + 1
        told = folder / "inside.json"
        alone = {"PYTHONPATH": str(Path(__file__).parent / "inside"), "CLEARYEAR_INSIDE": str(told)}
        with server(home, alone | (BOUND if arguments.bound else {})) as (environment, group):
            api = environment["PREFECT_API_URL"]
            for run in range(1, arguments.runs + 1):
                started = time.monotonic()
                outcome, samples = watch(job, environment, group)
                seconds = time.monotonic() - started
                if (outcome.get("status"), outcome.get("ok")) != ("complete", arguments.windows):
                    wrong.append(f"run {run} ended as {outcome}")
                _wait(lambda: _recorded(api, "COMPLETED") >= run * tasks)  # noqa: B023  called at once
                known = _recorded(api, "COMPLETED"), _recorded(api)
                if known != (run * tasks, run * tasks):
                    wrong.append(f"run {run}: {known} task runs completed and known, of {run * tasks}")
                client, served = zip(*tenths(samples, arguments.windows), strict=True)
                rows.append(f"| {run} | {seconds:.0f} | the command | {' | '.join(f'{mb:.0f}' for mb in client)} |")
                rows.append(f"| | | the server | {' | '.join(f'{mb:.0f}' for mb in served)} |")
                print("\n".join(rows[-2:]), file=sys.stderr, flush=True)
                shutil.rmtree(job.out)
                parts.append(inside(group, told) | {"cpu": _usage(group)[1]})
                print(parts[-1], file=sys.stderr, flush=True)
        words = (home / "server.log").read_text()
        wrong += [f"the server's log holds «{c}»" for c in ("database is locked", "queue is full") if c in words]
    print("\n".join(rows))
    print(f"\n| after run | {' | '.join(str(n + 1) for n in range(len(parts)))} |\n|{'---|' * (len(parts) + 1)}")
    for name, (key, unit) in ROWS.items():
        print(f"| {name} | {' | '.join(f'{part[key] / unit:,.0f}' for part in parts)} |")
    print(f"\n{arguments.runs} runs of {arguments.windows:,} windows in {tasks} task runs; wrong: {wrong or 'nothing'}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
