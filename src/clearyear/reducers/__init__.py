"""Reducers: (T, B, H, W) and what of it is invalid → layers. A job names one; a new one is a line in REDUCERS."""

from collections.abc import Callable, Mapping
from typing import Any

from clearyear.errors import ClearyearError, InputError
from clearyear.reducers.base import Inputs, LayerKind, Layers, Reducer, Stack, refuse, usual_kind
from clearyear.reducers.clear_count import ClearCount
from clearyear.reducers.geomedian import Geomedian
from clearyear.reducers.luminance_median import LuminanceMedian
from clearyear.reducers.plugins import Plugin, is_plugin, plugin_class
from clearyear.reducers.ranks import BandMedian, BandPercentiles

__all__ = [
    "REDUCERS",
    "Inputs",
    "LayerKind",
    "Layers",
    "Reducer",
    "Stack",
    "get_reducer",
    "is_plugin",
    "refuse",
    "usual_kind",
]

REDUCERS: dict[str, type[Reducer]] = {
    "luminance-median": LuminanceMedian,
    "band-median": BandMedian,
    "geomedian": Geomedian,
    "percentiles": BandPercentiles,
    "clear-count": ClearCount,
}


def get_reducer(name: str, options: Mapping[str, Any] | None = None) -> Reducer:
    """The reducer a job calls ``name``, made with its options.

    Args:
        name: one of REDUCERS, or a plug-in's ``package.module:Class``.
        options: its own; keyword arguments of its class.

    Raises:
        InputError: there is none, and the message lists those there are; it has no such option; or it is a plug-in
            that this machine does not allow, or that is not what Reducer describes.
    """
    if name not in REDUCERS and not is_plugin(name):
        raise InputError(
            f"There is no reducer {name!r}",
            f"one of {', '.join(REDUCERS)}, or a plug-in's package.module:Class",
            "correct the name",
        )
    kind: Callable[..., Any] = REDUCERS.get(name) or plugin_class(name)
    try:
        made = kind(**(options or {}))
    except ClearyearError:
        raise
    except Exception as error:
        if name in REDUCERS and not isinstance(error, TypeError):
            raise
        raise InputError(
            f"The reducer {name} cannot take {dict(options or {})}: {error}", "its own options", "correct them"
        ) from error
    return made if name in REDUCERS else Plugin(name, made)
