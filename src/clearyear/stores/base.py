"""What a store is."""

import socket
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from clearyear.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One stored file."""

    name: str
    """Path below the store's root, with forward slashes."""
    uri: str
    """The whole address, as a job would write it."""
    size: int
    """Bytes."""
    version: str
    """Changes when the content does: a GCS generation, an ETag, or mtime and size of a local file."""
    checksum: str = ""
    """``md5:<hex>`` where the store tells it unasked."""


def inside(name: str) -> str:
    """A name as it came, if it lies below a store's root.

    Names come from plans, records and items, which lie where others may write.

    Raises:
        InputError: it is absolute, climbs out, or holds what no name may.
    """
    parts = name.split("/")
    if name.startswith(("/", "~")) or ".." in parts or "\\" in name or any(ord(c) < 32 for c in name):
        raise InputError(
            f"The name {name!r} leads out of its folder", "a name below the destination", "see who wrote it there"
        )
    return name


class Store(Protocol):
    """What the rest of clearyear needs from a folder or a bucket. Names are relative to ``root``, and below it."""

    root: str

    def entries(self, prefix: str = "", *, lenient: bool = False) -> list[Entry]:
        """All files below ``prefix``, recursively, sorted by name.

        Args:
            prefix: how their names begin.
            lenient: leave out folders below that may not be listed, with a warning.
        """

    def stat(self, name: str) -> Entry | None:
        """The entry called ``name``, or None."""

    def read(self, name: str) -> bytes:
        """The whole content. Raises StoreError when there is none."""

    def write(self, name: str, data: bytes) -> None:
        """Put ``data`` under ``name`` atomically, replacing what was there."""

    def write_file(self, name: str, source: Path) -> None:
        """Put the local file ``source`` under ``name`` atomically; ``source`` is gone afterwards."""

    def swap(self, name: str, data: bytes, expected: str | None) -> str | None:
        """Put ``data`` under ``name`` if what lies there has the version ``expected``, None being: nothing does.

        Of several who ask at once for the same, one is served. Meant for small files.

        Returns:
            The version of what was put; None where another version lies there, or none.
        """

    def remove(self, name: str, version: str | None = None) -> None:
        """Delete ``name``, or only that version of it; no error when it is not there."""

    def uri(self, name: str) -> str:
        """The address of ``name``."""

    def scratch(self) -> Path:
        """A local folder for big temporary files, on the destination's own disk where there is one."""

    def sweep(self) -> None:
        """Remove temporary files of processes that are no more."""


class RangeFile(Protocol):
    """One version of one file, read range by range, by many threads at once."""

    @property
    def uri(self) -> str:
        """Its address."""

    def fetch(self, offset: int, size: int) -> bytes | memoryview:
        """The bytes [offset, offset + size); fewer only at the end of the file.

        Raises:
            ReadError, OSError: they cannot be had, or are of another version.
        """


def scratch_owner() -> str:
    """Host and, where there are such, PID namespace: containers may share a host's name, but not its processes."""
    with suppress(OSError):
        return f"{socket.gethostname()}+{Path('/proc/self/ns/pid').stat().st_ino}"
    return socket.gethostname()


def scratch_folder() -> Path:
    """A folder for the temporary files of stores without a disk, gone with the process.

    Another one each time, since two runs in one process choose the same names.
    """
    return Path(tempfile.mkdtemp(dir=_scratch().name))


@lru_cache(maxsize=1)
def _scratch() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="clearyear-")
