"""The dry run as a value: what would be done, and what it would take, with the assumptions written out."""

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

from clearyear.budget import Budget, process_budget
from clearyear.completeness import Status, WindowStatus, check_plan
from clearyear.errors import InputError
from clearyear.grid import Window
from clearyear.limits import bytes_text
from clearyear.memory import peak_bytes, pieces
from clearyear.plan import Plan
from clearyear.prepare import PLAN, plan_at
from clearyear.publish import published
from clearyear.settings import Settings
from clearyear.stores import Store, open_store

_MB, _GIB = 1_000_000, 1 << 30
_CLOUD_RUN_VCPU = 2
_OVERHEAD_GIB = 0.5
"""Python, GDAL, numba and Prefect in a job beside the stacks."""

Action = Literal["new", "skip", "recompute"]
_ACTIONS: dict[Status, Action] = {
    Status.OK: "skip",
    Status.EMPTY: "skip",
    Status.MISSING: "new",
    Status.INVALID: "recompute",
    Status.STALE: "recompute",
}


class WindowEstimate(BaseModel):
    """One window of a dry run."""

    model_config = ConfigDict(frozen=True)

    id: str
    width: int
    height: int
    action: Action
    cause: str
    bytes_to_read: int
    """About how many stored bytes; a block the window cuts is read whole."""
    peak_bytes: int
    pieces: int
    """It is read and reduced in."""


class PastRun(BaseModel):
    """What a run of this very plan has left at the destination."""

    model_config = ConfigDict(frozen=True)

    done: int
    expected: int
    failed: list[str]
    """Windows it tried and could not compute."""
    ended: bool
    """Whether it came to its report, or was stopped before."""
    published: bool
    """Whether its mosaic lies there, byte for byte."""

    def sentence(self) -> str:
        """For people."""
        parts = [f"{self.done:,} of {self.expected:,} windows are there"]
        parts += [f"{len(self.failed):,} failed"] if self.failed else []
        parts += [] if self.ended else ["it was stopped before its report"]
        parts.append(f"{'its' if self.published else 'no'} mosaic is published")
        whole = self.done == self.expected and self.published
        return f"{'complete' if whole else 'incomplete'}: {', '.join(parts)}"


class Estimate(BaseModel):
    """What a run would do now."""

    model_config = ConfigDict(frozen=True)

    destination: str
    plan: str
    period: str
    scenes: int
    first_scene: str
    last_scene: str
    new: int
    skip: int
    recompute: int
    past: PastRun | None
    """What an earlier run of the same plan has done; None if there was none."""
    bytes_to_read: int
    peak_bytes: int
    """Of the whole container: all windows at once, Python, Prefect and GDAL beside them; 0 with nothing to do."""
    memory: Budget
    """What the limit leaves: windows at once, threads and bytes for each."""
    workers: int
    """Windows at once: no more than there are to compute, and than fit the limit."""
    seconds: float
    """Wall clock on this machine, if the assumptions hold."""
    cloud_run_usd: float
    assumptions: list[str]
    warnings: list[str]
    windows: list[WindowEstimate]

    def table(self) -> str:
        """For people."""
        lines = [
            f"{len(self.windows):,} windows from {self.scenes:,} scenes, {self.first_scene} … {self.last_scene}",
            f"destination  {self.destination}",
            f"past run     {self.past.sentence() if self.past else 'none of this plan'}",
            f"to do        {self.new:,} new, {self.recompute:,} recompute, {self.skip:,} skip",
        ]
        if self.new or self.recompute:
            lines += [
                f"to read      about {bytes_text(self.bytes_to_read)}",
                f"peak memory  {bytes_text(self.peak_bytes)}: {self._at_once()}, "
                f"{bytes_text(self.memory.beside_bytes)} beside for Python, Prefect and GDAL",
                f"limit        {self._limit()}",
                f"time         about {_duration(self.seconds)} here",
                f"Cloud Run    about {self.cloud_run_usd:,.4f} USD",
                "assuming     " + "\n             ".join(self.assumptions),
            ]
        lines += [*(f"warning      {w}" for w in self.warnings), ""]
        lines.append(f"{'window':<16}{'size':>12}  {'action':<10}{'to read':>10}{'memory':>10}{'pieces':>8}")
        for w in self.windows:
            size = f"{w.width}×{w.height}"
            figures = f"{bytes_text(w.bytes_to_read):>10}{bytes_text(w.peak_bytes):>10}{w.pieces:>8}"
            lines.append(f"{w.id:<16}{size:>12}  {w.action:<10}{figures}  {w.cause}".rstrip())
        return "\n".join(lines)

    def _at_once(self) -> str:
        windows = f"{self.workers} window{'s' if self.workers > 1 else ''} at once"
        return f"{bytes_text(self.peak_bytes - self.memory.beside_bytes)} for {windows}"

    def _limit(self) -> str:
        limit = self.memory.limit
        return f"{bytes_text(limit)} ({self.memory.limit_origin})" if limit else "none (--memory-limit sets one)"


