"""Zonal statistics: polygons × every period of a raster product → tables, a series, pictures."""

from pathlib import PurePosixPath
from typing import Any

from prefect import flow, unmapped
from prefect.client.schemas.objects import State
from prefect.futures import wait
from prefect.runtime import flow_run
from prefect.states import Completed, Failed
from prefect.task_runners import ThreadPoolTaskRunner

from clearyear.errors import ClearyearError
from clearyear.stores import check_destination
from clearyear.zonal.job import ZonalJob
from clearyear.zonal.polygons import read_polygons
from clearyear.zonal.raster import find_rasters
from clearyear.zonal.run import ZonalOutcome, conclude_zonal
from flows.steps import refuse_relative
from tasks.lights_artifacts import show_zonal
from tasks.zonal import zonal_table


def tables(job: ZonalJob) -> tuple[ZonalOutcome | None, str]:
    """Map the zonal-table task over the rasters of a job, and put series and pictures beside the tables.

    Returns:
        What was made, None if nothing could be; and which periods failed and why, in a sentence.
    """
    rasters, polygons = find_rasters(job), read_polygons(job)
    # One at a time: each table is bounded in memory, and rasters in a row find GDAL's blocks.
    pool: ThreadPoolTaskRunner[Any] = ThreadPoolTaskRunner(max_workers=1)
    with pool as runner:
        futures = runner.map(zonal_table, {"raster": rasters, "polygons": unmapped(polygons), "job": unmapped(job)})
        wait(futures)
    failed, computed = [], 0
    for raster, future in zip(rasters, futures, strict=True):
        answer = future.result(raise_on_failure=False)
        if isinstance(answer, BaseException) or not future.state.is_completed():
            cause = answer.found if isinstance(answer, ClearyearError) else future.state.message or str(answer)
            failed.append(f"{raster.period.label if raster.period else raster.product}: {cause}")
        else:
            computed += bool(answer)
    problem = f"{len(failed)} of {len(rasters)} tables could not be made ({failed[0]})" if failed else ""
    if len(failed) == len(rasters):
        return None, problem
    return conclude_zonal(rasters, polygons, job, computed=computed), problem


def _run_name() -> str:
    asked = flow_run.parameters["job"]
    job = asked if isinstance(asked, ZonalJob) else ZonalJob.model_validate(asked)
    return f"zonal {PurePosixPath(job.raster).name} × {PurePosixPath(job.polygons).name}"


@flow(name="zonal", flow_run_name=_run_name, description=__doc__)
def zonal(job: ZonalJob) -> State[Any]:
    """Compute the statistics of polygons in every period of a product.

    Args:
        job: Which raster, which polygons, which statistics, to where.

    Returns:
        Completed if the table of every period is there; else Failed with how many are not and why.
    """
    refuse_relative(job.out)
    check_destination(job.out)
    outcome, problem = tables(job)
    show_zonal(job, outcome, problem)
    if problem:
        return Failed(message=problem, data=ClearyearError(problem, "a table for every period", "run it again"))
    assert outcome is not None  # there is no problem
    sentence = f"{outcome.rows} rows of {outcome.polygons} polygons in {outcome.rasters} periods"
    return Completed(message=sentence, data=outcome.model_dump(mode="json"))
