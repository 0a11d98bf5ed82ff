"""The report: what of a plan is there, as a value that is JSON in and out."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from clearyear import __version__
from clearyear.completeness import Status, WindowStatus
from clearyear.cost import Cost, cloud_run_cost
from clearyear.mosaic import Mosaic
from clearyear.observations import Observations, summary
from clearyear.plan import Plan
from clearyear.remedy import remedies, repair_command, unread_of
from clearyear.stores import Store

_CONTRACT = {
    *("status", "mosaic", "expected", "ok", "missing", "invalid", "stale", "empty", "failed_reads"),
    *("report", "stac_item", "layers", "causes", "problem", "unread", "failed_scenes", "mend"),
}

_ROUNDING = 1e-9
"""Windows."""


class FailedScene(BaseModel):
    """A scene that could not be read somewhere."""

    model_config = ConfigDict(frozen=True)

    scene: str
    uri: str
    windows: int
    """In how many windows."""
    cause: str
    """What the first of them said."""


class NotDone(BaseModel):
    """A window that is not there, valid and current."""

    model_config = ConfigDict(frozen=True)

    id: str
    status: Status
    cause: str
    unread: int = 0
    """How many scenes could not be read there, where that is why."""
    bounds: tuple[float, float, float, float]
    """(left, bottom, right, top) in the grid's CRS."""


class Figures(BaseModel):
    """What may differ between equal runs, kept apart from what may not."""

    model_config = ConfigDict(frozen=True)

    created: str
    clearyear: str = __version__
    window_seconds: float
    """Sum over windows; with several workers more than the wall clock."""
    bytes_read: int
    """About how many stored bytes were read for the windows that are there."""
    cost: Cost | None
    """Of ``window_seconds``, as if Cloud Run jobs had taken them; None where no job is large enough."""


class Report(BaseModel):
    """What of the plan is there. ``expected`` = ok + empty + missing + invalid + stale."""

    model_config = ConfigDict(frozen=True)

    status: Literal["complete", "incomplete", "failed"]
    mosaic: str | None
    """The composite; with a file for each band the first of them, and all in ``layers``."""
    expected: int
    ok: int
    missing: list[str]
    invalid: list[str]
    stale: list[str]
    empty: list[str]
    failed_reads: int
    """Reads that failed, over all windows."""
    report: str
    stac_item: str | None
    preview: str | None
    layers: dict[str, str]
    """Published files besides the composite."""
    causes: dict[str, str]
    """Window id → why it is not done."""
    unread: list[str]
    """Of those that are not done, the windows where more scenes could not be read than the job allows."""
    mend: list[str]
    """What the user can do where the result is not complete: see ``remedies``."""
    problem: str = ""
    """Why no mosaic is published, in a sentence; empty when one is."""
    product: str
    period: str
    granule: str
    """The tile that all scenes are named after, such as ``T31TCJ``; empty where they tell none."""
    destination: str
    allowed: bool
    """Whether an incomplete result is good enough for the user (min_completeness, allow_missing)."""
    scenes: int
    failed_scenes: list[FailedScene]
    not_done: list[NotDone]
    valid_share: float
    """Share of the finished windows' pixels with at least one valid sample."""
    observations: Observations | None = None
    """How many they have; None where that is not known of any, or none has one."""
    figures: Figures = Field(repr=False)

    @property
    def done(self) -> int:
        """Windows that are there, valid and current."""
        return self.ok + len(self.empty)

    def contract(self) -> dict[str, Any]:
        """What ``--json`` prints."""
        return self.model_dump(mode="json", include=_CONTRACT)

    def outcome(self, *, allow_missing: bool = False) -> dict[str, Any]:
        """``contract`` and whether an incomplete result is good enough: what decides the exit code."""
        return self.contract() | {"allowed": self.allowed or allow_missing}

    @property
    def repair_command(self) -> str:
        """The command that computes what is not done."""
        return repair_command(self.destination)

    def remedy(self, window: NotDone) -> str:
        """What mends this window, for a table's cell."""
        return "; ".join(self.mend[:2]) if window.unread and len(self.mend) > 1 else self.repair_command

    def sentence(self) -> str:
        """The result in one sentence, for a state's message or a log."""
        if self.status == "complete":
            return f"{self.done} of {self.expected} windows are there; the mosaic is {self.mosaic}"
        if not self.not_done:
            return f"{self.done} of {self.expected} windows are there, but {self.problem or 'no mosaic is published'}"
        parts = [f"{len(ids)} {name}" for name in ("missing", "invalid", "stale") if (ids := getattr(self, name))]
        first, cause = next(iter(self.causes.items()))
        why = f"{'; '.join(parts)} ({first}: {cause})"
        return f"{self.expected - self.done} of {self.expected} windows are not done: {why}"


