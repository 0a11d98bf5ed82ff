"""The compiled kernels of ranks: exact ones, by searching for a value's bits, pixels in SIMD lanes.

For a block of pixels the value at rank k is built from its top bit down: try the bit, count the samples below
the candidate, keep the bit where no more than k lie below. No sort, no branch on data, one pass over the block a
bit. Wider types are searched a byte at a time, so that every pass runs in lanes of 8 bits. What is invalid is tested
while the block is filled: no mask of the stack is ever made.

The shape of the loops (slices of rows, explicit narrow types, four rows at a time, no allocation inside) is what lets
the compiler vectorise them; a change here wants benchmarks/kernels.py repeated. Arrays come flat, with the steps from
scene to scene and from band to band, because only then does the compiler know that pixels lie side by side.
"""

import zlib
from functools import cache
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numba import types

_BLOCK_BYTES = 1 << 19
"""Rows of a block: half of a second-level cache, the rest is for what streams through."""

SHARED = zlib.crc32(b"".join(p.read_bytes() for p in sorted(Path(__file__).parent.glob("*kernel*.py"))))
"""Numba's cache looks at a kernel's own file only. Kernels close over this sum, so that a change of any part is seen.

The parts have no cache of their own, for the same reason: they are compiled into the kernels.
"""

_u1, _u2, _i4 = np.uint8, np.uint16, np.int32


def read_only(of: Any) -> Any:
    """The type of a flat array that the kernel only reads."""
    return types.Array(of, 1, "C", readonly=True)


BITS = {"uint8": types.uint8, "uint16": types.uint16, "int16": types.uint16, "float32": types.uint32}
STEPS = types.UniTuple(types.int64, 2)  # type: ignore[no-untyped-call]
MASK = read_only(types.boolean)


