"""How much memory this process may take: what the user says, or what its container has.

A container is a cgroup, or lies in one: the kernel kills what goes beyond its limit. Sources: cgroup-v2.rst
(memory.max) and cgroup-v1/memory.rst (memory.limit_in_bytes) of the Linux kernel's documentation.
"""

from pathlib import Path, PurePosixPath
from typing import NamedTuple

from clearyear.settings import Settings

_NO_LIMIT = 1 << 60
"""cgroup v1 writes «none» as the largest number of pages it can count; nobody has an exabyte."""


class Limit(NamedTuple):
    """Bytes for the whole container or process, and who says so."""

    size: int
    origin: str


def memory_limit(asked: int | None = None, *, root: Path = Path("/")) -> Limit | None:
    """The memory that holds here: the job's, else CLEARYEAR_MEMORY_LIMIT, but never more than the container has.

    Args:
        asked: the job's ``memory_limit`` in bytes.
        root: where ``proc`` and ``sys`` lie.

    Returns:
        None where nobody sets one.

    Raises:
        InputError: CLEARYEAR_MEMORY_LIMIT is no size.
    """
    configured = None if asked else Settings().memory_limit
    found = [
        Limit(size, origin)
        for size, origin in (
            (asked, "memory_limit"),
            (configured, "CLEARYEAR_MEMORY_LIMIT"),
            (cgroup_limit(root), "the container's, by its cgroup"),
        )
        if size
    ]
    return min(found, key=lambda limit: limit.size, default=None)


def cgroup_limit(root: Path = Path("/")) -> int | None:
    """The least memory limit of this process's cgroup and those above it, in bytes; None where there is none."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return None
    limits = []
    for line in lines:
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            limits += _limits(root / "sys/fs/cgroup", path, "memory.max")
        elif "memory" in controllers.split(","):
            limits += _limits(root / "sys/fs/cgroup/memory", path, "memory.limit_in_bytes")
    return min(limits, default=None)


def _limits(mount: Path, path: str, name: str) -> list[int]:
    """The limits from ``path`` up to the mount's own.

    Inside a container the path may be the host's, and name nothing; the mount is then the container's own group.
    """
    found = []
    group = PurePosixPath(path.lstrip("/"))
    for folder in (group, *group.parents):
        try:
            text = (mount / folder / name).read_text().strip()
        except OSError:
            continue
        if text.isdecimal() and int(text) < _NO_LIMIT:
            found.append(int(text))
    return found


def bytes_text(n: int) -> str:
    """Bytes with three digits or so."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if n >= factor:
            return f"{n / factor:,.1f} {unit}" if n < 100 * factor else f"{n / factor:,.0f} {unit}"
    return f"{n} B"
