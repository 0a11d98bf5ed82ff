"""The dry run as a value: what would be done, and what it would take, with the assumptions written out."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from clearyear.completeness import Status, check_plan
from clearyear.errors import InputError
from clearyear.plan import Plan
from clearyear.prepare import PLAN, plan_at
from clearyear.settings import Settings
from clearyear.stores import open_store

_MB, _GIB = 1_000_000, 1 << 30
_CLOUD_RUN_VCPU = 2
_OVERHEAD_GIB = 0.5
"""Python, GDAL, numba and Prefect in a job beside the stacks."""


class WindowEstimate(BaseModel):
    """One window of a dry run."""

    model_config = ConfigDict(frozen=True)

    id: str
    width: int
    height: int
    action: Literal["new", "skip", "recompute"]
    cause: str
    bytes_to_read: int
    peak_bytes: int


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
    bytes_to_read: int
    peak_bytes: int
    """Of one process with its workers, beside Python itself (about 0.5 GiB)."""
    workers: int
    seconds: float
    """Wall clock on this machine, if the assumptions hold."""
    cloud_run_usd: float
    assumptions: list[str]
    warnings: list[str]
    windows: list[WindowEstimate]

    def table(self) -> str:
        """For people."""
        lines = [
            f"{len(self.windows)} windows from {self.scenes} scenes, {self.first_scene} … {self.last_scene}",
            f"destination  {self.destination}",
            f"to do        {self.new} new, {self.recompute} recompute, {self.skip} skip",
            f"to read      about {self.bytes_to_read / _MB:,.1f} MB",
            f"peak memory  {self.peak_bytes / _MB:,.0f} MB for {self.workers} workers, beside about 500 MB for Python",
            f"time         about {self.seconds:,.0f} s here",
            f"Cloud Run    about {self.cloud_run_usd:.4f} USD",
            "assuming     " + "\n             ".join(self.assumptions),
            *(f"warning      {w}" for w in self.warnings),
            "",
            f"{'window':<16}{'size':>12}  {'action':<10}{'read MB':>9}{'peak MB':>9}",
        ]
        for w in self.windows:
            size = f"{w.width}×{w.height}"
            figures = f"{w.bytes_to_read / _MB:>9.1f}{w.peak_bytes / _MB:>9.0f}"
            lines.append(f"{w.id:<16}{size:>12}  {w.action:<10}{figures}  {w.cause}".rstrip())
        return "\n".join(lines)


def estimate(plan: Plan, *, workers: int | None = None) -> Estimate:
    """What running ``plan`` now would do and take.

    Args:
        plan: as made from the job; what lies at its destination decides what is skipped.
        workers: windows at once; the machine's setting if None.
    """
    settings = Settings()
    n_workers = workers or settings.workers
    windows = _windows(plan)
    todo = [(w, e) for w, e in zip(plan.windows, windows, strict=True) if e.action != "skip"]
    core_seconds = sum(plan.stack_bytes(w) for w, _ in todo) / (settings.decode_mb_per_s * _MB)
    peak = max((e.peak_bytes for _, e in todo), default=0) * n_workers
    job_gib = max((e.peak_bytes for _, e in todo), default=0) * _CLOUD_RUN_VCPU / _GIB + _OVERHEAD_GIB
    rate = _CLOUD_RUN_VCPU * settings.vcpu_second_usd + job_gib * settings.gib_second_usd
    return Estimate(
        destination=plan.destination,
        plan=plan.id,
        period=plan.period.label,
        scenes=len(plan.scenes),
        first_scene=plan.scenes[0].id,
        last_scene=plan.scenes[-1].id,
        new=sum(e.action == "new" for e in windows),
        skip=sum(e.action == "skip" for e in windows),
        recompute=sum(e.action == "recompute" for e in windows),
        bytes_to_read=sum(e.bytes_to_read for _, e in todo),
        peak_bytes=peak,
        workers=n_workers,
        seconds=round(core_seconds / n_workers, 1),
        cloud_run_usd=round(core_seconds / _CLOUD_RUN_VCPU * rate, 6),
        assumptions=[
            f"{settings.decode_mb_per_s:g} MB of pixels a second and core (CLEARYEAR_DECODE_MB_PER_S)",
            f"Cloud Run jobs of {_CLOUD_RUN_VCPU} vCPU and {job_gib:.1f} GiB at "
            f"{settings.vcpu_second_usd:g} USD a vCPU-second and {settings.gib_second_usd:g} USD a GiB-second",
            "no start-up time, no network charge, no free tier",
        ],
        warnings=_warnings(plan),
        windows=windows,
    )


def _windows(plan: Plan) -> list[WindowEstimate]:
    store = open_store(plan.destination)
    actions = {
        Status.OK: "skip",
        Status.EMPTY: "skip",
        Status.MISSING: "new",
        Status.INVALID: "recompute",
        Status.STALE: "recompute",
    }
    return [
        WindowEstimate(
            id=w.id,
            width=w.width,
            height=w.height,
            action=actions[s.status],  # type: ignore[arg-type]
            cause="" if s.is_done else s.cause,
            bytes_to_read=plan.read_bytes(w),
            peak_bytes=plan.peak_bytes(w),
        )
        for w, s in zip(plan.windows, check_plan(plan, store), strict=True)
    ]


def _warnings(plan: Plan) -> list[str]:
    found = []
    width, height = plan.grid.block
    # Strips as wide as the image are no tiles: any window cuts them, and no tile size would help.
    if width < plan.grid.width and (plan.tile_size % width or plan.tile_size % height):
        good = max(1, round(plan.tile_size / max(width, height))) * max(width, height)
        found.append(
            f"windows of {plan.tile_size} px cut the scenes' blocks of {width}×{height} px, which are then read "
            f"more than once; {good} px would not"
        )
    store = open_store(plan.destination)
    if store.stat(PLAN) is not None:
        try:
            same = plan_at(plan.destination).id == plan.id
        except InputError:
            same = False
        if not same:
            found.append("another plan's run lies at the destination; a run would be refused without --overwrite")
    return found
