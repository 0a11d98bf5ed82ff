"""Compile every kernel into numba's cache: `python -m clearyear.warm`, run while an image is built."""

import numpy as np

from clearyear.cog.layers import JOINED_DTYPES
from clearyear.cog.overviews import Overview
from clearyear.reading.direct import put_bands, put_block
from clearyear.reading.resample import extent_kernel, sample_kernel
from clearyear.reading.samples import harmonise_kernel, keep_first_kernel
from clearyear.reducers.distance_kernel import distance_kernel
from clearyear.reducers.geomedian_kernel import geomedian_kernel
from clearyear.reducers.kernels import rank_kernel
from clearyear.reducers.luminance_kernel import luminance_kernel
from clearyear.reducers.ranks import DTYPES


def warm() -> int:
    """Compile every kernel for each dtype and memory layout it meets; returns how many that makes."""
    kernels = 0
    for dtype in ("uint8", "uint16", "uint32"):
        whole = np.empty((3, 8, 16), dtype)
        for out in (whole, whole[:, :4, :8]):
            put_block(np.zeros(16 * 8 * 3, dtype), 16, True, out, 0, 0)
            put_bands(np.zeros(16 * 8 * 3, dtype), 16, 3, True, out, np.arange(3), 0, 0)
            kernels += 2
    for dtype in JOINED_DTYPES:
        for side in (8, 9):  # two by two, and a little more
            level = Overview((side, side), (4, 4), dtype=dtype, nodata=0.0, resampling="average")
            # A window as it was reduced, and rows put together from blocks, lie alike in memory.
            level.push(np.zeros((3, side, side), dtype))
            kernels += 1
    # These kernels state their types; making one compiles it, and it takes nothing else.
    luminance_kernel()
    extent_kernel()
    for dtype in DTYPES:
        for make in (
            rank_kernel,
            geomedian_kernel,
            distance_kernel,
            sample_kernel,
            harmonise_kernel,
            keep_first_kernel,
        ):
            make(dtype)
            kernels += 1
    return kernels + 3


if __name__ == "__main__":
    warm()
