"""What makes a sample valid."""

from collections.abc import Sequence

import numba
import numpy as np
from numpy.typing import NDArray


def valid_samples(
    stack: NDArray[np.generic], invalid_values: Sequence[float], *, whole_samples: bool
) -> NDArray[np.bool_]:
    """Which samples may be used.

    Args:
        stack: (T, B, H, W).
        invalid_values: nodata and saturated values; NaN is always invalid in floats.
        whole_samples: one invalid band makes the whole sample invalid.

    Returns:
        (T, 1, H, W) when ``whole_samples``, else (T, B, H, W); True = use this sample.
    """
    n_scenes, n_bands, height, width = stack.shape
    valid = np.empty((n_scenes, 1 if whole_samples else n_bands, height, width), np.bool_)
    values = np.array([v for v in invalid_values if _fits(v, stack.dtype)], stack.dtype)
    _mark_valid(stack, values, valid)
    return valid


@numba.njit(nogil=True, cache=True)
def _mark_valid(stack, values, valid):  # type: ignore[no-untyped-def]
    """Fill valid (T, 1 or B, H, W): a sample is itself (not NaN) and none of the values."""
    n_scenes, n_bands, height, width = stack.shape
    shared = valid.shape[1] == 1
    for t in range(n_scenes):
        for band in range(n_bands):
            for y in range(height):
                samples, ok = stack[t, band, y], valid[t, 0 if shared else band, y]
                fresh = band == 0 or not shared
                for x in range(width):
                    ok[x] = (fresh or ok[x]) & (samples[x] == samples[x])
                for value in values:
                    for x in range(width):
                        ok[x] = ok[x] & (samples[x] != value)


def _fits(value: float, dtype: np.dtype[np.generic]) -> bool:
    """Whether ``value`` can occur in an array of ``dtype``; a nodata tag of −9999 on uint8 cannot."""
    if dtype.kind == "f":
        return value == value
    info = np.iinfo(dtype)  # type: ignore[type-var]
    return value == value and float(value).is_integer() and info.min <= value <= info.max
