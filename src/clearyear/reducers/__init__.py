"""Reducers: (T, B, H, W) and what of it is invalid → layers. A job names one; a new one is a line in REDUCERS."""

from clearyear.errors import InputError
from clearyear.reducers.base import Reducer
from clearyear.reducers.luminance_median import LuminanceMedian
from clearyear.reducers.ranks import BandMedian

__all__ = ["REDUCERS", "Reducer", "get_reducer"]

REDUCERS: dict[str, Reducer] = {r.name: r for r in (LuminanceMedian(), BandMedian())}


def get_reducer(name: str) -> Reducer:
    """The reducer a job calls ``name``.

    Raises:
        InputError: there is none; the message lists those there are.
    """
    if name not in REDUCERS:
        raise InputError(f"There is no reducer {name!r}", f"one of {', '.join(REDUCERS)}", "correct the name")
    return REDUCERS[name]
