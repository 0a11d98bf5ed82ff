"""Samples between reading and reducing: harmonised, and of each group only the first. Compiled loops."""

from functools import cache
from typing import Any

import numba
import numpy as np
from numba import types
from numpy.typing import NDArray

from clearyear.reading.resample import array, is_invalid


def harmonise(samples: NDArray[Any], add: int, invalid: NDArray[Any]) -> None:
    """Add a number to the valid samples, in place; nodata and saturated values stay what they are.

    A sum below 1 becomes 1 in unsigned types, and one beyond any type its end: it was seen. One that comes to an
    invalid value goes on to the next number that is none. Sums of floats are what they are.

    Args:
        samples: (H, W) of one band.
        add: what is added.
        invalid: the invalid values, in the samples' type; NaN always is.
    """
    kind = samples.dtype.kind
    highest = int(np.iinfo(samples.dtype).max) if kind in "ui" else 0
    lowest = int(np.iinfo(samples.dtype).min) if kind == "i" else 1
    harmonise_kernel(str(samples.dtype))(samples, add, invalid, lowest, highest)


@cache
def harmonise_kernel(dtype: str) -> Any:
    """Compile ``_harmonise`` for samples of a type."""
    of = getattr(types, dtype)
    signature = types.void(array(of, 2, written=True), types.int64, array(of, 1), types.int64, types.int64)
    return numba.njit(signature, nogil=True, cache=True)(_harmonise)


def _harmonise(samples, add, invalid, lowest, highest):  # type: ignore[no-untyped-def]
    for i in range(samples.shape[0]):
        for j in range(samples.shape[1]):
            value = samples[i, j]
            if is_invalid(value, invalid):
                continue
            if highest == 0:
                samples[i, j] = value + add
                continue
            total = min(max(np.int64(value) + add, lowest), highest)
            while total < highest and is_invalid(total, invalid):
                total += 1
            while is_invalid(total, invalid):
                total -= 1
            samples[i, j] = total


def keep_first(
    stack: NDArray[Any], valid: NDArray[np.bool_], members: NDArray[np.int64], invalid: NDArray[Any], *, whole: bool
) -> None:
    """Of scenes that are one observation leave, at each pixel, only the first valid sample valid.

    Args:
        stack: (T, B, H, W).
        valid: (T, 1 or B, H, W), changed in place; a band for each where ``whole`` is False and B > 1.
        members: the scenes' indices, in order.
        invalid: the invalid values, in the stack's type; NaN always is.
        whole: whether a sample is valid only if it is in all bands, or each band stands alone.
    """
    keep_first_kernel(str(stack.dtype))(stack, valid, members, invalid, whole)


@cache
def keep_first_kernel(dtype: str) -> Any:
    """Compile ``_keep_first`` for samples of a type."""
    of = getattr(types, dtype)
    valid = array(types.boolean, 4, written=True)
    signature = types.void(array(of, 4), valid, array(types.int64, 1), array(of, 1), types.boolean)
    return numba.njit(signature, nogil=True, cache=True)(_keep_first)


def _keep_first(stack, valid, members, invalid, whole):  # type: ignore[no-untyped-def]
    _, n_bands, height, width = stack.shape
    last = valid.shape[1] - 1
    seen, usable = np.empty(width, np.bool_), np.empty(width, np.bool_)
    together = n_bands if whole else 1
    for i in range(height):
        for first in range(0, n_bands, together):
            seen[:] = False
            for t in members:
                usable[:] = True
                for band in range(first, first + together):
                    row, given = stack[t, band, i], valid[t, min(band, last), i]
                    for j in range(width):
                        usable[j] = usable[j] and given[j] and not is_invalid(row[j], invalid)
                for band in range(first, first + together):
                    given = valid[t, min(band, last), i]
                    for j in range(width):
                        given[j] = given[j] and not seen[j]
                for j in range(width):
                    seen[j] = seen[j] or usable[j]
