"""Masks that lie in a folder of their own: one file for each scene, matched by date and name."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import PurePosixPath

from clearyear.errors import InputError
from clearyear.scenes.files import joined, listing_of
from clearyear.scenes.names import NamePattern, first_date, granule_of, text_before_date
from clearyear.scenes.scene import Scene
from clearyear.scenes.solar import has_time
from clearyear.stores import Entry, shown

_SHOWN = 5
_ONE_PASS = timedelta(minutes=45)
"""A product may be dated by its datatake, of up to half an hour, or by its tile; the next pass is an orbit later."""


@dataclass(frozen=True)
class _Candidate:
    prefix: str
    granule: str
    moment: datetime
    entry: Entry


def with_companions(scenes: Sequence[Scene], folders: Mapping[str, str]) -> list[Scene]:
    """The scenes with the files of their masks.

    A file belongs to the scene whose date it has and whose name is the same up to the date:
    T31TCJ_20230102_SCL.tif to T31TCJ_20230102T104441_TCI. Where both tell a tile it is the same, and where both tell a
    time of day they are of one pass; the file that has another scene's time is that scene's. Of several of one day the
    one with the scene's time of day.

    Args:
        scenes: at least one.
        folders: mask → folder or prefix, searched recursively.

    Raises:
        InputError: a scene has no file, or more than one; all are named.
    """
    found = list(scenes)
    for name, folder in folders.items():
        entries = [entry for entry in listing_of(folder).entries if NamePattern().matches(entry.name)]
        candidates: dict[tuple[str, str], list[_Candidate]] = {}
        for entry in entries:
            stem = PurePosixPath(entry.name).stem
            if moment := first_date(stem):
                one = _Candidate(_prefix(stem), granule_of([stem]), moment, entry)
                candidates.setdefault((one.prefix, f"{moment:%Y%m%d}"), []).append(one)
        taken = {(_prefix(scene.id), _second(scene)) for scene in found}
        matches = [_of(scene, candidates, taken) for scene in found]
        _refuse(found, matches, name, folder, len(entries))
        found = [_with(scene, name, match[0].entry) for scene, match in zip(found, matches, strict=True)]
    return found


def _of(
    scene: Scene, candidates: Mapping[tuple[str, str], list[_Candidate]], taken: Collection[tuple[str, datetime]]
) -> list[_Candidate]:
    """Those that may be the scene's; ``taken`` are the scenes' names up to the date, and their moments."""
    moment, granule = _second(scene), granule_of([scene.id])

    def may_be(one: _Candidate) -> bool:
        if granule and one.granule and one.granule != granule:
            return False
        if one.moment == moment or not (has_time(one.moment) and has_time(moment)):
            return True
        return abs(one.moment - moment) < _ONE_PASS and (one.prefix, one.moment) not in taken

    day = [one for one in candidates.get((_prefix(scene.id), f"{moment:%Y%m%d}"), []) if may_be(one)]
    same = [one for one in day if one.moment == moment]
    return same if len(day) > 1 and same else day


def _second(scene: Scene) -> datetime:
    return scene.datetime.replace(microsecond=0)


def _prefix(stem: str) -> str:
    return text_before_date(stem).casefold()


def _with(scene: Scene, name: str, entry: Entry) -> Scene:
    entries = {
        band: Entry(name=uri, uri=uri, size=0, version=scene.version_of(band)) for band, uri in scene.assets.items()
    }
    return joined(scene, entries | {name: entry}).model_copy(update={"size": scene.size + entry.size})


def _refuse(
    scenes: Sequence[Scene], matches: Sequence[Sequence[_Candidate]], name: str, folder: str, n_files: int
) -> None:
    lacking = [scene.id for scene, match in zip(scenes, matches, strict=True) if not match]
    if lacking:
        more = f" … and {len(lacking) - _SHOWN} more" if len(lacking) > _SHOWN else ""
        raise InputError(
            f"{len(lacking)} of {len(scenes)} scenes have no {name} in {shown(folder)} ({n_files} GeoTIFF files): "
            f"{', '.join(lacking[:_SHOWN])}{more}",
            "for each scene one file with its date, its name up to the date and, where both tell these, its tile and "
            "its time of day: T31TCJ_20230102_SCL.tif for T31TCJ_20230102_TCI.tif",
            "add or rename the files, or leave these scenes out",
            uri=shown(folder),
        )
    several = [(s, m) for s, m in zip(scenes, matches, strict=True) if len(m) > 1]
    if several:
        scene, match = several[0]
        raise InputError(
            f"{len(several)} of {len(scenes)} scenes have more than one {name} in {shown(folder)}, the first is "
            f"{scene.id}: {', '.join(c.entry.name for c in match[:_SHOWN])}",
            "one file for each scene",
            "narrow the folder",
            uri=shown(folder),
        )