def make_report(
    plan: Plan, store: Store, statuses: Sequence[WindowStatus], mosaic: Mosaic | None, *, problem: str = ""
) -> Report:
    """Put the report together; writes nothing.

    Args:
        plan: what was to be done.
        store: the plan's destination.
        statuses: one a window, in the plan's order.
        mosaic: what is published, or None.
        problem: why nothing is, where the windows alone do not tell.
    """
    ids: dict[Status, list[str]] = defaultdict(list)
    for status in statuses:
        ids[status.status].append(status.id)
    not_done = [
        NotDone(id=s.id, status=s.status, cause=s.cause, unread=len(unread_of(plan, s)), bounds=plan.grid.bounds(w))
        for w, s in zip(plan.windows, statuses, strict=True)
        if not s.is_done
    ]
    complete = not not_done and mosaic is not None
    layers = {k: store.uri(f.name) for k, f in mosaic.layers.items()} if mosaic else {}
    return Report(
        status="complete" if complete else "incomplete",
        mosaic=layers.pop("composite", None) or layers.get(next(iter(plan.files))),
        expected=len(plan.windows),
        ok=len(ids[Status.OK]),
        missing=ids[Status.MISSING],
        invalid=ids[Status.INVALID],
        stale=ids[Status.STALE],
        empty=ids[Status.EMPTY],
        failed_reads=sum(len(s.result.failed_reads) for s in statuses if s.result),
        report=store.uri("report.json"),
        stac_item=store.uri(plan.item_name) if mosaic else None,
        preview=store.uri(plan.preview_name) if mosaic else None,
        layers=layers,
        causes={n.id: n.cause for n in not_done},
        unread=[n.id for n in not_done if n.unread],
        mend=[] if complete else remedies(plan, statuses, store.root),
        problem=problem,
        product=plan.product.name,
        period=plan.period.label,
        granule=plan.granule,
        destination=store.root,
        allowed=is_allowed(plan, statuses),
        scenes=len(plan.scenes),
        failed_scenes=_failed_scenes(statuses),
        not_done=not_done,
        valid_share=_valid_share(plan, statuses),
        observations=summary(s.result.observations for s in statuses if s.is_done and s.result),
        figures=_figures(plan, statuses),
    )


def is_allowed(plan: Plan, statuses: Sequence[WindowStatus]) -> bool:
    """Whether enough windows are done for a mosaic to be published; never without a single one."""
    done = sum(status.is_done for status in statuses)
    # 0.55 × 100 is a little more than 55.
    return done > 0 and done >= plan.min_completeness * len(statuses) - _ROUNDING


def _figures(plan: Plan, statuses: Sequence[WindowStatus]) -> Figures:
    seconds = sum(s.result.seconds for s in statuses if s.result)
    return Figures(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        window_seconds=round(seconds, 3),
        bytes_read=sum(s.result.bytes_read for s in statuses if s.result),
        cost=cloud_run_cost(plan, seconds),
    )


def _failed_scenes(statuses: Sequence[WindowStatus]) -> list[FailedScene]:
    first: dict[str, Any] = {}
    windows: dict[str, int] = defaultdict(int)
    for status in statuses:
        for failed in status.result.failed_reads if status.result else ():
            first.setdefault(failed.scene, failed)
            windows[failed.scene] += 1
    return [FailedScene(scene=k, uri=f.uri, windows=windows[k], cause=f.cause) for k, f in sorted(first.items())]


def _valid_share(plan: Plan, statuses: Sequence[WindowStatus]) -> float:
    done = [
        (w.n_pixels, s.result.valid_share)
        for w, s in zip(plan.windows, statuses, strict=True)
        if s.is_done and s.result
    ]
    total = sum(n for n, _ in done)
    return round(sum(n * share for n, share in done) / total, 6) if total else 0.0
