"""The heads of remote scenes, kept on this machine for the next run: it need not ask for them again.

What is kept are the bytes themselves, as they came. They are parsed anew by the very code that parses what comes from
the network, so that a kept head can claim nothing a fetched one could not. A file is used only for the address and the
version it was fetched from; one that is damaged or is none of ours is as good as none.
"""

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from clearyear.reading.tiff import Fetch, TiffIndex, read_index
from clearyear.settings import current_settings
from clearyear.stores import RangeFile, without_query

log = logging.getLogger(__name__)

_FORMAT = "clearyear head 1"
_SUFFIX = ".head"
_MOST_BYTES = 256_000_000
"""Some 8,000 scenes; beyond that those unused for longest go."""
_LOOK_EVERY = 256
"""New files after which the folder is measured again; the first of a process is one too."""

_kept = 0

Segments = dict[tuple[int, int], bytes]
"""(offset, size asked for) → what came."""


def read_index_once(file: RangeFile, version: str) -> TiffIndex:
    """The file's tile index: from the cache, or from the file and into the cache.

    Args:
        file: a remote file.
        version: what is known to lie there; only a head of this version is taken.

    Raises:
        Unsupported, ReadError: as ``read_index`` and the file's ``fetch`` do.
    """
    with kept_head(file, version) as fetch:
        return read_index(fetch)


@contextmanager
def kept_head(file: RangeFile, version: str) -> Iterator[Fetch]:
    """The file's ``fetch`` for what is read of its head, which asks for nothing twice, in this run or the next.

    What was fetched is kept if all of the block went well. Arguments as for ``read_index_once``.
    """
    folder = _folder(version)
    if folder is None:
        yield file.fetch
        return
    about = {"format": _FORMAT, "uri": without_query(file.uri), "version": version}
    path = folder / (hashlib.sha256(json.dumps(about).encode()).hexdigest() + _SUFFIX)
    known = _load(path, about)
    before = len(known)

    def fetch(offset: int, size: int) -> bytes:
        if (offset, size) not in known:
            known[offset, size] = bytes(file.fetch(offset, size))
        return known[offset, size]

    yield fetch
    if len(known) > before:
        _keep(path, about, known)


def _folder(version: str) -> Path | None:
    """Where heads are kept; None where they are not: switched off, or no version to know them again by."""
    setting = current_settings().cache
    known_by = not version.startswith("0-")  # a size alone: the server tells neither ETag nor date
    return Path(setting).expanduser() if setting and known_by else None


def _load(path: Path, about: dict[str, str]) -> Segments:
    """What a file holds, if it is whole and about this; else nothing."""
    try:
        line, _, data = path.read_bytes().partition(b"\n")
        head: Any = json.loads(line)
        if head["about"] != about or head["sha256"] != hashlib.sha256(data).hexdigest():
            return {}
        known, start = {}, 0
        for offset, size, length in head["segments"]:
            known[int(offset), int(size)] = data[start : start + length]
            start += length
        os.utime(path)
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return known


def _keep(path: Path, about: dict[str, str], fetched: Segments) -> None:
    """Write a file whole or not at all. A cache that cannot be written is no reason to fail."""
    global _kept
    data = b"".join(fetched.values())
    segments = [[offset, size, len(part)] for (offset, size), part in fetched.items()]
    head = {"about": about, "sha256": hashlib.sha256(data).hexdigest(), "segments": segments}
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix="part-", delete=False) as file:
            file.write(json.dumps(head).encode() + b"\n" + data)
        os.replace(file.name, path)
        if _kept % _LOOK_EVERY == 0:
            prune(path.parent, _MOST_BYTES)
        _kept += 1
    except OSError as error:
        log.debug("the tile index of %s is not kept: %s", about["uri"], error)


def prune(folder: Path, most: int) -> None:
    """Remove what was unused for longest until three quarters of ``most`` bytes are left; only files of ours."""
    found = []
    for path in [*folder.glob(f"*{_SUFFIX}"), *folder.glob("part-*")]:
        with suppress(OSError):
            info = path.stat()
            found.append((info.st_mtime, info.st_size, path))
    total = sum(size for _, size, _ in found)
    if total <= most:
        return
    for _, size, path in sorted(found):
        path.unlink(missing_ok=True)
        total -= size
        if total <= most * 3 // 4:
            return
