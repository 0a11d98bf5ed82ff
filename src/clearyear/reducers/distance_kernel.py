"""The compiled kernel of the distances between samples and a point: cosine, Euclidean, Bray–Curtis."""

from functools import cache
from typing import Any

import numba
import numpy as np
from numba import types

from clearyear.reducers.kernels import BITS, MASK, SHARED, STEPS, mark_usable, read_only


@cache
def distance_kernel(dtype: str) -> Any:
    """Compile the kernel for samples of ``dtype``; see ``kernel`` in it."""
    shared, of, bits = SHARED, np.dtype(dtype), BITS[dtype]
    signature = types.void(
        *(read_only(bits), STEPS, read_only(bits), MASK, STEPS),
        *(types.int64, types.float32[:, ::1], types.float32[:, :, ::1]),
    )

    @numba.njit(signature, nogil=True, cache=True, error_model="numpy")
    def kernel(samples, steps, invalid, mask, mask_steps, start, median, distances):  # type: ignore[no-untyped-def]
        """Fill distances (T, 3, w) of the samples from ``start`` on: cosine, Euclidean, Bray–Curtis; NaN if invalid.

        In float64: a cosine distance is the small rest of 1.
        """
        assert shared >= 0  # closed over, so that a change of any part compiles this anew
        n_scenes, _, w = distances.shape
        n_bands = median.shape[0]
        values = samples.view(of)
        ok = np.empty(w, np.bool_)
        product, square, apart, difference, both = np.empty(w), np.empty(w), np.empty(w), np.empty(w), np.empty(w)
        length = np.zeros(w)
        for band in range(n_bands):
            for j in range(w):
                length[j] += np.float64(median[band, start + j]) ** 2
        for t in range(n_scenes):
            product[:], square[:], apart[:], difference[:], both[:] = 0, 0, 0, 0, 0
            for band in range(n_bands):
                mark_usable(ok, samples, steps, invalid, mask, mask_steps, t, band, start, band == 0)
                at = t * steps[0] + band * steps[1] + start
                row, centre = values[at : at + w], median[band, start : start + w]
                for j in range(w):
                    v, m = np.float64(row[j]), np.float64(centre[j])
                    product[j] += v * m
                    square[j] += v * v
                    apart[j] += (v - m) * (v - m)
                    difference[j] += abs(v - m)
                    both[j] += abs(v + m)
            cosine, euclid, bray_curtis = distances[t, 0], distances[t, 1], distances[t, 2]
            for j in range(w):
                angle = 1.0 - product[j] / (np.sqrt(square[j]) * np.sqrt(length[j]))
                angle = 0.0 if angle < 0.0 else angle  # a hair of rounding; NaN, of a sample that is all 0, stays
                between, share = np.sqrt(apart[j]), difference[j] / both[j]
                cosine[j] = angle if ok[j] else np.nan
                euclid[j] = between if ok[j] else np.nan
                bray_curtis[j] = share if ok[j] else np.nan

    return kernel
