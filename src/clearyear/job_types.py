"""Values of a job's keys that are more than a plain type: what they may be, and what the form in the UI offers."""

import datetime as dt
import math
from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, WithJsonSchema

from clearyear.reducers import REDUCERS, is_plugin
from clearyear.reducers.plugins import NAME as PLUGIN


def _reducer(name: str) -> str:
    if name not in REDUCERS and not is_plugin(name):
        raise ValueError(f"Input should be {_or(REDUCERS)} (or a plug-in's package.module:Class)")
    return name


def _layer(name: str, info: ValidationInfo) -> str:
    """Of our own reducers it is known here what they deliver; a plug-in is asked when the plan is made."""
    reducer = info.data.get("reducer")
    mine = [made for key, made in REDUCERS.items() if reducer in (key, None)]  # None: it was wrong itself
    known = dict.fromkeys(layer for made in mine for layer in made.layers[1:])
    if known and name not in known:
        who = f"{reducer} has no layer {name}" if reducer else "no reducer has another"
        raise ValueError(f"Input should be {_or(known)} ({who})")
    return name


def _compression(value: str | dict[str, str]) -> str | dict[str, str]:
    for text in [value] if isinstance(value, str) else value.values():
        name, _, level = text.partition(":")
        if name not in _LEVELS or (":" in text and not (level.isdecimal() and 1 <= int(level) <= _LEVELS[name])):
            levels = " or ".join(f"{k}:1 to {k}:{most}" for k, most in _LEVELS.items() if most)
            raise ValueError(f"Input should be {_or(_LEVELS)}, or with a level {levels}")
    return value


def _resolution(value: Any) -> Any:
    """``10`` of the command line for 10; what is no number is a band."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return value
    if isinstance(value, bool) or not 0 < number < math.inf:
        raise ValueError("a resolution is a positive number, or the name of a band")
    return number


def _period(value: Any) -> Any:
    """``2021`` and ``2023-06-01`` of a YAML file, which makes a number and a date of them, for the text."""
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        return value.isoformat()
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _listed(value: Any) -> Any:
    """``count`` or ``count, source`` for the list of them."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _numbers(value: Any) -> Any:
    """``0``, ``0,255`` or ``none`` for the list of them."""
    if isinstance(value, str):
        return [] if value.strip() == "none" else _listed(value)
    return [value] if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def _or(names: Iterable[str]) -> str:
    *first, last = (f"'{name}'" for name in names)
    return f"{', '.join(first)} or {last}" if first else last


_LEVELS = {"deflate": 9, "zstd": 22, "lzw": 0, "jpeg": 0}
"""Compressions and their highest level; 0: they have none."""

# The form in the UI shows a list where it can; what it sends is checked here again.
ReducerName = Annotated[
    str,
    AfterValidator(_reducer),
    WithJsonSchema(
        {"anyOf": [{"type": "string", "enum": list(REDUCERS)}, {"type": "string", "pattern": f"^{PLUGIN}$"}]}
    ),
]
LayerName = Annotated[str, AfterValidator(_layer)]
_COMPRESSION = {"anyOf": [{"type": "string", "enum": list(_LEVELS)}, {"type": "string", "pattern": "^(deflate|zstd):"}]}
Compression = Annotated[
    str | dict[str, str],
    AfterValidator(_compression),
    WithJsonSchema({"anyOf": [*_COMPRESSION["anyOf"], {"type": "object", "additionalProperties": _COMPRESSION}]}),
]
Listed = BeforeValidator(_listed)
"""Before a list's type: ``a, b`` stands for it, as on the command line."""
Single = BeforeValidator(lambda value: [value] if isinstance(value, str) else value)
"""Before the type of a list whose members may hold commas: one of them stands for it."""
Numbers = Annotated[list[float], BeforeValidator(_numbers)]
PeriodText = Annotated[str, BeforeValidator(_period)]
Text = Annotated[str, Field(min_length=1)]  # an empty address would mean the folder one happens to be in
Resolution = Annotated[float | Text, BeforeValidator(_resolution)]
