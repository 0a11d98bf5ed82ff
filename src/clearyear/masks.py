"""What makes a sample valid.

A sample is invalid if it is one of a few values: nodata and saturated ones; NaN always is, in floats. The kernels test
that while they read, so that no mask of a stack is made for it. A mask from elsewhere, of clouds say, comes beside.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field


class Bits(BaseModel):
    """A field of a bit band: ``width`` bits from bit ``shift`` on (0 = lowest), and those of its values that erase."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    shift: int = Field(ge=0, le=63)
    width: int = Field(default=1, ge=1, le=16)
    values: tuple[int, ...] = (1,)


class Mask(BaseModel):
    """A band of classes or of bits that says which samples must not be used.

    What is erased is opened, which drops specks, then dilated; both with a disk, on the band's own pixel grid.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    asset: str
    """Which of a scene's files it is."""
    classes: tuple[int, ...] = ()
    """Values of a class band that erase."""
    bits: tuple[Bits, ...] = ()
    """Fields of a bit band that erase; any of them does."""
    opening: int = Field(default=0, ge=0, le=64)
    """Radius in pixels of the band."""
    dilation: int = Field(default=0, ge=0, le=64)
    """Radius in pixels of the band."""

    @property
    def halo(self) -> int:
        """How many of the band's pixels beyond a window's edge decide about those within: an opening looks twice."""
        return 2 * self.opening + self.dilation


def invalid_values_of(values: Sequence[float], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Those values that can occur in an array of ``dtype``, in that type; NaN is left out: invalid anyway."""
    return np.array([v for v in values if _fits(v, dtype)], dtype)


def _fits(value: float, dtype: np.dtype[Any]) -> bool:
    """Whether ``value`` can occur in an array of ``dtype``; a nodata tag of −9999 on uint8 cannot."""
    if dtype.kind == "f":
        return value == value
    info = np.iinfo(dtype)
    return value == value and float(value).is_integer() and info.min <= value <= info.max
