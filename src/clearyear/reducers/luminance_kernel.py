"""The compiled kernel of the luminance median: the search of kernels.py over R + G + B, then the pick."""

from functools import cache
from typing import Any

import numba
import numpy as np
from numba import types

from clearyear.reducers.kernels import MASK, SHARED, STEPS, block_of, mark_usable, read_only, search

_u1, _u2, _i2 = np.uint8, np.uint16, np.int16
_SAMPLES = read_only(types.uint8)


@cache
def luminance_kernel() -> Any:
    """Compile the kernel; see ``kernel`` in it."""
    shared = SHARED
    signature = types.void(
        *(_SAMPLES, STEPS, _SAMPLES, MASK, STEPS, types.int64),
        *(types.uint8[:, ::1], types.uint16[::1], types.int16[::1]),
    )

    @numba.njit(signature, nogil=True, cache=True)
    def kernel(samples, steps, invalid, mask, mask_steps, n_scenes, composite, count, source):  # type: ignore[no-untyped-def]
        """Fill composite (3, P), count (P,) and source (P,) from three bands of ``n_scenes``, at most 32,767.

        The sample at index n // 2 of the n valid ones in order of (R + G + B, t). A sample is valid if no band is one
        of the invalid values and the mask, where there is one, has it in every band.
        """
        assert shared >= 0  # closed over, so that a change of any part compiles this anew
        n_pixels = count.size
        size = block_of(n_pixels, n_scenes * 2)
        # A sum of 10 bits is searched as its upper 8 (at most 191), then its lower 2.
        upper, lower = np.empty((n_scenes, size), np.uint8), np.empty((n_scenes, size), np.uint8)
        ok = np.empty(size, np.bool_)
        n, rank, total = np.empty(size, np.uint16), np.empty(size, np.uint16), np.empty(size, np.uint16)
        left, chosen = np.empty(size, np.int16), np.empty(size, np.int16)
        scratch = np.empty((6, size), np.uint8)
        for start in range(0, n_pixels, size):
            w = min(size, n_pixels - start)
            okay, tally, high, code = ok[:w], scratch[3, :w], scratch[4, :w], scratch[5, :w]
            n[:] = 0
            for first in range(0, n_scenes, 255):
                tally[:] = 0
                for t in range(first, min(first + 255, n_scenes)):
                    red = mark_usable(okay, samples, steps, invalid, mask, mask_steps, t, 0, start, True)
                    green = mark_usable(okay, samples, steps, invalid, mask, mask_steps, t, 1, start, False)
                    blue = mark_usable(okay, samples, steps, invalid, mask, mask_steps, t, 2, start, False)
                    row, rest = upper[t], lower[t]
                    for j in range(w):
                        luminance = _u2(_u2(_u2(red[j]) + _u2(green[j])) + _u2(blue[j]))
                        row[j] = _u1(luminance >> 2) if okay[j] else _u1(255)
                        rest[j] = _u1(luminance & 3)
                        tally[j] = _u1(tally[j] + _u1(okay[j]))
                for j in range(w):
                    n[j] = _u2(n[j] + _u2(tally[j]))
            for j in range(w):
                rank[j] = n[j] >> 1
            search(upper, w, 8, _u1(0), rank, high, scratch, total[:w])
            # What is brighter or darker by the upper bits sorts outside the four codes of the lower ones.
            for t in range(n_scenes):
                row, rest = upper[t], lower[t]
                for j in range(w):
                    outside = _u1(0) if row[j] < high[j] else _u1(255)
                    rest[j] = _u1(rest[j] + _u1(1)) if row[j] == high[j] else outside
            search(lower, w, 2, _u1(1), rank, code, scratch, total[:w])
            _pick(lower, w, rank, code, scratch, left, chosen)
            for j in range(w):
                t = chosen[j] if n[j] else 0
                count[start + j] = n[j]
                source[start + j] = chosen[j] if n[j] else -1
                for band in range(3):
                    at = t * steps[0] + band * steps[1] + start + j
                    composite[band, start + j] = samples[at] if n[j] else 0

    return kernel


@numba.njit(nogil=True)
def _pick(rows, w, rank, code, scratch, left, chosen):  # type: ignore[no-untyped-def]
    """Fill chosen (w,) with the index among rows (T, ≥ w) of the sample at ``rank``, equals in the rows' order.

    The number of rows up to which no more than ``left`` equals have come is that index.
    """
    n_scenes = rows.shape[0]
    come, limit, passed = scratch[0, :w], scratch[1, :w], scratch[2, :w]
    for j in range(w):
        left[j], chosen[j] = _i2(rank[j]), _i2(0)
    for first in range(0, n_scenes, 254):
        come[:] = 0
        for t in range(first, min(first + 254, n_scenes)):
            row = rows[t]
            for j in range(w):
                come[j] = _u1(come[j] + _u1(row[j] < code[j]))
        for j in range(w):
            left[j] = _i2(left[j] - _i2(come[j]))
    for first in range(0, n_scenes, 254):
        for j in range(w):
            # 255 is more than a run of 254 rows can bring.
            limit[j] = _u1(max(_i2(0), min(_i2(left[j] + _i2(1)), _i2(255))))
        come[:] = 0
        passed[:] = 0
        for t in range(first, min(first + 254, n_scenes)):
            row = rows[t]
            for j in range(w):
                come[j] = _u1(come[j] + _u1(row[j] == code[j]))
                passed[j] = _u1(passed[j] + _u1(come[j] < limit[j]))
        for j in range(w):
            left[j] = _i2(left[j] - _i2(come[j]))
            chosen[j] = _i2(chosen[j] + _i2(passed[j]))
