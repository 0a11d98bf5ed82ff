"""What mends a run that is not complete: where a scene cannot be read for good, computing again does not."""

import shlex
from collections.abc import Sequence

from clearyear.completeness import WindowStatus
from clearyear.plan import Plan
from clearyear.reading.stack import FailedRead

_NAMED = 3
"""Scenes named in a remedy; the report's table has them all."""


def unread_of(plan: Plan, status: WindowStatus) -> tuple[FailedRead, ...]:
    """The reads that keep a window from being done; none where something else does."""
    result = status.result
    if status.is_done or result is None or len(result.failed_reads) <= _most(plan):
        return ()
    window = plan.grid.window(status.id, plan.tile_size)
    # A record of other scenes, of a plan that was replaced, says nothing of these.
    return result.failed_reads if result.fingerprint == plan.fingerprint(window) else ()


def repair_command(destination: str) -> str:
    """The command that computes what is not done, by the plan and the scenes as they are."""
    return f"clearyear repair {shlex.quote(destination)}"


def remedies(plan: Plan, statuses: Sequence[WindowStatus], destination: str) -> list[str]:
    """What the user can do so that the run becomes complete; one after the other they read as one sentence.

    Args:
        plan: what was to be done.
        statuses: one a window.
        destination: where it lies, as ``clearyear repair`` takes it.
    """
    lasting = [reads for status in statuses if (reads := _lasting(plan, status))]
    repair = repair_command(destination)
    if not lasting:
        return [repair]
    scenes = sorted({read.scene for reads in lasting for read in reads})
    most, one = max(map(len, lasting)), len(scenes) == 1
    them = "it" if one else "that many"
    more = f" and {len(scenes) - _NAMED} more" if len(scenes) > _NAMED else ""
    found = [
        f"replace {', '.join(scenes[:_NAMED])}{more}, and run the same job again with --overwrite (overwrite: true)"
    ]
    if most < len(plan.scenes):
        found.append(f"or allow {them}: the same job again with --max-failed-reads {most} (max_failed_reads: {most})")
    whose = "its file is" if one else "their files are"
    found.append(f"or, where {whose} as before and only could not be reached: `{repair}`")
    others = sum(not status.is_done for status in statuses) - len(lasting)
    if others:
        found.append(f"for the other {others:,} window{'s' if others > 1 else ''} `{repair}` does")
    return found


def _lasting(plan: Plan, status: WindowStatus) -> list[FailedRead]:
    """Those of a window's reads that will fail again, where they alone are too many."""
    lasting = [read for read in unread_of(plan, status) if not read.transient]
    return lasting if len(lasting) > _most(plan) else []


def _most(plan: Plan) -> int:
    """How many scenes may be unread in a window: of one at least there must be something."""
    return min(plan.max_failed_reads, len(plan.scenes) - 1)
