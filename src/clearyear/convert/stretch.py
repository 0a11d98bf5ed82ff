"""What is not 8-bit becomes 8-bit: between two percentiles of what is valid, found exactly in bounded memory."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from rasterio.io import DatasetReader

from clearyear.cog.geotiff import rasterio_window
from clearyear.convert.raster import Source
from clearyear.grid import Window

PERCENTS = (2, 98)

_STRIP_BYTES = 64 << 20
"""Of a strip as float64, which is what a stretch needs."""


def percentiles(source: Source, bands: Sequence[int]) -> tuple[float, float]:
    """The 2nd and 98th percentile of these bands' valid, finite samples, all bands together, so that colours stay.

    Of n samples in order those at ⌊(n − 1) · 2 / 100⌋ and ⌊(n − 1) · 98 / 100⌋, as float32. Exact in bounded memory:
    floats in order are their bits in order, so the first pass counts the upper 16 bits and the second the lower 16 of
    the two bins found. Without a valid sample (0, 0).
    """
    upper = np.zeros(1 << 16, np.int64)
    for keys in _keys(source, bands):
        upper += np.bincount(keys >> np.uint32(16), minlength=1 << 16)
    n = int(upper.sum())
    if not n:
        return 0.0, 0.0
    ranks = [(n - 1) * percent // 100 for percent in PERCENTS]
    bins = [int(np.searchsorted(np.cumsum(upper), rank, side="right")) for rank in ranks]
    lower = {number: np.zeros(1 << 16, np.int64) for number in bins}
    for keys in _keys(source, bands):
        for number, counts in lower.items():
            inside = keys[keys >> np.uint32(16) == number] & np.uint32(0xFFFF)
            counts += np.bincount(inside, minlength=1 << 16)
    found = []
    for rank, number in zip(ranks, bins, strict=True):
        rest = rank - int(upper[:number].sum())
        key = np.uint32(number << 16 | int(np.searchsorted(np.cumsum(lower[number]), rest, side="right")))
        bits = key & np.uint32(0x7FFFFFFF) if key >> np.uint32(31) else ~key
        found.append(float(np.array(bits, np.uint32).view(np.float32)))
    return found[0], found[1]


def _keys(source: Source, bands: Sequence[int]) -> Iterator[NDArray[np.uint32]]:
    """Valid, finite samples as integers that sort as the samples do, strip by strip."""
    for strip in strips(source.dataset, len(bands)):
        pixels, valid = read_strip(source, bands, strip)
        with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and no valid sample
            values = pixels[:, valid].astype(np.float32).ravel()
        bits = values[np.isfinite(values)].view(np.uint32)
        yield np.where(bits >> np.uint32(31), ~bits, bits | np.uint32(0x80000000))


def strips(dataset: DatasetReader, n_bands: int) -> Iterator[Window]:
    """Windows as wide as the image, of whole rows of blocks if there is room for one."""
    rows = max(1, _STRIP_BYTES // (dataset.width * n_bands * 8))
    block = dataset.block_shapes[0][0]
    rows -= rows % block if rows > block else 0
    for top in range(0, dataset.height, rows):
        yield Window(col_off=0, row_off=top, width=dataset.width, height=min(rows, dataset.height - top))


def read_strip(source: Source, bands: Sequence[int], strip: Window) -> tuple[NDArray[np.generic], NDArray[np.bool_]]:
    """(B, H, W) samples and (H, W): whether a pixel is valid in all of these bands."""
    pixels = source.dataset.read(list(bands), window=rasterio_window(strip))
    valid: NDArray[np.bool_] = np.all(source.validity(strip, bands), axis=0)
    if pixels.dtype.kind == "f":
        valid = valid & np.isfinite(pixels).all(axis=0)
    return pixels, valid


class Stretch:
    """Values between two limits → 1…255; 0 where nothing is valid; middle grey where the limits are one."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high

    def __call__(self, pixels: NDArray[np.generic], valid: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """(B, H, W) of samples (B, H, W) and of which pixels (H, W) are valid."""
        values = np.where(valid, pixels, self.low).astype(np.float64)
        if self.high > self.low:
            grey = np.rint(np.clip((values - self.low) / (self.high - self.low), 0, 1) * 254) + 1
        else:
            grey = np.full(values.shape, 128.0)
        return np.where(valid, grey, 0).astype(np.uint8)
