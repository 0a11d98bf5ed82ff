"""The steps the flows share."""

from collections.abc import Sequence
from typing import Any

from prefect import get_run_logger, unmapped
from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture, as_completed
from prefect.runtime import deployment
from prefect.states import Completed, Failed
from prefect.task_runners import ThreadPoolTaskRunner

from clearyear.budget import Budget, process_budget
from clearyear.completeness import Status, WindowStatus, check_plan
from clearyear.errors import ClearyearError, IncompleteError, InputError
from clearyear.mosaic import Mosaic
from clearyear.plan import Plan
from clearyear.prepare import check_scenes
from clearyear.progress import report_progress
from clearyear.publish import conclude, may_publish, published
from clearyear.report import Report
from clearyear.stores import Store, open_store, split_uri
from tasks.artifacts import Progress, show_report
from tasks.mosaic import mosaic as mosaic_task
from tasks.window_median import window_median


def refuse_relative(out: str) -> None:
    """Make sure that a worker's result outlives its process, whose folder is a temporary one.

    Raises:
        InputError: the run comes from a deployment and its destination is a relative path.
    """
    if deployment.id and split_uri(out)[0] == "file" and not out.removeprefix("file://").startswith(("/", "~")):
        raise InputError(
            f"The destination {out!r} is relative to the worker's temporary folder, which is removed after the run",
            "an absolute path or gs://bucket/prefix",
            "give the whole path",
            uri=out,
        )


def carry_out(plan: Plan, *, workers: int | None, memory_limit: int | None = None) -> State[Any]:
    """Compute what of the plan is not there, join it, say what came of it."""
    store = open_store(plan.destination)
    statuses = check_plan(plan, store)
    pending = [s.id for s in statuses if not s.is_done]
    get_run_logger().info("%d of %d windows are there already", len(statuses) - len(pending), len(statuses))
    if pending:
        windows = [plan.grid.window(window_id, plan.tile_size) for window_id in pending]
        budget = process_budget(plan, windows, workers=workers, memory_limit=memory_limit)
        check_scenes(plan)
        store.remove(plan.item_name)  # the sign of completion must not outlast what it stands for
        failures = map_windows(plan, pending, budget)
        statuses = [with_cause(s, failures) for s in check_plan(plan, store)]
    mosaic, problem = join(plan, store, statuses)
    report = conclude(plan, store, statuses, mosaic, problem=problem)
    show_report(report, tile_map=store.read("tile_map.png"), preview=store.read(plan.preview_name) if mosaic else None)
    return final_state(report)


def map_windows(plan: Plan, window_ids: Sequence[str], budget: Budget) -> dict[str, str]:
    """Map the window-median task over windows, as many at once and each as large as the budget says.

    Returns:
        Window id → why it failed, for those that did. That the others are well is for the destination to show.
    """
    fingerprints = [plan.fingerprint(plan.grid.window(i, plan.tile_size)) for i in window_ids]
    progress = Progress(len(window_ids))
    report_progress("windows", 0, len(window_ids))
    failures = {}
    budget.apply()
    pool: ThreadPoolTaskRunner[Any] = ThreadPoolTaskRunner(max_workers=budget.workers)
    with pool as runner:
        futures = runner.map(
            # These windows' tiles are not there as they should be, so a cached record of them is no good.
            window_median.with_options(refresh_cache=True),
            {
                "destination": unmapped(plan.destination),
                "plan_digest": unmapped(plan.digest),
                "window_id": list(window_ids),
                "fingerprint": fingerprints,
                "threads": unmapped(budget.threads),
                "window_bytes": unmapped(budget.window_bytes),
            },
        )
        names = dict(zip(futures, window_ids, strict=True))
        for done, future in enumerate(as_completed(list(futures)), start=1):
            future.wait()  # it is done; without this its state is asked of the server, which learns of it later
            if not future.state.is_completed():
                failures[names[future]] = cause_of(future)
            progress.show(done)
            report_progress("windows", done, len(window_ids))
    return failures


def cause_of(future: "PrefectFuture[Any]") -> str:
    """Why a task failed, in our own words where the error is ours."""
    error = future.result(raise_on_failure=False)
    if isinstance(error, ClearyearError):
        return error.found
    return future.state.message or str(error)


def with_cause(status: WindowStatus, failures: dict[str, str]) -> WindowStatus:
    """A window that is missing because its task failed says so."""
    if status.status is Status.MISSING and status.id in failures:
        return status.model_copy(update={"cause": failures[status.id]})
    return status


def join(plan: Plan, store: Store, statuses: Sequence[WindowStatus]) -> tuple[Mosaic | None, str]:
    """The published mosaic: as it lies there if it is this very one, else by the mosaic task; or why not."""
    allowed, problem = may_publish(plan, statuses)
    if not allowed:
        return None, problem
    there, _ = published(plan, store, statuses)
    if there is not None:
        return there, ""
    report_progress("mosaic", 0, 1)
    written = mosaic_task(plan.destination, plan.digest)
    report_progress("mosaic", 1, 1)
    return Mosaic.model_validate(written), ""


def final_state(report: Report) -> State[Any]:
    """Completed only if complete; otherwise a sentence that says how many windows are missing and why."""
    outcome = report.outcome()
    if report.status == "complete":
        return Completed(message=report.sentence(), data=outcome)
    if report.mosaic is not None:
        return Completed(name="CompletedWithMissing", message=report.sentence(), data=outcome)
    return Failed(message=report.sentence(), data=IncompleteError(report.sentence(), outcome=outcome))
