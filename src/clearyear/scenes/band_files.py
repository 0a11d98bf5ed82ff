"""Scenes whose bands are files beside one another: LC08_…_B4.TIF, LC08_…_B3.TIF, or T31TCJ_20230102/B04.tif."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import PurePosixPath

from clearyear.errors import InputError
from clearyear.periods import Period
from clearyear.scenes.files import joined, listing_of
from clearyear.scenes.names import first_date, moment_of, regex_of
from clearyear.scenes.scene import Found, Scene
from clearyear.scenes.solar import Days
from clearyear.scenes.within import within
from clearyear.stores import Entry, shown

_SHOWN = 5
_FORM = "a glob with {band} once, where the band's name stands: LC08_*_{band}.TIF or {id}/{band}.tif"
_DATE_CODES = ("Y", "m", "d", "j", "H", "M", "S")


@dataclass
class _Files:
    """The files of one scene as they are found."""

    id: str
    datetime: datetime
    entries: dict[str, Entry] = field(default_factory=dict)


def has_band(pattern: str | None) -> bool:
    """Whether a job's pattern speaks of files for single bands."""
    return "{band}" in (pattern or "")


def find_band_files(
    source: str,
    pattern: str,
    *,
    bands: Sequence[str],
    masks: Sequence[str] = (),
    period: Period | None = None,
    days: Days = "utc",
) -> Found:
    """The scenes of a folder or prefix whose bands are files of their own.

    Args:
        source: a folder, ``gs://`` or ``s3://`` prefix.
        pattern: a glob with ``{band}``, in which ``{id}`` may say what a scene is called, and ``%Y %m %d …`` where the
            date stands. With slashes it speaks of the last folders, too. Left out, a scene is called by its file's name
            without the band or, where that is nothing else, by its folder.
        bands: names that stand in place of ``{band}``, in the order of the composite's bands.
        masks: names of class or bit bands, likewise; upper and lower case count alike.
        period: leave out what was taken outside [start, end).
        days: whose the period's are; see ``within``.

    Raises:
        InputError: the pattern is none, nothing matches, a scene lacks a band, or its date is not told.
    """
    wanted = _names(bands, masks, pattern)
    regex = _regex(pattern, list(wanted))
    listing = listing_of(source)
    scenes = _grouped(listing.entries, pattern, regex, wanted)
    if not scenes:
        raise InputError(
            f"No scenes: {shown(source)} holds {listing}, none of which matches {pattern} with {{band}} "
            f"as one of {', '.join(wanted.values())}",
            _FORM,
            "correct the address, the pattern or --bands",
            uri=shown(source),
        )
    chosen = within(scenes, period, days, file=_any_file, where=shown(source))
    _refuse_gaps(chosen, [*bands, *masks], source)
    found = []
    for scene in sorted(chosen, key=lambda s: (s.datetime, s.id)):
        bare = Scene(id=scene.id, datetime=scene.datetime, assets={}, version="", size=0)
        named = {name: scene.entries[name] for name in (*bands, *masks)}
        if len(bands) == 1:
            named["data"] = named.pop(bands[0])
        found.append(joined(bare, named))
    return Found(scenes=tuple(found), assets=tuple(bands) if len(bands) > 1 else ("data",))


def _any_file(scene: _Files) -> tuple[str, str]:
    """Where a scene lies any of its files can tell."""
    entry = scene.entries[min(scene.entries)]
    return entry.uri, entry.version


def _names(bands: Sequence[str], masks: Sequence[str], pattern: str) -> dict[str, str]:
    """Folded name → the name as the job has it."""
    if not bands:
        raise InputError(
            f"The pattern {pattern!r} has {{band}}, and no bands are named", "their names", "say --bands B4,B3,B2"
        )
    names = [*bands, *masks]
    doubles = [name for name in names if [n.casefold() for n in names].count(name.casefold()) > 1]
    if doubles:
        raise InputError(
            f"The band {doubles[0]} is named more than once", "each band once", "correct --bands or --mask"
        )
    return {name.casefold(): name for name in names}


