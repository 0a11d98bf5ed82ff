"""Solar time, and whether a moment lies in a period by it.

The solar time of a scene is UTC + 240 seconds for each degree of longitude of its centre (odc-stac's rule): up to half
a day before or after UTC. A pass over New Zealand at 22:00 UTC on 31 December belongs to the new year there.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from clearyear.periods import Period

Days = Literal["utc", "solar"]

_SECONDS_PER_DEGREE = 240
_HALF_A_DAY = timedelta(hours=12)


def solar_time(moment: datetime, longitude: float) -> datetime:
    """The solar time at a longitude in degrees, which may be counted on beyond 180."""
    east = longitude if -180 <= longitude <= 180 else (longitude + 180) % 360 - 180
    return _moved(moment.astimezone(UTC), timedelta(seconds=int(east * _SECONDS_PER_DEGREE)))


def has_time(moment: datetime) -> bool:
    """Whether a name that tells ``moment`` tells the time of day: midnight sharp is a date without."""
    return moment.time() != moment.min.time()


@dataclass(frozen=True)
class Span:
    """A period, and whose days it begins and ends with."""

    period: Period
    days: Days = "utc"

    @property
    def label(self) -> str:
        """For a message."""
        return f"{self.period.label}{' (solar days)' if self.days == 'solar' else ''}"

    @property
    def in_utc(self) -> Period:
        """All of UTC that may belong to it, whatever the longitude."""
        if self.days == "utc":
            return self.period
        ends = {"start": _moved(self.period.start, -_HALF_A_DAY), "end": _moved(self.period.end, _HALF_A_DAY)}
        return self.period.model_copy(update=ends)

    def is_open(self, moment: datetime) -> bool:
        """Whether it takes a longitude to say if ``moment`` (UTC) belongs to it."""
        near = any(abs(moment - end) <= _HALF_A_DAY for end in (self.period.start, self.period.end))
        return near and self.days == "solar"

    def holds(self, moment: datetime, longitude: Callable[[], float | None]) -> bool:
        """Whether ``moment`` (UTC) belongs to it.

        Args:
            moment: when a scene was taken.
            longitude: gives that of the scene's centre; asked only where it decides. None: UTC decides.
        """
        east = longitude() if self.is_open(moment) else None
        return (moment if east is None else solar_time(moment, east)) in self.period


def _moved(moment: datetime, by: timedelta) -> datetime:
    try:
        return moment + by
    except OverflowError:  # at an end of all time
        return moment
