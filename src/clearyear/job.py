"""The job: what a user asks for, as flags, a YAML file or the form in the Prefect UI."""

import difflib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from clearyear.errors import InputError
from clearyear.naming import period_name
from clearyear.periods import parse_period
from clearyear.plan import NAME
from clearyear.settings import Bytes

Name = Annotated[str, Field(pattern=NAME)]

Text = Annotated[str, Field(min_length=1)]  # an empty address would mean the folder one happens to be in


class Job(BaseModel):
    """One composite: these scenes, that period, to there."""

    model_config = ConfigDict(extra="forbid", frozen=True, title="Composite job", hide_input_in_errors=True)

    scenes: Text | Annotated[list[Text], Field(min_length=1)] = Field(
        title="Scenes",
        description="A folder or gs:// prefix of GeoTIFF scenes (/data/t31tcj, gs://bucket/t31tcj), a manifest "
        "(.csv or .json), or a list of files.",
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
        "stands. Left out: every .tif, dated by the first date in its name.",
    )
    reducer: Literal["luminance-median", "band-median", "geomedian", "percentiles"] = Field(
        default="luminance-median",
        title="Reducer",
        description="luminance-median: the observed colour of median brightness (RGB, 8 bit). "
        "band-median: each band on its own, any number of bands. geomedian: the geometric median of all bands. "
        "percentiles: of each band.",
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
    layers: list[str] = Field(
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
    compress: Literal["deflate", "zstd", "lzw", "jpeg"] = Field(
        default="deflate",
        title="Mosaic compression",
        description="Lossless, or jpeg: quality 90 with a mask, three bands of 8 bit only. Tiles are always lossless.",
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
    naming: str | None = Field(
        default=None,
        title="Naming",
        description="What the period's folder and files are called: plain characters and {product}, {period}, "
        "{start:%Y-%m}, {end:%Y-%m}. Left out: the folder <period>, files <product>_<period>.",
        examples=["monthly-mosaic-{start:%Y-%m}"],
    )
    select: list[Text] = Field(
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


def load_job(path: str, **overrides: Any) -> Job:
    """A job from a YAML file; what is given beside it wins.

    Raises:
        InputError: the file cannot be read, or a key is unknown or has a wrong value.
    """
    try:
        document = yaml.safe_load(Path(path).read_text())
    except OSError as error:
        raise InputError(
            f"The job file {path} cannot be read ({error.strerror})", "a YAML file", "correct the path"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        words = " ".join(str(error).split())
        raise InputError(f"The job file {path} is not YAML ({words})", "keys and values", "correct it") from error
    if not isinstance(document, dict):
        raise InputError(f"The job file {path} holds no keys", "scenes: …, out: …, period: …", "write them")
    return make_job({**document, **overrides}, where=f"the job file {path}")


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
            "at least the keys scenes and out" if kinds == {"missing"} else keys,
            "correct it; `clearyear run --help` explains each",
        ) from error


def _complaint(error: Any) -> str:
    key = ".".join(str(part) for part in error["loc"] if not str(part).startswith(("list[", "str", "constrained-")))
    if error["type"] == "extra_forbidden":
        near = difflib.get_close_matches(key.replace("-", "_"), Job.model_fields, n=1)
        return f"unknown key {key!r}" + (f" (did you mean {near[0]!r}?)" if near else "")
    if error["type"] == "missing":
        return f"{key!r} is missing"
    said: str = error["msg"].removeprefix("Value error, ")
    return f"{key} = {error['input']!r}: {said}" if key else said
