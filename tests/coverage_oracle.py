"""Zonal statistics the long way: Shapely cuts every pixel with the polygon, and plain formulas do the rest."""

import math
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

LEAST = 1e-7


def shares(polygon: Any, transform: Any, width: int, height: int) -> NDArray[np.float64]:
    """(H, W): which share of each pixel the polygon covers, by exact areas."""
    found = np.zeros((height, width))
    if polygon is None or polygon.is_empty:
        return found
    rows, cols = np.mgrid[:height, :width]
    left, top = transform.c + cols * transform.a, transform.f + rows * transform.e
    pixels = shapely.box(left, top + transform.e, left + transform.a, top)
    west, south, east, north = polygon.bounds
    near = (left <= east) & (left + transform.a >= west) & (top >= south) & (top + transform.e <= north)
    found[near] = shapely.area(shapely.intersection(polygon, pixels[near])) / abs(transform.a * transform.e)
    return found


def statistics(share: NDArray[np.float64], pixels: NDArray[Any], valid: NDArray[np.bool_]) -> dict[str, float]:
    """The statistics of one band by their definitions, from whole arrays."""
    touched = (share >= LEAST) & valid
    w, x = share[touched], pixels[touched].astype(float)
    found = {"count": w.sum(), "sum": (w * x).sum()}
    found["nodata_share"] = 1 - w.sum() / share.sum() if share.sum() else math.nan
    if not len(x):
        return found | dict.fromkeys(("min", "max", "mean", "stddev", "skew", "median"), math.nan)
    mean = (w * x).sum() / w.sum()
    spread = math.sqrt((w * (x - mean) ** 2).sum() / w.sum())
    return found | {
        "min": x.min(),
        "max": x.max(),
        "mean": mean,
        "stddev": spread,
        "skew": (w * (x - mean) ** 3).sum() / w.sum() / spread**3 if spread > 1e-12 else math.nan,
        "median": weighted_median(x, w),
    }


def weighted_median(x: NDArray[Any], w: NDArray[Any]) -> float:
    """The least value up to which half of the weight lies, by a loop; midway to the next where it is just half."""
    order = np.argsort(x, kind="stable")
    below, half = 0.0, w.sum() / 2
    for place, index in enumerate(order):
        below += w[index]
        if math.isclose(below, half, rel_tol=1e-9):
            return float((x[index] + x[order[place + 1]]) / 2)
        if below > half:
            return float(x[index])
    raise AssertionError("the whole is more than its half")
