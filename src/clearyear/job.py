"""The job: what a user asks for, as flags, a YAML file or the form in the Prefect UI."""

import difflib
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from clearyear.display import Display
from clearyear.errors import InputError
from clearyear.job_types import Compression, LayerName, ReducerName, Resolution, Text
from clearyear.mask_presets import AnyMask
from clearyear.plan import NAME
from clearyear.scenes.fuse import Fuse
from clearyear.scenes.stac_query import StacQuery
from clearyear.settings import Bytes

Name = Annotated[str, Field(pattern=NAME)]


class Job(BaseModel):
    """One composite: these scenes, that period, to there."""

    model_config = ConfigDict(extra="forbid", frozen=True, title="Composite job", hide_input_in_errors=True)

    scenes: Text | Annotated[list[Text], Field(min_length=1)] | None = Field(
        default=None,
        title="Scenes",
        description="A folder or gs:// prefix of GeoTIFF scenes (/data/t31tcj, gs://bucket/t31tcj), a manifest "
        "(.csv or .json), a saved STAC search or catalogue (.json), or a list of files. Left out with stac.",
        examples=["gs://my-bucket/t31tcj", "scenes.csv"],
    )
    out: Text = Field(
        title="Destination",
        description="Folder or gs:// prefix (/data/composites, gs://bucket/composites). The result goes into folders "
        "named after product and period in it. In a deployed run the path is absolute.",
        examples=["gs://my-bucket/composites"],
    )
    period: str | None = Field(
        default=None,
        title="Period",
        description="2023, 2023-06, 2023-06--P3M or start/end (end excluded), in UTC. "
        "Left out: the calendar year that had ended when the run was due.",
        examples=["2023"],
    )
    pattern: str | None = Field(
        default=None,
        title="File-name pattern",
        description="Which files are scenes: a glob such as *_TCI.tif; %Y %m %d %j %H %M %S may say where the date "
        "stands, {band} that each band is a file (LC08_*_{band}.TIF), {id} what a scene is called. "
        "Left out: every .tif, dated by the first date in its name.",
    )
    reducer: ReducerName = Field(
        default="luminance-median",
        title="Reducer",
        description="luminance-median: the observed colour of median brightness (RGB, 8 bit). "
        "band-median: each band on its own, any number of bands. geomedian: the geometric median of all bands. "
        "percentiles: of each band. clear-count: how often a pixel was observed and clear. package.module:Class: a "
        "plug-in, where CLEARYEAR_PLUGINS allows its module.",
    )
    options: dict[str, Any] = Field(
        default_factory=dict,
        title="Reducer options",
        description='What the reducer takes: {"percentiles": [10, 50, 90]}, {"eps": 0.1} for geomedian.',
    )
    product: Name | None = Field(
        default=None,
        title="Product name",
        description="How folders and files are called. Left out: the reducer's name.",
    )
    layers: list[LayerName] = Field(
        default_factory=list,
        title="Extra layers",
        description="count: valid samples of each pixel. source: which scene each pixel comes from "
        "(luminance-median only). smad, emad, bcmad: deviations (geomedian only).",
    )
    tile_size: int = Field(
        default=1024,
        ge=16,
        le=16384,
        title="Window size (px)",
        description="Side of a window, the unit of work. A multiple of the scenes' block size reads fastest.",
    )
    nodata: list[float] | None = Field(
        default=None,
        title="Nodata values",
        description="Values that mean «nothing seen». Left out: the scenes' own tag, and 0 for luminance-median.",
    )
    saturated: list[float] | None = Field(
        default=None,
        title="Saturated values",
        description="Values that mean «too bright, most likely cloud». Left out: 255 for luminance-median, none else.",
    )
    max_failed_reads: int = Field(
        default=0,
        ge=0,
        title="Failed reads allowed per window",
        description="A scene that cannot be read is named and counted; with more than this a window fails.",
    )
    min_completeness: float = Field(
        default=1.0,
        ge=0,
        le=1,
        title="Least completeness",
        description="Share of windows below which no mosaic is published. 1 = every window.",
    )
    allow_missing: bool = Field(
        default=False,
        title="Allow missing windows",
        description="Publish whatever is there, and say in its metadata, report and STAC item what is missing.",
    )
    compress: Compression = Field(
        default="deflate",
        title="Mosaic compression",
        description="Lossless: deflate, zstd or lzw, deflate and zstd with a level if you like (zstd:15); or jpeg: "
        'quality 90 with a mask, three bands of 8 bit only. Tiles are always lossless. {"composite": "zstd", "count": '
        '"lzw"}: one for each layer, deflate for the others.',
    )
    workers: int | None = Field(
        default=None,
        ge=1,
        title="Workers",
        description="Windows computed at once in one process. Left out: one a core.",
    )
    memory_limit: Bytes | None = Field(
        default=None,
        title="Memory limit",
        description="Of the whole container: 2GiB, 1500MB or bytes. Fewer windows at once and smaller pieces keep to "
        "it; pixels stay the same. Left out: CLEARYEAR_MEMORY_LIMIT, else the container's own limit, else none.",
    )
    overwrite: bool = Field(
        default=False,
        title="Replace another plan",
        description="Allow this job to replace a different plan at the destination. Windows that still agree are kept.",
    )
    work_pool: str | None = Field(
        default=None,
        min_length=1,
        title="Work pool",
        description="Split the windows into flow runs of window-batch on this pool, each a job of its own; a "
        "deployment of window-batch must be there. Left out: all in one process.",
        examples=["cloud-run"],
    )
    windows_per_shard: int = Field(
        default=50,
        ge=1,
        le=600,
        title="Windows per job",
        description="How many windows a flow run of window-batch has at most, when a work pool is named.",
    )
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
    bands: list[Text] = Field(
        default_factory=list,
        title="Bands",
        description="Of STAC items, by common name or asset (red, nir, B04), or of files for single bands (B4). "
        "Left out: the items' true-colour image.",
    )
    masks: list[AnyMask] = Field(
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

    @property
    def region(self) -> str | list[float] | dict[str, Any] | None:
        """What the result is cropped to: ``area``, or else where the STAC search looks."""
        return self.area if self.area is not None or self.stac is None else self.stac.area

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        if (self.scenes is None) is (self.stac is None):
            found = "'scenes' is missing" if self.scenes is None else "'scenes' and 'stac' both say where scenes are"
            raise PydanticCustomError(
                "scenes_missing" if self.scenes is None else "scenes_twice", "{found}", {"found": found}
            )
        return self


def make_job(values: dict[str, Any], *, where: str = "the job") -> Job:
    """A job from plain values.

    Raises:
        InputError: a key is unknown, missing or has a wrong value; all of them are named at once.
    """
    try:
        return Job.model_validate(values)
    except ValidationError as error:
        complaints = [_complaint(e) for e in error.errors()]
        kinds = {e["type"] for e in error.errors()}
        keys = f"the keys {', '.join(Job.model_fields)}" if "extra_forbidden" in kinds else "values of these kinds"
        raise InputError(
            f"In {where}: {'; '.join(complaints)}",
            "at least the keys scenes (or stac) and out" if kinds <= {"missing", "scenes_missing"} else keys,
            "correct it; `clearyear run --help` explains each",
        ) from error


def _complaint(error: Any) -> str:
    key = ".".join(str(part) for part in error["loc"] if not str(part).startswith(("list[", "str", "constrained-")))
    if error["type"] == "extra_forbidden":
        near = difflib.get_close_matches(key.replace("-", "_"), Job.model_fields, n=1)
        return f"unknown key {key!r}" + (f" (did you mean {near[0]!r}?)" if near else "")
    if not error["loc"]:
        return str(error["msg"])
    if error["type"] == "missing":
        return f"{key!r} is missing"
    return f"{key} = {error['input']!r}: {error['msg'].removeprefix('Value error, ')}"
