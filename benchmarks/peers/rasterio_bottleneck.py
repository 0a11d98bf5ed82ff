"""rasterio and bottleneck.nanmedian, two threads each: python rasterio_bottleneck.py FOLDER RESULT.npy

About the best one gets from packages on the shelf: read in parallel into one float32 stack, reduce it in parallel
strip by strip with the fastest NaN-aware median there is.
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import bottleneck
import numpy as np
import rasterio
from common import tell

THREADS = 2
ROWS = 128


def median(paths: list[Path]) -> np.ndarray:
    """(3, H, W) float32, NaN where nothing was seen."""
    with rasterio.open(paths[0]) as scene:
        stack = np.empty((len(paths), scene.count, scene.height, scene.width), np.float32)

    def read(index: int) -> None:
        with rasterio.open(paths[index]) as scene:
            pixels = scene.read()
        stack[index] = pixels
        stack[index][pixels == 0] = np.nan

    def reduce(top: int) -> np.ndarray:
        return bottleneck.nanmedian(stack[:, :, top : top + ROWS], axis=0)

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(read, range(len(paths))))
        return np.concatenate(list(pool.map(reduce, range(0, stack.shape[2], ROWS))), axis=1)


def main() -> None:
    """Warm up on four scenes, then time all of them."""
    paths = sorted(Path(sys.argv[1]).glob("T*.tif"))
    median(paths[:4])
    np.save(sys.argv[2], tell(lambda: median(paths)))


if __name__ == "__main__":
    main()
