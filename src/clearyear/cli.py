"""The command line. Verbs are thin: they read arguments, call the core or a flow, and print.

Imports stand inside the verbs: `--help` must answer at once, and neither Prefect, numba nor GDAL does.
"""

import importlib
from typing import Any

import click

from clearyear import __version__, console, verbs
from clearyear.cli_convert import convert
from clearyear.errors import ClearyearError, IncompleteError, InputError, ReadError
from clearyear.options import job_options, read_job, verb

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


@click.group(
    commands=[convert],
    context_settings=CONTEXT,
    epilog="Exit codes: 0 complete; 3 incomplete (unless --allow-missing); 2 the input is wrong; 1 anything else.",
)
@click.version_option(__version__, prog_name="clearyear")
def main() -> None:
    """A year of cloudy satellite scenes in, one clear picture out, proven complete."""


verbs.add_to(main)


@main.command()
@job_options
@verb
def run(job_file: str | None, as_json: bool, **flags: Any) -> int:
    """Compute a composite and prove it complete.

    Finds the scenes, computes every window that is not there yet, joins them and reports. The same command again
    goes on where the last one stopped.
    """
    from clearyear.budget import process_budget
    from clearyear.prepare import make_plan, put_down

    job = read_job(job_file, flags)
    plan = make_plan(job)  # what is wrong with the input shows before Prefect starts
    process_budget(plan, plan.windows, workers=job.workers, memory_limit=job.memory_limit)
    put_down(plan, overwrite=job.overwrite)
    return _show(run_flow("median_composite", {"job": job}, plan.destination), as_json=as_json)


@main.command()
@click.option("--out", default="clearyear-demo", help="Where scenes and result go.  [default: clearyear-demo]")
@click.option("--overwrite", is_flag=True, help="Replace another plan at the destination.")
@verb
def demo(out: str, overwrite: bool, as_json: bool) -> int:
    """Make a small year of scenes and run on it.

    A first minute: 24 invented scenes of 1024 × 1024 px with clouds, shadows and swath edges, then the main job on
    them, and the name of the picture to open.
    """
    from pathlib import Path

    from clearyear.demo import make_scenes
    from clearyear.job import make_job
    from clearyear.prepare import prepare

    console.note(f"Making 24 scenes of 1024 × 1024 px in {out}/scenes")
    make_scenes(Path(out) / "scenes")
    values = {"scenes": f"{out}/scenes", "period": "2023", "out": out, "tile_size": 256, "overwrite": overwrite}
    job = make_job({**values, "layers": ["count", "source"]})
    plan = prepare(job)
    code = _show(run_flow("median_composite", {"job": job}, plan.destination), as_json=as_json)
    if code == 0 and not as_json:
        console.note(f"\nThe picture to open: {plan.destination}/{plan.preview_name}")
        console.note(f"What became of every window: {plan.destination}/report.md")
    return code


@main.command()
@job_options
@verb
def plan(job_file: str | None, as_json: bool, **flags: Any) -> int:
    """Say what a run would do and take: a dry run.

    Windows, scenes, what is new, done or to be done again, what an earlier run has left, bytes, memory, time and
    cost. Writes nothing.
    """
    from clearyear.estimate import estimate
    from clearyear.prepare import make_plan

    job = read_job(job_file, flags)
    found = estimate(make_plan(job), workers=job.workers, memory_limit=job.memory_limit)
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
    """Compute one window, as a single worker does.

    Instead of a job and --id it takes a worker's payload, a .json file {"window": [x, y, width, height],
    "destination": "...", "datasets": [...]}: that window is computed and written to that destination.
    """
    if job_file and not window_id and job_file.lower().endswith(".json"):
        from clearyear.payload import run_payload

        written = run_payload(job_file)
    else:
        written = _compute(read_job(job_file, flags), window_id)
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
    """Check what lies at OUT, byte for byte.

    Every window the plan there asks for is ok, empty, missing, invalid or stale. Changes nothing but the report.
    """
    from clearyear.prepare import find_plan
    from clearyear.publish import survey

    # What the run was allowed is no answer to whether it is complete.
    return _show(survey(find_plan(out)).contract() | {"allowed": allow_missing}, as_json=as_json)


