"""What makes a sample valid."""

from collections.abc import Sequence

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
    valid = np.ones((n_scenes, 1 if whole_samples else n_bands, height, width), np.bool_)
    values = [stack.dtype.type(v) for v in invalid_values if _fits(v, stack.dtype)]
    for band in range(n_bands):
        samples, ok = stack[:, band], valid[:, 0 if whole_samples else band]
        if stack.dtype.kind == "f":
            ok &= ~np.isnan(samples)
        for value in values:
            ok &= samples != value
    return valid


def _fits(value: float, dtype: np.dtype[np.generic]) -> bool:
    """Whether ``value`` can occur in an array of ``dtype``; a nodata tag of −9999 on uint8 cannot."""
    if dtype.kind == "f":
        return value == value
    info = np.iinfo(dtype)  # type: ignore[type-var]
    return value == value and float(value).is_integer() and info.min <= value <= info.max
