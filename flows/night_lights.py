"""Night lights: the tiles of each month → fetched, checked, joined, and statistics of polygons in them."""

from typing import Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.futures import wait
from prefect.runtime import flow_run
from prefect.states import Completed, Failed
from prefect.task_runners import ThreadPoolTaskRunner

from clearyear.errors import ClearyearError, IncompleteError, InputError
from clearyear.lights.job import LightsJob
from clearyear.lights.month import Month, downloads_folder, expected_tiles, find_month, months_asked, standing
from clearyear.lights.report import MonthReport, SpanReport
from clearyear.lights.span import conclude_span, failed_month
from clearyear.lights.tiles import Tile, without_file
from clearyear.progress import report_progress, stopped_by_errors
from clearyear.stores import check_destination
from clearyear.zonal.job import ZonalJob
from clearyear.zonal.run import ZonalOutcome
from flows.steps import refuse_relative
from flows.zonal import tables
from tasks.lights_artifacts import show_span
from tasks.night_lights import download_tile, month_mosaic


def _run_name() -> str:
    """Product and months: what an operator looks for in a list of runs."""
    asked = flow_run.parameters["job"]
    job = asked if isinstance(asked, LightsJob) else LightsJob.model_validate(asked)
    try:
        months = months_asked(job, due=flow_run.scheduled_start_time)
    except InputError:
        return f"{job.product} {job.months}"  # the flow will say what is wrong with it; a name need not
    first, last = (month.label.partition("--")[0] for month in (months[0], months[-1]))
    return f"{job.product} {first}" if first == last else f"{job.product} {first} to {last}"


@flow(name="night-lights", flow_run_name=_run_name, description=__doc__)
def night_lights(job: LightsJob) -> State[Any]:
    """Fetch and join every month of a span; a month that fails does not keep the next from being done.

    Args:
        job: Which months, from where, to where.

    Returns:
        Completed if every month is complete; CompletedWithMissing if some are not and the job allows that; else Failed
        with how many are not and which tiles they lack. A retry fetches and joins only what is not there.
    """
    refuse_relative(job.out)
    check_destination(job.out)
    expected_tiles(job)
    downloads_folder(job)
    months = months_asked(job, due=flow_run.scheduled_start_time)
    # What is wrong with template or destination is wrong for all months, and shows before anything is fetched.
    first = find_month(job, months[0])
    reports: list[MonthReport] = []
    for number, period in enumerate(months):
        report_progress("months", number, len(months))
        try:
            report = one_month(first if number == 0 else find_month(job, period))
        except ClearyearError as error:
            report = failed_month(job, period, error)
        get_run_logger().info(report.sentence())
        reports.append(report)
    report_progress("months", len(months), len(months))
    statistics, problem = statistics_of(job, reports)
    span = conclude_span(job, months, reports, statistics, problem)
    show_span(span)
    return final_state(span)


def one_month(month: Month) -> MonthReport:
    """Fetch what is not there of a month, as many tiles at once as the job says, and join it."""
    if (there := standing(month)) is not None:
        return there
    tiles = {found.name: without_file(found) for found in month.found}
    wanted = [found for found in month.found if found.entry is not None]
    pool: ThreadPoolTaskRunner[Any] = ThreadPoolTaskRunner(max_workers=month.job.connections)
    with pool as runner, stopped_by_errors():
        futures = {
            found.name: runner.submit(
                download_tile,
                {
                    "month": month.period.label,
                    "name": found.name,
                    "uri": found.entry.uri if found.entry else "",
                    "folder": str(month.folder),
                    "member": month.job.member,
                },
            )
            for found in wanted
        }
        wait(list(futures.values()))
    for found in wanted:
        answer = futures[found.name].result(raise_on_failure=False)
        tiles[found.name] = answer if isinstance(answer, Tile) else without_file(found, answer)
    return MonthReport.model_validate(month_mosaic(month, list(tiles.values())))


def statistics_of(job: LightsJob, reports: list[MonthReport]) -> tuple[ZonalOutcome | None, str]:
    """The zonal statistics of all months that are published, if the job asks for them; or why there are none."""
    if job.zonal is None or not any(report.mosaic for report in reports):
        return None, ""
    folder = f"{job.out.rstrip('/')}/{job.product}"
    settings = {**job.zonal.model_dump(), "raster": folder, "out": f"{folder}/zonal", "allow_missing": True}
    try:
        return tables(ZonalJob.model_validate(settings))
    except ClearyearError as error:
        return None, error.found


def final_state(span: SpanReport) -> State[Any]:
    """Completed only if all months are complete; otherwise a sentence that says which lack what."""
    if span.status == "complete":
        return Completed(message=span.sentence(), data=span.outcome())
    if span.allowed:
        return Completed(name="CompletedWithMissing", message=span.sentence(), data=span.outcome())
    return Failed(message=span.sentence(), data=IncompleteError(span.sentence(), outcome=span.outcome()))
