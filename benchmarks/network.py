"""One window of scenes that lie elsewhere: ours against what people use, over a loopback server with latency.

    python benchmarks/stack.py /tmp/scenes2048 --scenes 96 --size 2048
    python benchmarks/network.py /tmp/scenes2048 [--runs 5] [--latency 0 0.03] [--ways kept rasterio …]

The server runs in a process of its own (tests/loopback/http.py; for gs:// tests/loopback/gcs.py) and counts requests
and bytes. Every way runs in a fresh process, in turn, RUNS times, with as many requests in flight. Imports and
compilation are not timed. All ways must give the same pixels.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from common import peer, spread

ROOT = Path(__file__).resolve().parents[1]
IN_FLIGHT = 24
SIDE = 1024
WAYS = {
    "first": "clearyear, from bare addresses: version, index, window",
    "kept": "clearyear, a later window of the run",
    "next-run": "clearyear, the first window of the next run: version, window (index from disk)",
    "gdal": "clearyear, GDAL reader (the fallback)",
    "rasterio": "rasterio, default settings",
    "async-geotiff": "async-geotiff",
    "gs-first": "gs://, clearyear, from bare addresses",
    "gs-kept": "gs://, clearyear, a later window",
    "gs-gdal": "gs://, clearyear, GDAL reader",
}

Run = Callable[[], Any]


def ours(uris: list[str], folder: Path) -> Callable[[int], Any]:
    """Column and row of a window → its stack; the kernels are compiled."""
    from clearyear.grid import Grid, Window
    from clearyear.reading.direct import DirectSource
    from clearyear.reading.stack import read_stack
    from clearyear.scenes import find_scenes

    local = DirectSource.open(str(sorted(folder.glob("T*.tif"))[0]))
    local.read(Window(col_off=500, row_off=500, width=24, height=24), np.empty((3, 24, 24), np.uint8))
    width, height, bands, dtype = local.shape()
    grid = Grid(crs="EPSG:32631", transform=(10, 0, 0, 0, -10, 0), width=width, height=height, block=(512, 512))
    buffer = np.ones(len(uris) * bands * SIDE * SIDE, np.uint8)  # a process has it from its first window on
    scenes: list[Any] = []

    def read(at: int) -> Any:
        scenes.extend([] if scenes else find_scenes(uris))
        window = Window(col_off=at, row_off=at, width=SIDE, height=SIDE)
        stack, _, failed = read_stack(scenes, grid, window, n_bands=bands, dtype=dtype, buffer=buffer)
        if failed:
            raise SystemExit(str(failed[0]))
        return stack

    return read


def rasterio_defaults(uris: list[str]) -> Run:
    """What a notebook does: open, read, close, in threads."""
    import rasterio
    from rasterio.windows import Window

    def read(uri: str) -> Any:
        with rasterio.open(uri) as dataset:
            return dataset.read(window=Window(SIDE, SIDE, SIDE, SIDE))

    def run() -> Any:
        with ThreadPoolExecutor(IN_FLIGHT) as pool:
            return list(pool.map(read, uris))

    return run


def prepare(way: str, uris: list[str], folder: Path) -> Run:
    """What will be timed, with all before it done."""
    if way == "rasterio":
        return rasterio_defaults(uris)
    read = ours(uris, folder)
    if way.endswith("kept"):
        read(0)
    return partial(read, SIDE)


def measure(way: str, uris: list[str], folder: Path) -> None:
    """In the child: say when all is ready, wait for the word, time, tell."""
    run = prepare(way, uris, folder)
    print("ready", flush=True)
    sys.stdin.readline()
    started, cpu = time.perf_counter(), time.process_time()
    stack = run()
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    checksum = int(sum(int(np.asarray(scene).sum(dtype=np.uint64)) for scene in stack))
    print(json.dumps({"seconds": seconds, "cpu": cpu, "checksum": checksum}), flush=True)


ASYNC_GEOTIFF = """
import asyncio, json, sys, time
import numpy as np
from async_geotiff import GeoTIFF, Window
from obstore.store import HTTPStore

base, in_flight, side, *names = sys.argv[1:]
side = int(side)

async def main():
    store = HTTPStore.from_url(base, client_options={"allow_http": True})
    gate = asyncio.Semaphore(int(in_flight))

    async def read(name):
        async with gate:
            scene = await GeoTIFF.open(name, store=store)
            return await scene.read(window=Window(side, side, side, side))

    return await asyncio.gather(*map(read, names))

