"""Backfill: one product over a span of time, a composite for each of its periods, and which of them are complete."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from threading import Event
from typing import Any, Literal

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import FlowRun, State
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run as this_run
from prefect.states import Completed, Failed

from clearyear.backfill import (
    GO_ON,
    Backfill,
    PeriodResult,
    conclude_backfill,
    failure_of,
    jobs_of,
    period_standing,
    result_of,
)
from clearyear.catalog import write_catalog
from clearyear.errors import ClearyearError, IncompleteError, InputError
from clearyear.job import Job
from clearyear.periods import Period
from clearyear.progress import report_progress
from flows.median_composite import median_composite
from flows.outcome import outcome_of
from flows.steps import refuse_relative
from tasks.artifacts import show_backfill

Frequency = Literal[
    "annual",
    "annual-fy",
    "semiannual",
    "seasonal",
    "quarterly",
    "monthly",
    "rolling-3-months",
    "rolling-3-years",
    "nov-mar",
    "apr-oct",
    "all",
]
"""periods.FREQUENCIES, as a form shows them."""

_POLL_SECONDS = 5.0


def _run_name() -> str:
    asked = this_run.parameters
    job = asked["job"] if isinstance(asked["job"], Job) else Job.model_validate(asked["job"])
    return f"{job.product or job.reducer} {asked['span'] or job.period} {asked['frequency']}"


@flow(name="backfill", flow_run_name=_run_name, description=__doc__)
def backfill(
    job: Job,
    span: str | None = None,
    frequency: Frequency = "monthly",
    at_once: int = 1,
    continue_on_failure: bool = False,
    allow_empty: bool = False,
    deployment: str | None = None,
) -> State[Any]:
    """Compute the composites of all periods of a span that are not complete yet.

    Args:
        job: What to do for each period.
        span: Which time, such as 2021/2024 (the end excluded) or 2023. Left out: the job's period.
        frequency: How it is cut into periods.
        at_once: Periods computed at once. In one process they share its cores and its memory.
        continue_on_failure: Go on with the next period where one is not complete, and name it in the end.
        allow_empty: A period without any scene is no failure.
        deployment: Compute each period by a run of this deployment (median-composite/on-demand). Left out: as a
            subflow, in this process.

    Returns:
        Completed if every period is complete; CompletedWithMissing if some are not and that is allowed; else Failed
        with how many are not and why. A retry does only what is not complete.
    """
    refuse_relative(job.out)
    jobs = jobs_of(job, span, frequency, at_once=1 if deployment else at_once)
    get_run_logger().info("%d periods, %s to %s", len(jobs), jobs[0][0].label, jobs[-1][0].label)
    compute = partial(compute_elsewhere, deployment=deployment) if deployment else compute_here
    results = compute_all(jobs, compute, at_once=at_once, go_on=continue_on_failure, allow_empty=allow_empty)
    report = conclude_backfill(job, span, frequency, results, _catalog(job.out))
    show_backfill(report)
    return final_state(report)


def compute_all(
    jobs: Sequence[tuple[Period, Job]], compute: Any, *, at_once: int, go_on: bool, allow_empty: bool
) -> list[PeriodResult]:
    """One result for each period, in their order; ``at_once`` of them are worked on at any time."""
    stop, done = Event(), [0]

    def one(period: Period, job: Job) -> PeriodResult:
        if stop.is_set():
            cause = "an earlier period is not complete"
            return PeriodResult(period=period.label, state="not begun", cause=cause, command=GO_ON)
        result = period_standing(period, job, allow_empty=allow_empty)
        if result.state == "complete":
            result = result.model_copy(update={"there": True})
        elif result.state == "incomplete":
            result = compute(period, job)
        if not (result.good_enough or go_on):
            stop.set()
        get_run_logger().info("%s: %s %s", period.label, result.state, result.cause)
        done[0] += 1
        report_progress("periods", done[0], len(jobs))
        return result

    with ThreadPoolExecutor(at_once) as pool:
        # Each in a context of its own: Prefect and the progress keep there what belongs to this run.
        futures = [pool.submit(copy_context().run, one, period, job) for period, job in jobs]
        try:
            return [future.result() for future in futures]
        except BaseException:
            stop.set()
            raise


def compute_here(period: Period, job: Job) -> PeriodResult:
    """Compute a period as a subflow."""
    outcome = outcome_of(median_composite, {"job": job})
    if isinstance(outcome, BaseException):
        return failure_of(period, outcome)
    return result_of(period, outcome)


def compute_elsewhere(period: Period, job: Job, *, deployment: str) -> PeriodResult:
    """Compute a period by a run of a deployment, wait for it, and look at the destination what came of it."""
    try:
        run = run_deployment(
            deployment,
            parameters={"job": job.model_dump(mode="json", exclude_unset=True)},
            flow_run_name=f"{job.product or job.reducer} {period.label}",
            timeout=None,
            poll_interval=_POLL_SECONDS,
            # Asked twice by one try of this run it is still one.
            idempotency_key=f"{this_run.id}-{this_run.run_count}-{period.label}",
        )
    except ObjectNotFound:
        wanted = "one of median-composite, such as median-composite/on-demand"
        do = "deploy it with `prefect deploy`, and see that PREFECT_API_URL names that server"
        return failure_of(period, InputError(f"There is no deployment {deployment!r}", wanted, do))
    assert isinstance(run, FlowRun)  # and not its coroutine: no event loop runs here
    result = period_standing(period, job)
    said = f"its run {run.name} ended as {run.state.name}: {run.state.message}" if run.state else ""
    return result if result.state == "complete" or not said else result.model_copy(update={"cause": said})


def final_state(report: Backfill) -> State[Any]:
    """Completed only if every period is complete or that is allowed; otherwise how many are not, and why."""
    outcome = report.model_dump(mode="json")
    if report.status == "complete":
        return Completed(message=report.sentence(), data=outcome)
    if report.allowed:
        return Completed(name="CompletedWithMissing", message=report.sentence(), data=outcome)
    return Failed(message=report.sentence(), data=IncompleteError(report.sentence(), outcome=outcome))


def _catalog(out: str) -> str | None:
    try:
        return str(write_catalog(out)["catalog"])
    except ClearyearError as error:
        get_run_logger().warning("There is no catalogue: %s", error)
        return None
