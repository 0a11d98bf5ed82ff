"""A zonal job, end to end: the table of each raster, then the series and the pictures."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from clearyear.errors import InputError, ReadError
from clearyear.progress import report_progress
from clearyear.stores import Store, check_destination, open_store
from clearyear.zonal.job import ZonalJob
from clearyear.zonal.polygons import Polygons, read_polygons
from clearyear.zonal.raster import MOST_BANDS_DRAWN, Raster, drawn_bands, find_rasters, mapped_bands
from clearyear.zonal.tables import (
    TableRecord,
    is_current,
    known_record,
    record_of,
    stem_of,
    write_series,
    write_table,
)

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

_DRAWN = ("mean", "median", "sum")
"""What pictures show: the first of these that is computed, else the first statistic there is."""


class ZonalOutcome(BaseModel):
    """What a zonal job has made."""

    model_config = ConfigDict(frozen=True)

    status: str = "complete"
    rasters: int
    computed: int
    """Tables that were not there already."""
    polygons: int
    rows: int
    tables: list[str]
    series: list[str]
    pictures: list[str]
    outside: list[str]
    """Polygons that lie wholly outside one of the rasters."""
    left_out: list[str]
    """Periods whose tables were made of other polygons or with other settings, so that no series holds both."""
    incomplete: list[str]
    """Periods whose mosaic was called incomplete by its run."""
    not_mapped: list[str]
    """Bands that no map was asked of, where pictures are drawn."""


def run_zonal(job: ZonalJob) -> ZonalOutcome:
    """Compute what is not there yet of a zonal job, and put the series and pictures beside it.

    Raises:
        InputError: the raster, the polygons or the destination cannot be used.
        ReadError: a raster could not be read.
    """
    check_destination(job.out)
    rasters, polygons = find_rasters(job), read_polygons(job)
    computed = []
    for number, raster in enumerate(rasters):
        report_progress("rasters", number, len(rasters))
        computed.append(make_table(raster, polygons, job))
    report_progress("rasters", len(rasters), len(rasters))
    return conclude_zonal(rasters, polygons, job, computed=sum(computed))


def make_table(raster: Raster, polygons: Polygons, job: ZonalJob) -> bool:
    """The table of one raster; whether it had to be computed."""
    from clearyear.zonal.compute import zonal_rows

    store = open_store(job.out)
    record = record_of(raster, polygons, job)
    maps = [(band, f"{record.csv.removesuffix('.csv')}{suffix}_map.png") for band, suffix in mapped_bands(raster, job)]
    if is_current(store, record) and (not job.pictures or all(store.stat(name) for _, name in maps)):
        return False
    try:
        rows = zonal_rows(raster, polygons, job)
    except ReadError as error:
        raise ReadError(
            f"{record.raster} could not be read: {error.found}",
            "a raster that can be read whole",
            "see `clearyear validate`",
            transient=error.transient,
            uri=record.raster,
        ) from error
    write_table(store, record, rows, polygons)
    if job.pictures:
        _draw_maps(store, record, polygons, rows, maps)
    return True


def conclude_zonal(rasters: Sequence[Raster], polygons: Polygons, job: ZonalJob, *, computed: int) -> ZonalOutcome:
    """Series and charts of all products of a job whose tables are there."""
    store = open_store(job.out)
    records = [known_record(store, stem_of(raster, polygons)) for raster in rasters]
    there = [record for record in records if record is not None]
    if not there:
        raise InputError(f"{job.out} holds no table of this job", "at least one", "compute it first", uri=job.out)
    series, pictures, left_out, outside = [], [], [], []
    for record in {record.product: record for record in there}.values():
        frame, stem, others = write_series(store, record)
        left_out += others
        series += [store.uri(f"{stem}.csv"), store.uri(f"{stem}.parquet")]
        if job.pictures and record.period:
            pictures += _draw_series(store, stem, frame, polygons)
        ours = frame[frame["period"].isin({r.period for r in there if r.product == record.product})]
        if "outside_share" in ours:
            outside += list(dict.fromkeys(ours.loc[ours["outside_share"] == 1, "polygon"]))
    if job.pictures:
        stems = [record.csv.removesuffix(".csv") for record in there]
        maps = [e.name for e in store.entries() if e.name.endswith(".png") and e.name.startswith(tuple(stems))]
        pictures += [store.uri(name) for name in maps]
    store.sweep()
    return ZonalOutcome(
        rasters=len(rasters),
        computed=computed,
        polygons=len(polygons.frame),
        rows=sum(record.rows for record in there),
        tables=[store.uri(record.csv) for record in there],
        series=series,
        pictures=pictures,
        outside=list(dict.fromkeys(outside)),
        left_out=left_out,
        incomplete=[record.period for record in there if not record.complete],
        not_mapped=_not_mapped(rasters, job) if job.pictures else [],
    )


def _draw_maps(
    store: Store,
    record: TableRecord,
    polygons: Polygons,
    rows: Sequence[dict[str, Any]],
    maps: Sequence[tuple[str, str]],
) -> None:
    import pandas

    from clearyear.zonal.charts import choropleth

    table = pandas.DataFrame(list(rows))
    statistic = drawn(record.settings["stats"])
    for band, name in maps:
        frame = polygons.frame.merge(table[table["band"] == band], on="polygon")
        title = " ".join(part for part in (record.product, record.period.partition("--")[0]) if part)
        subtitle = f"{statistic} of {band} in each of {len(frame)} polygons ({polygons.name})"
        picture = choropleth(frame, statistic, title=title, subtitle=subtitle)
        store.write(name, picture)


def _draw_series(store: Store, stem: str, frame: "GeoDataFrame", polygons: Polygons) -> list[str]:
    from clearyear.zonal.charts import time_series

    statistic = drawn([column for column in frame.columns if column not in ("geometry",)])
    names = []
    for band, suffix in drawn_bands(list(dict.fromkeys(frame["band"])))[:MOST_BANDS_DRAWN]:
        part = frame[frame["band"] == band]
        periods = part["period"].nunique()
        subtitle = f"{statistic} of {band} in each of {part['polygon'].nunique()} polygons ({polygons.name}), "
        subtitle += f"{periods} period{'s' if periods > 1 else ''}"
        picture = time_series(part, statistic, title=str(part["product"].iloc[0]), subtitle=subtitle)
        names.append(f"{stem}{suffix}.png")
        store.write(names[-1], picture)
    return [store.uri(name) for name in names]


def _not_mapped(rasters: Sequence[Raster], job: ZonalJob) -> list[str]:
    left = [name for r in rasters for name in r.band_names if name not in dict(mapped_bands(r, job))]
    return list(dict.fromkeys(left))


def drawn(stats: Sequence[str]) -> str:
    """The statistic that pictures show."""
    return next((stat for stat in _DRAWN if stat in stats), stats[-1])
