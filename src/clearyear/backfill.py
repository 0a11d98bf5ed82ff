"""One product over many periods: which of them are there, and what is told of all of them together."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from clearyear import limits
from clearyear.completeness import check_plan
from clearyear.errors import ClearyearError, InputError, NoScenesError
from clearyear.job import Job
from clearyear.naming import period_name
from clearyear.past import past_run
from clearyear.periods import Period, parse_period, periods_of
from clearyear.prepare import make_plan
from clearyear.reducers import is_plugin
from clearyear.remedy import remedies
from clearyear.report import is_allowed
from clearyear.settings import Settings
from clearyear.stores import open_store

ALLOW_EMPTY = "with --allow-empty (allow_empty: true) a period without scenes is no failure"
"""What to do about a period that has none."""

GO_ON = "with --continue-on-failure (continue_on_failure: true) it is computed all the same"
"""What to do about a period that was not begun."""

State = Literal["complete", "incomplete", "no scenes", "failed", "not begun"]


class PeriodResult(BaseModel):
    """What became of one period."""

    model_config = ConfigDict(frozen=True)

    period: str
    state: State
    """``failed``: no report came of it; ``not begun``: an earlier one failed and nothing was to follow it."""
    done: int = 0
    expected: int = 0
    """Windows; 0 where it never came to a plan."""
    cause: str = ""
    command: str = ""
    """What mends it."""
    destination: str = ""
    mosaic: str | None = None
    there: bool = False
    """Whether it was complete before, so that nothing was done but to check it."""
    good_enough: bool = False
    """Complete, or as incomplete as the user allows."""
    exit_code: int = 0
    """The exit code of the error that ended it."""


class Backfill(BaseModel):
    """What became of all periods."""

    model_config = ConfigDict(frozen=True)

    status: Literal["complete", "incomplete", "failed"]
    product: str
    span: str
    frequency: str
    periods: list[PeriodResult]
    catalog: str | None

    @property
    def counts(self) -> dict[str, int]:
        """State → number of periods, those that occur."""
        return dict(Counter(result.state for result in self.periods))

    @property
    def allowed(self) -> bool:
        """Whether every period is complete or good enough."""
        return all(result.good_enough for result in self.periods)

    @property
    def exit_code(self) -> int:
        """0, or 3 where periods are not complete; the error's own where not one came to anything."""
        if self.allowed:
            return 0
        errors = [result.exit_code for result in self.periods if result.exit_code and not result.good_enough]
        return errors[0] if self.status == "failed" else 3

    def contract(self) -> dict[str, Any]:
        """What ``--json`` prints."""
        return {**self.model_dump(mode="json"), "counts": self.counts, "error": "" if self.allowed else self.sentence()}

    def sentence(self) -> str:
        """The result in one sentence, for a state's message."""
        complete = self.counts.get("complete", 0)
        text = f"{complete} of {len(self.periods)} periods are complete"
        others = [f"{n} {state}" for state, n in self.counts.items() if state != "complete"]
        first = next((r for r in self.periods if not r.good_enough), None)
        why = f" ({first.period}: {first.cause})" if first else ""
        return f"{text}; {', '.join(others)}{why}" if others else text

    def table(self) -> str:
        """For people."""
        lines = [
            f"{self.status}: {self.sentence()}",
            f"{'period':<24}{'state':<12}{'windows':>12}  why, and what to do",
        ]
        for result in self.periods:
            windows = f"{result.done:,} of {result.expected:,}" if result.expected else ""
            note = "was there already" if result.there else "; ".join(filter(None, [result.cause, result.command]))
            lines.append(f"{result.period:<24}{result.state:<12}{windows:>12}  {note}".rstrip())
        return "\n".join([*lines, *([f"catalogue {self.catalog}"] if self.catalog else [])])


