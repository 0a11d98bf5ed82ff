"""What makes a sample valid.

A sample is invalid if it is one of a few values: nodata and saturated ones; NaN always is, in floats. The kernels test
that while they read, so that no mask of a stack is made for it. A mask from elsewhere, of clouds say, comes beside.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def invalid_values_of(values: Sequence[float], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Those values that can occur in an array of ``dtype``, in that type; NaN is left out: invalid anyway."""
    return np.array([v for v in values if _fits(v, dtype)], dtype)


def _fits(value: float, dtype: np.dtype[Any]) -> bool:
    """Whether ``value`` can occur in an array of ``dtype``; a nodata tag of −9999 on uint8 cannot."""
    if dtype.kind == "f":
        return value == value
    info = np.iinfo(dtype)
    return value == value and float(value).is_integer() and info.min <= value <= info.max