def estimate(plan: Plan, *, workers: int | None = None, memory_limit: int | None = None) -> Estimate:
    """What running ``plan`` now would do and take.

    Args:
        plan: as made from the job; what lies at its destination decides what is skipped.
        workers: windows at once; the machine's setting if None.
        memory_limit: the job's, in bytes; the environment's or the container's if None.

    Raises:
        InputError: the limit cannot be kept.
    """
    settings = Settings()
    store = open_store(plan.destination)
    statuses = check_plan(plan, store)
    pending = [w for w, s in zip(plan.windows, statuses, strict=True) if not s.is_done]
    memory = process_budget(plan, pending, workers=workers, memory_limit=memory_limit)
    windows = [_window(plan, w, s, memory) for w, s in zip(plan.windows, statuses, strict=True)]
    todo = [(w, e) for w, e in zip(plan.windows, windows, strict=True) if e.action != "skip"]
    decoded = sum(plan.stack_bytes(w) * _touched(plan, w) / w.n_pixels for w, _ in todo)
    core_seconds = decoded / (settings.decode_mb_per_s * _MB) + (reducing := plan.reduce_seconds([w for w, _ in todo]))
    largest = max((e.peak_bytes for _, e in todo), default=0)
    job_gib = largest * _CLOUD_RUN_VCPU / _GIB + _OVERHEAD_GIB
    rate = _CLOUD_RUN_VCPU * settings.vcpu_second_usd + job_gib * settings.gib_second_usd
    past, warnings = _past(plan, store, statuses)
    return Estimate(
        destination=store.root,
        plan=plan.id,
        period=plan.period.label,
        scenes=len(plan.scenes),
        first_scene=plan.scenes[0].id,
        last_scene=plan.scenes[-1].id,
        new=sum(e.action == "new" for e in windows),
        skip=sum(e.action == "skip" for e in windows),
        recompute=sum(e.action == "recompute" for e in windows),
        past=past,
        bytes_to_read=sum(e.bytes_to_read for _, e in todo),
        peak_bytes=memory.peak_bytes if todo else 0,
        memory=memory,
        workers=memory.workers,
        seconds=round(core_seconds / (memory.workers * memory.threads), 1),
        cloud_run_usd=round(core_seconds / _CLOUD_RUN_VCPU * rate, 6),
        assumptions=[
            f"{settings.decode_mb_per_s:g} MB of pixels a second and core (CLEARYEAR_DECODE_MB_PER_S)",
            *([f"{_duration(reducing)} of one core for {plan.product.reducer} itself"] if reducing else []),
            f"Cloud Run jobs of {_CLOUD_RUN_VCPU} vCPU and {job_gib:.1f} GiB at {_price(settings.vcpu_second_usd)} USD "
            f"a vCPU-second and {_price(settings.gib_second_usd)} USD a GiB-second",
            "no start-up time, no network charge, no free tier",
        ],
        warnings=[*_cut_blocks(plan), *warnings],
        windows=windows,
    )


def _window(plan: Plan, window: Window, status: WindowStatus, memory: Budget) -> WindowEstimate:
    return WindowEstimate(
        id=window.id,
        width=window.width,
        height=window.height,
        action=_ACTIONS[status.status],
        cause="" if status.is_done else status.cause,
        bytes_to_read=round(plan.read_bytes(window) * _touched(plan, window) / window.n_pixels),
        peak_bytes=peak_bytes(plan, window, memory.window_bytes, threads=memory.threads),
        pieces=len(pieces(plan, window, memory.window_bytes, threads=memory.threads)),
    )


def _touched(plan: Plan, window: Window) -> int:
    """Pixels of all blocks that reading the window takes: its own and what lies beside them in the same blocks."""
    sides = zip((window.col_off, window.row_off), (window.width, window.height), plan.grid.block, strict=True)
    size = (plan.grid.width, plan.grid.height)
    lengths = [
        min(-(-(start + length) // block) * block, whole) - start // block * block
        for (start, length, block), whole in zip(sides, size, strict=True)
    ]
    return lengths[0] * lengths[1]


def _past(plan: Plan, store: Store, statuses: Sequence[WindowStatus]) -> tuple[PastRun | None, list[str]]:
    """What an earlier run of this plan left, or a warning that another's lies there."""
    if store.stat(PLAN) is None:
        return None, []
    try:
        same = plan_at(plan.destination).id == plan.id
    except InputError:
        same = False
    if not same:
        return None, ["another plan's run lies at the destination; a run would be refused without --overwrite"]
    past = PastRun(
        done=sum(s.is_done for s in statuses),
        expected=len(statuses),
        failed=[s.id for s in statuses if s.result and s.result.status == "failed"],
        ended=store.stat("report.json") is not None,
        published=published(plan, store, statuses)[0] is not None,
    )
    return past, []


def _cut_blocks(plan: Plan) -> list[str]:
    width, height = plan.grid.block
    # Strips as wide as the image are no tiles: any window cuts them, and no tile size would help.
    if width >= plan.grid.width or not (plan.tile_size % width or plan.tile_size % height):
        return []
    good = max(1, round(plan.tile_size / max(width, height))) * max(width, height)
    return [
        f"windows of {plan.tile_size} px cut the scenes' blocks of {width}×{height} px, which are then read "
        f"more than once; {good} px would not"
    ]


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 1 else "a second"
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def _price(usd: float) -> str:
    return f"{usd:.9f}".rstrip("0").rstrip(".")
