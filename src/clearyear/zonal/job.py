"""What zonal statistics are asked for."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from clearyear.naming import NAME

Statistic = Literal["min", "max", "mean", "stddev", "skew", "count", "sum", "median", "nodata_share", "outside_share"]
STATISTICS: tuple[Statistic, ...] = (
    "min",
    "max",
    "mean",
    "stddev",
    "skew",
    "count",
    "sum",
    "median",
    "nodata_share",
    "outside_share",
)
"""In the order of a table's columns; what each is stands in ``statistics``."""

Text = Annotated[str, Field(min_length=1)]


class ZonalSettings(BaseModel):
    """Of which polygons, which statistics, and what has no value."""

    model_config = ConfigDict(extra="forbid", frozen=True, title="Zonal statistics", hide_input_in_errors=True)

    polygons: Text = Field(
        title="Polygons",
        description="A file of polygons: GeoJSON, GeoPackage, Shapefile or GeoParquet.",
        examples=["districts.gpkg"],
    )
    polygons_layer: str | None = Field(
        default=None, title="Layer", description="Which layer of the file, where it has several."
    )
    polygons_crs: str | None = Field(
        default=None,
        title="CRS of the polygons",
        description="What their coordinates are in, whatever their file says: EPSG:4326. Needed where it says nothing.",
    )
    id_column: str | None = Field(
        default=None,
        title="Column of names",
        description="Which column names a polygon. Left out: id if it tells them apart, else their number.",
    )
    repair_invalid: bool = Field(
        default=False,
        title="Repair invalid polygons",
        description="Mend polygons that cross themselves (GEOS MakeValid). Left out: they are refused by name.",
    )
    stats: list[Statistic] = Field(
        default_factory=lambda: list(STATISTICS),
        min_length=1,
        title="Statistics",
        description="Which are computed; each pixel counts by the share of it that a polygon covers.",
    )
    nodata: list[float] | None = Field(
        default=None,
        title="Nodata values",
        description="Pixel values that mean no value. Left out: the raster's own tag. Its mask, NaN and infinity "
        "always mean none.",
    )
    negatives_are_nodata: bool = Field(
        default=False,
        title="Negatives are nodata",
        description="Take values below zero for none, as the noise of VIIRS night lights.",
    )
    name: Annotated[str, Field(pattern=NAME)] | None = Field(
        default=None,
        title="Name of the polygons",
        description="How tables and pictures call them. Left out: their file's name.",
    )
    pictures: bool = Field(
        default=True, title="Pictures", description="Draw a map of each table and a chart over all periods."
    )
    map_bands: list[Text] = Field(
        default_factory=list,
        title="Bands on maps",
        description="Of which bands each table gets a map, by name, or all: the first six. Left out: the first.",
    )


class ZonalJob(ZonalSettings):
    """The same for one raster, or for all periods of a product."""

    model_config = ConfigDict(title="Zonal statistics of a raster")

    raster: Text = Field(
        title="Raster",
        description="A GeoTIFF; or what a run of clearyear was given as its destination, a product or period in it.",
    )
    out: Text = Field(title="Destination", description="Folder or bucket prefix of tables and pictures.")
    product: Annotated[str, Field(pattern=NAME)] | None = Field(
        default=None,
        title="Product name",
        description="What a lone GeoTIFF is called in the tables. Left out: its own metadata, else its file's name.",
    )
    period: str | None = Field(
        default=None,
        title="Period",
        description="Of a lone GeoTIFF: 2023, 2023-06. Left out: its own metadata, else none.",
    )
    layer: str | None = Field(
        default=None,
        title="Layer",
        description="Of a run of clearyear: composite, count, or the band of a run with a file for each. Left out: the "
        "picture itself, all its files.",
    )
    allow_missing: bool = Field(
        default=False,
        title="Allow incomplete rasters",
        description="Take a mosaic that its run called incomplete; else it is refused.",
    )
