"""The command line. Verbs are thin: they read arguments, call the core or a flow, and print.

Imports stand inside the verbs: `--help` must answer at once, and neither Prefect, numba nor GDAL does.
"""

import functools
import importlib
import sys
from collections.abc import Callable
from typing import Any

import click

from clearyear import __version__, console
from clearyear.errors import ClearyearError, InputError

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110, "show_default": True}


@click.group(context_settings=CONTEXT)
@click.version_option(__version__, prog_name="clearyear")
def main() -> None:
    """A year of cloudy satellite scenes in, one clear picture out, proven complete."""


def verb(function: Callable[..., Any]) -> Callable[..., Any]:
    """What all verbs share: --json, --debug, and errors as one paragraph with the right exit code."""

    @click.option("--json", "as_json", is_flag=True, help="The last thing on stdout is one JSON object.")
    @click.option("--debug", is_flag=True, help="Show Prefect's log, and the traceback of an error.")
    @functools.wraps(function)
    def wrapper(*args: Any, debug: bool, as_json: bool, **kwargs: Any) -> None:
        console.set_up(debug=debug)
        try:
            sys.exit(function(*args, as_json=as_json, **kwargs) or 0)
        except ClearyearError as error:
            if debug:
                raise
            if as_json:
                console.print_json({"status": "failed", "error": str(error)})
            click.echo(f"Error: {error}", err=True)
            sys.exit(error.exit_code)
        except (KeyboardInterrupt, click.Abort):
            click.echo("Stopped. What is finished is kept; the same command goes on from there.", err=True)
            sys.exit(130)

    return wrapper


