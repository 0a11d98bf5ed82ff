"""Which scenes of named files were taken in a period."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Protocol, TypeVar

from clearyear.errors import NoScenesError, ReadError
from clearyear.periods import Period
from clearyear.scenes.solar import Days, Span, has_time

_THREADS = 16


class Dated(Protocol):
    """What has a date."""

    @property
    def datetime(self) -> datetime:
        """UTC."""
        ...


_Dated = TypeVar("_Dated", bound=Dated)
File = tuple[str, str]
"""Address, version."""


def within(
    scenes: Sequence[_Dated],
    period: Period | None,
    days: Days,
    *,
    file: Callable[[_Dated], File],
    where: str,
) -> list[_Dated]:
    """Those taken in the period, in their order; all of them if there is none.

    By solar days a scene within half a day of the period's ends is asked for its longitude: the header of its file is
    read. One whose name tells no time of day keeps its date, and one whose file has no place its UTC. A file that
    cannot be read belongs wherever it may: planning names it, and counts it against what may fail.

    Args:
        scenes: at least one.
        period: [start, end).
        days: whose.
        file: gives the address and version of one of a scene's files.
        where: who has the scenes, for an error.

    Raises:
        NoScenesError: none was.
    """
    if period is None:
        return list(scenes)
    span = Span(period, days)
    with ThreadPoolExecutor(_THREADS) as pool:
        kept = list(pool.map(lambda scene: _holds(span, scene.datetime, file(scene)), scenes))
    found = [scene for scene, is_in in zip(scenes, kept, strict=True) if is_in]
    if not found:
        dates = sorted(scene.datetime for scene in scenes)
        raise NoScenesError(
            f"None of the {len(scenes)} scenes of {where} was taken in {span.label}",
            f"at least one; those found were taken from {dates[0]:%Y-%m-%d} to {dates[-1]:%Y-%m-%d}",
            "choose another period",
        )
    return found


def longitude_of_file(moment: datetime, uri: str, version: str) -> float | None:
    """In degrees, of a file's centre; None where it does not matter for a day, or the file does not say.

    Raises:
        ReadError: the file cannot be read.
    """
    if not has_time(moment):
        return None
    from clearyear.scenes.headers import longitude_of  # takes rasterio along

    return longitude_of(uri, version)


def _holds(span: Span, moment: datetime, file: File) -> bool:
    try:
        return span.holds(moment, lambda: longitude_of_file(moment, *file))
    except ReadError:
        return moment in span.in_utc
