"""rasterio in a loop and np.ma.median, what a notebook does: python rasterio_numpy.py FOLDER RESULT.npy [--bands]

The whole stack at once, as it is mostly written, takes 10 GB; with ``--bands`` a band at a time.
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


def median(paths: list[Path], band_by_band: bool) -> np.ndarray:
    """(3, H, W) float64, NaN where nothing was seen."""
    stack = np.stack([read(path) for path in paths])
    if not band_by_band:
        return filled(np.ma.median(np.ma.masked_equal(stack, 0), axis=0))
    bands = (np.ma.masked_equal(stack[:, band], 0) for band in range(stack.shape[1]))
    return np.stack([filled(np.ma.median(band, axis=0)) for band in bands])


def filled(found: np.ma.MaskedArray) -> np.ndarray:
    """NaN for what is masked."""
    return np.ma.filled(found.astype(float), np.nan)


def main() -> None:
    """Warm up on four scenes, then time all of them."""
    folder, result, *more = sys.argv[1:]
    paths = sorted(Path(folder).glob("T*.tif"))
    band_by_band = more == ["--bands"]
    median(paths[:4], band_by_band)
    np.save(result, tell(lambda: median(paths, band_by_band)))


if __name__ == "__main__":
    main()
