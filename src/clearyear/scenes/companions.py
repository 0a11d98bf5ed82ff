"""Masks that lie in a folder of their own: one file for each scene, matched by date and name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath

from clearyear.errors import InputError
from clearyear.scenes.files import joined, listing_of
from clearyear.scenes.names import NamePattern, first_date, text_before_date
from clearyear.scenes.scene import Scene
from clearyear.stores import Entry, shown

_SHOWN = 5


@dataclass(frozen=True)
class _Candidate:
    prefix: str
    moment: datetime
    entry: Entry


def with_companions(scenes: Sequence[Scene], folders: Mapping[str, str]) -> list[Scene]:
    """The scenes with the files of their masks.

    A file belongs to the scene whose date it has and whose name is the same up to the date:
    T31TCJ_20230102_SCL.tif to T31TCJ_20230102T104441_TCI. Of several of one day the one with the scene's time of day.

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
                one = _Candidate(_prefix(stem), moment, entry)
                candidates.setdefault((one.prefix, f"{moment:%Y%m%d}"), []).append(one)
        matches = [_of(scene, candidates) for scene in found]
        _refuse(found, matches, name, folder, len(entries))
        found = [_with(scene, name, match[0].entry) for scene, match in zip(found, matches, strict=True)]
    return found


def _of(scene: Scene, candidates: Mapping[tuple[str, str], list[_Candidate]]) -> list[_Candidate]:
    day = candidates.get((_prefix(scene.id), f"{scene.datetime:%Y%m%d}"), [])
    same = [c for c in day if c.moment == scene.datetime.replace(microsecond=0)]
    return same if len(day) > 1 and same else day


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
            "for each scene one file with its date and its name up to the date: T31TCJ_20230102_SCL.tif for "
            "T31TCJ_20230102_TCI.tif",
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
