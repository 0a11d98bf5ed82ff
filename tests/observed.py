"""What a window of unlike scenes gives, and a plain median to compare with."""

from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray

from clearyear.grid import Window
from clearyear.masks import Mask
from clearyear.plan import Plan

SCL = Mask(asset="scl", classes=(0, 3, 8, 9, 10), opening=2, dilation=5)


def whole_of(plan: Plan) -> Window:
    return Window(col_off=0, row_off=0, width=plan.grid.width, height=plan.grid.height)


def read(path: str) -> NDArray[Any]:
    with rasterio.open(path) as dataset:
        pixels: NDArray[Any] = dataset.read()
    return pixels


def median_of(stack: NDArray[Any], valid: NDArray[np.bool_]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Band medians and counts (B, H, W) the plain way, nodata 0."""
    middle = np.ma.median(np.ma.masked_array(stack.astype(np.float64), ~valid), axis=0)  # type: ignore[no-untyped-call]
    return np.rint(np.ma.filled(middle, 0)).astype(stack.dtype), valid.sum(axis=0)
