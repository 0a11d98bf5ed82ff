"""The verbs of conversion, night lights and zonal statistics; as thin as those in ``cli``."""

from typing import Any

import click

from clearyear import console
from clearyear.options import verb


@click.command()
@click.argument("raster", metavar="RASTER|OUT")
@click.option("--polygons", required=True, help="GeoJSON, GeoPackage, Shapefile or GeoParquet.")
@click.option("--out", required=True, help="Destination of tables and pictures: a folder or bucket prefix.")
@click.option("--stats", help="Comma-separated: min,max,mean,stddev,skew,count,sum,median,…  [default: all]")
@click.option("--id-column", help="Column that names a polygon.  [default: id, else its number]")
@click.option("--polygons-layer", help="Layer of the file, where it has several.")
@click.option("--polygons-crs", help="What the polygons' coordinates are in, whatever their file says: EPSG:4326.")
@click.option("--repair-invalid", is_flag=True, default=None, help="Mend polygons that cross themselves.")
@click.option("--nodata", help="Values that mean none, comma-separated.  [default: the raster's tag]")
@click.option("--negatives-are-nodata", is_flag=True, default=None, help="Values below zero mean none.")
@click.option("--name", help="What tables call the polygons.  [default: their file's name]")
@click.option("--product", help="What a lone GeoTIFF is called in the tables.")
@click.option("--period", help="Of a lone GeoTIFF: 2023, 2023-06.")
@click.option("--layer", help="Of a run of clearyear: composite, count.")
@click.option("--no-pictures", is_flag=True, help="Draw no map and no chart.")
@click.option("--map-bands", help="Comma-separated bands of which each table gets a map, or all.  [default: the first]")
@click.option("--allow-missing", is_flag=True, default=None, help="Take mosaics that are incomplete.")
@verb
def zonal(as_json: bool, no_pictures: bool, **flags: Any) -> int:
    """Statistics of polygons over a raster.

    RASTER is a GeoTIFF, or where a run of clearyear went: all its periods are taken. Each pixel counts by the share of
    it that a polygon covers. Tables lie at --out as CSV and GeoParquet, called by product, period and polygons.
    """
    from clearyear.job import make_as
    from clearyear.zonal.job import ZonalJob
    from clearyear.zonal.run import run_zonal

    values = {name: value for name, value in flags.items() if value is not None}
    values |= {name: _list(values[name]) for name in ("stats", "nodata", "map_bands") if name in values}
    values |= {"pictures": False} if no_pictures else {}
    job = make_as(ZonalJob, values, where="the flags", least="RASTER, --polygons and --out", verb="zonal")
    with console.progress_bar():
        outcome = run_zonal(job)
    if as_json:
        console.print_json(outcome.model_dump(mode="json"))
    else:
        kept = outcome.rasters - outcome.computed
        note = f", {kept} of {outcome.rasters} tables were there already" if kept else ""
        click.echo(f"{outcome.rows:,} rows of {outcome.polygons:,} polygons{note}")
        if outcome.outside:
            click.echo(f"  outside the raster: {', '.join(outcome.outside[:10])}")
        if outcome.left_out:
            click.echo(f"  not in the series, made of other polygons or settings: {', '.join(outcome.left_out)}")
        if outcome.not_mapped:
            click.echo(f"  no maps of {', '.join(outcome.not_mapped)}: --map-bands names them, or says all")
        for address in (*outcome.tables, *outcome.series, *outcome.pictures):
            click.echo(address)
    return 0


