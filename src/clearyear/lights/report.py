"""What became of a month, and of a span of months: the same states, exit codes and files as a composite's."""

import csv
import io
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from clearyear import __version__
from clearyear.lights.tiles import Tile
from clearyear.report_text import csv_cell
from clearyear.zonal.run import ZonalOutcome

Status = Literal["complete", "incomplete", "failed"]


class MonthReport(BaseModel):
    """One month: which of its tiles are there, and whether its mosaic is published."""

    model_config = ConfigDict(frozen=True)

    status: Status
    """complete: all tiles are in the mosaic; incomplete: some are not there; failed: the mosaic could not be made."""
    month: str
    """The period's label, 2023-01--P1M."""
    product: str
    destination: str
    expected: list[str]
    missing: list[str]
    """Tiles that are absent, or could not be had."""
    causes: dict[str, str]
    """Tile → why it is missing."""
    tiles: list[Tile]
    mosaic: str | None
    stac_item: str | None
    preview: str | None
    report: str
    problem: str = ""
    """Why no mosaic is published; empty when one is."""
    allowed: bool
    """Whether what is missing is allowed to be."""
    created: str = ""
    clearyear: str = __version__

    @property
    def n_ok(self) -> int:
        """Tiles that are there."""
        return len(self.expected) - len(self.missing)

    def sentence(self) -> str:
        """The month in one sentence."""
        name = self.month.partition("--")[0]
        if self.status == "complete":
            return f"{name}: {self.n_ok} of {len(self.expected)} tiles"
        if self.missing:
            first = self.missing[0]
            why = f"{', '.join(self.missing)} missing ({first}: {self.causes[first]})"
            return f"{name}: {self.n_ok} of {len(self.expected)} tiles; {why}"
        return f"{name}: {self.problem}"

    def what_to_do(self) -> str:
        """How an operator gets from here to a complete month; empty for one that is."""
        if self.status == "complete":
            return ""
        absent = [tile.name for tile in self.tiles if tile.status == "absent"]
        if absent and len(absent) == len(self.expected):
            return "not published yet, or the template is wrong; once it is there, run the same again"
        if absent:
            return "ask the source for the tile, then run the same again: only it is fetched"
        return "mend the cause, then run the same again: only what is not there is fetched"


class SpanReport(BaseModel):
    """All months of a run."""

    model_config = ConfigDict(frozen=True)

    status: Status
    product: str
    expected: int
    """Months asked for."""
    ok: list[str]
    incomplete: list[str]
    failed: list[str]
    causes: dict[str, str]
    """Month → why it is not complete, or has no statistics."""
    months: list[MonthReport]
    zonal: ZonalOutcome | None
    problem: str
    """Why there are no zonal statistics though they are asked for."""
    allowed: bool
    report: str
    missing: str
    """The address of the CSV of missing tiles."""

    def sentence(self) -> str:
        """The run in one sentence, for a state's message or a log."""
        done = f"{len(self.ok)} of {self.expected} months are complete"
        bad = [month for month in self.months if month.status != "complete"]
        if bad:
            more = f" … and {len(bad) - 3} more" if len(bad) > 3 else ""
            return f"{done}; {'; '.join(m.sentence() for m in bad[:3])}{more}"
        return f"{done}, but {self.problem}" if self.problem else done

    def outcome(self) -> dict[str, Any]:
        """What ``--json`` prints, and whether an incomplete result is good enough."""
        return self.model_dump(mode="json")


def make_span(
    product: str, months: Sequence[MonthReport], *, zonal: ZonalOutcome | None, problem: str, uri: str
) -> SpanReport:
    """Put the months of a run together; ``uri`` is how its report's address begins."""
    by_status = {s: [m.month for m in months if m.status == s] for s in ("complete", "incomplete", "failed")}
    causes = {m.month: m.sentence() for m in months if m.status != "complete"}
    # Without statistics that were asked for a run is no success, whatever is allowed to be missing.
    whole = not by_status["incomplete"] and not by_status["failed"] and not problem
    none = not any(m.mosaic for m in months)
    return SpanReport(
        status="complete" if whole else "failed" if none else "incomplete",
        product=product,
        expected=len(months),
        ok=by_status["complete"],
        incomplete=by_status["incomplete"],
        failed=by_status["failed"],
        causes=causes,
        months=list(months),
        zonal=zonal,
        problem=problem,
        allowed=not problem and all(m.status == "complete" or (m.allowed and m.mosaic) for m in months),
        report=f"{uri}.json",
        missing=f"{uri}_missing.csv",
    )


def missing_csv(months: Sequence[MonthReport]) -> bytes:
    """The tiles that are not there, for a spreadsheet."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["month", "tile", "status", "cause", "address", "what_to_do"])
    for month in months:
        for tile in month.tiles:
            if tile.status != "ok":
                cells = [csv_cell(text) for text in (tile.cause, tile.address, month.what_to_do())]
                writer.writerow([month.month, tile.name, tile.status, *cells])
        if month.status == "failed" and not month.missing:
            writer.writerow([month.month, "", "failed", csv_cell(month.problem), "", csv_cell(month.what_to_do())])
    return out.getvalue().encode()


def now() -> str:
    """When a report is made."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
