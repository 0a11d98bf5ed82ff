"""All months of a run: their reports put together, and written beside the months."""

from collections.abc import Sequence

from clearyear.errors import ClearyearError
from clearyear.lights.job import LightsJob
from clearyear.lights.month import expected_tiles
from clearyear.lights.report import MonthReport, SpanReport, make_span, missing_csv, now
from clearyear.lights.tiles import Tile
from clearyear.periods import Period
from clearyear.stores import open_store
from clearyear.zonal.run import ZonalOutcome


def failed_month(job: LightsJob, period: Period, error: ClearyearError) -> MonthReport:
    """The report of a month that could not even be looked at or written."""
    destination = f"{job.out.rstrip('/')}/{job.product}/{period.label}"
    names = list(expected_tiles(job))
    return MonthReport(
        status="failed",
        month=period.label,
        product=job.product,
        destination=destination,
        expected=names,
        missing=[],
        causes={},
        tiles=[Tile(name=name, status="failed", cause=error.found, address="") for name in names],
        mosaic=None,
        stac_item=None,
        preview=None,
        report=f"{destination}/report.json",
        problem=error.found,
        allowed=False,
        created=now(),
    )


def conclude_span(
    job: LightsJob, months: Sequence[Period], reports: Sequence[MonthReport], zonal: ZonalOutcome | None, problem: str
) -> SpanReport:
    """Write the run's report and its table of missing tiles, called by its first and last month."""
    store = open_store(f"{job.out.rstrip('/')}/{job.product}")
    first, last = (month.label.partition("--")[0] for month in (months[0], months[-1]))
    name = f"months_{first}_{last}"
    span = make_span(job.product, reports, zonal=zonal, problem=problem, uri=store.uri(name))
    store.write(f"{name}_missing.csv", missing_csv(reports))
    store.write(f"{name}.json", (span.model_dump_json(indent=1) + "\n").encode())
    store.sweep()
    return span
