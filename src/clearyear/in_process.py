"""A job from end to end in this process: what `clearyear run` does, without Prefect."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextvars import copy_context
from datetime import datetime

from clearyear.batch import compute_windows
from clearyear.budget import Budget, engine_budget
from clearyear.completeness import check_plan, with_cause
from clearyear.errors import BatchError, InputError
from clearyear.grid import Window
from clearyear.job import Job
from clearyear.plan import Plan
from clearyear.prepare import known_plan, make_plan, put_down
from clearyear.progress import report_progress, stopped_by_errors
from clearyear.publish import finish
from clearyear.report import Report
from clearyear.selection import select_windows
from clearyear.stores import Store, open_store


def run(job: Job, *, due: datetime | None = None) -> Report:
    """Do a whole job here: plan it, compute the windows that are not there, check all, publish, report.

    As many windows at once as there are cores (or the job's ``workers``), within the memory there is. One that fails
    does not keep the others; requests are tried again, a window is not. The same call again goes on from what is there.

    Args:
        job: what to compute, from which scenes, to where.
        due: a job without a period means the calendar year before that; left out, before now.

    Returns:
        The report, as it lies at the destination: ``status`` is ``complete`` only if every window is there, valid and
        current, and the mosaic is published. What is missing, and why, stands in ``not_done`` and ``problem``: that is
        no error.

    Raises:
        InputError: as make_plan, put_down and select_windows; the memory limit is too low, the job asks for Prefect
            (``work_pool``, another ``runner`` than threads), or another run has put its plan in this one's place.
        StoreError: the destination cannot be read or written.
    """
    if job.work_pool or job.runner != "threads":
        asked = f"the work pool {job.work_pool!r}" if job.work_pool else f"the runner {job.runner!r}"
        raise InputError(
            f"The job asks for {asked}, which Prefect starts", "a job for threads of this process",
            "leave that key out, or use `clearyear run`"
        )  # fmt: skip
    plan = make_plan(job, due=due)
    windows = select_windows(plan, job.select)
    budget = engine_budget(
        plan, windows, runner="threads", workers=job.workers, memory_limit=job.memory_limit, prefect=False
    )
    put_down(plan, overwrite=job.overwrite)
    return _carry_out(plan, windows, budget)


def _carry_out(plan: Plan, windows: Sequence[Window], budget: Budget) -> Report:
    store = open_store(plan.destination)
    statuses = check_plan(plan, store)
    selected = {window.id for window in windows}
    ids = {s.id for s in statuses if not s.is_done and s.id in selected}
    if ids:
        store.remove(plan.item_name)  # the sign of completion must not outlast what it stands for
        failures = _compute(plan, [window for window in windows if window.id in ids], store, budget)
        statuses = [with_cause(s, failures) for s in check_plan(plan, store)]
    return finish(plan, store, statuses, selected)


def _compute(plan: Plan, windows: Sequence[Window], store: Store, budget: Budget) -> dict[str, str]:
    """Window id → why it failed, for those that did."""

    def one(window: Window) -> dict[str, str]:
        known_plan(plan.destination, plan.digest)  # another run's tiles are not ours to write over
        try:
            compute_windows(plan, [window], store, threads=budget.threads, window_bytes=budget.window_bytes)
        except BatchError as error:
            return error.causes
        return {}

    budget.apply()
    report_progress("windows", 0, len(windows))
    failures: dict[str, str] = {}
    # The pool waits for its threads; by then they know whether they are to stop.
    with ThreadPoolExecutor(budget.workers) as pool, stopped_by_errors():
        futures = [pool.submit(copy_context().run, one, window) for window in windows]
        for done, future in enumerate(as_completed(futures), start=1):
            failures |= future.result()
            report_progress("windows", done, len(windows))
    return failures