@click.command()
@click.argument("job_file", required=False, metavar="[JOB.yaml]")
@click.option("--source", help="Address of a tile: …/{yyyymm}/SVDNB_npp_{yyyymm}01-{yyyymm_last}_{tile}.tif")
@click.option("--months", help="2023-01/2023-12 (both included), 2023-01 or 2023.  [default: the one just published]")
@click.option("--out", help="Destination: a folder or bucket prefix.")
@click.option("--tiles", help="VIIRS tiles expected, comma-separated.  [default: all six]")
@click.option("--member", help="Which file of an archive is the tile.  [default: *.avg_rade9h.tif]")
@click.option("--product", help="How folders and files are called.  [default: night-lights]")
@click.option("--compress", help="The mosaics': deflate, zstd or lzw.  [default: deflate]")
@click.option("--downloads", help="Local folder in which fetched files wait.  [default: in the destination]")
@click.option("--connections", type=int, help="Tiles fetched at once.  [default: 4]")
@click.option("--keep-downloads", is_flag=True, default=None, help="Leave fetched files there.")
@click.option("--allow-missing", is_flag=True, default=None, help="Publish months without their absent tiles.")
@click.option("--overwrite", is_flag=True, default=None, help="Replace months made by another job.")
@click.option("--polygons", help="Compute zonal statistics of these for every month that is published.")
@click.option("--negatives-are-nodata", is_flag=True, default=None, help="In these, values below zero mean none.")
@verb
def lights(
    job_file: str | None, as_json: bool, polygons: str | None, negatives_are_nodata: bool | None, **flags: Any
) -> int:
    """Join the tiles of each month of a span, such as night lights.

    A month that lacks a tile is incomplete and says which. The same command again fetches only what is not there.
    """
    from clearyear.cli import run_flow
    from clearyear.job import make_as
    from clearyear.job_file import read_job_file
    from clearyear.lights.job import LightsJob

    values: dict[str, Any] = read_job_file(job_file) if job_file else {}
    values |= {name: value for name, value in flags.items() if value is not None}
    if isinstance(values.get("tiles"), str):
        values["tiles"] = _list(values["tiles"])
    given = {"polygons": polygons, "negatives_are_nodata": negatives_are_nodata}
    if given := {name: value for name, value in given.items() if value is not None}:
        values["zonal"] = {**(values.get("zonal") or {}), **given}
    where = f"the job file {job_file}" if job_file else "the flags"
    job = make_as(LightsJob, values, where=where, least="the keys source and out", verb="lights")
    outcome = run_flow("night_lights", {"job": job}, job.out)
    if as_json:
        console.print_json(outcome)
    else:
        _print_span(outcome)
    return 0 if outcome["status"] == "complete" or outcome["allowed"] else 3


@click.command()
@click.argument("source", metavar="FILE.tif|FOLDER|LIST.csv")
@click.option("--out", default="converted", help="Where COGs and JPEGs go: a folder or prefix.  [default: converted]")
@click.option("--bands", default="", help="How many bands an image has (3), or which to show (4,3,2).")
@click.option("--jpeg/--no-jpeg", default=True, help="Make a full-size JPEG of each, too.  [default: yes]")
@click.option("--compress", default="lzw", help="The COG's: lzw, deflate or zstd.  [default: lzw]")
@click.option("--workers", type=click.IntRange(min=1), help="Images converted at once.  [default: one a core]")
@verb
def convert(source: str, out: str, bands: str, jpeg: bool, compress: str, workers: int | None, as_json: bool) -> int:
    """Convert GeoTIFFs to COGs and full-size JPEGs.

    A COG counts only if every sample, mask, nodata value and georeference read back from it is the source's. What of
    this version of an image is there already, byte for byte, is not made again.
    """
    from clearyear.convert.record import make_options
    from clearyear.convert.rows import find_rows, parse_bands
    from clearyear.convert.run import convert_all, outcome
    from clearyear.settings import current_settings
    from clearyear.stores import check_destination

    check_destination(out)
    options = make_options(compress=compress, jpeg=jpeg)
    rows = find_rows(source, out, parse_bands(bands))
    with console.progress_bar():
        results = convert_all(rows, out, options, workers=workers or current_settings().workers)
    found = outcome(results, out)
    if as_json:
        console.print_json(found)
    else:
        console.print_converted(found)
    return 3 if found["failed"] else 0


VERBS = (convert, lights, zonal)


def _print_span(outcome: dict[str, Any]) -> None:
    click.echo(f"{outcome['status']}: {len(outcome['ok'])} of {outcome['expected']} months are complete")
    for month in outcome["incomplete"] + outcome["failed"]:
        click.echo(f"  {outcome['causes'][month]}")
    for month in outcome["months"]:
        if month["mosaic"]:
            click.echo(f"mosaic   {month['mosaic']}")
    if outcome["problem"]:
        click.echo(f"zonal    {outcome['problem']}")
    for address in (outcome["zonal"] or {}).get("series", []):
        click.echo(f"zonal    {address}")
    click.echo(f"report   {outcome['report']}")


def _list(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")]
