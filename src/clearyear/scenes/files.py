"""Files of scenes: which of a folder may be some, and whether they are there, how large, in which version."""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from clearyear.errors import InputError
from clearyear.scenes.scene import Scene
from clearyear.scenes.signing import Signer
from clearyear.stores import Entry, open_store, shown, stat_uri

_THREADS = 16
_SHOWN = 5
_OF_RESULTS = ("/windows.csv", "/report.json", ".stac-item.json")
"""Beside a plan these are a run's; its tiles may be gone."""


@dataclass(frozen=True, kw_only=True)
class Listing:
    """What lies below a folder or prefix."""

    entries: list[Entry]
    """Files that may be scenes."""
    results: tuple[str, ...]
    """Folders in which a run of clearyear has left its results. These are no scenes, whatever they are called."""

    def __str__(self) -> str:
        beside = f" beside the results of clearyear in {', '.join(self.results[:_SHOWN])}" if self.results else ""
        return f"{len(self.entries)} files{beside}"


def listing_of(source: str) -> Listing:
    """What lies below ``source``, without the tiles and mosaics of runs: yesterday's mosaic is no scene of today's.

    A run's folder holds a plan and, as soon as it holds rasters, a folder with tiles; or else what is written of them.

    Raises:
        InputError: it cannot be listed.
    """
    entries = open_store(source).entries()
    plans = {entry.name.rpartition("/")[0] for entry in entries if entry.name.rpartition("/")[2] == "plan.json"}
    tiled = {entry.name.rpartition("/tiles/")[0] for entry in entries if "/tiles/" in f"/{entry.name}"}
    told = {entry.name.rpartition("/")[0] for entry in entries if entry.name.endswith(_OF_RESULTS)}
    results = tuple(sorted(plans & (tiled | told)))
    inside = tuple(f"{folder}/" if folder else "" for folder in results)
    kept = [entry for entry in entries if not entry.name.startswith(inside)] if inside else entries
    return Listing(entries=kept, results=tuple(folder or "." for folder in results))


def with_versions(scenes: Sequence[Scene], *, where: str, sign: Signer | None = None) -> list[Scene]:
    """The scenes with the versions and sizes of their files as they are now.

    Args:
        scenes: of whose files nothing but the addresses is known.
        where: who names them, for the error.
        sign: makes of their addresses those that may be read.

    Raises:
        InputError: files are not there, or may not be read.
        StoreError: a server does not answer; ``transient``.
    """
    asked = [(scene, name, uri) for scene in scenes for name, uri in scene.assets.items()]
    with ThreadPoolExecutor(_THREADS) as pool:
        entries = list(pool.map(_look, [sign(uri) if sign else uri for _, _, uri in asked]))
    closed = [
        f"{s.id} {n}: {e.found}" for (s, n, _), e in zip(asked, entries, strict=True) if isinstance(e, InputError)
    ]
    if closed:
        raise InputError(
            f"{len(closed)} of {len(asked)} files of {where} may not be read: {'; '.join(closed[:_SHOWN])}",
            "files open to all, or signed addresses that have not expired",
            "sign them anew (--sign planetary-computer) and run again: finished windows are kept",
        )
    absent = [f"{s.id} {n} ({shown(u)})" for (s, n, u), e in zip(asked, entries, strict=True) if e is None]
    if absent:
        raise InputError(
            f"{len(absent)} of {len(asked)} files of {where} are not there: {'; '.join(absent[:_SHOWN])}",
            "files that exist",
            "correct the addresses, or leave these scenes out",
        )
    found = {
        (s.id, n): replace(e, uri=u) if sign else e
        for (s, n, u), e in zip(asked, entries, strict=True)
        if isinstance(e, Entry)
    }
    return [joined(scene, {name: found[scene.id, name] for name in scene.assets}) for scene in scenes]


def joined(scene: Scene, entries: dict[str, Entry]) -> Scene:
    """The scene with the sizes of its files and their versions, and of several one version for all."""
    versions = {name: entry.version for name, entry in entries.items()}
    if len(versions) == 1:
        version, versions = next(iter(versions.values())), {}
    else:
        text = "\n".join(f"{name} {versions[name]}" for name in sorted(versions))
        version = hashlib.sha256(text.encode()).hexdigest()[:32]
    return scene.model_copy(
        update={
            "assets": {name: entry.uri for name, entry in entries.items()},
            "version": version,
            "versions": versions,
            "size": sum(entry.size for entry in entries.values()),
        }
    )


def _look(uri: str) -> Entry | InputError | None:
    try:
        return stat_uri(uri)
    except InputError as error:
        return error
