"""The verbs for what lies at a destination: looked at, repaired, joined, pictured, checked, catalogued."""

from typing import Any

import click

from clearyear import console
from clearyear.cli_runs import Answer, over_runs, print_outcome
from clearyear.errors import InputError, ReadError
from clearyear.options import verb


@click.command()
@click.argument("out")
@click.option("--allow-missing", is_flag=True, help="Exit 0 even if windows are missing.")
@verb
def report(out: str, allow_missing: bool, as_json: bool) -> int:
    """Check what lies at OUT, byte for byte.

    Every window the plan there asks for is ok, empty, missing, invalid or stale. Changes nothing but the report.
    OUT is a run's folder, or one with several runs below it: all are checked then.
    """
    from clearyear.prepare import find_plan
    from clearyear.publish import survey
    from clearyear.runs import find_runs

    def look(run: str) -> Answer:
        # What the run was allowed is no answer to whether it is complete.
        return console.answer_of(survey(find_plan(run)).contract() | {"allowed": allow_missing})

    return over_runs("report", out, find_runs(out), look, print_outcome, as_json=as_json)


@click.command()
@click.argument("out")
@click.option("--workers", type=click.IntRange(min=1), help="Windows computed at once.  [default: one a core]")
@click.option("--allow-missing", is_flag=True, help="Publish even an incomplete mosaic.")
@click.option("--memory-limit", help="Memory of the whole container: 2GiB, 1500MB.  [default: its own limit]")
@click.option("--runner", type=click.Choice(["threads", "processes", "dask"]), default="threads", help="As of a job.")
@click.option("--work-pool", help="Split the windows into jobs on this Prefect work pool.  [default: in-process]")
@click.option(
    "--windows-per-shard",
    type=click.IntRange(1, 600),
    default=50,
    help="Windows of one such job at most.  [default: 50]",
)
@verb
def repair(out: str, memory_limit: str | None, as_json: bool, **flags: Any) -> int:
    """Compute what at OUT is not there, then join.

    Only what is missing, invalid or stale is computed again; then the mosaic and the report follow. Where several runs
    lie below OUT, those that are not complete are repaired, one after the other.
    """
    from clearyear.cli import run_flow
    from clearyear.prepare import find_plan
    from clearyear.publish import survey
    from clearyear.runs import find_runs
    from clearyear.settings import parse_size

    limit = parse_size(memory_limit) if memory_limit is not None else None
    runs = find_runs(out)

    def mend(run: str) -> Answer:
        the_plan = find_plan(run)
        if len(runs) > 1 and (there := survey(the_plan)).status == "complete":
            return console.answer_of(there.outcome())
        arguments = {"out": the_plan.destination, "memory_limit": limit, **flags}
        return console.answer_of(run_flow("repair", arguments, the_plan.destination))

    return over_runs("repair", out, runs, mend, print_outcome, as_json=as_json)


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
    """Make a JPEG of a mosaic or any GeoTIFF.

    Where several runs lie below OUT, each gets its own, unless PICTURE.jpg is given.
    """
    from clearyear.publish import write_preview

    def look(run: str) -> Answer:
        try:
            return {"preview": write_preview(run, target, size=size)}, 0
        except ReadError as error:
            raise InputError(
                f"There is no picture to make of {run}: {error.found}",
                "a GeoTIFF, or a run whose mosaic is published",
                "correct the address, or see `clearyear report`",
            ) from error

    runs = [source] if target else _each(source)
    return over_runs("preview", source, runs, look, lambda _, found: click.echo(found["preview"]), as_json=as_json)


@click.command()
@click.argument("source", metavar="OUT|FILE.tif")
@verb
def validate(source: str, as_json: bool) -> int:
    """Check that a file or a result is sound.

    A GeoTIFF must be a valid COG and read back whole; a result must be what its plan and checksums say. Where several
    runs lie below OUT, all are checked.
    """
    from clearyear.publish import validate as check

    def look(run: str) -> Answer:
        found = check(run)
        return {"valid": not found, "problems": found}, 1 if found else 0

    def show(run: str, found: dict[str, Any]) -> None:
        click.echo("\n".join(found["problems"]) or f"{run} is valid")

    return over_runs("validate", source, _each(source), look, show, as_json=as_json)


def _each(source: str) -> list[str]:
    """A GeoTIFF, or all runs of a folder."""
    from clearyear.publish import is_geotiff
    from clearyear.runs import find_runs

    return [source] if is_geotiff(source) else find_runs(source)


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


VERBS = (report, repair, mosaic, preview, validate, catalog)
