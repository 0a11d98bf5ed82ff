"""How long `clearyear --help` takes, and that a window's cost grows as its scenes and pixels do.

    python benchmarks/stack.py /tmp/stack
    python benchmarks/startup.py /tmp/stack [--runs 7]

Start-up is a ratio to `python -c pass`, taken in turns. Growth is read and reduce of one window, single-threaded in a
warm process, at two points each: 108 and 216 scenes, 512² and 1024² pixels; twice the scenes should cost twice, four
times the pixels four times. The stack needs 216 scenes of 1024² or more in 512-px blocks.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common import spread

POINTS = {"108 scenes of 512²": (108, 512), "216 scenes of 512²": (216, 512), "216 scenes of 1024²": (216, 1024)}
RATIOS = {
    "216 : 108 scenes": ("216 scenes of 512²", "108 scenes of 512²", 2),
    "1024² : 512² pixels": ("216 scenes of 1024²", "216 scenes of 512²", 4),
}


def seconds(run: Callable[[], Any]) -> float:
    """Wall clock of one call."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def process(*command: str | Path) -> Callable[[], Any]:
    """A call that starts a process and waits for it."""
    return lambda: subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL)


def window(folder: Path, scenes: int, size: int) -> Callable[[], Any]:
    """Read and reduce the upper left window of so many pixels of so many scenes."""
    from clearyear.job import Job
    from clearyear.prepare import make_plan
    from clearyear.window import reduce_window

    paths = [str(path) for path in sorted(folder.glob("T*.tif"))]
    if len(paths) < scenes:
        raise SystemExit(f"{folder} holds {len(paths)} scenes, {scenes} are needed: see benchmarks/stack.py")
    plan = make_plan(Job(scenes=paths[:scenes], period="all", out="/nowhere", tile_size=size))
    return lambda: reduce_window(plan, plan.windows[0])


def main() -> None:
    """Take turns, then print both tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--runs", type=int, default=7)
    arguments = parser.parse_args()

    clearyear = Path(sys.executable).parent / "clearyear"
    ways = {"python -c pass": process(sys.executable, "-c", "pass"), "clearyear --help": process(clearyear, "--help")}
    ways |= {name: window(arguments.folder, *point) for name, point in POINTS.items()}
    for run in ways.values():
        run()
    rounds = [{name: seconds(run) for name, run in ways.items()} for _ in range(arguments.runs)]

    print(f"{arguments.runs} rounds; median (least … most)\n\n| what | s |\n|---|---|")
    for name in ways:
        print(f"| {name} | {spread([r[name] for r in rounds], '.3f')} |")
    print("\n| ratio in one round | found | linear would be |\n|---|---|---|")
    starts = [r["clearyear --help"] / r["python -c pass"] for r in rounds]
    print(f"| clearyear --help : python -c pass | {spread(starts, '.1f')} | |")
    for name, (more, less, linear) in RATIOS.items():
        print(f"| {name} | {spread([r[more] / r[less] for r in rounds])} | {linear} |")


if __name__ == "__main__":
    main()