def _regex(pattern: str, names: Sequence[str]) -> re.Pattern[str]:
    parts = re.split(r"(\{band\}|\{id\})", pattern)
    # A star beside it must not hold the rest of another band's name: B1* is no B10.
    before, _, after = pattern.partition("{band}")
    longest_first = "|".join(
        (_not_within(name) if before.endswith("*") else "") + re.escape(name)
        for name in sorted(names, key=len, reverse=True)
    )
    end = "(?![0-9A-Za-z])" if after.startswith("*") else ""
    signs = {"{band}": f"(?P<band>(?i:{longest_first})){end}", "{id}": "(?P<id>[^/]+?)"}
    try:
        # A star cannot leave its folder: what is matched has as many slashes as the pattern.
        globs = [regex_of(part) for part in parts[::2]]
        return re.compile("".join(g + signs.get(s, "") for g, s in zip(globs, [*parts[1::2], ""], strict=True)))
    except re.error as error:
        raise InputError(f"The pattern {pattern!r} cannot be used ({error})", _FORM, "correct it") from error


def _not_within(name: str) -> str:
    """The start of a name is no part of a longer number or word; in T31TCJ20230102B04 it is B04's."""
    return "(?<![0-9])" if name[:1].isdecimal() else "(?<![A-Za-z])" if name[:1].isalpha() else ""


def _grouped(entries: Sequence[Entry], pattern: str, regex: re.Pattern[str], wanted: dict[str, str]) -> list[_Files]:
    depth = pattern.count("/") + 1
    scenes: dict[str, _Files] = {}
    for entry in entries:
        parts = entry.name.split("/")
        tail = "/".join(parts[-depth:])
        match = regex.fullmatch(tail)
        if match is None or len(parts) < depth:
            continue
        start = len(entry.name) - len(tail)
        key = entry.name[: start + match.start("band")] + "\0" + entry.name[start + match.end("band") :]
        if key not in scenes:
            scenes[key] = _Files(_id(match, key), _moment(match, entry, pattern))
        scene, name = scenes[key], wanted[match["band"].casefold()]
        if name in scene.entries:
            raise _twice(scene.id, name, [scene.entries[name].uri, entry.uri])
        scene.entries[name] = entry
    by_id: dict[str, _Files] = {}
    for scene in scenes.values():
        other = by_id.setdefault(scene.id, scene)
        if other is not scene:
            raise _twice(scene.id, "files", [next(iter(s.entries.values())).uri for s in (other, scene)])
    return list(scenes.values())


def _id(match: re.Match[str], key: str) -> str:
    if match.groupdict().get("id"):
        return match["id"]
    folder, _, name = key.rpartition("/")
    before, _, after = name.partition("\0")
    # What joins the band to the rest goes with it.
    alone = re.sub(r"\.(tiff?|jp2)\Z", "", before.rstrip("_-. ") + after, flags=re.IGNORECASE).strip("_-. ")
    return alone or PurePosixPath(folder).name


def _moment(match: re.Match[str], entry: Entry, pattern: str) -> datetime:
    codes = {code: text for code, text in match.groupdict().items() if code in _DATE_CODES and text}
    told = moment_of(codes) if codes else None
    if not codes:
        told = next((date for part in reversed(entry.name.split("/")) if (date := first_date(part))), None)
    if told is None:
        raise InputError(
            f"The file {entry.name} tells no date",
            "a date in its name or its folder's, such as LC08_L1TP_013032_20180131_B4.TIF",
            f"say where it stands in the pattern {pattern!r} with %Y%m%d",
            uri=shown(entry.uri),
        )
    return told


def _refuse_gaps(scenes: Sequence[_Files], names: Sequence[str], source: str) -> None:
    lacking = [
        f"{scene.id} has no {', '.join(gap)}"
        for scene in scenes
        if (gap := [name for name in names if name not in scene.entries])
    ]
    if lacking:
        more = f" … and {len(lacking) - _SHOWN} more" if len(lacking) > _SHOWN else ""
        raise InputError(
            f"{len(lacking)} of {len(scenes)} scenes of {shown(source)} lack a band: "
            + f"{'; '.join(lacking[:_SHOWN])}{more}",
            f"files for {', '.join(names)} of each",
            "add the files, or leave these scenes out with the pattern",
        )


def _twice(scene: str, name: str, uris: Sequence[str]) -> InputError:
    return InputError(
        f"The scene {scene} has {name} more than once ({', '.join(map(shown, uris))})",
        "one file for a band",
        "narrow the folder or the pattern, or say with {id} what tells the scenes apart",
        scene=scene,
    )
