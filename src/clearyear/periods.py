"""Periods: half-open spans [start, end) in UTC, written ``2023--P1Y``, ``2023-06--P1M`` or ``2023-06-01--P10D``."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from pydantic import BaseModel, ConfigDict, Field

from clearyear.errors import InputError

_LABEL = re.compile(r"(\d{4})(?:-(\d{2}))?(?:-(\d{2}))?(?:--P(\d+)([YMD]))?")
_FORMS = "a year (2023), a month (2023-06), a day (2023-06-01), one of these with a length (2023--P1Y, 2023-06--P3M, "
_FORMS += "2023-06-01--P10D), start/end (2023-05-01/2023-09-01, 2021/2024, the end excluded) or all"


_FREQUENCIES: Mapping[str, tuple[int, int, int]] = {
    # months from one start to the next, the month (1 to 12) the first starts in, months each lasts
    "annual": (12, 1, 12),
    "annual-fy": (12, 7, 12),
    "semiannual": (6, 1, 6),
    "seasonal": (3, 12, 3),
    "quarterly": (3, 1, 3),
    "monthly": (1, 1, 1),
    "rolling-3-months": (1, 1, 3),
    "rolling-3-years": (12, 1, 36),
    "nov-mar": (12, 11, 5),
    "apr-oct": (12, 4, 7),
}
FREQUENCIES = (*_FREQUENCIES, "all")
"""How a span may be cut into periods: the names odc-stats' users know."""


class Period(BaseModel):
    """A half-open span of time; ``label`` is how folders and files call it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: datetime
    end: datetime
    label: str = Field(pattern=r"^[0-9A-Za-z-]{1,64}$")

    def __contains__(self, moment: datetime) -> bool:
        """Whether ``moment`` (aware) lies in [start, end)."""
        return self.start <= moment < self.end


def parse_period(text: str) -> Period:
    """Read a period as a user writes it.

    Args:
        text: ``2023``, ``2023-06``, ``2023--P1Y``, ``2023-06-01--P10D``, ``2023-05-01/2023-09-01`` or ``all``.

    Returns:
        The half-open span in UTC with its canonical label.

    Raises:
        InputError: the text is none of these forms, or the span is empty.
    """
    if text.strip() == "all":
        return Period(start=datetime.min.replace(tzinfo=UTC), end=datetime.max.replace(tzinfo=UTC), label="all")
    if "/" in text:
        return _explicit(text)
    match = _LABEL.fullmatch(text.strip())
    if match is None:
        raise InputError(f"The period {text!r} cannot be read", _FORMS, "write it in one of these forms")
    year, month, day, length, unit = match.groups()
    try:
        start = datetime(int(year), int(month or 1), int(day or 1), tzinfo=UTC)
        unit = unit or ("D" if day else "M" if month else "Y")
        end = _add(start, int(length or 1), unit)
    except (ValueError, OverflowError) as error:
        raise InputError(f"The period {text!r} is not a date ({error})", _FORMS, "correct it") from error
    if end <= start:
        raise InputError(f"The period {text!r} is empty", "a length of at least 1", "correct the length")
    stem = "-".join(part for part in (year, month, day) if part)
    return Period(start=start, end=end, label=f"{stem}--P{int(length or 1)}{unit}")


def periods_of(span: Period, frequency: str) -> list[Period]:
    """Cut a span into periods.

    Args:
        span: what is to be covered.
        frequency: one of FREQUENCIES. Seasons begin in December, financial years (``annual-fy``) in July; the rolling
            ones overlap.

    Returns:
        The periods that lie wholly within the span, in order of their start; ``all`` gives the span itself. Two spans
        side by side have no period in common.

    Raises:
        InputError: the frequency is unknown, or no whole period lies in the span.
    """
    if frequency == "all":
        return [span]
    if frequency not in _FREQUENCIES:
        raise InputError(f"The frequency {frequency!r} is unknown", f"one of {', '.join(FREQUENCIES)}", "choose one")
    if span.label == "all":
        raise InputError(f"All time cannot be cut into {frequency} periods", "a span with two ends", "name the years")
    step, first, length = _FREQUENCIES[frequency]
    found = []
    start = datetime(max(1, span.start.year - 1), first, 1, tzinfo=UTC)
    while start < span.end and start.year + length // 12 < datetime.max.year:
        end = _add(start, length, "M")
        if span.start <= start and end <= span.end:
            whole_years = first == 1 and length % 12 == 0
            unit = f"{length // 12}Y" if length % 12 == 0 else f"{length}M"
            stem = f"{start.year:04}" if whole_years else f"{start.year:04}-{start.month:02}"
            found.append(Period(start=start, end=end, label=f"{stem}--P{unit}"))
        start = _add(start, step, "M")
    if not found:
        raise InputError(
            f"No whole {frequency} period lies in {span.label}",
            f"a span that holds one ({length} months from month {first} on)",
            "make the span longer, or choose another frequency",
        )
    return found


def year_before(moment: datetime) -> Period:
    """The calendar year that had ended at ``moment``: what a yearly schedule means by «the year»."""
    return parse_period(str(moment.astimezone(UTC).year - 1))


def _explicit(text: str) -> Period:
    try:
        start, end = (_moment(part) for part in text.split("/"))
    except (ValueError, OverflowError) as error:
        raise InputError(f"The period {text!r} cannot be read ({error})", _FORMS, "write it so") from error
    if end <= start:
        raise InputError(
            f"The period {text!r} is empty: it ends at {end:%Y-%m-%d}, not after its start {start:%Y-%m-%d}",
            "an end after the start; the end itself is excluded",
            "correct the dates",
        )
    span = end - start
    if span % timedelta(days=1) or start.time() != datetime.min.time():
        label = f"{start:%Y%m%dT%H%M%S}--{end:%Y%m%dT%H%M%S}"
    else:
        label = f"{start:%Y-%m-%d}--P{span.days}D"
    return Period(start=start, end=end, label=label)


def _moment(text: str) -> datetime:
    """A date as ISO 8601 has it; a year or a month alone means its first day."""
    match = re.fullmatch(r"(\d{4})(-\d{2})?", text.strip())
    moment = datetime.fromisoformat(f"{match[1]}{match[2] or '-01'}-01" if match else text.strip())
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _add(start: datetime, n: int, unit: str) -> datetime:
    if unit == "D":
        return start + timedelta(days=n)
    months = start.month - 1 + n * (12 if unit == "Y" else 1)
    return start.replace(year=start.year + months // 12, month=months % 12 + 1)
