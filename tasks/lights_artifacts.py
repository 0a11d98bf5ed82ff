"""What an operator sees of months and statistics: months × tiles, a summary, pictures."""

from prefect.artifacts import create_markdown_artifact, create_table_artifact

from clearyear.errors import ClearyearError
from clearyear.lights.report import MonthReport, SpanReport
from clearyear.pictures import thumbnail
from clearyear.report_text import md_cell
from clearyear.stores import open_store, parent_of
from clearyear.zonal.job import ZonalJob
from clearyear.zonal.run import ZonalOutcome
from tasks.artifacts import picture_in_text

_SHOWN = 500
_SIDE = 900
_SIGNS = {"ok": "ok", "absent": "ABSENT", "failed": "FAILED"}


def show_span(span: SpanReport) -> None:
    """Create the artifacts months-tiles, months-summary and, where there are statistics, zonal-statistics."""
    create_table_artifact(
        [_row(month) for month in span.months[:_SHOWN]],
        key="months-tiles",
        description=f"{span.sentence()}. All that is missing: {span.missing}",
    )
    create_markdown_artifact(_summary(span), key="months-summary", description=f"{span.status}: {span.sentence()}")
    if span.zonal is not None:
        _show_outcome(span.zonal, span.product)


def show_zonal(job: ZonalJob, outcome: ZonalOutcome | None, problem: str) -> None:
    """Create the artifact zonal-statistics."""
    if outcome is not None:
        _show_outcome(outcome, job.raster, problem)


def _row(month: MonthReport) -> dict[str, str]:
    """What is to be done stands first: the page shows about 90 characters of a row."""
    tiles = {tile.name: _SIGNS[tile.status] for tile in month.tiles}
    problem = month.problem or "; ".join(month.causes.values())
    return {
        "month": month.month.partition("--")[0],
        "status": month.status,
        "what to do": month.what_to_do(),
        **tiles,
        "cause": problem,
    }


def _summary(span: SpanReport) -> str:
    lines = [f"# {span.product}: {span.status}", "", f"{md_cell(span.sentence())}.", ""]
    lines += ["| month | status | tiles | mosaic |", "|---|---|---|---|"]
    for month in span.months[:_SHOWN]:
        mosaic = f"`{month.mosaic}`" if month.mosaic else f"none: {md_cell(month.problem)}"
        lines.append(f"| {month.month} | {month.status} | {month.n_ok} of {len(month.expected)} | {mosaic} |")
    lines += ["", f"Report: `{span.report}`", ""]
    newest = next((month for month in reversed(span.months) if month.preview), None)
    if newest is not None and newest.preview is not None:
        lines += [f"The newest month, {newest.month}:", "", _picture(newest.preview, newest.month)]
    return "\n".join(lines)


def _show_outcome(outcome: ZonalOutcome, title: str, problem: str = "") -> None:
    lines = [f"# Zonal statistics of {md_cell(title)}", "", f"{outcome.rows} rows of {outcome.polygons} polygons.", ""]
    for label, items in (
        ("Failed", [problem] if problem else []),
        ("Outside the raster", outcome.outside),
        ("From incomplete mosaics", outcome.incomplete),
        ("Not in the series, made of other polygons or settings", outcome.left_out),
    ):
        if items:
            lines += [f"{label}: {md_cell(', '.join(items))}.", ""]
    lines += [f"- `{address}`" for address in (*outcome.series, *outcome.tables)[:_SHOWN]]
    series = [p for p in outcome.pictures if parent_of(p)[1].startswith("series_")]
    maps = [p for p in outcome.pictures if p not in series]
    for address in (series + maps[-1:])[:4]:
        lines += ["", _picture(address, parent_of(address)[1])]
    create_markdown_artifact("\n".join(lines), key="zonal-statistics", description=f"{outcome.rows} rows")


def _picture(address: str, title: str) -> str:
    """The picture itself as text; one that cannot be read is no reason for a run to fail."""
    folder, name = parent_of(address)
    try:
        return picture_in_text(title, thumbnail(open_store(folder).read(name), side=_SIDE))
    except ClearyearError as error:
        return md_cell(error.found)
