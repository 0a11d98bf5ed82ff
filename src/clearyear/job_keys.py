"""The keys of a job that come first; ``job.Job`` adds those of grids, other sources and engines."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from clearyear.job_types import Compression, LayerName, Listed, Numbers, PeriodText, ReducerName, Text
from clearyear.naming import NAME
from clearyear.scenes.solar import Days
from clearyear.settings import Bytes

Name = Annotated[str, Field(pattern=NAME)]


class MainKeys(BaseModel):
    """What, from which scenes, to where, and how carefully. The form in the UI shows these first."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    # Empty, and not None, where there are none: for None the form shows no field to write in.
    scenes: str | Annotated[list[Text], Field(min_length=1)] = Field(
        default="",
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
    period: PeriodText | None = Field(
        default=None,
        title="Period",
        description="2023, 2023-06, 2023-06--P3M or start/end (end excluded). "
        "Left out: the calendar year that had ended when the run was due.",
        examples=["2023"],
    )
    days: Days = Field(
        default="utc",
        title="Days",
        description="Whose days a period begins and ends with. utc; or solar: those of the scenes' own place, UTC + "
        "longitude / 15 h, so that what is seen on 31 December there is of the old year.",
    )
    pattern: str | None = Field(
        default=None,
        title="File-name pattern",
        description="Which files are scenes: a glob such as `*_TCI.tif`; %Y %m %d %j %H %M %S may say where the date "
        "stands, {band} that each band is a file (`LC08_*_{band}.TIF`), {id} what a scene is called. "
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
    layers: Annotated[list[LayerName], Listed] = Field(
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
    nodata: Numbers | None = Field(
        default=None,
        title="Nodata values",
        description="Values that mean «nothing seen». none, or an empty list: no value does. Left out: the scenes' own "
        "tag, and 0 for luminance-median.",
    )
    saturated: Numbers | None = Field(
        default=None,
        title="Saturated values",
        description="Values that mean «too bright, most likely cloud». none, or an empty list: every value counts, "
        "white roofs, too. Left out: 255 for luminance-median, none else.",
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
