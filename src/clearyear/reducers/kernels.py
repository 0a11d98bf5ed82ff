"""The compiled kernels: exact ranks by searching for a value's bits, pixels in SIMD lanes.

For a block of pixels the value at rank k is built from its top bit down: try the bit, count the samples below
the candidate, keep the bit where no more than k lie below. No sort, no branch on data, one pass over the block a
bit. The shape of the loops (slices of rows, explicit narrow types, no allocation inside) is what lets the compiler
vectorise them; a change here wants the measurement in benchmarks repeated.
"""

from functools import cache
from typing import Any

import numba
import numpy as np

_BLOCK = 2048
"""Pixels a block: T rows of it stay in the second-level cache."""

_LUMINANCE_BITS = 10
"""R + G + B of uint8 is 765 at most."""


@cache
def rank_pair_kernel(key: str, counter: str) -> Any:
    """Compile ``kernel(keys, valid, lower, upper, count)`` for keys and counters of these dtypes.

    The kernel takes keys (T, P), valid (T, P) bool and fills lower and upper (P,) with the keys at ranks
    (n - 1) // 2 and n // 2 of the n valid ones, and count (P,) uint16 with n. Where n is 0 both are 0.
    ``counter`` must hold T.
    """
    key_type, counter_type = np.dtype(key).type, np.dtype(counter).type
    bits = np.dtype(key).itemsize * 8
    top = key_type(np.iinfo(key_type).max)
    zero_key, zero, one = key_type(0), counter_type(0), counter_type(1)

    @numba.njit(nogil=True, cache=True)
    def kernel(keys, valid, lower, upper, count):  # type: ignore[no-untyped-def]
        n_scenes, n_pixels = keys.shape
        rows = np.empty((n_scenes, _BLOCK), key_type)
        value = np.empty(_BLOCK, key_type)
        candidate = np.empty(_BLOCK, key_type)
        above = np.empty(_BLOCK, key_type)
        n = np.empty(_BLOCK, counter_type)
        rank = np.empty(_BLOCK, counter_type)
        below = np.empty(_BLOCK, counter_type)
        for start in range(0, n_pixels, _BLOCK):
            w = min(_BLOCK, n_pixels - start)
            n[:] = zero
            value[:] = zero_key
            for t in range(n_scenes):
                row, key, ok = rows[t], keys[t, start : start + w], valid[t, start : start + w]
                for j in range(w):
                    # An invalid sample sorts last; ranks come from n, so a valid one of the same value is no harm.
                    row[j] = key[j] if ok[j] else top
                    n[j] = counter_type(n[j] + counter_type(ok[j]))
            for j in range(w):
                rank[j] = counter_type((n[j] - one) >> one) if n[j] != zero else zero
            for bit in range(bits - 1, -1, -1):
                mask = key_type(1 << bit)
                for j in range(w):
                    candidate[j] = key_type(value[j] | mask)
                    below[j] = zero
                for t in range(n_scenes):
                    row = rows[t]
                    for j in range(w):
                        below[j] = counter_type(below[j] + counter_type(row[j] < candidate[j]))
                for j in range(w):
                    value[j] = candidate[j] if below[j] <= rank[j] else value[j]
            below[:] = zero
            above[:] = top
            for t in range(n_scenes):
                row = rows[t]
                for j in range(w):
                    q = row[j]
                    below[j] = counter_type(below[j] + counter_type(q <= value[j]))
                    next_up = q if q > value[j] else top
                    above[j] = next_up if next_up < above[j] else above[j]
            for j in range(w):
                count[start + j] = n[j]
                lower[start + j] = value[j] if n[j] != zero else zero_key
                middle = value[j] if below[j] > counter_type(n[j] >> one) else above[j]
                upper[start + j] = middle if n[j] != zero else zero_key

    return kernel


@numba.njit(nogil=True, cache=True)
def luminance_kernel(stack, valid, composite, count, source):  # type: ignore[no-untyped-def]
    """Fill composite (3, P) uint8, count (P,) uint16 and source (P,) int16 from stack (T, 3, P) and valid (T, P).

    The sample at index n // 2 of the n valid ones in order of (R + G + B, t); T at most 32,767.
    """
    n_scenes, _, n_pixels = stack.shape
    zero, one, top = np.uint16(0), np.uint16(1), np.uint16((1 << _LUMINANCE_BITS) - 1)
    rows = np.empty((n_scenes, _BLOCK), np.uint16)
    value = np.empty(_BLOCK, np.uint16)
    candidate = np.empty(_BLOCK, np.uint16)
    n = np.empty(_BLOCK, np.uint16)
    rank = np.empty(_BLOCK, np.uint16)
    below = np.empty(_BLOCK, np.uint16)
    left = np.empty(_BLOCK, np.int16)
    chosen = np.empty(_BLOCK, np.int16)
    for start in range(0, n_pixels, _BLOCK):
        w = min(_BLOCK, n_pixels - start)
        n[:] = zero
        value[:] = zero
        for t in range(n_scenes):
            row, ok = rows[t], valid[t, start : start + w]
            red, green, blue = (
                stack[t, 0, start : start + w],
                stack[t, 1, start : start + w],
                stack[t, 2, start : start + w],
            )
            for j in range(w):
                luminance = np.uint16(np.uint16(red[j]) + np.uint16(green[j]) + np.uint16(blue[j]))
                row[j] = luminance if ok[j] else top
                n[j] = np.uint16(n[j] + np.uint16(ok[j]))
        for j in range(w):
            rank[j] = n[j] >> one
        for bit in range(_LUMINANCE_BITS - 1, -1, -1):
            mask = np.uint16(1 << bit)
            for j in range(w):
                candidate[j] = np.uint16(value[j] | mask)
                below[j] = zero
            for t in range(n_scenes):
                row = rows[t]
                for j in range(w):
                    below[j] = np.uint16(below[j] + np.uint16(row[j] < candidate[j]))
            for j in range(w):
                value[j] = candidate[j] if below[j] <= rank[j] else value[j]
        below[:] = zero
        for t in range(n_scenes):
            row = rows[t]
            for j in range(w):
                below[j] = np.uint16(below[j] + np.uint16(row[j] < value[j]))
        # Among equals the earlier acquisition comes first: count down from rank − (samples below).
        for j in range(w):
            left[j] = np.int16(rank[j] - below[j])
            chosen[j] = np.int16(-1)
        for t in range(n_scenes):
            row, index = rows[t], np.int16(t)
            for j in range(w):
                equal = row[j] == value[j]
                chosen[j] = index if (equal and left[j] == 0) else chosen[j]
                left[j] = np.int16(left[j] - np.int16(equal))
        for j in range(w):
            some = n[j] != zero
            t = chosen[j] if some else 0
            count[start + j] = n[j]
            source[start + j] = chosen[j] if some else -1
            for band in range(3):
                composite[band, start + j] = stack[t, band, start + j] if some else 0
