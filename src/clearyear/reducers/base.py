"""What a reducer is, and the checks several of them share."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from clearyear.errors import InputError

Layers = dict[str, NDArray[np.generic]]


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What the scenes of a plan have in common."""

    dtype: str
    nodata: float | None
    """What a composite's pixel without a valid sample becomes."""
    band_names: tuple[str, ...]
    """One a band; empty where it has none."""


@dataclass(frozen=True, kw_only=True)
class LayerKind:
    """What a layer is like as a raster."""

    n_bands: int
    dtype: str
    nodata: float | None
    band_names: tuple[str, ...] = ()
    """One a band, or none."""
    title: str
    """In a few words what its numbers are."""
    is_index: bool = False
    """Its numbers are names, of scenes say: a mean of two means nothing."""


class Reducer(Protocol):
    """Turns a stack of scenes into layers. One instance serves all threads; it holds no state."""

    name: str
    """What a job calls it."""
    version: int
    """Part of every window's fingerprint: raise it whenever a pixel may come out differently."""
    layers: tuple[str, ...]
    """What it can deliver; ``composite`` always."""
    whole_samples: bool
    """Whether one invalid band makes the whole sample invalid (True) or each band stands alone."""
    default_nodata: tuple[float, ...]
    """Values that are nodata besides the scenes' own tag."""
    default_saturated: tuple[float, ...]
    """Values that are saturated unless the job says otherwise."""

    def check(self, *, n_bands: int, dtype: str, n_scenes: int) -> None:
        """Refuse a stack this reducer is not made for.

        Raises:
            InputError: with what it found and what it wants.
        """

    def kind(self, layer: str, inputs: Inputs) -> LayerKind:
        """What ``layer``, one of ``layers``, is like when made from such scenes; see ``usual_kind``."""

    def reduce(
        self,
        stack: NDArray[np.generic],
        invalid_values: tuple[float, ...],
        nodata: float | None,
        *,
        valid: NDArray[np.bool_] | None = None,
    ) -> Layers:
        """Reduce over time.

        Args:
            stack: (T, B, H, W), T scenes in acquisition order; T may be 0.
            invalid_values: nodata and saturated values. A value the stack's dtype cannot hold is none; NaN is always
                invalid in floats.
            nodata: what a pixel without a valid sample becomes in ``composite``.
            valid: (T, 1 or B, H, W), True = may be used: a mask from elsewhere, on top of the values.

        Returns:
            ``composite`` (B, H, W) in the stack's dtype and every other layer of ``layers``, each (bands, H, W).
        """


def refuse(reducer: str, found: str, wanted: str) -> InputError:
    """The error of a stack that does not fit."""
    return InputError(
        f"{reducer} cannot use these scenes: they have {found}", wanted, "choose another reducer or scenes"
    )


def usual_kind(layer: str, inputs: Inputs, *, whole_samples: bool) -> LayerKind:
    """The layers several reducers have: ``composite`` in the scenes' own type and bands, ``count``, ``source``."""
    names: tuple[str, ...] = inputs.band_names if any(inputs.band_names) else ()
    if layer == "composite":
        return LayerKind(
            n_bands=len(inputs.band_names),
            dtype=inputs.dtype,
            nodata=inputs.nodata,
            band_names=names,
            title="The composite",
        )
    if layer == "count":
        n_bands = 1 if whole_samples else len(inputs.band_names)
        named = names if n_bands > 1 else ()
        title = "Valid samples of each pixel"
        return LayerKind(n_bands=n_bands, dtype="uint16", nodata=None, band_names=named, title=title)
    if layer == "source":
        title = "Index of the chosen scene among the derived_from links, -1 for none"
        return LayerKind(n_bands=1, dtype="int16", nodata=-1.0, title=title, is_index=True)
    raise KeyError(layer)
