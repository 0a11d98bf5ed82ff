"""The command line. Verbs are thin: they read arguments, call the core or a flow, and print.

Imports stand inside the verbs: `--help` must answer at once, and neither Prefect, numba nor GDAL does.
"""

import importlib
from functools import partial
from typing import Any

import click

from clearyear import __version__, cli_results, console, verbs
from clearyear.errors import ClearyearError, InputError
from clearyear.options import job_options, read_job, verb

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


@click.group(
    commands=[*cli_results.VERBS, *verbs.VERBS],
    context_settings=CONTEXT,
    epilog="Exit codes: 0 complete; 3 incomplete (unless --allow-missing); 2 the input is wrong; 1 anything else.",
)
@click.version_option(__version__, prog_name="clearyear")
def main() -> None:
    """A year of cloudy satellite scenes in, one clear picture out, proven complete."""


@main.command()
@job_options
@click.option("--dryrun", "--dry-run", is_flag=True, help="Only say what would be done, as `clearyear plan` does.")
@verb
def run(job_file: str | None, dryrun: bool, as_json: bool, **flags: Any) -> int:
    """Compute a composite and prove it complete.

    Finds the scenes, computes every window that is not there yet, joins them and reports. The same command again
    goes on where the last one stopped.
    """
    from clearyear.budget import engine_budget
    from clearyear.prepare import make_plan, put_down
    from clearyear.selection import select_windows

    job = read_job(job_file, flags)
    if dryrun:
        return _estimate(job, (), as_json=as_json)
    plan = make_plan(job)  # what is wrong with the input shows before Prefect starts
    chosen = select_windows(plan, job.select)
    engine_budget(plan, chosen, runner=job.runner, workers=job.workers, memory_limit=job.memory_limit)
    put_down(plan, overwrite=job.overwrite)
    return console.show_outcome(run_flow("median_composite", {"job": job}, plan.destination), as_json=as_json)


@main.command()
@job_options
@click.option("--span", help="Which time: 2021/2024 (the end excluded), 2023.  [default: the job's period]")
@click.option(
    "--frequency",
    default="monthly",
    help="How it is cut: monthly, seasonal, annual, rolling-3-months, …  [default: monthly]",
)
@click.option("--at-once", type=click.IntRange(min=1), default=1, help="Periods computed at once.  [default: 1]")
@click.option("--continue-on-failure", is_flag=True, help="Go on after a period that is not complete.")
@click.option("--allow-empty", is_flag=True, help="A period without any scene is no failure.")
@click.option("--deployment", help="Compute each period by a run of this deployment.  [default: in this process]")
@click.option("--dryrun", "--dry-run", is_flag=True, help="Only say what of each period is there.")
@verb
def backfill(
    job_file: str | None,
    span: str | None,
    frequency: str,
    at_once: int,
    continue_on_failure: bool,
    allow_empty: bool,
    deployment: str | None,
    dryrun: bool,
    as_json: bool,
    **flags: Any,
) -> int:
    """Compute the composites of all periods of a span.

    Periods that are complete already are checked, byte for byte, and left. Which are complete, which are not and why
    stands in a table at the end. The same command again does only what is not complete.
    """
    from clearyear.backfill import Backfill, conclude_backfill, jobs_of, period_standing

    job = read_job(job_file, flags)
    jobs = jobs_of(job, span, frequency)  # what is wrong with the span shows before Prefect starts
    console.note(f"{len(jobs)} periods, {jobs[0][0].label} to {jobs[-1][0].label}")
    options = {"continue_on_failure": continue_on_failure, "allow_empty": allow_empty, "deployment": deployment}
    arguments = {"job": job, "span": span, "frequency": frequency, "at_once": at_once, **options}
    if dryrun:
        results = [period_standing(period, one, allow_empty=allow_empty) for period, one in jobs]
        found = conclude_backfill(job, span, frequency, results, None)
    else:
        found = Backfill.model_validate(run_flow("backfill", arguments, job.out))
    if as_json:
        console.print_json(found.contract())
    else:
        click.echo(found.table())
    return 0 if dryrun else found.exit_code


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
    code = console.show_outcome(run_flow("median_composite", {"job": job}, plan.destination), as_json=as_json)
    if code == 0 and not as_json:
        console.note(f"\nThe picture to open: {plan.destination}/{plan.preview_name}")
        console.note(f"What became of every window: {plan.destination}/report.md")
    return code


@main.command()
@job_options
@click.option("--save", multiple=True, help="Write the plan to a .json, or its windows to a .csv or .geojson file.")
@verb
def plan(job_file: str | None, save: tuple[str, ...], as_json: bool, **flags: Any) -> int:
    """Say what a run would do and take: a dry run.

    Windows, scenes, what is new, done or to be done again, what an earlier run has left, bytes, memory, time and
    cost. Writes nothing but the files that --save names.
    """
    return _estimate(read_job(job_file, flags), save, as_json=as_json)


@main.command()
@partial(job_options, metavar="[JOB.yaml|PAYLOAD.json]")
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


def _estimate(job: Any, save: tuple[str, ...], *, as_json: bool) -> int:
    """The dry run."""
    from clearyear.estimate import estimate
    from clearyear.prepare import make_plan
    from clearyear.selection import select_windows
    from clearyear.views import save_view

    the_plan = make_plan(job)
    chosen = select_windows(the_plan, job.select)
    found = estimate(the_plan, chosen, workers=job.workers, memory_limit=job.memory_limit, runner=job.runner)
    for target in save:
        save_view(the_plan, target, chosen)
    if as_json:
        console.print_json(found.model_dump(mode="json"))
    else:
        click.echo(found.table())
    return 0


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
            outcome = importlib.import_module("flows.outcome").outcome_of(flow, arguments)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(console.left_behind(destination)) from None
    except RuntimeError as error:
        if "reach API" not in str(error):
            raise
        do = "start it with `prefect server start`, or unset PREFECT_API_URL to run with a server of our own"
        raise ClearyearError(f"Prefect does not answer ({error})", "a server at PREFECT_API_URL", do) from error
    if isinstance(outcome, BaseException):
        raise outcome
    return dict(outcome)
