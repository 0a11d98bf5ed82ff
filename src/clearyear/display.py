"""The picture for the eye beside the data: three bands, one fixed stretch, so that months compare."""

from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from clearyear.errors import InputError
from clearyear.reducers import LayerKind

VISUAL = "visual"
"""The key of the picture among a result's files."""


class Display(BaseModel):
    """What a picture shows of a composite, and how its numbers become brightness."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bands: tuple[str | int, str | int, str | int] = ("red", "green", "blue")
    """Red, green and blue: the composite's bands by name, or by number from 1 on."""
    min: float = Field(default=0.0, allow_inf_nan=False)
    """The composite's number that becomes black."""
    max: float = Field(default=3000.0, allow_inf_nan=False)
    """The one that becomes white."""
    gamma: float = Field(default=1.0, gt=0, le=10)
    """Above 1 the dark parts become brighter."""

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if self.max <= self.min:
            raise ValueError(f"max ({self.max:g}) is not above min ({self.min:g})")
        return self

    def indices(self, band_names: Sequence[str], n_bands: int) -> tuple[int, int, int]:
        """The three bands, from 0 on, in a composite of ``n_bands`` bands of these names.

        Raises:
            InputError: it has no such band.
        """
        found = []
        for band in self.bands:
            if isinstance(band, int) and 1 <= band <= n_bands:
                found.append(band - 1)
            elif band in band_names:
                found.append(band_names.index(str(band)))
            else:
                named = ", ".join(name for name in band_names if name)
                raise InputError(
                    f"The composite has no band {band!r} to show (display)",
                    f"{f'{named}, or ' if named else ''}a number from 1 to {n_bands}",
                    "name three of its bands: display: {bands: [...], min: 0, max: 3000}",
                )
        return found[0], found[1], found[2]

    @property
    def kind(self) -> LayerKind:
        """What the picture is like as a raster."""
        shown = ", ".join(map(str, self.bands))
        title = f"Picture of {shown}: {self.min:g} is black, {self.max:g} white, gamma {self.gamma:g}"
        names = ("red", "green", "blue", "alpha")
        return LayerKind(n_bands=4, dtype="uint8", nodata=None, band_names=names, title=title)


def rgba(pixels: NDArray[np.generic], valid: NDArray[np.bool_], display: Display) -> NDArray[np.uint8]:
    """The picture of three bands.

    Args:
        pixels: (3, H, W), any type.
        valid: (H, W); alpha is 255 there, else all four are 0.
        display: how numbers become brightness.

    Returns:
        (4, H, W): 255 × ((number − min) / (max − min)) to the power of 1 / gamma, cut off at 0 and 255, rounded.
    """
    values = np.where(valid, pixels, display.min).astype(np.float32)
    share = np.clip((values - np.float32(display.min)) / np.float32(display.max - display.min), 0, 1)
    if display.gamma != 1:
        share **= np.float32(1 / display.gamma)
    out = np.empty((4, *valid.shape), np.uint8)
    out[:3] = np.rint(share * 255) * valid
    out[3] = valid * np.uint8(255)
    return out
