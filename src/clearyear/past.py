"""What an earlier run of a plan has left at its destination."""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from clearyear.completeness import WindowStatus
from clearyear.errors import InputError
from clearyear.plan import Plan
from clearyear.prepare import plan_at
from clearyear.published import published
from clearyear.runs import PLAN
from clearyear.stores import Store


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

    @property
    def is_complete(self) -> bool:
        """Every window is done, and the mosaic is made of them."""
        return self.done == self.expected and self.published

    def sentence(self) -> str:
        """For people."""
        parts = [f"{self.done:,} of {self.expected:,} windows are there"]
        parts += [f"{len(self.failed):,} failed"] if self.failed else []
        parts += [] if self.ended else ["it was stopped before its report"]
        parts.append(f"{'its' if self.published else 'no'} mosaic is published")
        return f"{'complete' if self.is_complete else 'incomplete'}: {', '.join(parts)}"


def past_run(plan: Plan, store: Store, statuses: Sequence[WindowStatus]) -> tuple[PastRun | None, str]:
    """What an earlier run of this plan left; or None, and a warning where another plan's lies there.

    Args:
        plan: as made from the job.
        store: its destination.
        statuses: of all its windows, in the plan's order.
    """
    if store.stat(PLAN) is None:
        return None, ""
    try:
        same = plan_at(plan.destination).id == plan.id
    except InputError:
        same = False
    if not same:
        return None, "another plan's run lies at the destination; a run would be refused without --overwrite"
    past = PastRun(
        done=sum(s.is_done for s in statuses),
        expected=len(statuses),
        failed=[s.id for s in statuses if s.result and s.result.status == "failed"],
        ended=store.stat("report.json") is not None,
        published=published(plan, store, statuses)[0] is not None,
    )
    return past, ""
