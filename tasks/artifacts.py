"""What an operator sees in the Prefect UI: summary with tile map, missing windows, preview, progress.

Pictures go into Markdown as data: addresses. An image artifact shows them too, but prints the whole address
beside the picture, across the page.
"""

import base64
import time
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import urlsplit
from uuid import UUID

from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.utilities.urls import url_for

from clearyear.backfill import Backfill
from clearyear.pictures import thumbnail
from clearyear.report import NotDone, Report
from clearyear.report_text import Link, markdown, table

_SHOWN = 500
"""Rows of the table; the browser is the limit. All of them are in missing.csv."""

_SIDE = 640
"""Longest side of a picture in pixels: what the page has room for, some 100 kB in the server's database."""


_EVERY = 2.0
"""Seconds between two updates of the progress; one costs about 20 ms, and nobody looks more often."""


class Progress:
    """The progress artifact of one run, updated a percent at a time, but not more often than anybody looks.

    While the run goes on it tells how many have ended, in the end how many are well: a bar that is full is no lie.
    """

    def __init__(self, total: int, *, what: str = "windows") -> None:
        self.total, self.what = max(total, 1), what
        self.shown = 0
        self.updated = time.monotonic()
        created = create_progress_artifact(0.0, key=f"{what}-progress", description=f"{total} {what} to do")
        self.artifact_id: UUID = created  # type: ignore[assignment]

    def show(self, ended: int) -> None:
        """Tell how many have ended, well or not."""
        percent = int(100 * min(ended, self.total - 1) / self.total)
        if percent > self.shown and time.monotonic() - self.updated >= _EVERY:
            self.shown, self.updated = percent, time.monotonic()
            update_progress_artifact(self.artifact_id, float(percent))

    def end(self, done: int) -> None:
        """Tell how many are well, now that all have ended."""
        lacking = self.total - done
        text = f"{done} of {self.total} {self.what} are done" + (
            f", {lacking} {'is' if lacking == 1 else 'are'} not" if lacking else ""
        )
        update_progress_artifact(self.artifact_id, float(int(100 * done / self.total)), description=text)


def show_report(report: Report, *, tile_map: bytes, preview: bytes | None) -> None:
    """Create the artifacts run-summary, missing-tiles and, when a mosaic is published, mosaic-preview.

    Args:
        report: what became of the run.
        tile_map: the picture of all windows, missing ones marked.
        preview: the mosaic's, or None.
    """
    create_markdown_artifact(
        _summary(report, tile_map),
        key="run-summary",
        description=f"{report.status}: {report.done} of {report.expected} windows are there",
    )
    create_table_artifact(
        [_row(window, report) for window in report.not_done[:_SHOWN]],
        key="missing-tiles",
        description=_missing(report),
    )
    if preview is not None:
        create_markdown_artifact(
            f"{_picture('mosaic', preview)}\n\nMosaic: `{report.mosaic}`",
            key="mosaic-preview",
            description=f"{report.product}, {report.period}: {report.status}",
        )


class EndedShard(NamedTuple):
    """A flow run of window-batch that has ended, in whatever way."""

    windows: str
    """The first of its windows and how many follow."""
    run_id: UUID
    left: int
    """Of its windows, those it left without an answer."""
    tries: int
    why: str
    """How it ended."""
    well: bool
    """Whether it ended Completed."""


def show_shards(shards: Sequence[EndedShard]) -> None:
    """Create the artifact shards: each with a link to its run; those that did not end well come first."""
    bad = sum(shard.left > 0 or not shard.well for shard in shards)
    first = sorted(shards, key=lambda shard: (shard.left == 0, shard.well))
    rows = [(_link(shard), shard.left, shard.tries, shard.why) for shard in first]
    head = ["shard", "left unfinished", "try", "how it ended"]
    create_markdown_artifact(
        "\n".join(table(head, rows, rest="among the subflows of this run")),
        key="shards",
        description=f"{len(shards)} flow runs of window-batch; {bad} of them did not end well",
    )


def _link(shard: EndedShard) -> Link | str:
    """To the run's page on the host that this one is looked at from: a job may know the server by another address."""
    address = url_for("flow-run", obj_id=shard.run_id)
    return Link(shard.windows, urlsplit(address).path) if address else shard.windows


def show_backfill(report: Backfill) -> None:
    """Create the table backfill-periods: what became of each period, and what mends it."""
    rows = [
        {
            "period": result.period,
            "state": "complete before" if result.there else result.state,
            "windows": f"{result.done} of {result.expected}" if result.expected else "",
            "cause": result.cause,
            "command": result.command,
        }
        for result in report.periods[:_SHOWN]
    ]
    create_table_artifact(rows, key="backfill-periods", description=report.sentence())


def _summary(report: Report, tile_map: bytes) -> str:
    """The report's Markdown with its tile map inside, up where a glance falls."""
    heading, sentence, rest = markdown(report).partition("![tile map]")[0].split("\n\n", 2)
    return "\n\n".join([heading, sentence, _picture("tile map", tile_map), rest])


def _picture(title: str, picture: bytes) -> str:
    return picture_in_text(title, thumbnail(picture, side=_SIDE))


def picture_in_text(title: str, jpeg: bytes) -> str:
    """A JPEG as Markdown that needs no file."""
    return f"![{title}](data:image/jpeg;base64,{base64.b64encode(jpeg).decode()})"


def _row(window: NotDone, report: Report) -> dict[str, str]:
    """The cause stands before what is longer or matters less: the page shows about 90 characters of a row."""
    return {
        "id": window.id,
        "status": window.status.value,
        "cause": window.cause,
        "bounds": ", ".join(f"{n:.10g}" for n in window.bounds),
        "repair": report.remedy(window),
    }


def _missing(report: Report) -> str:
    if not report.not_done:
        return f"None: all {report.expected} windows are there"
    more = f" The first {_SHOWN} are shown; all are in missing.csv." if len(report.not_done) > _SHOWN else ""
    found = f"{len(report.not_done)} of {report.expected} windows are not there.{more}"
    if len(report.mend) == 1:
        return f"{found} Mend the cause, then Retry this run or `{report.repair_command}`: only these are computed."
    return (
        f"{found} What to do: {'; '.join(report.mend)}. A Retry of this run is such a repair: it takes no other files."
    )
