"""The steps the flows share."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from prefect import get_run_logger, unmapped
from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture, as_completed
from prefect.runtime import deployment
from prefect.states import Completed, Failed
from prefect.task_runners import TaskRunner
from prefect.tasks import Task

from clearyear.budget import Budget, engine_budget
from clearyear.completeness import WindowStatus, check_plan, with_cause
from clearyear.errors import BatchError, ClearyearError, IncompleteError, InputError
from clearyear.mosaic import Mosaic
from clearyear.plan import Plan
from clearyear.prepare import check_scenes
from clearyear.progress import report_progress, stopped_by_errors
from clearyear.publish import finish
from clearyear.published import tiles_digest
from clearyear.report import Report
from clearyear.selection import select_windows
from clearyear.stores import Store, open_store, split_uri
from flows.engines import engine
from flows.shard_pool import deployment_on, shard_size
from flows.shards import send_windows
from tasks.artifacts import Progress, show_report
from tasks.mosaic import mosaic as mosaic_task
from tasks.window_median import batch_fingerprint, window_median, window_medians

MOST_TASKS = 600
"""Task runs of one flow run. One costs Prefect about 10 ms of ours and as much of the server's; beyond 3,000 that end
faster than the server writes them down it drops some from its record. Fewer would make a batch too long to watch."""


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


def carry_out(
    plan: Plan,
    *,
    workers: int | None,
    memory_limit: int | None = None,
    work_pool: str | None = None,
    windows_per_shard: int = 50,
    runner: str = "threads",
    select: Sequence[str] = (),
) -> State[Any]:
    """Compute what of the plan is not there, here or on a work pool, join it, say what came of it."""
    store = open_store(plan.destination)
    statuses = check_plan(plan, store)
    selected = {window.id for window in select_windows(plan, select)}
    pending = [s.id for s in statuses if not s.is_done and s.id in selected]
    get_run_logger().info("%d of %d windows are there already", sum(s.is_done for s in statuses), len(statuses))
    if pending:
        # What is wrong with the pool, or with the memory there is, shows before anything else happens.
        compute: Callable[..., dict[str, str]]
        if work_pool:
            most, pool = windows_per_shard, deployment_on(work_pool)
            size = shard_size(plan, pool, per_shard=most, workers=workers, memory_limit=memory_limit)
            compute = partial(send_windows, plan, store, pending, pool, per_shard=most, size=size)
        else:
            budget = budget_of(plan, pending, workers=workers, memory_limit=memory_limit, runner=runner)
            compute = partial(map_windows, plan, pending, budget, runner=runner)
        check_scenes(plan)
        store.remove(plan.item_name)  # the sign of completion must not outlast what it stands for
        progress = Progress(len(pending))
        failures = compute(progress=progress)
        statuses = [with_cause(s, failures) for s in check_plan(plan, store)]
        asked = set(pending)
        progress.end(sum(s.is_done for s in statuses if s.id in asked))
    report = finish(plan, store, statuses, selected, join=join)
    preview = store.read(plan.preview_name) if report.mosaic else None
    show_report(report, tile_map=store.read("tile_map.png"), preview=preview)
    return final_state(report)


def budget_of(
    plan: Plan,
    window_ids: Sequence[str],
    *,
    workers: int | None,
    memory_limit: int | None,
    runner: str = "threads",
    joins: bool = True,
) -> Budget:
    """What this process, with those it starts, may do at once to compute these windows, and to join them after.

    Raises:
        InputError: the memory there is does not suffice for one window, or not for the mosaic.
    """
    windows = [plan.grid.window(window_id, plan.tile_size) for window_id in window_ids]
    return engine_budget(plan, windows, runner=runner, workers=workers, memory_limit=memory_limit, joins=joins)


def map_windows(
    plan: Plan, window_ids: Sequence[str], budget: Budget, *, progress: Progress, runner: str = "threads"
) -> dict[str, str]:
    """Map the window-median task over windows, or window-medians over batches of them, as the budget says.

    Returns:
        Window id → why it failed, for those that did. That the others are well is for the destination to show.
    """
    report_progress("windows", 0, len(window_ids))
    failures: dict[str, str] = {}
    done = 0
    batches = in_batches(window_ids)
    with engine(runner, budget) as started, stopped_by_errors():
        futures = submit(started, plan, batches, budget)
        names = dict(zip(futures, batches, strict=True))
        for future in as_completed(futures):
            failures |= causes_of(future, names[future])
            done += len(names[future])
            progress.show(done)
            report_progress("windows", done, len(window_ids))
    return failures


def in_batches(window_ids: Sequence[str]) -> list[list[str]]:
    """Windows in the order given, one by one or, beyond MOST_TASKS, in as many batches of equal length."""
    size = max(1, math.ceil(len(window_ids) / MOST_TASKS))
    return [list(window_ids[start : start + size]) for start in range(0, len(window_ids), size)]


def submit(
    runner: "TaskRunner[Any]", plan: Plan, batches: Sequence[list[str]], budget: Budget
) -> "list[PrefectFuture[Any]]":
    """One task run for each batch; a batch of one is a window and says so."""
    fingerprints = [[plan.fingerprint(plan.grid.window(i, plan.tile_size)) for i in ids] for ids in batches]
    arguments: dict[str, Any] = {
        "destination": unmapped(open_store(plan.destination).root),  # in another process, ours may not be the folder
        "plan_digest": unmapped(plan.digest),
        "threads": unmapped(budget.threads),
        "window_bytes": unmapped(budget.window_bytes),
    }
    if all(len(ids) == 1 for ids in batches):
        task: Task[..., Any] = window_median
        arguments |= {"window_id": [ids[0] for ids in batches], "fingerprint": [known[0] for known in fingerprints]}
    else:
        task = window_medians
        arguments |= {"window_ids": list(batches), "fingerprint": [batch_fingerprint(known) for known in fingerprints]}
    # These windows' tiles are not there as they should be, so a cached record of them is no good.
    return list(runner.map(task.with_options(refresh_cache=True), arguments))


def causes_of(future: "PrefectFuture[Any]", window_ids: Sequence[str]) -> dict[str, str]:
    """Window id → why a task that has ended failed, in our own words where the error is ours; nothing if it did not."""
    try:
        future.wait()  # without this its state is asked of the server, which learns of it later
        if future.state.is_completed():
            return {}
        error = future.result(raise_on_failure=False)
    except Exception as lost:  # noqa: BLE001  no state: whatever computed it is gone
        return dict.fromkeys(window_ids, f"the process that computed it was lost ({type(lost).__name__}: {lost})")
    if isinstance(error, BatchError):
        return error.causes
    cause = error.found if isinstance(error, ClearyearError) else future.state.message or str(error)
    return dict.fromkeys(window_ids, cause)


def join(plan: Plan, _store: Store, statuses: Sequence[WindowStatus]) -> Mosaic:
    """The mosaic, published by the mosaic task, which looks for itself whether these tiles are there."""
    report_progress("mosaic", 0, 1)
    written = mosaic_task(plan.destination, plan.digest, tiles_digest(statuses))
    report_progress("mosaic", 1, 1)
    return Mosaic.model_validate(written)


def final_state(report: Report) -> State[Any]:
    """Completed only if complete; otherwise a sentence that says how many windows are missing and why."""
    outcome = report.outcome()
    if report.status == "complete":
        return Completed(message=report.sentence(), data=outcome)
    if report.mosaic is not None:
        return Completed(name="CompletedWithMissing", message=report.sentence(), data=outcome)
    return Failed(message=report.sentence(), data=IncompleteError(report.sentence(), outcome=outcome))
