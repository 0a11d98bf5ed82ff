"""Our own ways through a window, one in a process: python ways.py WAY FOLDER RESULT.npy (window.py calls it).

``floor`` inflates every block on both cores and looks once at every value: nobody can be faster without another codec.
``decode`` is GDAL's reading and nothing else, what the fallback is measured against.
"""

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from common import tell

THREADS = 2


def floor(paths: list[Path]) -> Callable[[], Any]:
    """What the bytes cost by themselves."""
    import imagecodecs

    from clearyear.reading.direct import DirectSource

    sources = [DirectSource.open(str(path)) for path in paths]

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


def decode(paths: list[Path]) -> Callable[[], Any]:
    """GDAL's decoding, a dataset for each scene and thread kept open."""
    from clearyear.reading.gdal import borrow_raster

    def read(path: Path) -> None:
        with borrow_raster(str(path), "") as dataset:
            dataset.read(out=np.empty((dataset.count, dataset.height, dataset.width), np.uint8))

    def run() -> None:
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(read, paths))

    return run


def ours(paths: list[Path], reducer: str) -> Callable[[], Any]:
    """The product's own path over the whole image as one window, without writing the tile: (3, H, W) uint8."""
    import rasterio

    from clearyear.job import Job
    from clearyear.prepare import make_plan
    from clearyear.window import reduce_window

    with rasterio.open(paths[0]) as scene:
        side = max(scene.width, scene.height)
    job = Job(scenes=[str(p) for p in paths], period="all", out="/nowhere", reducer=reducer, tile_size=side)
    plan = make_plan(job)

    def run() -> Any:
        layers, _, failed = reduce_window(plan, plan.windows[0], threads=THREADS)
        if layers is None:
            raise SystemExit(f"reads failed: {failed}")
        return layers["composite"]

    return run


WAYS: dict[str, Callable[[list[Path]], Callable[[], Any]]] = {
    "floor": floor,
    "decode": decode,
    "luminance-median": lambda paths: ours(paths, "luminance-median"),
    "band-median": lambda paths: ours(paths, "band-median"),
}


def main() -> None:
    """Once to warm up, as a worker's second window is, then timed."""
    way, folder, result = sys.argv[1:]
    run = WAYS[way](sorted(Path(folder).glob("T*.tif")))
    run()
    pixels = tell(run)
    if pixels is not None:
        np.save(result, pixels)


if __name__ == "__main__":
    main()