def job_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The job as flags; each overrides the job file's key of the same name."""
    options = [
        click.argument("job_file", required=False, metavar="[JOB.yaml]"),
        click.option("--scenes", help="Folder or gs:// prefix of scenes, a manifest (.csv, .json)."),
        click.option("--period", help="2023, 2023-06, 2023-06--P3M or start/end. [default: the year just ended]"),
        click.option("--out", help="Destination: a folder or gs:// prefix."),
        click.option("--pattern", help="Which files are scenes, e.g. '*_TCI.tif' or 'S2_%Y%j_*.tif'."),
        click.option("--reducer", help="luminance-median or band-median. [default: luminance-median]"),
        click.option("--product", help="Product name. [default: the reducer's]"),
        click.option("--layers", help="Extra layers, comma-separated: count,source."),
        click.option("--tile-size", type=int, help="Side of a window in pixels. [default: 1024]"),
        click.option("--nodata", help="Nodata values, comma-separated. [default: the scenes' tag]"),
        click.option("--saturated", help="Saturated values, comma-separated. [default: 255 for luminance-median]"),
        click.option("--max-failed-reads", type=int, help="Scenes that may fail to read in a window. [default: 0]"),
        click.option("--min-completeness", type=float, help="Least share of windows for a mosaic. [default: 1.0]"),
        click.option("--allow-missing", is_flag=True, default=None, help="Publish even an incomplete mosaic."),
        click.option("--compress", help="The mosaic's compression: deflate, zstd, lzw or jpeg. [default: deflate]"),
        click.option("--workers", type=int, help="Windows computed at once. [default: one a core]"),
        click.option("--overwrite", is_flag=True, default=None, help="Replace another plan at the destination."),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def _job(job_file: str | None, flags: dict[str, Any]) -> Any:
    from clearyear.job import load_job, make_job

    given = {key: value for key, value in flags.items() if value is not None}
    if "layers" in given:
        given["layers"] = [name.strip() for name in given["layers"].split(",") if name.strip()]
    for key in ("nodata", "saturated"):
        if key in given:
            given[key] = [part.strip() for part in given[key].split(",") if part.strip()]
    if job_file:
        return load_job(job_file, **given)
    if "scenes" not in given:
        raise InputError("No scenes are given", "a JOB.yaml, or --scenes and --out", "see `clearyear run --help`")
    return make_job(given, where="the arguments")


@main.command()
@job_options
@verb
def run(job_file: str | None, as_json: bool, **flags: Any) -> int:
    """Compute a composite: find the scenes, compute every window, join them, prove it complete."""
    job = _job(job_file, flags)
    from clearyear.prepare import prepare

    prepare(job)  # what is wrong with the input shows before Prefect starts
    return _run_flow("flows.median_composite", "median_composite", {"job": job}, as_json=as_json)


@main.command()
@click.option("--out", default="clearyear-demo", help="Where the scenes and the result go.")
@verb
def demo(out: str, as_json: bool) -> int:
    """A first minute: make a small year of scenes, run the main job on them, say where to look."""
    from pathlib import Path

    from clearyear.demo import make_scenes
    from clearyear.job import Job

    click.echo(f"Making 24 scenes of 1024 × 1024 px in {out}/scenes", err=True)
    make_scenes(Path(out) / "scenes")
    job = Job(scenes=f"{out}/scenes", period="2023", out=out, tile_size=256, layers=["count", "source"], overwrite=True)
    code = _run_flow("flows.median_composite", "median_composite", {"job": job}, as_json=as_json)
    if not as_json:
        folder = f"{out}/luminance-median/2023--P1Y"
        click.echo(f"\nThe picture to open: {folder}/luminance-median_2023--P1Y_preview.jpg", err=True)
        click.echo(f"What became of every window: {folder}/report.md", err=True)
    return code


@main.command()
@job_options
@verb
def plan(job_file: str | None, as_json: bool, **flags: Any) -> int:
    """A dry run: windows, scenes, what is new or done, bytes, memory, time and cost. Writes nothing."""
    job = _job(job_file, flags)
    from clearyear.estimate import estimate
    from clearyear.prepare import make_plan

    the_plan = make_plan(job)
    found = estimate(the_plan, workers=job.workers)
    if as_json:
        console.print_json(found.model_dump(mode="json"))
    else:
        click.echo(found.table())
    return 0


@main.command()
@job_options
@click.option("--id", "window_id", help="The window, as `clearyear plan` calls it: x01024_y00512.")
@verb
def window(job_file: str | None, window_id: str | None, as_json: bool, **flags: Any) -> int:
    """Compute one window, as a single worker does it.

    JOB may also be a worker's payload, {"window": [...], "destination": ..., "datasets": [...]}: that window is
    computed and written to that destination.
    """
    if job_file and job_file.endswith(".json"):
        from clearyear.payload import run_payload

        written = run_payload(job_file)
    else:
        if not window_id:
            raise InputError("No window is named", "--id x00000_y00000", "take one that `clearyear plan` lists")
        from clearyear.prepare import prepare
        from clearyear.stores import open_store
        from clearyear.window import compute_window

        the_plan = prepare(_job(job_file, flags))
        chosen = the_plan.grid.window(window_id, the_plan.tile_size)
        written = compute_window(the_plan, chosen, open_store(the_plan.destination)).model_dump(mode="json")
    if as_json:
        console.print_json(written)
    else:
        click.echo(f"{written['id']}: {written['status']}, {written['valid_share']:.1%} of its pixels seen")
    return 0


@main.command()
@click.argument("out")
@click.option("--allow-missing", is_flag=True, help="Exit 0 even if windows are missing.")
@verb
def report(out: str, allow_missing: bool, as_json: bool) -> int:
    """Completeness of what lies at OUT, every byte checked against the plan. Changes nothing but the report."""
    from clearyear.prepare import find_plan
    from clearyear.publish import survey

    return _show(survey(find_plan(out)).outcome(allow_missing=allow_missing), as_json=as_json)


@main.command()
@click.argument("out")
@click.option("--workers", type=int, help="Windows computed at once.  [default: one a core]")
@click.option("--allow-missing", is_flag=True, help="Publish even an incomplete mosaic.")
@verb
def repair(out: str, workers: int | None, allow_missing: bool, as_json: bool) -> int:
    """Compute only what at OUT is missing, invalid or stale, then mosaic and report again."""
    from clearyear.prepare import find_plan

    destination = find_plan(out).destination
    arguments = {"out": destination, "workers": workers, "allow_missing": allow_missing}
    return _run_flow("flows.repair", "repair", arguments, as_json=as_json)


@main.command()
@click.argument("out")
@click.option("--allow-missing", is_flag=True, help="Join what is there even if windows are missing.")
@verb
def mosaic(out: str, allow_missing: bool, as_json: bool) -> int:
    """Join the windows that lie at OUT; computes none."""
    from clearyear.prepare import find_plan
    from clearyear.publish import join_windows

    return _show(join_windows(find_plan(out, allow_missing=allow_missing)).outcome(), as_json=as_json)


@main.command()
@click.argument("source", metavar="OUT|FILE")
@click.argument("target", required=False, metavar="[PICTURE.jpg]")
@click.option("--size", type=click.IntRange(16, 8192), default=1024, help="Longest side in pixels.")
@verb
def preview(source: str, target: str | None, size: int, as_json: bool) -> int:
    """A JPEG of a result's mosaic, or of any raster."""
    from clearyear.publish import write_preview

    written = write_preview(source, target, size=size)
    if as_json:
        console.print_json({"preview": written})
    else:
        click.echo(written)
    return 0


@main.command()
@click.argument("source", metavar="OUT|FILE")
@verb
def validate(source: str, as_json: bool) -> int:
    """Check that a file is a valid COG that reads back whole, or that a result is what its checksums say."""
    from clearyear.publish import validate as check

    found = check(source)
    if as_json:
        console.print_json({"valid": not found, "problems": found})
    else:
        click.echo("\n".join(found) if found else f"{source} is valid")
    return 1 if found else 0


def _run_flow(module: str, name: str, arguments: dict[str, Any], *, as_json: bool) -> int:
    """Run a flow in this process, with Prefect's own server unless PREFECT_API_URL names one."""
    flow = getattr(importlib.import_module(module), name)
    with console.progress_bar():
        state = flow(**arguments, return_state=True)
    outcome = state.result(raise_on_failure=False)
    if isinstance(outcome, BaseException):
        raise outcome
    return _show(outcome, as_json=as_json)


def _show(outcome: dict[str, Any], *, as_json: bool) -> int:
    allowed = outcome.pop("allowed")
    if as_json:
        console.print_json(outcome)
    else:
        console.print_outcome(outcome)
    return 0 if outcome["status"] == "complete" or allowed else 3
