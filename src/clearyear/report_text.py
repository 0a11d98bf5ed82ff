"""The report for people: Markdown to read, CSV to open in a spreadsheet."""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from clearyear.cost import Cost
from clearyear.limits import bytes_text
from clearyear.observations import FEW
from clearyear.report import NotDone, Report

_SHOWN = 100
"""Rows of a table in report.md; the lists in report.json and missing.csv are whole."""


def missing_csv(report: Report) -> str:
    """One row for each window that is not done; just the header when all are."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["id", "status", "cause", "left", "bottom", "right", "top", "repair"])
    for w in report.not_done:
        writer.writerow([w.id, w.status.value, csv_cell(w.cause), *w.bounds, csv_cell(report.remedy(w))])
    return out.getvalue()


def markdown(report: Report) -> str:
    """The report for people; its pictures come last."""
    name = ", ".join(part for part in (report.product, report.period, report.granule) if part)
    lines = [f"# {name}: {report.status}", "", f"{md_cell(report.sentence())}.", ""]
    if report.status != "complete":
        lines += [_published(report), "", *_mend(report), ""]
    lines += [*table(["figure", "value"], list(_figures(report).items())), ""]
    if report.failed_scenes:
        lines += [f"## Scenes that failed to read: {len(report.failed_scenes)}", ""]
        scenes = [(s.scene, s.windows, s.cause) for s in report.failed_scenes]
        lines += [*table(["scene", "in windows", "cause"], scenes, rest="in report.json"), ""]
    if report.not_done:
        lines += [f"## Windows that are not done: {len(report.not_done)}", ""]
        rows = [(w.id, w.status, _cause(w, report.scenes)) for w in report.not_done]
        lines += [*table(["window", "status", "cause"], rows, rest="in missing.csv"), ""]
    lines += ["![tile map](tile_map.png)", ""]
    if report.preview:
        lines += [f"![the composite]({report.preview.rpartition('/')[2]})", ""]
    return "\n".join(lines)


def _published(report: Report) -> str:
    if report.mosaic:
        return f"A mosaic is published: `{report.mosaic}`."
    why = report.problem or "no mosaic is published"
    return f"{md_cell(why[0].upper() + why[1:])}."


def _mend(report: Report) -> list[str]:
    if len(report.mend) == 1:
        return [f"To compute what is not there: `{report.mend[0]}`"]
    return ["To complete it:", "", *(f"- {md_cell(way)}" for way in report.mend)]


def _cause(window: NotDone, scenes: int) -> str:
    """The scenes stand in a table of their own, once, and not at every window."""
    return f"{window.unread} of {scenes} scenes could not be read" if window.unread else window.cause


def _figures(report: Report) -> dict[str, Any]:
    return {
        "windows expected": f"{report.expected:,}",
        "windows done": f"{report.done:,} ({report.done / report.expected:.1%})",
        "of these empty (no valid sample)": f"{len(report.empty):,}",
        "scenes": f"{report.scenes:,}",
        "reads that failed": f"{report.failed_reads:,}",
        "pixels with a valid sample": f"{report.valid_share:.2%} of the windows that are done",
        "valid samples of such a pixel": _observations(report),
        "mosaic": f"`{report.mosaic}`" if report.mosaic else "not published",
        "window seconds, summed": f"{report.figures.window_seconds:,.1f}",
        "window seconds at Cloud Run's prices": _cost(report.figures.cost),
        "bytes read, about": bytes_text(report.figures.bytes_read),
        "made": f"{report.figures.created} by clearyear {report.figures.clearyear}",
    }


def _cost(cost: Cost | None) -> str:
    if cost is None:
        return "no Cloud Run job is large enough for a window"
    return f"about {cost.usd:,.4f} USD; cost in report.json says what is assumed"


def _observations(report: Report) -> str:
    seen = report.observations
    if seen is None:
        return "not known" if report.valid_share else "none has any"
    text = f"{seen.least:,} to {seen.most:,}, median {seen.median:,g}; {seen.few_share:.2%} have fewer than {FEW}"
    left = report.done - seen.windows
    return f"{text} (not counted by the version that made {left:,} of the windows)" if left else text


@dataclass(frozen=True)
class Link:
    """A table's cell that leads somewhere."""

    text: str
    address: str


def table(head: Sequence[str], rows: Sequence[Sequence[object]], *, rest: str = "") -> list[str]:
    """A Markdown table's lines; beyond 100 rows it says how many more there are, and ``rest`` where.

    Args:
        head: the columns' names.
        rows: one value a column.
        rest: where all rows are.
    """
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    lines += [f"| {' | '.join(map(md_cell, row))} |" for row in rows[:_SHOWN]]
    return lines if len(rows) <= _SHOWN else [*lines, "", f"… and {len(rows) - _SHOWN:,} more {rest}."]


_FORMULA = re.compile(r'(^|[;,"]) *(?=[=+@＝＋－＠-])')


def csv_cell(text: str) -> str:
    """A CSV cell of one line that a spreadsheet does not take for a formula.

    Not at its start, and not after what some spreadsheets take for the end of a cell: a semicolon, where a comma is the
    decimal sign. A quote before it makes it text. Source: OWASP, CSV injection.
    """
    return _FORMULA.sub(r"\g<0>'", re.sub(r"\s+", " ", text))


def md_cell(value: object) -> str:
    """Text in a Markdown table: its columns and rows do not break, and no name becomes HTML, a link or a picture."""
    if isinstance(value, Link):
        return f"[{md_cell(value.text)}]({value.address})"
    text = str(value).replace("&", "&amp;").replace("<", "&lt;").replace("[", "&#91;")
    return " ".join(text.replace("|", "\\|").split())
