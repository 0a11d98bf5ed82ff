"""Tables of zonal statistics: CSV for people, GeoParquet for programs, and a record that says what they are made of.

A table belongs to one product, period and set of polygons, and is called by them; whoever else comes by that name is
refused. ``series_…`` holds all periods of a product and the same polygons, put together anew from their tables.
"""

import csv
import hashlib
import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from clearyear import __version__
from clearyear.errors import InputError
from clearyear.report_text import csv_cell
from clearyear.stores import Store, shown, without_query
from clearyear.zonal.compute import KEYS
from clearyear.zonal.job import STATISTICS, ZonalJob
from clearyear.zonal.polygons import Polygons
from clearyear.zonal.raster import Raster

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

RECORD = ".zonal.json"


class TableRecord(BaseModel):
    """What a table is made of; written after it, the sign that it is whole."""

    model_config = ConfigDict(frozen=True)

    raster: str
    version: str
    """The raster's."""
    complete: bool
    """Whether the raster's run called it complete."""
    polygons: str
    polygons_sha256: str
    settings: dict[str, Any]
    """All that decides the numbers: statistics, nodata, names."""
    product: str
    period: str
    rows: int
    csv: str
    parquet: str
    sha256: dict[str, str] = {}
    """Of both files as they were written; nothing in records of before, whose tables are made anew."""
    made_by: str = f"clearyear {__version__}"


def stem_of(raster: Raster, polygons: Polygons) -> str:
    """How the files of one table begin: product, period and polygons."""
    parts = (raster.product, raster.period.label if raster.period else "", polygons.name)
    return "_".join(part for part in parts if part)


def settings_of(job: ZonalJob) -> dict[str, Any]:
    """What of a job decides a table's numbers."""
    kept = {"stats", "nodata", "negatives_are_nodata", "id_column", "polygons_crs", "polygons_layer", "repair_invalid"}
    return job.model_dump(mode="json", include=kept)


def record_of(raster: Raster, polygons: Polygons, job: ZonalJob) -> TableRecord:
    """What the table of a raster and polygons would be made of."""
    stem = stem_of(raster, polygons)
    return TableRecord(
        raster=shown(without_query(raster.uri)),
        version=raster.version,
        complete=raster.complete,
        polygons=polygons.uri,
        polygons_sha256=polygons.digest,
        settings=settings_of(job),
        product=raster.product,
        period=raster.period.label if raster.period else "",
        rows=len(polygons.frame) * len(raster.band_names),
        csv=f"{stem}.csv",
        parquet=f"{stem}.parquet",
    )


def known_record(store: Store, stem: str) -> TableRecord | None:
    """The record lying under a name, or None where there is none that can be read."""
    if store.stat(stem + RECORD) is None:
        return None
    try:
        return TableRecord.model_validate_json(store.read(stem + RECORD))
    except ValueError:
        return None


def is_current(store: Store, record: TableRecord) -> bool:
    """Whether this very table lies there already, in files that are as they were written.

    Raises:
        InputError: the name is taken by the table of another raster or of other polygons.
    """
    stem = record.csv.removesuffix(".csv")
    there = known_record(store, stem)
    if there is None:
        return False
    if (there.raster, there.polygons) != (record.raster, record.polygons):
        raise InputError(
            f"{store.uri(stem + RECORD)} is the table of {there.raster} and {there.polygons}",
            f"a name that is free for {record.raster} and {record.polygons}",
            "choose another destination, or another name for the polygons or the product (name, product)",
            uri=store.uri(stem),
        )
    same = record.model_copy(update={"made_by": there.made_by, "sha256": there.sha256}) == there
    return same and all(_is_whole(store, there, name) for name in (there.csv, there.parquet))


def _is_whole(store: Store, record: TableRecord, name: str) -> bool:
    return store.stat(name) is not None and _sha256(store.read(name)) == record.sha256.get(name)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def write_table(store: Store, record: TableRecord, rows: Sequence[dict[str, Any]], polygons: Polygons) -> None:
    """Write a table in both forms, then its record."""
    store.remove(record.csv.removesuffix(".csv") + RECORD)
    frame = polygons.frame.merge(_frame(rows), on="polygon", how="right")
    files = {record.csv: to_csv(rows), record.parquet: to_parquet(frame)}
    for name, data in files.items():
        store.write(name, data)
    record = record.model_copy(update={"sha256": {name: _sha256(data) for name, data in files.items()}})
    store.write(record.csv.removesuffix(".csv") + RECORD, (record.model_dump_json(indent=1) + "\n").encode())


def write_series(store: Store, record: TableRecord) -> tuple["GeoDataFrame", str, list[str]]:
    """Put together the tables of all periods of a record's product that were made of the same polygons alike.

    Returns:
        The series, how its files begin, and the periods left out, since their polygons or settings were others.
    """
    import geopandas
    import pandas

    records = [
        found
        for entry in store.entries()
        if entry.name.endswith(RECORD) and (found := known_record(store, entry.name.removesuffix(RECORD)))
    ]
    ours = (record.product, record.polygons, _polygons_part(record))
    of_product = [r for r in records if (r.product, r.polygons, _polygons_part(r)) == ours]
    alike = [r for r in of_product if (r.polygons_sha256, r.settings) == (record.polygons_sha256, record.settings)]
    tables = [geopandas.read_parquet(io.BytesIO(store.read(r.parquet))) for r in alike]
    series = geopandas.GeoDataFrame(pandas.concat(tables, ignore_index=True), crs=tables[0].crs)
    series = series.sort_values(["start", "period"], kind="stable").reset_index(drop=True)
    stem = f"series_{record.product}_{_polygons_part(record)}"
    store.write(f"{stem}.csv", to_csv(series.drop(columns="geometry").to_dict("records")))
    store.write(f"{stem}.parquet", to_parquet(series))
    return series, stem, sorted(r.period for r in of_product if r not in alike)


def _polygons_part(record: TableRecord) -> str:
    before = "_".join(part for part in (record.product, record.period) if part)
    return record.csv.removesuffix(".csv").removeprefix(f"{before}_")


def to_csv(rows: Sequence[dict[str, Any]]) -> bytes:
    """A table that no spreadsheet takes for formulas; what no pixel can tell is an empty cell."""
    columns = [*KEYS, *(stat for stat in STATISTICS if stat in rows[0])]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(row[column]) for column in columns] for row in rows)
    return out.getvalue().encode()


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return csv_cell(value)
    return "" if math.isnan(value) else f"{value:.12g}"


def to_parquet(frame: "GeoDataFrame") -> bytes:
    """GeoParquet, polygons in the CRS of their file."""
    out = io.BytesIO()
    frame.to_parquet(out, index=False)
    return out.getvalue()


def _frame(rows: Sequence[dict[str, Any]]) -> Any:
    import pandas

    return pandas.DataFrame(list(rows))
