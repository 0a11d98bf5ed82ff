"""Reducers: (T, B, H, W) and what of it is invalid → layers. A job names one; a new one is a line in REDUCERS."""

from collections.abc import Callable, Mapping
from typing import Any

from clearyear.errors import InputError
from clearyear.reducers.base import Inputs, LayerKind, Reducer
from clearyear.reducers.geomedian import Geomedian
from clearyear.reducers.luminance_median import LuminanceMedian
from clearyear.reducers.ranks import BandMedian, BandPercentiles

__all__ = ["REDUCERS", "Inputs", "LayerKind", "Reducer", "get_reducer"]

REDUCERS: dict[str, Callable[..., Reducer]] = {
    "luminance-median": LuminanceMedian,
    "band-median": BandMedian,
    "geomedian": Geomedian,
    "percentiles": BandPercentiles,
}


def get_reducer(name: str, options: Mapping[str, Any] | None = None) -> Reducer:
    """The reducer a job calls ``name``, made with its options.

    Raises:
        InputError: there is none, and the message lists those there are; or it has no such option.
    """
    if name not in REDUCERS:
        raise InputError(f"There is no reducer {name!r}", f"one of {', '.join(REDUCERS)}", "correct the name")
    try:
        return REDUCERS[name](**(options or {}))
    except TypeError as error:
        raise InputError(
            f"The reducer {name} cannot take {dict(options or {})}: {error}", "its own options", "correct them"
        ) from error
