"""Reducers from elsewhere: a class that a job names, loaded only from modules this machine allows.

A plug-in is code that runs with all rights of the run. A job, or a plan in a bucket, may come from somebody who must
not choose code: a name alone imports nothing unless ``CLEARYEAR_PLUGINS`` lists its module.
"""

import importlib
import re
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from clearyear.errors import ClearyearError, InputError
from clearyear.reducers.base import Inputs, LayerKind, Layers, Reducer, Stack
from clearyear.settings import current_settings

NAME = r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*"
"""What a job calls one: ``package.module:Class``."""

RESERVED = {"visual", "preview", "plan", "report", "tile_map"}
"""What a layer cannot be called: the result has files of these names."""

_DTYPES = {"uint8", "uint16", "int16", "uint32", "int32", "float32", "float64"}


def is_plugin(name: str) -> bool:
    """Whether ``name`` is the kind of name a plug-in has."""
    return re.fullmatch(NAME, name) is not None


def plugin_class(name: str, what: str = "reducer") -> Callable[..., Any]:
    """The class (or function) called ``package.module:Class``; ``what`` a job names it as.

    Raises:
        InputError: its module is not among those ``CLEARYEAR_PLUGINS`` allows, cannot be imported, or lacks the class.
    """
    module, _, attribute = name.partition(":")
    allowed = [part.strip() for part in current_settings().plugins.split(",") if part.strip()]
    if not any(module == prefix or module.startswith(f"{prefix}.") for prefix in allowed):
        listed = f"one from {', '.join(allowed)}" if allowed else "none: CLEARYEAR_PLUGINS is not set"
        raise InputError(
            f"The {what} {name} is code from the module {module}, which this machine does not allow",
            listed,
            f"if you trust that module, set CLEARYEAR_PLUGINS={module} where the windows are computed",
        )
    try:
        found = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # whatever an import runs into
        raise InputError(
            f"The {what} {name} cannot be imported ({type(error).__name__}: {error})",
            "an installed module with that class",
            "install it where the windows are computed, or correct the name",
        ) from error
    if not callable(found):
        raise InputError(f"The {what} {name} cannot be called", "a class or function", "correct the name")
    made: Callable[..., Any] = found
    return made


class Plugin(Reducer):
    """A plug-in held to what ``Reducer`` asks: whatever it does wrong becomes an error that names it."""

    def __init__(self, path: str, inner: Any) -> None:
        """``path``: what the job calls it.

        Raises:
            InputError: an attribute is missing or of another kind than ``Reducer`` says.
        """
        self._path, self._inner = path, inner
        self.name = self._take(
            "name", "a name for files", lambda v: re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", v)
        )
        self.version = self._take("version", "a whole number", lambda v: type(v) is int)
        wanted = "names of lower-case letters, composite first, count among them, none of " + ", ".join(
            sorted(RESERVED)
        )
        self.layers = tuple(self._take("layers", wanted, _are_layers))
        self.whole_samples = self._take("whole_samples", "True or False", lambda v: type(v) is bool)
        self.wants_raw = self._take("wants_raw", "True or False", lambda v: type(v) is bool)
        for values in ("default_nodata", "default_saturated"):
            setattr(self, values, tuple(map(float, self._take(values, "numbers", _are_numbers))))
        for method in ("check", "kind", "scratch_bytes", "core_seconds", "reduce"):
            self._take(method, "a method", callable)

    def check(self, *, n_bands: int, dtype: str, n_scenes: int) -> None:
        """See Reducer."""
        with self._blamed("check"):
            self._inner.check(n_bands=n_bands, dtype=dtype, n_scenes=n_scenes)

    def kind(self, layer: str, inputs: Inputs) -> LayerKind:
        """See Reducer."""
        with self._blamed("kind"):
            kind: LayerKind = self._inner.kind(layer, inputs)
        sound = isinstance(kind, LayerKind) and kind.dtype in _DTYPES and kind.n_bands >= 1
        if not sound or len(kind.band_names) not in (0, kind.n_bands):
            dtypes = ", ".join(sorted(_DTYPES))
            raise self._refused(f"says of its layer {layer}: {kind!r}", f"a LayerKind of one band or more, of {dtypes}")
        return kind

    def scratch_bytes(self, *, n_scenes: int, n_bands: int, dtype: str, n_pixels: int) -> int:
        """See Reducer."""
        with self._blamed("scratch_bytes"):
            sizes = {"n_scenes": n_scenes, "n_bands": n_bands, "n_pixels": n_pixels}
            return int(self._inner.scratch_bytes(dtype=dtype, **sizes))

    def core_seconds(self, *, n_scenes: int, n_bands: int, n_pixels: int, wanted: Collection[str]) -> float:
        """See Reducer."""
        with self._blamed("core_seconds"):
            sizes = {"n_scenes": n_scenes, "n_bands": n_bands, "n_pixels": n_pixels}
            return float(self._inner.core_seconds(wanted=wanted, **sizes))

    def reduce(self, stack: Stack, *, wanted: Collection[str] | None = None) -> Layers:
        """See Reducer."""
        frozen = stack.samples.view()
        frozen.flags.writeable = False
        with self._blamed("reduce"):
            found = self._inner.reduce(replace(stack, samples=frozen), wanted=wanted)
        if not isinstance(found, dict):
            raise self._refused(f"returned {type(found).__name__}", "a dict of layers")
        asked = self.layers if wanted is None else ("composite", "count", *wanted)
        missing = sorted(set(asked) - found.keys())
        if missing or found.keys() - set(self.layers):
            said = ", ".join(map(str, found)) or "none"
            raise self._refused(f"returned the layers {said}", f"{', '.join(dict.fromkeys(asked))}")
        inputs = Inputs(dtype=str(frozen.dtype), nodata=stack.nodata, band_names=("",) * frozen.shape[1])
        for layer, array in found.items():
            kind = self.kind(layer, inputs)
            shape = (kind.n_bands, *frozen.shape[2:])
            if not isinstance(array, np.ndarray) or array.shape != shape or str(array.dtype) != kind.dtype:
                said = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
                raise self._refused(f"returned {said} as its layer {layer}", f"{kind.dtype} {shape}")
        return found

    def _take(self, name: str, wanted: str, is_sound: Callable[[Any], Any]) -> Any:
        """One attribute of the plug-in."""
        try:
            value = getattr(self._inner, name)
            if is_sound(value):
                return value
            said = f"has {name} = {value!r}"
        except AttributeError:
            said = f"has no {name}"
        except (TypeError, ValueError):
            said = f"has {name} = {value!r}"
        raise self._refused(said, wanted)

    @contextmanager
    def _blamed(self, method: str) -> Iterator[None]:
        """What goes wrong in the plug-in is said to be its own."""
        try:
            yield
        except ClearyearError:
            raise
        except Exception as error:
            said = f"The reducer {self._path} failed in {method} ({type(error).__name__}: {error})"
            raise ClearyearError(said, "no error", "mend the plug-in; --debug shows where it comes from") from error

    def _refused(self, said: str, wanted: str) -> InputError:
        return InputError(f"The reducer {self._path} {said}", wanted, "mend the plug-in")


def _are_numbers(values: Any) -> bool:
    return all(isinstance(value, int | float) for value in values)


def _are_layers(layers: Any) -> bool:
    sound = all(re.fullmatch(r"[a-z]+", layer) and layer not in RESERVED for layer in layers)
    return sound and layers[0] == "composite" and "count" in layers and len(set(layers)) == len(layers)
