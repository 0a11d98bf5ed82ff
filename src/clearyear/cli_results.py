"""The verbs for what lies at a destination: looked at, joined, pictured, checked, catalogued; nothing is computed."""

import click

from clearyear import console
from clearyear.errors import InputError, ReadError
from clearyear.options import verb


@click.command()
@click.argument("out")
@click.option("--allow-missing", is_flag=True, help="Exit 0 even if windows are missing.")
@verb
def report(out: str, allow_missing: bool, as_json: bool) -> int:
    """Check what lies at OUT, byte for byte.

    Every window the plan there asks for is ok, empty, missing, invalid or stale. Changes nothing but the report.
    """
    from clearyear.prepare import find_plan
    from clearyear.publish import survey

    # What the run was allowed is no answer to whether it is complete.
    return console.show_outcome(survey(find_plan(out)).contract() | {"allowed": allow_missing}, as_json=as_json)


@click.command()
@click.argument("out")
@click.option("--allow-missing", is_flag=True, help="Join what is there even if windows are missing.")
@verb
def mosaic(out: str, allow_missing: bool, as_json: bool) -> int:
    """Join the windows at OUT; compute none."""
    from clearyear.prepare import find_plan
    from clearyear.publish import join_windows

    found = join_windows(find_plan(out, allow_missing=allow_missing))
    return console.show_outcome(found.outcome(), as_json=as_json)


@click.command()
@click.argument("source", metavar="OUT|FILE.tif")
@click.argument("target", required=False, metavar="[PICTURE.jpg]")
@click.option("--size", type=click.IntRange(16, 8192), default=1024, help="Longest side in px.  [default: 1024]")
@verb
def preview(source: str, target: str | None, size: int, as_json: bool) -> int:
    """Make a JPEG of a mosaic or any GeoTIFF."""
    from clearyear.publish import write_preview

    try:
        written = write_preview(source, target, size=size)
    except ReadError as error:
        raise InputError(
            f"There is no picture to make of {source}: {error.found}",
            "a GeoTIFF, or a run whose mosaic is published",
            "correct the address, or see `clearyear report`",
        ) from error
    if as_json:
        console.print_json({"preview": written})
    else:
        click.echo(written)
    return 0


@click.command()
@click.argument("source", metavar="OUT|FILE.tif")
@verb
def validate(source: str, as_json: bool) -> int:
    """Check that a file or a result is sound.

    A GeoTIFF must be a valid COG and read back whole; a result must be what its plan and checksums say.
    """
    from clearyear.publish import validate as check

    found = check(source)
    if as_json:
        console.print_json({"valid": not found, "problems": found})
    else:
        click.echo("\n".join(found) if found else f"{source} is valid")
    return 1 if found else 0


@click.command()
@click.argument("out")
@verb
def catalog(out: str, as_json: bool) -> int:
    """Make the STAC catalogue of all that is published at OUT.

    OUT/catalog.json leads to a collection for each product, and that to the items of its periods. Every run does so
    itself; this makes it again after folders were moved or removed.
    """
    from clearyear.catalog import write_catalog

    written = write_catalog(out)
    if as_json:
        console.print_json(written)
    else:
        click.echo(written["catalog"])
        for product, count in written["collections"].items():
            click.echo(f"  {product}: {count} item{'s' if count > 1 else ''}")
    return 0


VERBS = (report, mosaic, preview, validate, catalog)
