"""What makes a sample valid.

A sample is invalid if it is one of a few values: nodata and saturated ones; NaN always is, in floats. The kernels test
that while they read, so that no mask of a stack is made for it. A mask from elsewhere, of clouds say, comes beside.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator


class Bits(BaseModel):
    """A field of a bit band: ``width`` bits from bit ``shift`` on (0 = lowest), and those of its values that erase."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    shift: int = Field(ge=0, le=63)
    width: int = Field(default=1, ge=1, le=16)
    values: tuple[int, ...] = Field(default=(1,), min_length=1)

    @model_validator(mode="after")
    def _can_match(self) -> "Bits":
        odd = [value for value in self.values if not 0 <= value < 1 << self.width]
        if odd:
            raise ValueError(f"{self.width} bits cannot have the values {odd}; wanted: 0 to {(1 << self.width) - 1}")
        return self


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


def can_erase(mask: Mask, dtype: np.dtype[Any]) -> bool:
    """Whether numbers of that integer type have all the mask's bits, and can be at least one of its classes."""
    holds = np.iinfo(dtype)
    has_bits = all(bits.shift + bits.width <= dtype.itemsize * 8 for bits in mask.bits)
    return has_bits and (not mask.classes or any(holds.min <= value <= holds.max for value in mask.classes))


def erased_by(mask: Mask, values: NDArray[Any]) -> NDArray[np.bool_]:
    """Which samples the classes and bits of a mask erase, before morphology.

    Args:
        mask: its ``classes``, and its ``bits``, each a field whose value is one of those listed.
        values: (H, W) of any integer type.

    Returns:
        (H, W), True = erased.
    """
    if values.dtype.itemsize > 2:
        return _erased(mask, values)
    table = _erasing(mask, str(values.dtype))
    erased: NDArray[np.bool_] = table[values.view(f"u{values.dtype.itemsize}")]
    return erased


@lru_cache(maxsize=64)
def _erasing(mask: Mask, dtype: str) -> NDArray[np.bool_]:
    """Whether each value of a type of 8 or 16 bits is erased, in the order of its bits: to look up, a byte a pixel."""
    bits = np.dtype(dtype).itemsize * 8
    return _erased(mask, np.arange(1 << bits, dtype=f"u{bits // 8}").view(dtype))


def _erased(mask: Mask, values: NDArray[Any]) -> NDArray[np.bool_]:
    erased: NDArray[np.bool_] = np.isin(values, np.array(mask.classes, np.int64))
    for bits in mask.bits:
        field = (values.astype(np.uint64) >> np.uint64(bits.shift)) & np.uint64((1 << bits.width) - 1)
        erased |= np.isin(field, np.array(bits.values, np.uint64))
    return erased


def grown(mask: Mask, erased: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """What is erased after the mask's opening and dilation.

    Both are with the disk of all (dx, dy) with dx² + dy² ≤ radius². Beyond the array nothing is erased: at an image's
    edge an opening keeps only what holds a whole disk inside the image. Of a part of an image those pixels are exact
    that lie ``mask.halo`` or more from where it was cut.

    Args:
        mask: its ``opening`` and ``dilation``, in pixels.
        erased: (H, W), True = erased.

    Returns:
        (H, W), True = erased.
    """
    from clearyear.reading.morphology import near, opened

    if mask.opening:
        erased = opened(erased, mask.opening)
    return near(erased, mask.dilation) if mask.dilation else erased


def invalid_values_of(values: Sequence[float], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Those values that can occur in an array of ``dtype``, in that type; NaN is left out: invalid anyway."""
    return np.array([v for v in values if _fits(v, dtype)], dtype)


def _fits(value: float, dtype: np.dtype[Any]) -> bool:
    """Whether ``value`` can occur in an array of ``dtype``; a nodata tag of −9999 on uint8 cannot."""
    if dtype.kind == "f":
        return value == value
    info = np.iinfo(dtype)
    return value == value and float(value).is_integer() and info.min <= value <= info.max
