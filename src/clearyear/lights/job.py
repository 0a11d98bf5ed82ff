"""What is asked for: a span of months of tiles, where they come from, where the mosaics go."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from clearyear.naming import NAME
from clearyear.zonal.job import ZonalSettings

Bounds = tuple[float, float, float, float]
"""(left, bottom, right, top) in the tiles' CRS."""

VIIRS_TILES: dict[str, Bounds] = {
    "75N180W": (-180, 0, -60, 75),
    "75N060W": (-60, 0, 60, 75),
    "75N060E": (60, 0, 180, 75),
    "00N180W": (-180, -65, -60, 0),
    "00N060W": (-60, -65, 60, 0),
    "00N060E": (60, -65, 180, 0),
}
"""The six global tiles of the VIIRS monthly composites, called by their upper left corner. Source: Earth Observation
Group, Colorado School of Mines; Elvidge et al. 2017, https://doi.org/10.1080/01431161.2017.1342050."""

Text = Annotated[str, Field(min_length=1)]


class LightsJob(BaseModel):
    """One span of months: from there, to there."""

    model_config = ConfigDict(extra="forbid", frozen=True, title="Night lights", hide_input_in_errors=True)

    source: Text = Field(
        title="Address template",
        description="Where a tile of a month lies: {yyyymm}, {yyyy}, {mm}, {yyyymm_last} (the month's last day) and "
        "{tile} are filled in. A tile may be a GeoTIFF or an archive (.tgz, .tar.gz, .tar, .zip) that holds one.",
        examples=["https://host/{yyyymm}/SVDNB_npp_{yyyymm}01-{yyyymm_last}_{tile}_vcmcfg.tgz"],
    )
    out: Text = Field(
        title="Destination",
        description="Folder or bucket prefix. A month goes to product/month in it. In a deployed run it is absolute.",
    )
    months: str | None = Field(
        default=None,
        title="Months",
        description="A span with both ends included (2023-01/2023-12), a month (2023-01) or a year. Left out: the "
        "month just published when the run was due, see lag.",
        examples=["2023-01/2023-12"],
    )
    lag: int = Field(
        default=1,
        ge=0,
        le=24,
        title="Lag (months)",
        description="How many months after its end a month is published; 1: in March, January is the newest.",
    )
    tiles: list[str] | dict[str, Bounds] = Field(
        default_factory=lambda: list(VIIRS_TILES),
        min_length=1,
        title="Tiles expected",
        description="All tiles a month must have. Names of VIIRS tiles, or name: [left, bottom, right, top] in their "
        "CRS. A month that lacks one is incomplete.",
    )
    member: str = Field(
        default="*.avg_rade9h.tif",
        min_length=1,
        title="File in the archive",
        description="Which file of an archive is the tile: a glob over its name.",
    )
    product: Annotated[str, Field(pattern=NAME)] = Field(
        default="night-lights", title="Product name", description="How folders and files are called."
    )
    nodata: float | None = Field(
        default=None,
        title="Nodata value",
        description="What marks a pixel without a value. Left out: the tiles' own tag; else NaN for floats, and none "
        "for integers. No pixel is changed by it.",
    )
    compress: Literal["deflate", "zstd", "lzw"] = Field(
        default="deflate", title="Compression", description="Of the mosaic; lossless."
    )
    downloads: str | None = Field(
        default=None,
        min_length=1,
        title="Folder of downloads",
        description="A local folder in which what was fetched waits for the rest of its month. Left out: downloads in "
        "the product's folder, where the destination is local.",
    )
    keep_downloads: bool = Field(
        default=False,
        title="Keep downloads",
        description="Leave the fetched files there once their month is complete.",
    )
    connections: int = Field(
        default=4, ge=1, le=32, title="Downloads at once", description="How many tiles are fetched at the same time."
    )
    allow_missing: bool = Field(
        default=False,
        title="Allow missing tiles",
        description="Publish a month's mosaic without the tiles that are absent; its metadata, report and STAC item "
        "name them.",
    )
    overwrite: bool = Field(
        default=False,
        title="Replace another job's months",
        description="Allow this job to replace months that were made from another source or with other tiles.",
    )
    zonal: ZonalSettings | None = Field(
        default=None,
        title="Zonal statistics",
        description="Statistics of polygons, computed for every month that is published. Left out: none.",
    )
