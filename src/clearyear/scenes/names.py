"""Dates and granules in file names: found without help, or by a pattern of glob and strftime signs."""

import fnmatch
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from clearyear.errors import InputError

_DATE = re.compile(r"(?<!\d)((?:19|20)\d{2})-?(\d{2})-?(\d{2})(?:T(\d{2}):?(\d{2}):?(\d{2}))?(?!\d)")
_GRANULES = (
    # A tile of the MGRS grid, as Sentinel-2 names it: zone, latitude band, 100 km square (no I, no O).
    re.compile(r"(?<![A-Z0-9])T(?:0[1-9]|[1-5]\d|60)[C-HJ-NP-X][A-HJ-NP-Z][A-HJ-NP-V](?![A-Z0-9])", re.IGNORECASE),
    # Path and row of WRS-2, after a Landsat product's sensor and level.
    re.compile(r"(?<=L[COTEM]\d\d_L\d[A-Z]{2}_)\d{6}(?=_)"),
)
_CODE = re.compile(r"(%[A-Za-z])")
_CODES = {
    "%Y": r"(?P<Y>\d{4})",
    "%m": r"(?P<m>\d{2})",
    "%d": r"(?P<d>\d{2})",
    "%j": r"(?P<j>\d{3})",
    "%H": r"(?P<H>\d{2})",
    "%M": r"(?P<M>\d{2})",
    "%S": r"(?P<S>\d{2})",
}


class NamePattern:
    """Which files are scenes, and when each was taken.

    Args:
        pattern: a glob over file names (``*_TCI.tif``), in which ``%Y %m %d %j %H %M %S`` may say where the
            date stands (``S2_%Y%j_*.tif``). Without these the first YYYYMMDD, YYYY-MM-DD or
            YYYYMMDDTHHMMSS in the name is the date. None: every ``.tif`` and ``.tiff``.

    Raises:
        InputError: the pattern repeats a code or uses an unknown one.
    """

    def __init__(self, pattern: str | None = None) -> None:
        self.pattern = pattern
        self._dated = _CODE.search(pattern or "") is not None
        try:
            self._regex = _compile(pattern or "*")
        except re.error as error:
            raise InputError(
                f"The pattern {pattern!r} cannot be used ({error})",
                "a glob such as *_TCI.tif, with each of %Y %m %d %j %H %M %S at most once",
                "correct it",
            ) from error

    def matches(self, name: str) -> bool:
        """Whether the file called ``name`` (without folders) is a scene."""
        if self.pattern is None:
            return name.lower().endswith((".tif", ".tiff"))
        return self._regex.fullmatch(name) is not None

    def datetime_of(self, name: str) -> datetime | None:
        """When the scene called ``name`` was taken (UTC), or None where the name does not tell."""
        return self._from_codes(name) if self._dated else first_date(name)

    def _from_codes(self, name: str) -> datetime | None:
        match = self._regex.fullmatch(name)
        return moment_of(match.groupdict()) if match else None


def granule_of(names: Iterable[str]) -> str:
    """The tile that all these scenes are named after, such as ``T31TCJ``; empty where they tell none, or several."""
    found = {_granule(name) for name in names}
    return found.pop() if len(found) == 1 else ""


def _granule(name: str) -> str:
    for form in _GRANULES:
        if match := form.search(name):
            return match[0].upper()
    return ""


def moment_of(parts: Mapping[str, str]) -> datetime | None:
    """The moment (UTC) that the codes' texts, ``Y m d j H M S``, tell; None where there is no year or no such day."""
    if "Y" not in parts:
        return None
    text, form = parts["Y"], "%Y"
    for code in "mdjHMS":
        if code in parts:
            text, form = f"{text} {parts[code]}", f"{form} %{code}"
    try:
        moment = datetime.strptime(text, form).replace(tzinfo=UTC)
    except ValueError:
        return None
    # strptime takes day 366 of any year, and of most that is the next year's first.
    return moment if moment.year == int(parts["Y"]) else None


def first_date(name: str) -> datetime | None:
    """The first date in a name, with its time of day where that follows (UTC); None where there is none.

    None, too, where the first is no day of its month, such as 20230229: a later one is the processing's, or whose.
    """
    match = _first_match(name)
    if match is None:
        return None
    *parts, second = (int(part or 0) for part in match.groups())
    try:
        # A leap second is 60, and its moment the last there is.
        return datetime(*parts, 59 if second == 60 else second, tzinfo=UTC)  # type: ignore[misc, arg-type]
    except ValueError:
        return None


def _first_match(name: str) -> re.Match[str] | None:
    """Where the first date is, or what looks like one; of 20231345 the month shows that it is another number."""
    return next((m for m in _DATE.finditer(name) if 1 <= int(m[2]) <= 12 and 1 <= int(m[3]) <= 31), None)


def _compile(pattern: str) -> re.Pattern[str]:
    return re.compile(regex_of(pattern))


def text_before_date(name: str) -> str:
    """A name up to its first date; all of it where there is none."""
    match = _first_match(name)
    return name[: match.start()] if match else name


def regex_of(pattern: str) -> str:
    """The regular expression of a glob over one name in which codes may say where the date stands.

    Raises:
        re.error: a code is unknown.
    """
    parts = _CODE.split(pattern)
    for part in parts[1::2]:
        if part not in _CODES:
            raise re.error(f"unknown code {part}")
    # fnmatch.translate wraps its answer for whole-string use; between codes only its middle is wanted.
    globs = [re.sub(r"\A\(\?s:(.*)\)\\[zZ]\Z", r"\1", fnmatch.translate(part), flags=re.S) for part in parts[::2]]
    # A star takes as little as it can: of several dates the first is meant, Landsat's second is the processing's.
    globs = [re.sub(r"\.\*(?!\?)", ".*?", glob) for glob in globs]
    codes = [_CODES[part] for part in parts[1::2]] + [""]
    return "".join(g + c for g, c in zip(globs, codes, strict=True))


def pattern_for(wanted: Iterable[str], others: Iterable[str]) -> str:
    """In words: the pattern that these scenes' files match and the others do not, where their names' ends tell."""
    ends = {name.rpartition("_")[2] for name in wanted}
    last = next(iter(ends))
    if (
        len(ends) > 1
        or " " in last
        or not last[:1].isalpha()
        or any(name.endswith(f"_{last}") or "_" not in name for name in others)
    ):
        return "a pattern"
    return f"--pattern '*_{last}.tif'"
