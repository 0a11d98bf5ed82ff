"""The task that makes the table of one raster."""

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.runtime import task_run
from prefect.tasks import exponential_backoff

from clearyear.zonal.job import ZonalJob
from clearyear.zonal.polygons import Polygons
from clearyear.zonal.raster import Raster
from clearyear.zonal.run import make_table
from tasks.window_median import is_transient


def _name() -> str:
    raster: Raster = task_run.parameters["raster"]
    return f"{raster.product} {raster.period.label}" if raster.period else raster.product


@task(
    name="zonal-table",
    task_run_name=_name,
    retries=2,
    retry_delay_seconds=exponential_backoff(5),
    retry_jitter_factor=0.5,
    retry_condition_fn=is_transient,
    # The record beside a table says whether it is there and current.
    cache_policy=NO_CACHE,
)
def zonal_table(raster: Raster, polygons: Polygons, job: ZonalJob) -> bool:
    """Compute the statistics of one raster unless they are there; whether they had to be."""
    return make_table(raster, polygons, job)