def jobs_of(job: Job, span: str | None, frequency: str, *, at_once: int = 1) -> list[tuple[Period, Job]]:
    """The periods of a span, each with its job.

    Args:
        job: what is done for each; its ``period`` is the span where none is given.
        span: a period as a job has it: ``2021/2024``, ``2023``.
        frequency: how it is cut; one of periods.FREQUENCIES.
        at_once: how many periods one process computes at once; they share its cores and its memory.

    Raises:
        InputError: no span, no whole period in it, or two periods of one name.
    """
    text = span or job.period
    if not text:
        raise InputError("No span is given", "--span 2021/2024, or a period in the job", "say which time is meant")
    found = []
    for period in periods_of(parse_period(text), frequency):
        shared = _shared_out(job, at_once) if at_once > 1 else {}
        values = {"period": text if frequency == "all" else period.label, **shared}
        found.append((period, job.model_copy(update=values)))
    if job.naming:
        # A plug-in's own name is known only to its class; it is the same for all periods, so any other will do.
        product = job.product or ("product" if is_plugin(job.reducer) else job.reducer)
        names = Counter(period_name(job.naming, product=product, period=p) for p, _ in found)
        if doubles := [name for name, n in names.items() if n > 1]:
            raise InputError(
                f"The naming {job.naming!r} calls {names[doubles[0]]} periods {doubles[0]!r}",
                "another name for each period",
                "put {period} or {start:%Y-%m} into it",
            )
    return found


def _shared_out(job: Job, at_once: int) -> dict[str, int]:
    limit = limits.memory_limit(job.memory_limit)
    shares = {"memory_limit": limit.size // at_once} if limit else {}
    return {"workers": max(1, (job.workers or Settings().workers) // at_once), **shares}


def period_standing(period: Period, job: Job, *, allow_empty: bool = False) -> PeriodResult:
    """What of a period lies at its destination now, every byte checked; an error is its result, too.

    Args:
        period: the period.
        job: the job for it.
        allow_empty: whether a period without a scene is good enough.
    """
    try:
        plan = make_plan(job)
        store = open_store(plan.destination)
        statuses = check_plan(plan, store)
        past, warning = past_run(plan, store, statuses)
    except ClearyearError as error:
        return failure_of(period, error, allow_empty=allow_empty)
    complete = past is not None and past.is_complete
    causes = [f"{s.id}: {s.cause}" for s in statuses if not s.is_done]
    return PeriodResult(
        period=period.label,
        state="complete" if complete else "incomplete",
        done=sum(s.is_done for s in statuses),
        expected=len(statuses),
        cause="" if complete else (causes or [warning or "no mosaic is published"])[0],
        command="" if complete else "; ".join(remedies(plan, statuses, store.root)[:2]),
        destination=store.root,
        mosaic=store.uri(plan.mosaic_name(next(iter(plan.files)))) if past and past.published else None,
        good_enough=complete or (past is not None and past.published and is_allowed(plan, statuses)),
    )


def result_of(period: Period, outcome: Mapping[str, Any]) -> PeriodResult:
    """What a run's outcome says of its period."""
    complete = outcome["status"] == "complete"
    destination = outcome["report"].rpartition("/")[0]
    causes = [f"{window}: {cause}" for window, cause in outcome["causes"].items()]
    return PeriodResult(
        period=period.label,
        state="complete" if complete else "incomplete",
        done=outcome["ok"] + len(outcome["empty"]),
        expected=outcome["expected"],
        cause="" if complete else (causes or [outcome["problem"]])[0],
        command="; ".join(outcome["mend"][:2]),
        destination=destination,
        mosaic=outcome["mosaic"],
        good_enough=complete or outcome["allowed"],
    )


def failure_of(period: Period, error: BaseException, *, allow_empty: bool = False) -> PeriodResult:
    """The result of a period that came to no report."""
    empty = isinstance(error, NoScenesError)
    do = error.do if isinstance(error, ClearyearError) else ""
    if empty:
        do = "" if allow_empty else ALLOW_EMPTY
    return PeriodResult(
        period=period.label,
        state="no scenes" if empty else "failed",
        cause=error.found if isinstance(error, ClearyearError) else f"{type(error).__name__}: {error}",
        command=do,
        good_enough=empty and allow_empty,
        exit_code=getattr(error, "exit_code", 1),
    )


def conclude_backfill(
    job: Job, span: str | None, frequency: str, results: Sequence[PeriodResult], catalog: str | None
) -> Backfill:
    """Put all periods' results together."""
    began = any(result.state in ("complete", "incomplete") for result in results)
    whole = all(r.state == "complete" or (r.state == "no scenes" and r.good_enough) for r in results)
    status: Literal["complete", "incomplete", "failed"] = "complete" if began and whole else "incomplete"
    if not (began or all(r.good_enough for r in results)):
        status = "failed"
    return Backfill(
        status=status,
        product=job.product or job.reducer,
        span=span or job.period or "",
        frequency=frequency,
        periods=list(results),
        catalog=catalog,
    )
