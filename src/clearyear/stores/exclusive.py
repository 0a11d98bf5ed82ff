"""Replacing or removing a local file only if nobody else has: the conditions that buckets offer by themselves."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def version_of_file(info: os.stat_result) -> str:
    """What an Entry of a local file calls its version."""
    return f"{info.st_mtime_ns}-{info.st_size}"


def same_but_time(before: str, now: str) -> bool:
    """Whether two versions of local files differ in nothing but the time: copied without it, say, or touched."""
    return before.rpartition("-")[2] == now.rpartition("-")[2]


def put_if(source: Path, target: Path, expected: str | None) -> bool:
    """Give ``source`` the name ``target`` if the file there has the version ``expected``, None being: no file is there.

    A link is made where none may be, since a rename would replace what another has just put there.
    """
    if expected is None:
        try:
            os.link(source, target)
        except FileExistsError:
            return False
        return True
    with _held(target, expected) as is_it:
        if is_it:
            os.replace(source, target)
        return is_it


def remove_if(target: Path, expected: str) -> None:
    """Remove a file if it has the version ``expected``."""
    with _held(target, expected) as is_it:
        if is_it:
            target.unlink()


@contextmanager
def _held(path: Path, expected: str) -> Iterator[bool]:
    """Whether the file of that name has that version, true for as long as the block lasts among those who ask so.

    The lock is the kernel's, on the file itself: it ends with the process, and whoever waited for it finds that the
    name means another file by then.
    """
    try:
        descriptor = _open(path)
    except FileNotFoundError:
        yield False
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        held = os.fstat(descriptor)
        yield held.st_nlink > 0 and os.path.samestat(held, path.stat()) and version_of_file(held) == expected
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    """A descriptor to lock: over NFS for writing, or it cannot be; another's file may be for reading only."""
    try:
        return os.open(path, os.O_RDWR)
    except PermissionError:
        return os.open(path, os.O_RDONLY)
