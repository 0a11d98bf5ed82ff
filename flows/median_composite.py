"""The main job: a year of scenes → one clear mosaic, proven complete."""

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run

from clearyear.errors import InputError
from clearyear.job import Job
from clearyear.periods import parse_period, year_before
from clearyear.prepare import prepare
from flows.naming import name_run
from flows.shards import cancel_shards
from flows.steps import carry_out, refuse_relative


def _run_name() -> str:
    """Product and period, as folders call them: what it is called until its plan tells the granule as well."""
    asked = flow_run.parameters["job"]
    job = asked if isinstance(asked, Job) else Job.model_validate(asked)
    try:
        period = parse_period(job.period).label if job.period else year_before(flow_run.scheduled_start_time).label
    except InputError:
        period = str(job.period)  # the flow will say what is wrong with it; a name need not
    return f"{job.product or job.reducer} {period}"


@flow(
    name="median-composite",
    flow_run_name=_run_name,
    description=__doc__,
    on_cancellation=[cancel_shards],
    on_crashed=[cancel_shards],
    on_failure=[cancel_shards],
)
def median_composite(job: Job) -> State[Any]:
    """Compute one composite.

    Args:
        job: What to compute, from which scenes, to where.

    Returns:
        Completed if every window is there, valid and current; CompletedWithMissing if some are not and the job
        allows that; else Failed with how many are missing and why. A retry computes only what is not there.
    """
    refuse_relative(job.out)
    plan = prepare(job, due=flow_run.scheduled_start_time)
    name_run(plan)
    return carry_out(
        plan,
        workers=job.workers,
        memory_limit=job.memory_limit,
        work_pool=job.work_pool,
        windows_per_shard=job.windows_per_shard,
        runner=job.runner,
        select=job.select,
    )