@numba.njit(nogil=True)
def block_of(n_pixels, bytes_a_pixel):  # type: ignore[no-untyped-def]
    """Pixels a block: whole vectors, no more than there are, as many as stay in the cache."""
    fitting = min(2048, max(256, _BLOCK_BYTES // max(1, bytes_a_pixel) // 64 * 64))
    return max(1, min(n_pixels, fitting))


@numba.njit(nogil=True)
def mark_usable(ok, samples, steps, invalid, mask, mask_steps, t, band, start, fresh):  # type: ignore[no-untyped-def]
    """Say in ok (w,) which samples of a band's row may be used; unless ``fresh``, of those it has."""
    at = t * steps[0] + band * steps[1] + start
    row = samples[at : at + ok.size]
    if fresh:
        for j in range(ok.size):
            ok[j] = True
    if mask.size and (fresh or mask_steps[1]):
        at = t * mask_steps[0] + band * mask_steps[1] + start
        given = mask[at : at + ok.size]
        for j in range(ok.size):
            ok[j] = ok[j] & given[j]
    for i in range(0, invalid.size, 2):
        one, other = invalid[i], invalid[i + 1]
        for j in range(ok.size):
            ok[j] = ok[j] & (row[j] != one) & (row[j] != other)
    return row


@numba.njit(nogil=True)
def _count_below(rows, first, last, candidate, below):  # type: ignore[no-untyped-def]
    """Fill below (w,) uint8 with how many of rows[first:last] lie below the candidate; at most 255 rows."""
    w = below.size
    for j in range(w):
        below[j] = _u1(0)
    t = first
    while t + 4 <= last:
        a, b, c, d = rows[t, :w], rows[t + 1, :w], rows[t + 2, :w], rows[t + 3, :w]
        for j in range(w):
            this = candidate[j]
            ab = _u1(_u1(a[j] < this) + _u1(b[j] < this))
            cd = _u1(_u1(c[j] < this) + _u1(d[j] < this))
            below[j] = _u1(below[j] + _u1(ab + cd))
        t += 4
    for rest in range(t, last):
        row = rows[rest, :w]
        for j in range(w):
            below[j] = _u1(below[j] + _u1(row[j] < candidate[j]))


@numba.njit(nogil=True)
def search(rows, w, bits, base, rank, value, scratch, total):  # type: ignore[no-untyped-def]
    """Fill value (w,) uint8 with the one at ``rank`` of rows (T, ≥ w) uint8, known to be base to base + 2^bits − 1."""
    n_scenes = rows.shape[0]
    candidate, below, narrow = scratch[0, :w], scratch[1, :w], scratch[2, :w]
    for j in range(w):
        value[j] = base
        narrow[j] = _u1(min(rank[j], _u2(255)))
    for bit in range(bits - 1, -1, -1):
        mask = _u1(1 << bit)
        for j in range(w):
            candidate[j] = _u1(value[j] + mask)
        if n_scenes <= 255:
            _count_below(rows, 0, n_scenes, candidate, below)
            for j in range(w):
                value[j] = _u1(value[j] + _u1(mask * _u1(below[j] <= narrow[j])))
        else:
            _count_all(rows, candidate, below, total)
            for j in range(w):
                value[j] = _u1(value[j] + _u1(mask * _u1(total[j] <= rank[j])))


@numba.njit(nogil=True)
def _count_all(rows, candidate, below, total):  # type: ignore[no-untyped-def]
    """Fill total (w,) uint16 with how many rows lie below the candidate."""
    for j in range(total.size):
        total[j] = _u2(0)
    for first in range(0, rows.shape[0], 255):
        _count_below(rows, first, min(first + 255, rows.shape[0]), candidate, below)
        for j in range(total.size):
            total[j] = _u2(total[j] + below[j])


@cache
def rank_kernel(dtype: str) -> Any:
    """Compile the kernel for samples of ``dtype``; see ``kernel`` in it."""
    of = BITS[dtype]
    key = np.dtype(str(of)).type
    bits = np.dtype(key).itemsize * 8
    wide, is_float = bits > 8, dtype == "float32"
    zero, one, byte, top = key(0), key(1), key(255), key(np.iinfo(key).max)
    sign = key(1 << (bits - 1)) if dtype in ("int16", "float32") else zero
    turn = key(top >> 1) if is_float else zero
    offset = int(sign) if dtype == "int16" else 0
    shared = SHARED
    magnitude, infinite = (key(0x7FFFFFFF), key(0x7F800000)) if is_float else (zero, zero)
    out = getattr(types, dtype)
    signature = types.void(
        *(read_only(of), STEPS, read_only(of), MASK, STEPS),
        *(types.uint16[:, ::1], types.float64[:, ::1], out, out[:, :, ::1], types.uint16[:, ::1]),
    )

    @numba.njit(signature, nogil=True, cache=True)
    def kernel(samples, steps, invalid, mask, mask_steps, ranks, weights, fill, result, count):  # type: ignore[no-untyped-def]
        """Fill result (Q, B, P) and count (B, P) with the quantiles of each band's valid samples and their number.

        Of n valid samples in order the result q lies ``weights[q, n]`` of the way from the one at ``ranks[q, n]`` to
        the next; where n is 0 it is ``fill``. Both tables are (Q, T + 1).
        """
        assert shared >= 0  # closed over, so that a change of any part compiles this anew
        n_quantiles, n_bands, n_pixels = result.shape
        n_scenes = ranks.shape[1] - 1
        size = block_of(n_pixels, n_scenes * ((bits // 8 + 1) if wide else 1))
        keys = np.empty((n_scenes, size if wide else 1), key)
        rows = np.empty((n_scenes, size), np.uint8)
        ok = np.empty(size, np.bool_)
        n = np.empty(size, np.uint16)
        total = np.empty(size, np.uint16)
        rank = np.empty(size, np.uint16)
        scratch = np.empty((4, size), np.uint8)
        tally = np.empty(size, key)
        value = np.empty(size, key)
        above = np.empty(size, key)
        lower, upper, weight = np.empty(size), np.empty(size), np.empty(size)
        if is_float:
            value_floats, above_floats = value.view(np.float32), above.view(np.float32)
        for band in range(n_bands):
            for start in range(0, n_pixels, size):
                w = min(size, n_pixels - start)
                digit, okay = scratch[3, :w], ok[:w]
                n[:] = 0
                for first in range(0, n_scenes, 255):
                    tally[:] = zero
                    for t in range(first, min(first + 255, n_scenes)):
                        sample = mark_usable(okay, samples, steps, invalid, mask, mask_steps, t, band, start, True)
                        row, narrow = keys[t if wide else 0], rows[t]
                        for j in range(w):
                            x = sample[j]
                            good = okay[j] & (key(x & magnitude) <= infinite)
                            # The sign bit flipped and negative floats turned over, so that order is unsigned order. An
                            # invalid one sorts last; ranks come from n, so a valid one of the same key is no harm.
                            ordered = key(x ^ key(sign | key(turn & key(zero - key(x >> (bits - 1))))))
                            ordered = ordered if good else top
                            tally[j] = key(tally[j] + key(good))
                            if wide:
                                row[j] = ordered
                            narrow[j] = _u1(ordered >> (bits - 8))
                    for j in range(w):
                        n[j] = _u2(n[j] + _u2(tally[j]))
                for j in range(w):
                    count[band, start + j] = n[j]
                for q in range(n_quantiles):
                    for j in range(w):
                        rank[j] = ranks[q, n[j]]
                        value[j] = zero
                    for low in range(bits - 8, -1, -8):
                        if wide and (low < bits - 8 or q > 0):
                            # Samples that agree so far show their next byte; the others sort before or after them.
                            for t in range(n_scenes):
                                row, narrow = keys[t], rows[t]
                                for j in range(w):
                                    part, known = key(row[j] >> low), value[j]
                                    rest = key(part - known) if part > known else zero
                                    narrow[j] = _u1(rest if rest < byte else byte)
                        search(rows, w, 8, _u1(0), rank, digit, scratch, total[:w])
                        for j in range(w):
                            value[j] = key(value[j] + digit[j])
                            if low > 0:
                                value[j] = key(value[j] << 8)
                    above[:] = top
                    total[:] = 0
                    for first in range(0, n_scenes, 255):
                        tally[:] = zero
                        for t in range(first, min(first + 255, n_scenes)):
                            ordered_row = keys[t] if wide else rows[t]
                            for j in range(w):
                                other = ordered_row[j]
                                tally[j] = key(tally[j] + key(other <= value[j]))
                                higher = other if other > value[j] else top
                                above[j] = higher if higher < above[j] else above[j]
                        for j in range(w):
                            total[j] = _u2(total[j] + _u2(tally[j]))
                    for j in range(w):
                        above[j] = value[j] if total[j] > rank[j] + 1 else above[j]
                    if is_float:
                        for j in range(w):
                            value[j] ^= key(sign | key(turn & key(zero - key(one - key(value[j] >> (bits - 1))))))
                            above[j] ^= key(sign | key(turn & key(zero - key(one - key(above[j] >> (bits - 1))))))
                    for j in range(w):
                        weight[j] = weights[q, n[j]]
                        if is_float:
                            lower[j], upper[j] = value_floats[j], above_floats[j]
                        else:
                            lower[j], upper[j] = _i4(value[j]) - offset, _i4(above[j]) - offset
                    put = result[q, band, start : start + w]
                    for j in range(w):
                        # As numpy has it: from the nearer end, so that the ends themselves are met.
                        apart, part = upper[j] - lower[j], weight[j]
                        between = lower[j] + apart * part if part < 0.5 else upper[j] - apart * (1.0 - part)
                        between = (lower[j] + upper[j]) * 0.5 if part == 0.5 else between
                        between = lower[j] if part == 0.0 or lower[j] == upper[j] else between
                        if is_float:
                            put[j] = between if n[j] else fill
                        else:
                            put[j] = _i4(np.rint(between)) if n[j] else fill

    return kernel
