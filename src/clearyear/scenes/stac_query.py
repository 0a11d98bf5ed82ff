"""What a job asks a STAC catalogue for: where, which collections, which area, which properties."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from clearyear.errors import InputError
from clearyear.scenes.scene import SIGNER

_FORM = re.compile(r"\s*([A-Za-z_][\w:.-]*?)\s*(<=|>=|!=|<>|==|=|<|>)\s*(.+?)\s*", re.DOTALL)
_OPERATORS = {"<": "lt", "<=": "lte", ">": "gt", ">=": "gte", "=": "eq", "==": "eq", "!=": "neq", "<>": "neq"}
_CQL2 = {"lt": "<", "lte": "<=", "gt": ">", "gte": ">=", "eq": "=", "neq": "<>"}


def _numbers(value: Any) -> Any:
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


def _several(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Text = Annotated[str, Field(min_length=1)]
Box = Annotated[tuple[float, float, float, float], BeforeValidator(_numbers)]
"""West, south, east, north in degrees."""


class StacQuery(BaseModel):
    """The job's ``stac``: scenes from a STAC API, a static catalogue or a saved search."""

    model_config = ConfigDict(extra="forbid", frozen=True, title="STAC search")

    url: Text = Field(
        title="API, catalogue or saved search",
        description="An API (https://earth-search.aws.element84.com/v1), a catalog.json or collection.json, on disk, "
        "in a bucket or on the web, or a saved search (an ItemCollection).",
    )
    collections: Annotated[list[Text], BeforeValidator(_several)] = Field(
        default_factory=list, title="Collections", description="Which of its collections. An API wants at least one."
    )
    bbox: Box | None = Field(
        default=None, title="Box", description="West, south, east, north in degrees. The result is cropped to it."
    )
    intersects: dict[str, Any] | Text | None = Field(
        default=None, title="Area", description="A GeoJSON geometry, or the file that has one, instead of the box."
    )
    query: Annotated[list[Text], BeforeValidator(_several)] = Field(
        default_factory=list,
        title="Conditions",
        description="On items' properties, by =, !=, less or more than: platform=sentinel-2a. All must hold.",
    )
    max_items: int | None = Field(
        default=None,
        ge=1,
        title="Most items",
        description="Take the first so many; in the API's own order, or the oldest of a catalogue.",
    )
    sign: str | None = Field(
        default=None,
        pattern=f"^({SIGNER})$",
        title="Signing",
        description="planetary-computer: ask its public endpoint for tokens. package.module:function: a function of "
        "yours that takes an address and returns it signed, from a module that CLEARYEAR_PLUGINS allows.",
    )
    harmonise: bool = Field(
        default=True,
        title="Harmonise numbers",
        description="Bring items whose numbers carry an offset (Sentinel-2 since processing baseline 04.00) and those "
        "whose numbers do not to one law. false: take them as they are.",
    )
    save_items: Text | None = Field(
        default=None, title="Save the search as", description="File for the items that were found, to run again from."
    )

    @field_validator("bbox")
    @classmethod
    def _is_on_earth(cls, box: Box | None) -> Box | None:
        if box is not None:
            west, south, east, north = box
            if not (-180 <= west < east <= 180 and -90 <= south < north <= 90):
                raise ValueError("a box is west, south, east, north in degrees; one across 180° is two jobs")
        return box

    @field_validator("query")
    @classmethod
    def _can_be_read(cls, query: list[str]) -> list[str]:
        for text in query:
            parse_condition(text)
        return query

    @property
    def area(self) -> list[float] | dict[str, Any] | str | None:
        """The box, or else what is to be intersected; None where anywhere will do."""
        return list(self.bbox) if self.bbox is not None else self.intersects

    @property
    def conditions(self) -> list["Condition"]:
        """``query``, understood."""
        return [parse_condition(text) for text in self.query]


@dataclass(frozen=True)
class Condition:
    """One thing a property of an item must fulfil."""

    name: str
    operator: str
    """lt, lte, gt, gte, eq or neq: the words of the API's query extension."""
    value: float | bool | str

    def holds(self, item: Mapping[str, Any]) -> bool:
        """Whether an item fulfils it. A property it does not have fulfils nothing."""
        found = item.get("properties", {}).get(self.name, item.get(self.name))
        if found is None:
            return False
        wanted = str(self.value) if isinstance(found, str) else self.value
        if isinstance(found, str) is not isinstance(wanted, str):
            return self.operator == "neq"
        try:
            return bool(
                {
                    "lt": lambda: found < wanted,
                    "lte": lambda: found <= wanted,
                    "gt": lambda: found > wanted,
                    "gte": lambda: found >= wanted,
                    "eq": lambda: found == wanted,
                    "neq": lambda: found != wanted,
                }[self.operator]()
            )
        except TypeError:
            return False

    def cql2(self) -> dict[str, Any]:
        """The same in CQL2 JSON."""
        return {"op": _CQL2[self.operator], "args": [{"property": self.name}, self.value]}


def parse_condition(text: str) -> Condition:
    """Read ``eo:cloud_cover<40``.

    Raises:
        ValueError: it is no comparison of a property with a value.
    """
    match = _FORM.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no condition; one is eo:cloud_cover<40 or platform=sentinel-2a")
    name, operator, value = match.groups()
    try:
        meant = json.loads(value)
    except ValueError:
        meant = value.strip("'\"")
    if not isinstance(meant, str | int | float):
        raise ValueError(f"{text!r} compares with {value}, which is neither a number nor a text")
    return Condition(name.removeprefix("properties."), _OPERATORS[operator], meant)


def period_of_interval(text: str) -> str:
    """The period that STAC's ``datetime`` means, whose end is included: 2023-08-01/2023-08-31 has the 31st in it.

    Raises:
        InputError: an end is open or is no date.
    """
    if "/" not in text:
        return text
    start, _, end = text.partition("/")
    try:
        last = datetime.fromisoformat(end.strip())
        first = datetime.fromisoformat(start.strip())
    except ValueError as error:
        raise InputError(
            f"The interval {text!r} cannot be read ({error})",
            "two dates, the last included: 2023-08-01/2023-08-31",
            "write it so, or give --period",
        ) from error
    step = _least(end.strip())
    moments = (m.replace(tzinfo=m.tzinfo or UTC).astimezone(UTC) for m in (first, last + step))
    return "/".join(f"{m:%Y-%m-%d}" if m.time() == datetime.min.time() else f"{m:%Y-%m-%dT%H:%M:%SZ}" for m in moments)


def _least(text: str) -> timedelta:
    """How long what a date says is: a day, an hour, a minute or a second."""
    _, is_timed, clock = re.sub(r"[Tt ]", "T", text, count=1).partition("T")
    if not is_timed:
        return timedelta(days=1)
    digits = len(re.sub(r"\D", "", re.split(r"[Zz+-]", clock)[0]))
    return {2: timedelta(hours=1), 4: timedelta(minutes=1)}.get(digits, timedelta(seconds=1))
