"""Bytes from anywhere, in one version and a few at a time: to fetch a source, or to look at what was published."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from clearyear.errors import ReadError
from clearyear.stores.address import is_remote, shown, split_uri
from clearyear.stores.base import Entry, RangeFile
from clearyear.stores.local import LocalFile
from clearyear.stores.remote import RemoteFile

_CHUNK = 8 << 20
"""Bytes of one read or request."""


def range_file(uri: str, version: str) -> RangeFile:
    """A file wherever it lies, to be read range by range; of one elsewhere only in this version."""
    return RemoteFile.of(uri, version) if is_remote(uri) else LocalFile(split_uri(uri)[2])


def chunks(entry: Entry) -> Iterator[bytes | memoryview]:
    """The content of one version of a file, in order.

    Raises:
        ReadError: it cannot be had whole, or is of another version by now.
    """
    file = range_file(entry.uri, entry.version)
    for offset in range(0, entry.size, _CHUNK):
        wanted = min(_CHUNK, entry.size - offset)
        try:
            data = file.fetch(offset, wanted)
        except OSError as error:
            raise ReadError(error.strerror or str(error), uri=shown(entry.uri)) from error
        if len(data) != wanted:
            raise ReadError(f"is cut off after {offset + len(data):,} of {entry.size:,} bytes", uri=shown(entry.uri))
        yield data


def digest_of(entry: Entry) -> str:
    """SHA-256 of a file's content, in hex; raises as ``chunks`` does."""
    digest = hashlib.sha256()
    for data in chunks(entry):
        digest.update(data)
    return digest.hexdigest()


def fetch(entry: Entry, folder: Path) -> tuple[Path, str]:
    """(path on this machine, SHA-256) of a file: itself where it lies here, else a copy under its own name.

    Raises:
        ReadError: see ``chunks``.
    """
    if not is_remote(entry.uri):
        return Path(split_uri(entry.uri)[2]), digest_of(entry)
    path = folder / entry.name.rpartition("/")[2]
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for data in chunks(entry):
            digest.update(data)
            file.write(data)
    return path, digest.hexdigest()