@main.command()
@click.argument("out")
@click.option("--workers", type=click.IntRange(min=1), help="Windows computed at once.  [default: one a core]")
@click.option("--allow-missing", is_flag=True, help="Publish even an incomplete mosaic.")
@click.option("--memory-limit", help="Memory of the whole container: 2GiB, 1500MB.  [default: its own limit]")
@verb
def repair(out: str, workers: int | None, allow_missing: bool, memory_limit: str | None, as_json: bool) -> int:
    """Compute what at OUT is not there, then join.

    Only what is missing, invalid or stale is computed again; then the mosaic and the report follow.
    """
    from clearyear.prepare import find_plan
    from clearyear.settings import parse_size

    limit = parse_size(memory_limit) if memory_limit is not None else None
    destination = find_plan(out).destination
    arguments = {"out": destination, "workers": workers, "allow_missing": allow_missing, "memory_limit": limit}
    return _show(run_flow("repair", arguments, destination), as_json=as_json)


@main.command()
@click.argument("out")
@click.option("--allow-missing", is_flag=True, help="Join what is there even if windows are missing.")
@verb
def mosaic(out: str, allow_missing: bool, as_json: bool) -> int:
    """Join the windows at OUT; compute none."""
    from clearyear.prepare import find_plan
    from clearyear.publish import join_windows

    return _show(join_windows(find_plan(out, allow_missing=allow_missing)).outcome(), as_json=as_json)


@main.command()
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


@main.command()
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


def _compute(job: Any, window_id: str | None) -> dict[str, Any]:
    from clearyear.budget import process_budget
    from clearyear.prepare import make_plan, put_down
    from clearyear.stores import open_store
    from clearyear.window import compute_window

    if not window_id:
        raise InputError("No window is named", "--id x00000_y00000", "take one that `clearyear plan` lists")
    the_plan = make_plan(job)
    chosen = the_plan.grid.window(window_id, the_plan.tile_size)
    budget = process_budget(the_plan, [chosen], workers=1, memory_limit=job.memory_limit, prefect=False)
    budget.apply()
    put_down(the_plan, overwrite=job.overwrite)
    store = open_store(the_plan.destination)
    try:
        result = compute_window(the_plan, chosen, store, threads=budget.threads, window_bytes=budget.window_bytes)
        return result.model_dump(mode="json")
    finally:
        store.sweep()


def run_flow(name: str, arguments: dict[str, Any], destination: str) -> dict[str, Any]:
    """Run a flow in this process, with Prefect's own server unless PREFECT_API_URL names one; returns its outcome."""
    try:
        with console.progress_bar():
            importlib.import_module("flows.server").start_server()
            flow = getattr(importlib.import_module(f"flows.{name}"), name)
            state = flow(**arguments, return_state=True)
            outcome = state.result(raise_on_failure=False)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(console.left_behind(destination)) from None
    except RuntimeError as error:
        if "reach API" not in str(error):
            raise
        do = "start it with `prefect server start`, or unset PREFECT_API_URL to run with a server of our own"
        raise ClearyearError(f"Prefect does not answer ({error})", "a server at PREFECT_API_URL", do) from error
    if isinstance(outcome, IncompleteError):
        outcome = outcome.outcome
    if isinstance(outcome, BaseException):
        raise outcome
    return dict(outcome)


def _show(outcome: dict[str, Any], *, as_json: bool) -> int:
    allowed = outcome.pop("allowed")
    if as_json:
        console.print_json(outcome)
    else:
        console.print_outcome(outcome)
    return 0 if outcome["status"] == "complete" or allowed else 3
