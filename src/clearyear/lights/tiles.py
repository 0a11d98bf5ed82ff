"""One tile of one month: fetched, checked, unpacked; what is known of it."""

import os
from pathlib import Path, PurePosixPath
from typing import Literal

from pydantic import BaseModel, ConfigDict

from clearyear.checksums import digests
from clearyear.download import Fetched, download
from clearyear.errors import ClearyearError
from clearyear.scenes.template import FoundTile
from clearyear.stores import Entry, is_remote, shown, stat_uri, without_query
from clearyear.unpack import is_archive, unpack


class Tile(BaseModel):
    """One expected tile: there, absent at its source, or there but of no use."""

    model_config = ConfigDict(frozen=True)

    name: str
    status: Literal["ok", "absent", "failed"]
    cause: str = ""
    """Why it is not ok."""
    address: str
    """Where it was looked for, or lies; without a signature."""
    version: str = ""
    size: int = 0
    """Bytes at the source."""
    sha256: str = ""
    """Of the file at the source; empty for one that is read where it lies."""
    verified: str = ""
    """Which of the source's checksums it agrees with; empty where it offers none."""
    raster: str = ""
    """The GeoTIFF on this machine."""


def without_file(found: FoundTile, error: BaseException | None = None) -> Tile:
    """A tile that cannot be had: not found, or found and not fetched."""
    if error is None:
        status: Literal["absent", "failed"] = "absent" if found.absent else "failed"
        return Tile(name=found.name, status=status, cause=found.cause, address=found.address)
    cause = error.found if isinstance(error, ClearyearError) else f"{type(error).__name__}: {error}"
    return Tile(name=found.name, status="failed", cause=cause, address=found.address)


def fetch_tile(name: str, uri: str, folder: Path, member: str) -> Tile:
    """Have one tile as a GeoTIFF on this machine, in the version that lies at its source now.

    Args:
        name: the tile's.
        uri: its address, signature included.
        folder: where what is fetched goes; a local GeoTIFF is read where it lies.
        member: which file of an archive is the tile.

    Raises:
        ReadError, StoreError, InputError: it is gone, broke off, is damaged or unsafe. ``transient`` where trying again
            may help; what has come so far is kept.
    """
    entry = stat_uri(uri)
    if entry is None:
        return Tile(name=name, status="absent", cause=f"absent: {shown(uri)} is gone", address=shown(uri))
    folder.mkdir(parents=True, exist_ok=True)
    file_name = PurePosixPath(entry.name).name
    if not is_archive(file_name):
        if not is_remote(uri):
            return _tile(name, entry, Path(entry.uri), None)
        target = folder / f"{name}.tif"
        return _tile(name, entry, target, download(entry, target))
    target = folder / f"{name}.tif"
    if (known := _unpacked(entry, target, member)) is not None:
        return _tile(name, entry, target, known)
    fetched, archive = None, Path(entry.uri)
    if is_remote(uri):
        archive = folder / f"{name}-{file_name}"
        fetched = download(entry, archive)
    unpack(archive, member, target)
    _note_unpacked(entry, target, member, fetched)
    if fetched is not None:
        archive.unlink()
        archive.with_name(f"{archive.name}.json").unlink(missing_ok=True)
    return _tile(name, entry, target, fetched)


class _Unpacked(BaseModel):
    """What an unpacked file came from; beside it."""

    uri: str
    version: str
    member: str
    sha256: str
    """Of the unpacked file."""
    fetched: Fetched | None


def _note_path(target: Path) -> Path:
    return target.with_name(f"{target.name}.unpacked.json")


def _unpacked(entry: Entry, target: Path, member: str) -> Fetched | None:
    """The archive a file here was unpacked from, if it is that version's and as it was written."""
    try:
        note = _Unpacked.model_validate_json(_note_path(target).read_bytes())
        same = (note.uri, note.version, note.member) == (without_query(entry.uri), entry.version, member)
        if same and digests(target, {"sha256"})["sha256"] == note.sha256:
            empty = Fetched(uri=note.uri, version=note.version, size=entry.size, sha256="", verified="")
            return note.fetched or empty
    except (OSError, ValueError):
        return None
    return None


def _note_unpacked(entry: Entry, target: Path, member: str, fetched: Fetched | None) -> None:
    note = _Unpacked(
        uri=without_query(entry.uri),
        version=entry.version,
        member=member,
        sha256=digests(target, {"sha256"})["sha256"],
        fetched=fetched,
    )
    scratch = target.with_name(f"{target.name}.note.new")
    scratch.write_text(note.model_dump_json(indent=1))
    os.replace(scratch, _note_path(target))


def _tile(name: str, entry: Entry, raster: Path, fetched: Fetched | None) -> Tile:
    return Tile(
        name=name,
        status="ok",
        address=shown(without_query(entry.uri)),
        version=entry.version,
        size=entry.size,
        sha256=fetched.sha256 if fetched else "",
        verified=fetched.verified if fetched else "",
        raster=str(raster),
    )
