"""rasterio in a loop and np.ma.median, what a notebook does: python rasterio_numpy.py FOLDER RESULT.npy

The median is taken a band at a time, without which it needs 10 GB.
"""

import sys
from pathlib import Path

import numpy as np
import rasterio
from common import tell


def read(path: Path) -> np.ndarray:
    """One scene."""
    with rasterio.open(path) as scene:
        return scene.read()


def median(paths: list[Path]) -> np.ndarray:
    """(3, H, W) float64, NaN where nothing was seen."""
    stack = np.stack([read(path) for path in paths])
    bands = [np.ma.median(np.ma.masked_equal(stack[:, band], 0), axis=0) for band in range(stack.shape[1])]
    return np.stack([np.ma.filled(band.astype(float), np.nan) for band in bands])


def main() -> None:
    """Warm up on four scenes, then time all of them."""
    paths = sorted(Path(sys.argv[1]).glob("T*.tif"))
    median(paths[:4])
    np.save(sys.argv[2], tell(lambda: median(paths)))


if __name__ == "__main__":
    main()
