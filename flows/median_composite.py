"""The main job: a year of scenes → one clear mosaic, proven complete."""

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run

from clearyear.job import Job
from clearyear.prepare import prepare
from flows.steps import carry_out, refuse_relative


def _run_name() -> str:
    job = flow_run.parameters["job"]
    asked = job if isinstance(job, dict) else job.model_dump()
    return f"{asked.get('product') or asked.get('reducer', 'luminance-median')} {asked.get('period') or 'last year'}"


@flow(name="median-composite", flow_run_name=_run_name, description=__doc__)
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
    return carry_out(plan, workers=job.workers)