print("ready", flush=True)
sys.stdin.readline()
started, cpu = time.perf_counter(), time.process_time()
stack = asyncio.run(main())
seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
checksum = int(sum(int(np.asarray(scene.data).sum(dtype=np.uint64)) for scene in stack))
print(json.dumps({"seconds": seconds, "cpu": cpu, "checksum": checksum}))
"""


class Server:
    """A loopback server in a process of its own."""

    def __init__(self, command: list[Any]) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests")}
        pipe = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen([sys.executable, *map(str, command)], env=environment, **pipe)
        self.url = self._line()

    def count(self) -> dict[str, int]:
        """Requests by method and bytes since the last call."""
        assert self.process.stdin
        print(file=self.process.stdin, flush=True)
        counted: dict[str, int] = json.loads(self._line())
        return counted

    def _line(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()


@contextmanager
def serving(command: list[Any]) -> Iterator[Server]:
    """The server, ended with the block."""
    server = Server(command)
    try:
        yield server
    finally:
        assert server.process.stdin
        server.process.stdin.close()
        server.process.wait(30)


def serve_gs(folder: Path, latency: float) -> None:
    """The child that stands in for Google Cloud Storage."""
    from loopback.gcs import GcsServer

    with GcsServer() as server:
        server.create_bucket("scenes")
        for path in folder.glob("T*.tif"):
            server.put("scenes", path.name, path.read_bytes())
        if latency:
            server.fail("", status=None, times=1 << 40, delay=latency)
        print(server.url, flush=True)
        for _ in sys.stdin:
            spans = [request.range.removeprefix("bytes=").split("-") for request in server.requests if request.range]
            counted = {"bytes": sum(int(stop) - int(start) + 1 for start, stop in spans)}
            for request in server.requests:
                counted[request.method] = counted.get(request.method, 0) + 1
            server.requests.clear()
            print(json.dumps(counted), flush=True)


def take_turn(way: str, folder: Path, server: Server, cache: Path) -> dict[str, Any]:
    """One way in a fresh process: what it says, and what the server counted meanwhile."""
    names = sorted(path.name for path in folder.glob("T*.tif"))
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("CLEARYEAR_", "GDAL_", "VSI_", "CPL_"))}
    environment |= {
        "CLEARYEAR_CACHE": str(cache) if way == "next-run" else "",
        "CLEARYEAR_READER": "gdal" if way.endswith("gdal") else "auto",
        "CLEARYEAR_REQUESTS": str(IN_FLIGHT),
    }
    if way.startswith("gs-"):
        environment |= {"STORAGE_EMULATOR_HOST": server.url, "CPL_GS_ENDPOINT": f"{server.url}/"}
        environment |= {"GS_NO_SIGN_REQUEST": "YES", "CLEARYEAR_GS_ANONYMOUS": "1"}
    command = [sys.executable, __file__, folder, "--one", way, "--base", "gs://scenes" if "gs-" in way else server.url]
    if way == "async-geotiff":
        command = [peer(way), "-c", ASYNC_GEOTIFF, server.url, IN_FLIGHT, SIDE, *names]
    pipe: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(list(map(str, command)), env=environment, **pipe) as child:
        assert child.stdin
        assert child.stdout
        if child.stdout.readline().strip() != "ready":
            raise SystemExit(f"{way} has failed")
        server.count()
        print(file=child.stdin, flush=True)
        result: dict[str, Any] = json.loads(child.stdout.readline())
    return result | {"count": server.count()}


def table(ways: list[str], rounds: list[dict[str, dict[str, Any]]], scenes: int) -> None:
    """Medians and spread, and how many times ours of the same round each took."""
    print("| way | median s (least … most) | × «a later window» | core-ms a scene | requests a scene | MB a scene |")
    print("|---|---|---|---|---|---|")
    for way in ways:
        turns = [r[way] for r in rounds]
        base = "gs-kept" if way.startswith("gs-") else "kept"
        ratios = [r[way]["seconds"] / r[base]["seconds"] for r in rounds]
        cpu = statistics.median(t["cpu"] for t in turns) / scenes * 1e3
        count = turns[-1]["count"]
        asked = " + ".join(f"{count[m] / scenes:.1f} {m}" for m in ("GET", "HEAD") if count.get(m))
        seconds = spread([t["seconds"] for t in turns])
        print(f"| {WAYS[way]} | {seconds} | {spread(ratios, '.1f')} | {cpu:.1f} | {asked} | ", end="")
        print(f"{count['bytes'] / scenes / 1e6:.2f} |")


def compare(folder: Path, latency: float, runs: int, ways: list[str]) -> None:
    """All ways in turn at one latency."""
    scenes = len(list(folder.glob("T*.tif")))
    with (
        tempfile.TemporaryDirectory() as cache,
        serving([ROOT / "tests/loopback/http.py", folder, "--latency", latency]) as web,
        serving([__file__, folder, "--serve-gs", "--latency", latency]) as bucket,
    ):
        turn = lambda way: take_turn(way, folder, bucket if way.startswith("gs-") else web, Path(cache))  # noqa: E731
        turn("next-run")  # the run before: it fills the cache
        rounds = [{way: turn(way) for way in ways} for _ in range(runs)]
    sums = {turn["checksum"] for r in rounds for turn in r.values()}
    if len(sums) != 1:
        raise SystemExit(f"the ways differ in their pixels: {sums}")
    print(f"\n{scenes} scenes, {latency * 1e3:.0f} ms a request, {runs} rounds, {IN_FLIGHT} in flight\n")
    table(ways, rounds, scenes)


def main() -> None:
    """Take turns, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--latency", type=float, nargs="+", default=[0, 0.03])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--one", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--base", help=argparse.SUPPRESS)
    parser.add_argument("--serve-gs", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve_gs:
        serve_gs(arguments.folder, arguments.latency[0])
    elif arguments.one:
        names = sorted(path.name for path in arguments.folder.glob("T*.tif"))
        measure(arguments.one, [f"{arguments.base}/{name}" for name in names], arguments.folder)
    else:
        for latency in arguments.latency:
            compare(arguments.folder, latency, arguments.runs, arguments.ways)


if __name__ == "__main__":
    main()
