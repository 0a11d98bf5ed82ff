"""A folder as a store."""

import errno
import logging
import os
import shutil
import socket
import stat
import uuid
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from clearyear.errors import ClearyearError, InputError, StoreError
from clearyear.stores.base import Entry, inside, scratch_owner
from clearyear.stores.exclusive import put_if, remove_if, version_of_file

log = logging.getLogger(__name__)

_TRANSIENT_ERRNO = {errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN, errno.ECONNRESET, errno.ENETUNREACH}
_SCRATCH = ".clearyear-tmp"


@dataclass(frozen=True)
class LocalFile:
    """A file on this machine, read range by range."""

    uri: str

    def fetch(self, offset: int, size: int) -> bytes:
        """See RangeFile."""
        descriptor = os.open(self.uri, os.O_RDONLY)
        try:
            return os.pread(descriptor, size, offset)
        finally:
            os.close(descriptor)


def local_version(path: str) -> str | None:
    """The version an Entry of that file would have, or None where there is none: asked for each scene and piece."""
    try:
        return version_of_file(os.stat(path))  # noqa: PTH116  no Path object for each of thousands
    except OSError:
        return None


class LocalStore:
    """A folder. Writing goes through a temporary file on the same disk and a rename."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = str(folder)
        self._own = uuid.uuid4().hex[:12]

    def entries(self, prefix: str = "", *, lenient: bool = False) -> list[Entry]:
        """See Store."""
        base = self.folder / inside(prefix)
        if prefix and not base.exists():
            return []  # as in a bucket, where there are no folders
        found = []
        refuse = self._leave_out if lenient else self._raise
        seen: set[tuple[int, int]] = set()
        for directory, folders, files in os.walk(base, onerror=refuse, followlinks=True):
            # A link to a folder above would be followed for ever: two of them make 2⁴⁰ paths.
            if (place := _identity(directory)) in seen:
                folders.clear()
                continue
            seen.add(place)
            folders[:] = sorted(f for f in folders if f != _SCRATCH)
            # Names as text: with paths, listing tens of thousands of tiles costs more than asking the disk for them.
            below = Path(directory).relative_to(self.folder).as_posix()
            before = "" if below == "." else f"{below}/"
            found += [self._entry(f"{before}{f}", os.path.join(directory, f)) for f in files]
        return sorted((e for e in found if e is not None), key=lambda e: e.name)

    def stat(self, name: str) -> Entry | None:
        """See Store."""
        path = self.folder / inside(name)
        return self._entry(path.relative_to(self.folder).as_posix(), str(path))

    def read(self, name: str) -> bytes:
        """See Store."""
        with self._errors("read", name):
            return (self.folder / inside(name)).read_bytes()

    def write(self, name: str, data: bytes) -> None:
        """See Store."""
        with self._errors("write", name), self._holding(data) as temporary:
            os.replace(temporary, self._target(name))

    def swap(self, name: str, data: bytes, expected: str | None) -> str | None:
        """See Store."""
        with self._errors("write", name), self._holding(data) as temporary:
            version = version_of_file(temporary.stat())
            return version if put_if(temporary, self._target(name), expected) else None

    def write_file(self, name: str, source: Path) -> None:
        """See Store."""
        with self._errors("write", name):
            if source.stat().st_dev != self.scratch().stat().st_dev:
                copy = self.scratch() / uuid.uuid4().hex
                shutil.copyfile(source, copy)
                source.unlink()
                source = copy
            with source.open("rb") as file:
                os.fsync(file.fileno())
            os.replace(source, self._target(name))

    def remove(self, name: str, version: str | None = None) -> None:
        """See Store."""
        path = self.folder / inside(name)
        with self._errors("remove", name):
            if version is None:
                path.unlink(missing_ok=True)
            else:
                remove_if(path, version)

    def uri(self, name: str) -> str:
        """See Store."""
        return str(self.folder / name)

    def scratch(self) -> Path:
        """See Store.

        A folder of this store's own, since two runs in one process choose the same names; in one of the process's, so
        that a sweep can tell whose it is. It goes with the store.
        """
        folder = self._scratch_folder()
        with self._errors("write", _SCRATCH):
            if not folder.exists():
                _make(folder)
                weakref.finalize(self, _remove_empty, folder)
        return folder

    def sweep(self) -> None:
        """See Store; another machine's processes cannot be asked, so theirs stay."""
        base = self.folder / _SCRATCH
        for folder in base.iterdir() if base.is_dir() else ():
            # Taken apart from the right: host «a» must not sweep what «a-1» has.
            owner, _, pid = folder.name.rpartition("-")
            if owner in (scratch_owner(), socket.gethostname()) and pid.isdecimal() and not _is_alive(int(pid)):
                shutil.rmtree(folder, ignore_errors=True)
        # What is left empty goes; what another thread or process still uses does not.
        mine = base / f"{scratch_owner()}-{os.getpid()}"
        for folder in (*(mine.iterdir() if mine.is_dir() else ()), mine / self._own):
            _remove_empty(folder)

    def _temporary(self) -> Path:
        """A new empty file; another run's sweep may take the folder away before there is something in it."""
        for _ in range(20):
            with suppress(FileNotFoundError):
                path = self.scratch() / uuid.uuid4().hex
                path.touch()
                return path
        raise OSError(errno.EAGAIN, "its scratch folder is taken away again and again", str(self.folder))

    def _scratch_folder(self) -> Path:
        return self.folder / _SCRATCH / f"{scratch_owner()}-{os.getpid()}" / self._own

    @contextmanager
    def _holding(self, data: bytes) -> Iterator[Path]:
        """A temporary file on the store's disk with this content, safe against a power cut."""
        temporary = self._temporary()
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)

    def _target(self, name: str) -> Path:
        target = self.folder / inside(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        return target

    @staticmethod
    def _entry(name: str, path: str) -> Entry | None:
        try:
            info = os.stat(path)  # noqa: PTH116  see entries
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise _os_error("read", path, error) from error
        if not stat.S_ISREG(info.st_mode):
            return None  # opening a pipe waits for ever, and /dev/zero has no end
        return Entry(name=name, uri=path, size=info.st_size, version=version_of_file(info))

    @staticmethod
    def _raise(error: OSError) -> None:
        raise _os_error("list", str(error.filename), error)

    def _leave_out(self, error: OSError) -> None:
        if error.errno != errno.EACCES or error.filename == self.root:
            self._raise(error)
        log.warning("%s is left out: it may not be listed", error.filename)

    @contextmanager
    def _errors(self, verb: str, name: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise _os_error(verb, str(self.folder / name), error) from error


def _os_error(verb: str, uri: str, error: OSError) -> ClearyearError:
    """What the operating system said, as one of our errors: the user's to mend, or worth another try."""
    reason = error.strerror or str(error)
    if error.errno in _TRANSIENT_ERRNO:
        return StoreError(f"Cannot {verb} {uri}: {reason}", transient=True, uri=uri)
    if error.errno == errno.ENOENT and verb == "read":
        return StoreError(f"Cannot read {uri}: it is not there", uri=uri)
    return InputError(
        f"Cannot {verb} {uri}: {reason}",
        "a folder that exists and may be used"
        if verb in ("read", "list")
        else "a place that can be written, with room",
        "mend the path, its permissions or the disk; what is finished is kept",
        uri=uri,
    )


def _make(folder: Path) -> None:
    """Make a folder and its parents, though another process may just be removing an empty parent."""
    for _ in range(20):
        with suppress(FileNotFoundError):
            folder.mkdir(parents=True, exist_ok=True)
            return
    folder.mkdir(parents=True, exist_ok=True)


def _remove_empty(folder: Path) -> None:
    """Remove a store's scratch folder, the process's and the destination's, as far as nobody uses them."""
    for place in (folder, folder.parent, folder.parent.parent):
        with suppress(OSError):
            place.rmdir()


def _identity(directory: str) -> tuple[int, int]:
    try:
        info = Path(directory).stat()
    except OSError as error:
        raise _os_error("list", directory, error) from error
    return info.st_dev, info.st_ino


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
