"""What a reducer is, and the checks several of them share."""

from collections.abc import Collection
from dataclasses import dataclass, field
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
    """Its numbers are indices of scenes in the stack, -1 for none: a mean of two means nothing."""
    scaled: bool = False
    """Its numbers are the scenes' own, with their scale and offset."""
    is_distance: bool = False
    """Its numbers are distances between the scenes': their scale holds, their offset cancels out."""


@dataclass(frozen=True)
class Stack:
    """Scenes over one piece of a window, in acquisition order, and what of them is invalid."""

    samples: NDArray[np.generic]
    """(T, B, H, W); T may be 0. Not to be written to."""
    invalid_values: tuple[float, ...] = ()
    """Nodata and saturated values. A value the dtype cannot hold is none; NaN is always invalid in floats."""
    nodata: float | None = None
    """What a pixel without a valid sample becomes in ``composite``."""
    valid: NDArray[np.bool_] | None = field(default=None, kw_only=True)
    """(T, 1 or B, H, W), True = may be used: a mask from elsewhere, on top of the values."""
    raw: NDArray[np.bool_] | None = field(default=None, kw_only=True)
    """The same before the mask's opening and dilation; None where there are none, or ``wants_raw`` is False."""
    groups: tuple[str, ...] = field(default=(), kw_only=True)
    """Of each scene the observation it is a part of, empty where it is one of its own; () where all are. Of a group no
    pixel is valid in more than one scene."""


class Reducer(Protocol):
    """Turns a stack of scenes into layers. One instance serves all threads; it holds no state but its options.

    What has a value or a body here is inherited by a class that names ``Reducer`` as its base.
    """

    name: str
    """What a job calls it, and a product that has no other name."""
    version: int
    """Part of every window's fingerprint: raise it whenever a pixel may come out differently."""
    layers: tuple[str, ...]
    """What it can deliver; ``composite`` first, ``count`` always, names of lower-case letters."""
    whole_samples: bool = False
    """Whether one invalid band makes the whole sample invalid (True) or each band stands alone."""
    default_nodata: tuple[float, ...] = ()
    """Values that are nodata besides the scenes' own tag; the first of them is the composite's nodata too."""
    default_saturated: tuple[float, ...] = ()
    """Values that are saturated unless the job says otherwise."""
    wants_raw: bool = False
    """Whether ``reduce`` is to know the mask before its opening and dilation as well."""

    def check(self, *, n_bands: int, dtype: str, n_scenes: int) -> None:
        """Refuse a stack this reducer is not made for; the base takes any.

        Raises:
            InputError: with what it found and what it wants.
        """

    def kind(self, layer: str, inputs: Inputs) -> LayerKind:
        """What ``layer``, one of ``layers``, is like when made from such scenes; see ``usual_kind``."""
        return usual_kind(layer, inputs, whole_samples=self.whole_samples)

    def scratch_bytes(self, *, n_scenes: int, n_bands: int, dtype: str, n_pixels: int) -> int:
        """Bytes that one call of ``reduce`` allocates at most besides stack and layers.

        The base's answer suits plain NumPy: three float64 copies of the strip. A strip has at most 4 million samples,
        or one row.
        """
        del dtype
        return 3 * 8 * n_scenes * n_bands * n_pixels

    def core_seconds(self, *, n_scenes: int, n_bands: int, n_pixels: int, wanted: Collection[str]) -> float:
        """About what one core takes beside reading, for the dry run; 0 where reading takes far longer."""
        del n_scenes, n_bands, n_pixels, wanted
        return 0.0

    def reduce(self, stack: Stack, *, wanted: Collection[str] | None = None) -> Layers:
        """Reduce over time. A pixel must not depend on its neighbours: windows are cut into strips anywhere.

        Args:
            stack: samples and what is invalid.
            wanted: layers asked for; others but ``composite`` and ``count`` need not be made. None: all.

        Returns:
            ``composite``, ``count`` and every other layer that is wanted, each (bands, H, W) as ``kind`` says.
        """


def refuse(reducer: str, found: str, wanted: str) -> InputError:
    """The error of a stack that does not fit."""
    return InputError(
        f"{reducer} cannot use these scenes: they have {found}", wanted, "choose another reducer or scenes"
    )


def kernel_bytes(*, n_scenes: int, dtype: str) -> int:
    """Bytes a kernel of ranks takes: the ordered samples of one block of pixels.

    Half a megabyte, or 256 pixels of very many scenes.
    """
    return max(1 << 20, 256 * n_scenes * (np.dtype(dtype).itemsize + 2))


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
            scaled=True,
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
