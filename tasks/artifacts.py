"""What an operator sees in the Prefect UI: summary, missing windows, preview, progress."""

import base64
from uuid import UUID

from prefect.artifacts import (
    create_image_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

from clearyear.pictures import thumbnail
from clearyear.report import Report, markdown

_SHOWN = 500
"""Rows of the table; the browser is the limit. All of them are in missing.csv."""

_PREVIEW_SIDE = 480


class Progress:
    """The progress artifact of one run, updated a percent at a time: an update costs about 20 ms."""

    def __init__(self, total: int) -> None:
        self.total = max(total, 1)
        self.shown = 0
        created = create_progress_artifact(0.0, key="windows-progress", description=f"{total} windows to compute")
        self.artifact_id: UUID = created  # type: ignore[assignment]

    def show(self, done: int) -> None:
        """Tell how many windows are done."""
        percent = int(100 * done / self.total)
        if percent > self.shown:
            self.shown = percent
            update_progress_artifact(self.artifact_id, float(percent))


def show_report(report: Report, picture: bytes | None) -> None:
    """Create the run-summary, missing-tiles and, with the mosaic's preview, mosaic-preview artifacts."""
    create_markdown_artifact(
        markdown(report).partition("![tile map]")[0], key="run-summary", description=report.sentence()
    )
    create_table_artifact(
        [
            {
                "id": w.id,
                "bounds": ", ".join(f"{n:.6g}" for n in w.bounds),
                "status": w.status.value,
                "cause": w.cause,
                "repair": report.repair_command,
            }
            for w in report.not_done[:_SHOWN]
        ],
        key="missing-tiles",
        description=f"{len(report.not_done)} of {report.expected} windows are not done"
        + (f"; the first {_SHOWN} are shown, all are in missing.csv" if len(report.not_done) > _SHOWN else ""),
    )
    if picture is not None:
        small = base64.b64encode(thumbnail(picture, side=_PREVIEW_SIDE)).decode()
        create_image_artifact(
            f"data:image/jpeg;base64,{small}", key="mosaic-preview", description=f"{report.product} {report.period}"
        )
