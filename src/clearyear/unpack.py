"""One file out of an archive that may be hostile: nothing is extracted but the bytes of the one that is wanted.

Names in an archive never become paths of ours, so none leads out of the folder; links are not followed; what claims to
be larger than allowed, or turns out to be, is refused while it is unpacked.
"""

import gzip
import io
import os
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import IO, Any

from clearyear.errors import ReadError

_SUFFIXES = (".tgz", ".tar.gz", ".tar", ".zip")
MOST_BYTES = 16 << 30
"""A global tile of 28,800 × 18,000 px in float32 has 2.1 GB."""
_MOST_MEMBERS = 10_000
_LONGEST_READ = 64 << 20
"""A header of an archive that asks for more at once is none."""
_CHUNK = 1 << 20


def is_archive(name: str) -> bool:
    """Whether a file of that name is to be unpacked."""
    return name.lower().endswith(_SUFFIXES)


def unpack(archive: Path, pattern: str, target: Path, *, most_bytes: int = MOST_BYTES) -> None:
    """Write the one file of an archive whose name matches to ``target``, which is whole or absent.

    Args:
        archive: a .tgz, .tar.gz, .tar or .zip.
        pattern: a glob over the file's name without folders, such as ``*.avg_rade9h.tif``.
        target: where it goes.
        most_bytes: the most it may have, and an archive in all.

    Raises:
        ReadError: none matches, or several; it is a link or no plain file; its name leads out of the archive; it is
            too large; the archive is damaged.
    """
    scratch = target.with_name(target.name + ".unpacking")
    try:
        with _as_read_error(archive):
            open_members = _zip_members if archive.name.lower().endswith(".zip") else _tar_members
            found: list[str] = []
            for name, plain, size, content in open_members(archive, most_bytes):
                if not fnmatchcase(PurePosixPath(name).name, pattern):
                    continue
                _refuse(archive, name, plain, size, most_bytes)
                found.append(name)
                if len(found) == 1:
                    _copy(content, scratch, archive, name, most_bytes)
        if len(found) != 1:
            listed = f": {', '.join(found[:3])}" if found else ""
            raise ReadError(
                f"{archive.name} holds {len(found)} files like {pattern}{listed}",
                "exactly one",
                "correct the pattern (member)",
                uri=str(archive),
            )
        os.replace(scratch, target)
    finally:
        scratch.unlink(missing_ok=True)


_Member = tuple[str, bool, int, IO[bytes]]
"""Name, whether it is a plain file, size it claims, content."""


def _tar_members(archive: Path, most_bytes: int) -> Iterator[_Member]:
    """One after the other, from front to back: a compressed tar has no list of contents."""
    opener: Any = open if archive.name.lower().endswith(".tar") else gzip.open
    with opener(archive, "rb") as raw, tarfile.open(fileobj=_Bounded(raw), mode="r:") as tar:  # type: ignore[call-overload]
        total, too_much = 0, f"{archive.name} unpacks to more than {most_bytes:,} bytes or {_MOST_MEMBERS:,} files"
        for number, member in enumerate(tar):
            total += member.size  # what is passed over is decompressed all the same
            if number >= _MOST_MEMBERS or total > most_bytes or member.size < 0:
                raise ReadError(too_much, uri=str(archive))
            content = tar.extractfile(member) if member.isreg() else None
            yield member.name, content is not None, member.size, content or io.BytesIO()
        # tarfile stops at the mark of the archive's end; gzip's checksum of all that was read lies beyond it.
        while rest := raw.read(_CHUNK):
            total += len(rest)
            if total > most_bytes:
                raise ReadError(too_much, uri=str(archive))


class _Bounded:
    """A file that refuses to give much at once: tarfile takes a header's size at its word, and reads it into memory."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int) -> bytes:
        if size > _LONGEST_READ:
            raise tarfile.ReadError(f"a header asks for {size:,} bytes at once")
        return self.file.read(size)


def _zip_members(archive: Path, _most_bytes: int) -> Iterator[_Member]:
    """Only the one that is wanted is decompressed; its size is looked at then."""
    with zipfile.ZipFile(archive) as packed:
        members = packed.infolist()
        if len(members) > _MOST_MEMBERS:
            raise ReadError(f"{archive.name} holds more than {_MOST_MEMBERS:,} files", uri=str(archive))
        for member in members:
            kind = member.external_attr >> 16 & 0o170000  # Unix's file type, where it was packed on Unix
            if member.is_dir():
                continue
            with packed.open(member) as content:
                yield member.filename, kind in (0, 0o100000), member.file_size, content


def _refuse(archive: Path, name: str, plain: bool, size: int, most_bytes: int) -> None:
    why = ""
    if not plain:
        why = "is a link or a device"
    elif name.startswith(("/", "\\")) or ".." in name.replace("\\", "/").split("/"):
        why = "leads out of the archive"
    elif size > most_bytes:
        why = f"claims {size:,} bytes, at most {most_bytes:,} are unpacked"
    if why:
        raise ReadError(f"{archive.name} is not to be trusted: {name} {why}", "a plain file", uri=str(archive))


def _copy(content: IO[bytes], scratch: Path, archive: Path, name: str, most_bytes: int) -> None:
    written = 0
    with scratch.open("wb") as file:
        while chunk := content.read(_CHUNK):
            written += len(chunk)
            if written > most_bytes:
                raise ReadError(f"{name} of {archive.name} has more than {most_bytes:,} bytes", uri=str(archive))
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def _as_read_error(archive: Path) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, gzip.BadGzipFile, RuntimeError) as error:
        words = " ".join(str(error).split()) or type(error).__name__
        raise ReadError(f"{archive.name} cannot be unpacked: {words}", "a whole archive", uri=str(archive)) from error
