"""Files that come once a month in tiles, by a template of their addresses: which are there, which are absent."""

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from fnmatch import fnmatchcase
from pathlib import Path

from clearyear.errors import ClearyearError, InputError
from clearyear.periods import Period, parse_period, periods_of
from clearyear.stores import Entry, is_remote, open_store, shown, split_uri, stat_uri

FIELDS = ("yyyy", "mm", "yyyymm", "yyyymm_last", "tile")
_FIELD = re.compile(r"\{([^{}]*)\}")
_GLOB = re.compile(r"[*\[]")
"""A question mark is no glob here: in an address of the web it begins the query."""
_EXAMPLE = "https://host/{yyyymm}/SVDNB_npp_{yyyymm}01-{yyyymm_last}_{tile}.tif"


@dataclass(frozen=True, kw_only=True)
class FoundTile:
    """One tile of one month: the file, or why there is none."""

    name: str
    address: str
    """What was looked for."""
    entry: Entry | None
    cause: str = ""
    """Why ``entry`` is None."""
    absent: bool = False
    """Whether the source says that it is not there; else it could not be asked, or the answer was no use."""


class DateTemplate:
    """Addresses of monthly tiles.

    Args:
        text: an address with ``{yyyymm}`` (202301), ``{yyyy}``, ``{mm}``, ``{yyyymm_last}`` (the month's last day,
            20230131) and ``{tile}``; in folders and buckets ``*`` and ``[…]`` stand for what may differ.

    Raises:
        InputError: a field is unknown, the month or the tile does not occur, or globs where nothing can be listed.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        names = _FIELD.findall(text)
        for name in names:
            if name not in FIELDS:
                near = difflib.get_close_matches(name, FIELDS, n=1)
                raise _wrong(
                    text, f"has an unknown field {{{name}}}" + (f" (did you mean {{{near[0]}}}?)" if near else "")
                )
        if "tile" not in names:
            raise _wrong(text, "does not say where the tile's name stands")
        if not ("mm" in names or "yyyymm" in names or "yyyymm_last" in names):
            raise _wrong(text, "does not say where the month stands")
        if not {"yyyy", "yyyymm", "yyyymm_last"} & set(names):
            raise _wrong(text, "does not say where the year stands")
        self.scheme = split_uri(_FIELD.sub("x", text))[0]
        self.has_glob = _GLOB.search(text) is not None
        if self.has_glob and self.scheme in ("http", "https"):
            raise InputError(
                f"The template {shown(text)!r} holds a * or [, and a web server cannot be listed",
                "the whole name, or a folder or bucket",
                "write the name out",
                uri=shown(text),
            )

    def address(self, month: Period, tile: str) -> str:
        """The address of one tile; globs stay as they are."""
        last = month.end - timedelta(days=1)
        values = {
            "yyyy": f"{month.start:%Y}",
            "mm": f"{month.start:%m}",
            "yyyymm": f"{month.start:%Y%m}",
            "yyyymm_last": f"{last:%Y%m%d}",
            "tile": tile,
        }
        return _FIELD.sub(lambda match: values[match[1]], self.text)

    def find(self, month: Period, tiles: Iterable[str]) -> list[FoundTile]:
        """Look for every tile of a month; one answer for each, in the order given.

        What is not there, or cannot be asked for, is an answer and no error.
        """
        listings: dict[str, list[Entry]] = {}
        return [self._find_one(name, self.address(month, name), listings) for name in tiles]

    def _find_one(self, name: str, address: str, listings: dict[str, list[Entry]]) -> FoundTile:
        try:
            entries = self._matching(address, listings)
        except ClearyearError as error:
            return FoundTile(name=name, address=shown(address), entry=None, cause=error.found)
        if not entries:
            cause = f"absent: {shown(address)} is not there"
            return FoundTile(name=name, address=shown(address), entry=None, cause=cause, absent=True)
        if len(entries) > 1:
            several = ", ".join(shown(entry.uri) for entry in entries[:3])
            cause = f"ambiguous: {len(entries)} files match {shown(address)}: {several}; narrow the template"
            return FoundTile(name=name, address=shown(address), entry=None, cause=cause)
        return FoundTile(name=name, address=shown(address), entry=entries[0])

    def _matching(self, address: str, listings: dict[str, list[Entry]]) -> Sequence[Entry]:
        if not self.has_glob:
            entry = stat_uri(address)
            return [entry] if entry else []
        before = address[: _GLOB.search(address).start()]  # type: ignore[union-attr]  # has_glob says so
        root = before.rpartition("/")[0] or ("." if not before.startswith("/") else "/")
        pattern = address[len(root) + 1 :] if before.rpartition("/")[1] else address
        if root not in listings:
            listings[root] = _listing(root)
        return [entry for entry in listings[root] if _matches(entry.name, pattern)]


def _listing(root: str) -> list[Entry]:
    """What lies below a folder; one that is not there holds nothing, as in a bucket."""
    if not is_remote(root) and not Path(split_uri(root)[2]).exists():
        return []
    return open_store(root).entries()


def _matches(name: str, pattern: str) -> bool:
    """A glob over a path: a star does not cross a slash."""
    parts, wanted = name.split("/"), pattern.split("/")
    return len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted))


def months_of(span: str) -> list[Period]:
    """The months of a span whose two ends are both meant.

    Args:
        span: ``2023-01/2023-12`` (January to December), ``2023-01``, or a year.

    Raises:
        InputError: it cannot be read, or ends before it begins.
    """
    first, slash, last = (part.strip() for part in span.partition("/"))
    for part in (first, last) if slash else (first,):
        if not re.fullmatch(r"\d{4}(-\d{2})?", part):
            raise InputError(
                f"The months {span!r} cannot be read",
                "a month (2023-01), a year (2023), or first/last, both included (2023-01/2023-12)",
                "write it so",
            )
    begin, end = parse_period(first), parse_period(last if slash else first)
    if end.end <= begin.start:
        raise InputError(
            f"The months {span!r} end before they begin", "the first month, then the last", "exchange the two"
        )
    return periods_of(Period(start=begin.start, end=end.end, label="span"), "monthly")


def _wrong(text: str, what: str) -> InputError:
    return InputError(
        f"The template {shown(text)!r} {what}",
        f"an address with {', '.join(f'{{{f}}}' for f in FIELDS)}, as in {_EXAMPLE}",
        "correct it",
        uri=shown(text),
    )
