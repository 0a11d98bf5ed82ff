"""Compile every kernel into numba's cache: `python -m clearyear.warm`, run while an image is built."""

import numpy as np

from clearyear.direct import put_block
from clearyear.layers import JOINED_DTYPES
from clearyear.masks import valid_samples
from clearyear.overviews import Overview
from clearyear.reducers import REDUCERS

_DTYPES = ("uint8", "uint16", "int16", "float32")


def warm() -> int:
    """Run every kernel once on each dtype, depth and memory layout it meets; returns how many runs that took."""
    runs = 0
    for dtype in ("uint8", "uint16"):
        whole = np.empty((3, 8, 16), dtype)
        for out in (whole, whole[:, :4, :8]):
            put_block(np.zeros(16 * 8 * 3, dtype), 16, True, out, 0, 0)
            runs += 1
    for dtype in JOINED_DTYPES:
        for side in (8, 9):  # two by two, and a little more
            level = Overview((side, side), (4, 4), dtype=dtype, nodata=0.0, resampling="average")
            # A window as it was reduced, and rows put together from blocks, lie alike in memory.
            level.push(np.zeros((3, side, side), dtype))
            runs += 1
    for reducer in REDUCERS.values():
        for dtype in _DTYPES if not reducer.whole_samples else ("uint8",):
            for n_scenes in (2, 300):  # counters widen above 255 scenes
                for rows in (4, 2):  # a whole stack and a strip of one lie differently in memory
                    stack = np.ones((n_scenes, 3, 4, 8), dtype)[:, :, :rows]
                    valid = valid_samples(stack, (0.0,), whole_samples=reducer.whole_samples)
                    reducer.reduce(stack, valid, 0.0)
                    runs += 1
    return runs


if __name__ == "__main__":
    warm()
