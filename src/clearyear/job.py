"""The job: what a user asks for, as flags, a YAML file or the form in the Prefect UI."""

import difflib
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError

from clearyear.display import Display
from clearyear.errors import InputError
from clearyear.job_keys import MainKeys
from clearyear.job_types import Listed, Resolution, Single, Text
from clearyear.mask_presets import AnyMask
from clearyear.naming import period_name
from clearyear.periods import parse_period
from clearyear.scenes.fuse import Fuse
from clearyear.scenes.stac_query import StacQuery

_Model = TypeVar("_Model", bound=BaseModel)


class Job(MainKeys):
    """One composite: these scenes, that period, to there."""

    model_config = ConfigDict(extra="forbid", frozen=True, title="Composite job", hide_input_in_errors=True)

    crs: Text | None = Field(
        default=None,
        title="CRS of the result",
        description="EPSG:32633, say: scenes of another are resampled. Left out: the one all scenes have.",
    )
    resolution: Resolution | None = Field(
        default=None,
        title="Resolution of the result",
        description="Side of a pixel in units of the CRS, edges at multiples of it; or a band's name (B04), whose "
        "pixels are then the result's. Left out: the scenes' own pixels.",
        examples=[10, "B04"],
    )
    area: Text | list[float] | None = Field(
        default=None,
        title="Area",
        description="west,south,east,north in degrees, or a GeoJSON file: the result is cropped to the box round it. "
        "Left out: all that the scenes cover.",
        examples=["14.1,45.9,14.4,46.1"],
    )
    resampling: Literal["nearest", "bilinear", "cubic"] = Field(
        default="nearest",
        title="Resampling",
        description="How bands come to another grid. Class and bit bands are always nearest.",
    )
    outputs: Literal["stacked", "per-band"] = Field(
        default="stacked",
        title="Files",
        description="stacked: a layer's bands in one file. per-band: a file for each band.",
    )
    display: Display | None = Field(
        default=None,
        title="Picture",
        description="Make an RGBA picture beside the mosaic, with one fixed stretch, so that months compare: "
        '{"bands": ["red", "green", "blue"], "min": 0, "max": 3000, "gamma": 1.0}; numbers are the composite\'s.',
    )
    # -- where scenes come from, beside ``scenes`` itself
    stac: StacQuery | None = Field(
        default=None,
        title="STAC search",
        description='Instead of scenes, from an API or catalogue: {"url": …, "collections": […], "bbox": …}.',
    )
    bands: Annotated[list[Text], Listed] = Field(
        default_factory=list,
        title="Bands",
        description="Of STAC items, by common name or asset (red, nir, B04), or of files for single bands (B4), or of "
        "files that hold several, by their name there or by number from 1. Left out: the items' true-colour image, or "
        "all that a file holds.",
    )
    alpha: Literal["band", "mask"] = Field(
        default="band",
        title="Alpha",
        description="What an alpha band of the scenes' files is, their last one: a band like others, or a mask that "
        "hides where it is 0.",
    )
    masks: Annotated[list[AnyMask], Single] = Field(
        default_factory=list,
        title="Masks",
        description='Class or bit bands that say which samples not to use: scl, or {"asset": "scl", "from": …}.',
    )
    fuse: Fuse = Field(
        default="none",
        title="Scenes of one observation",
        description="newest-processing: of doubles the one processed last. solar-day: that, and what a platform sees "
        "on one day is one observation.",
    )

    naming: str | None = Field(
        default=None,
        title="Naming",
        description="What the period's folder and files are called: plain characters and {product}, {period}, "
        "{start:%Y-%m}, {end:%Y-%m}. Left out: the folder {period}, files {product}_{period}.",
        examples=["monthly-mosaic-{start:%Y-%m}"],
    )
    select: Annotated[list[Text], Single] = Field(
        default_factory=list,
        title="Selected windows",
        description="Compute only these windows: ids (x01024_y00512), numbers from 0, slices (::10) or a GeoJSON file "
        "of polygons. The result is incomplete as long as the others are not there. Left out: all.",
    )
    runner: Literal["threads", "processes", "dask"] = Field(
        default="threads",
        title="Runner",
        description="What computes the windows: threads of this process, processes of their own, or a Dask cluster "
        "(one of this machine, or what CLEARYEAR_DASK_ADDRESS or CLEARYEAR_DASK_CLUSTER names). Same pixels.",
    )

    @field_validator("naming")
    @classmethod
    def _names_something(cls, naming: str | None) -> str | None:
        if naming is not None:
            try:
                period_name(naming, product="product", period=parse_period("2023"))
            except InputError as error:
                raise ValueError(error.found) from error
        return naming

    @model_validator(mode="after")
    def _one_engine(self) -> Self:
        if self.work_pool and self.runner != "threads":
            raise ValueError(f"the runner {self.runner} computes here, a work_pool elsewhere; name one of them")
        return self

    @property
    def region(self) -> str | list[float] | dict[str, Any] | None:
        """What the result is cropped to: ``area``, or else where the STAC search looks."""
        return self.area if self.area is not None or self.stac is None else self.stac.area

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        if bool(self.scenes) is (self.stac is not None):
            found = "'scenes' and 'stac' both say where scenes are" if self.scenes else "'scenes' is missing"
            raise PydanticCustomError("scenes_twice" if self.scenes else "scenes_missing", "{found}", {"found": found})
        return self


def make_job(values: dict[str, Any], *, where: str = "the job") -> Job:
    """A job from plain values.

    Raises:
        InputError: a key is unknown, missing or has a wrong value; all of them are named at once.
    """
    return make_as(Job, values, where=where, least="the keys scenes (or stac) and out", verb="run")


def make_as(model: type[_Model], values: dict[str, Any], *, where: str, least: str, verb: str) -> _Model:
    """Any kind of job from plain values, refused as ``make_job`` does.

    Args:
        model: its kind.
        values: its keys.
        where: what they come from, for an error.
        least: what it must have, for an error.
        verb: whose ``--help`` explains it.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        complaints = [_complaint(e, model) for e in error.errors()]
        kinds = {e["type"] for e in error.errors()}
        keys = f"the keys {', '.join(model.model_fields)}" if "extra_forbidden" in kinds else "values of these kinds"
        raise InputError(
            f"In {where}: {'; '.join(complaints)}",
            f"at least {least}" if kinds <= {"missing", "scenes_missing"} else keys,
            f"correct it; `clearyear {verb} --help` explains each",
        ) from error


def _complaint(error: Any, model: type[BaseModel]) -> str:
    key = ".".join(str(part) for part in error["loc"] if not str(part).startswith(("list[", "str", "constrained-")))
    if error["type"] == "extra_forbidden":
        near = difflib.get_close_matches(key.replace("-", "_"), model.model_fields, n=1)
        return f"unknown key {key!r}" + (f" (did you mean {near[0]!r}?)" if near else "")
    if error["type"] == "missing":
        return f"{key!r} is missing"
    said: str = error["msg"].removeprefix("Value error, ")
    return f"{key} = {error['input']!r}: {said}" if key else said
