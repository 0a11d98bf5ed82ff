"""Disks: what lies within a radius of marked pixels, by rows of the disk rather than pixel by pixel."""

from functools import cache
from typing import Any

import numba
import numpy as np
from numba import types
from numpy.typing import NDArray


def near(marked: NDArray[np.bool_], radius: int, *, beyond: bool = False) -> NDArray[np.bool_]:
    """Which pixels have a marked one at (dx, dy) with dx² + dy² ≤ radius².

    Args:
        marked: (H, W).
        radius: in pixels, at most 254.
        beyond: whether all that lies beyond the array counts as marked.
    """
    result = np.empty(marked.shape, np.bool_)
    steps = np.arange(radius + 1)
    reach = np.floor(np.sqrt(radius**2 - steps**2)).astype(np.uint8)
    near_kernel()(marked.view(np.uint8), reach, beyond, result.view(np.uint8))
    return result


def opened(marked: NDArray[np.bool_], radius: int) -> NDArray[np.bool_]:
    """Only what holds a whole disk inside the array: an erosion, then a dilation."""
    return near(~near(~marked, radius, beyond=True), radius)


@cache
def near_kernel() -> Any:
    """Compile ``_near``."""
    image = types.Array(types.uint8, 2, "C")
    return numba.njit(
        types.void(types.Array(types.uint8, 2, "C", readonly=True), types.uint8[::1], types.boolean, image),
        nogil=True,
        cache=True,
    )(_near)


def _near(marked, reach, beyond, result):  # type: ignore[no-untyped-def]
    """Fill result (H, W); ``reach``: half the disk's width in each row from its middle."""
    height, width = marked.shape
    radius = reach.size - 1
    far = np.uint8(radius + 1)
    distance = np.empty((height, width), np.uint8)
    for y in range(height):
        row, from_here = marked[y], distance[y]
        last = np.uint8(0) if beyond else far
        for x in range(width):
            last = np.uint8(0) if row[x] else np.uint8(min(last + 1, far))
            from_here[x] = last
        last = np.uint8(0) if beyond else far
        for x in range(width - 1, -1, -1):
            last = np.uint8(0) if row[x] else np.uint8(min(last + 1, far))
            from_here[x] = min(from_here[x], last)
    for y in range(height):
        out = result[y]
        out[:] = 1 if beyond and (y < radius or y >= height - radius) else 0
        for other in range(max(0, y - radius), min(height, y + radius + 1)):
            limit, from_there = reach[abs(other - y)], distance[other]
            for x in range(width):
                out[x] |= np.uint8(from_there[x] <= limit)
