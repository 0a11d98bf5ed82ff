"""One window, read and reduced: ours against the floor and against what people do without us, in one run.

    python benchmarks/stack.py /tmp/stack
    python benchmarks/window.py /tmp/stack [--runs 5] [--naive]

Every way runs in a process of its own, in turn, RUNS times; the table gives the median and the spread of the wall
clock, the peak memory of the whole process, and the ratio to the floor taken in the same round. The floor inflates
every block on both cores and reads the result once from memory: nobody can be faster without another codec.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

THREADS = 2
WAYS = {
    "floor": "inflate every block, read the result once",
    "direct": "clearyear, direct reader",
    "gdal": "clearyear, GDAL reader (the fallback)",
    "decode": "GDAL alone: read every scene, compute nothing",
    "naive": "rasterio in a loop, np.ma.median",
}


def floor(folder: Path) -> Callable[[], Any]:
    """What the bytes cost by themselves."""
    import imagecodecs

    from clearyear.direct import DirectSource

    sources = [DirectSource.open(str(path)) for path in sorted(folder.glob("T*.tif"))]

    def inflate(source: DirectSource) -> int:
        index, data, most = source.index, Path(source.path).read_bytes(), 0
        buffer: Any = np.empty(index.block_bytes, np.uint8)
        for offset, size in zip(index.offsets.ravel().tolist(), index.counts.ravel().tolist(), strict=True):
            most = max(most, int(imagecodecs.deflate_decode(data[offset : offset + size], out=buffer).max()))
        return most

    def run() -> None:
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(inflate, sources))

    return run


def ours(folder: Path) -> Callable[[], Any]:
    """The product's own path, without writing the tile."""
    from clearyear.job import Job
    from clearyear.prepare import make_plan
    from clearyear.window import reduce_window

    plan = make_plan(Job(scenes=[str(p) for p in sorted(folder.glob("T*.tif"))], period="2023", out="/nowhere"))
    return lambda: reduce_window(plan, plan.windows[0], threads=THREADS)


def decode(folder: Path) -> Callable[[], Any]:
    """GDAL's decoding and nothing else, a dataset for each scene and thread kept open."""
    from clearyear.gdal import borrow_raster

    def read(path: Path) -> None:
        with borrow_raster(str(path), "") as dataset:
            dataset.read(out=np.empty((dataset.count, dataset.height, dataset.width), np.uint8))

    def run() -> None:
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(read, sorted(folder.glob("T*.tif"))))

    return run


def naive(folder: Path) -> Callable[[], Any]:
    """What a notebook does, a band at a time so that it fits in memory."""
    import rasterio

    def run() -> None:
        paths = sorted(folder.glob("T*.tif"))
        for band in (1, 2, 3):
            stack = np.stack([rasterio.open(path).read(band) for path in paths])
            np.ma.median(np.ma.masked_where((stack == 0) | (stack == 255), stack), axis=0)  # type: ignore[no-untyped-call]

    return run


def measure(way: str, folder: Path) -> None:
    """In the child: warm up once, time once, print."""
    run = {"floor": floor, "direct": ours, "gdal": ours, "decode": decode, "naive": naive}[way](folder)
    if way != "naive":
        run()
    started = time.perf_counter()
    run()
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": seconds, "peak": peak}))


def child(way: str, folder: Path) -> dict[str, float]:
    """Run one way in a fresh process."""
    import os

    environment = os.environ | {"CLEARYEAR_READER": "gdal" if way == "gdal" else "auto"}
    command = [sys.executable, __file__, str(folder), "--one", way]
    out = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    result: dict[str, float] = json.loads(out.splitlines()[-1])
    return result


def main() -> None:
    """Take turns, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--naive", action="store_true", help="also the slow one")
    parser.add_argument("--one", choices=WAYS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        measure(arguments.one, arguments.folder)
        return
    ways = [way for way in WAYS if way != "naive" or arguments.naive]
    rounds = [{way: child(way, arguments.folder) for way in ways} for _ in range(arguments.runs)]
    scenes = len(list(arguments.folder.glob("T*.tif")))
    print(f"{scenes} scenes, {arguments.runs} rounds, {THREADS} threads\n")
    print("| way | median s (least … most) | × floor (least … most) | peak MB |\n|---|---|---|---|")
    for way in ways:
        seconds = [r[way]["seconds"] for r in rounds]
        ratios = [r[way]["seconds"] / r["floor"]["seconds"] for r in rounds]
        peak = statistics.median(r[way]["peak"] for r in rounds) / 1e6
        spread = [f"{statistics.median(v):.2f} ({min(v):.2f} … {max(v):.2f})" for v in (seconds, ratios)]
        print(f"| {WAYS[way]} | {spread[0]} | {spread[1]} | {peak:.0f} |")


if __name__ == "__main__":
    main()
