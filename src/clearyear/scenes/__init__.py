"""Where scenes come from: a folder or bucket prefix, a manifest, a list → scenes in acquisition order."""

import logging
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath

from clearyear.errors import InputError
from clearyear.periods import Period
from clearyear.scenes.files import listing_of
from clearyear.scenes.manifest import Row, is_manifest, read_manifest
from clearyear.scenes.names import NamePattern
from clearyear.scenes.scene import Scene
from clearyear.scenes.signing import address_of
from clearyear.scenes.solar import Days
from clearyear.scenes.within import within
from clearyear.stores import Entry, is_remote, same_but_time, shown, stat_uri

__all__ = ["NamePattern", "Scene", "changed_scenes", "find_scenes"]

log = logging.getLogger(__name__)


def find_scenes(
    source: str | Sequence[str], *, pattern: str | None = None, period: Period | None = None, days: Days = "utc"
) -> list[Scene]:
    """All scenes of ``source`` taken within ``period``.

    Args:
        source: a folder, ``gs://`` or ``s3://`` prefix (searched recursively), a manifest (.csv, .json), or a list of
            files, which may lie on the web.
        pattern: which files are scenes and where their date stands; see NamePattern.
        period: leave out what was taken outside [start, end); None keeps all.
        days: whose the period's are; see ``within``.

    Returns:
        Scenes in acquisition order, (datetime, id), whatever order the source has.

    Raises:
        InputError: nothing is there, no scene is left, a file has no date, or two scenes have one id or one
            file.
    """
    names = NamePattern(pattern)
    if isinstance(source, str) and not is_manifest(source):
        candidates = _listed(source, names)
    else:
        rows = read_manifest(source) if isinstance(source, str) else [Row(uri=uri) for uri in source]
        candidates = _described(rows, names, "the manifest" if isinstance(source, str) else "the list")
    found = within(candidates, period, days, file=lambda scene: (scene.uri, scene.version), where=_called(source))
    _refuse_doubles(found)
    log.info("%d of %d scenes lie in the period", len(found), len(candidates))
    return sorted(found, key=lambda scene: (scene.datetime, scene.id))


def changed_scenes(scenes: Sequence[Scene]) -> list[str]:
    """In words: which scenes are gone or no longer in the version the plan knows."""
    files = [(scene, asset, uri, version) for scene in scenes for asset, uri, version in scene.files()]
    with ThreadPoolExecutor(16) as pool:
        now = list(pool.map(lambda file: stat_uri(address_of(file[0], file[1])), files))
    changed: dict[str, str] = {}
    for (scene, _, uri, version), entry in zip(files, now, strict=True):
        if entry is None or entry.version != version:
            timed = entry is not None and not is_remote(uri) and same_but_time(version, entry.version)
            what = "is gone" if entry is None else "has changed" + (" in nothing but its time" if timed else "")
            changed.setdefault(scene.id, f"{scene.id} {what} ({shown(uri)})")
    return list(changed.values())


def _listed(source: str, names: NamePattern) -> list[Scene]:
    listing = listing_of(source)
    chosen = [entry for entry in listing.entries if names.matches(PurePosixPath(entry.name).name)]
    if not chosen:
        raise InputError(
            f"No scenes: {shown(source)} holds {listing}, none of which matches {names.pattern or '*.tif'}",
            "GeoTIFF files whose names hold their date",
            "correct the address or the pattern",
            uri=source,
        )
    return [_scene(Row(uri=entry.uri), entry, names, source) for entry in chosen]


def _described(rows: Sequence[Row], names: NamePattern, where: str) -> list[Scene]:
    if not rows:
        raise InputError("The list of scenes is empty", "at least one address", "add the scenes")
    with ThreadPoolExecutor(16) as pool:
        entries = list(pool.map(lambda row: stat_uri(row.uri), rows))
    absent = [shown(row.uri) for row, entry in zip(rows, entries, strict=True) if entry is None]
    if absent:
        raise InputError(
            f"{len(absent)} of {len(rows)} scenes of {where} are not there: {', '.join(absent[:5])}",
            "files that exist",
            "correct their addresses or leave them out",
        )
    return [_scene(row, entry, names, where) for row, entry in zip(rows, entries, strict=True) if entry is not None]


def _scene(row: Row, entry: Entry, names: NamePattern, where: str) -> Scene:
    path = PurePosixPath(entry.name)
    moment = row.datetime or names.datetime_of(path.name)
    if moment is None:
        raise InputError(
            f"The file {path.name} of {where} tells no date",
            "a date in the name, such as T31TCJ_20230102T104441_TCI.tif or field_2021-05-14.tif",
            "say where it stands with --pattern 'S2_%Y%j_*.tif', leave it out with a pattern, or write a manifest "
            "with a column datetime",
            uri=shown(entry.uri),
        )
    return Scene(
        id=row.id or path.stem,
        datetime=moment,
        assets={"data": entry.uri},
        version=entry.version,
        size=entry.size,
        cloud_cover=row.cloud_cover,
    )


def _refuse_doubles(scenes: Sequence[Scene]) -> None:
    doubles = [scene_id for scene_id, n in Counter(s.id for s in scenes).items() if n > 1]
    if doubles:
        where = ", ".join(shown(s.uri) for s in scenes if s.id == doubles[0])
        raise InputError(
            f"{len(doubles)} scene names stand for more than one file, the first is {doubles[0]} ({where})",
            "one file for a name",
            "narrow the folder or the pattern, or give them ids in a manifest",
        )
    by_file: dict[tuple[str, str], str] = {}
    for scene in scenes:
        other = by_file.setdefault((scene.uri, scene.version), scene.id)
        if other != scene.id:
            raise InputError(
                f"One file is two scenes, {other} and {scene.id} ({shown(scene.uri)}): it would count twice",
                "each file once",
                "leave one of them out of the list",
                uri=shown(scene.uri),
            )


def _called(source: str | Sequence[str]) -> str:
    return shown(source) if isinstance(source, str) else "the list"
