"""The rules of the composites, written a second time and as plainly as can be: pixel by pixel, with Python's sort.

Nothing here is shared with the product. It opens the scenes with rasterio alone.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray


def read_all(paths: Sequence[Path]) -> NDArray[Any]:
    """All scenes whole: (T, B, H, W)."""
    arrays = []
    for path in paths:
        with rasterio.open(path) as dataset:
            arrays.append(dataset.read())
    return np.stack(arrays)


def valid_samples(stack: NDArray[Any], invalid_values: Sequence[float], *, whole: bool = False) -> NDArray[np.bool_]:
    """Which samples may be used: not NaN, none of the values; ``whole``: in every band."""
    bad = np.array([v != v or v in invalid_values for v in stack.ravel().tolist()], np.bool_).reshape(stack.shape)
    return np.broadcast_to(~bad.any(axis=1, keepdims=True), stack.shape) if whole else ~bad


def luminance_median(stack: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Composite (3, H, W), count (H, W) and source (H, W) of scenes in acquisition order."""
    _, _, height, width = stack.shape
    composite = np.zeros((3, height, width), np.uint8)
    count = np.zeros((height, width), np.uint16)
    source = np.full((height, width), -1, np.int16)
    samples = stack.transpose(2, 3, 0, 1).tolist()
    for y in range(height):
        for x in range(width):
            usable = [(sum(rgb), t) for t, rgb in enumerate(samples[y][x]) if 0 not in rgb and 255 not in rgb]
            count[y, x] = len(usable)
            if usable:
                _, chosen = sorted(usable)[len(usable) // 2]
                source[y, x] = chosen
                composite[:, y, x] = samples[y][x][chosen]
    return composite, count, source


def band_median(stack: NDArray[Any], valid: NDArray[np.bool_], nodata: float) -> NDArray[Any]:
    """Each band's median over its valid samples, rounded half to even for integers."""
    median = np.ma.median(np.ma.masked_array(stack.astype(np.float64), ~valid), axis=0)  # type: ignore[no-untyped-call]
    values = np.ma.filled(median, nodata)
    return (values if stack.dtype.kind == "f" else np.rint(values)).astype(stack.dtype)


def percentiles(stack: NDArray[Any], valid: NDArray[np.bool_], wanted: Sequence[float], nodata: float) -> NDArray[Any]:
    """(Q, B, H, W): each band's percentiles over its valid samples, rounded half to even for integers."""
    samples = np.where(valid, stack.astype(np.float64), np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a pixel without a sample
        values = np.nanpercentile(samples, wanted, axis=0, method="linear")
    values = np.where(valid.any(axis=0), values, nodata)
    return (values if stack.dtype.kind == "f" else np.rint(values)).astype(stack.dtype)


def geometric_median(samples: NDArray[np.float64]) -> NDArray[np.float64]:
    """The point (B,) of least summed distance from samples (n, B): Weiszfeld in float64, or a sample if less."""
    point = samples.mean(axis=0)
    for _ in range(20_000):
        distance = np.sqrt(((samples - point) ** 2).sum(axis=1)) + 1e-12
        moved: NDArray[np.float64] = (samples / distance[:, None]).sum(axis=0) / (1 / distance).sum()
        step = np.abs(moved - point).max()
        point = moved
        if step < 1e-9:
            break
    return min([point, *np.unique(samples, axis=0)], key=lambda p: summed_distance(samples, p))


def summed_distance(samples: NDArray[np.float64], point: NDArray[Any]) -> float:
    """Σ |sample − point|."""
    return float(np.sqrt(((samples - point.astype(np.float64)) ** 2).sum(axis=1)).sum())
