"""The mask inside a GeoTIFF: where it is, found without GDAL.

GDAL would look for it with Python's lock held, over the network for as long as a server takes, and what it met on the
way would be raised by whichever property is asked for next.
"""

import struct
from contextlib import nullcontext
from functools import lru_cache

from clearyear.errors import ReadError
from clearyear.reading.index_cache import kept_head
from clearyear.reading.tiff import HEADER_BYTES, MOST_OFFSET, MOST_TAGS, Fetch
from clearyear.stores import is_remote, shown
from clearyear.stores.pieces import range_file
from clearyear.stores.remote import BeyondEndError

_KIND_TAG = 254
_KINDS = {1: "B", 3: "H", 4: "I", 16: "Q"}
"""TIFF types of a number → struct's."""
_REDUCED, _MASK = 1, 4
_MOST_DIRECTORIES = 256
_MOST_ENTRIES = 0xFFFF
"""Of a directory that claims more libtiff says that it is none."""


@lru_cache(maxsize=8192)
def mask_of(uri: str, version: str) -> int:
    """Where a file has an internal mask, looked for once a process; 0 if it has none. See ``mask_directory``.

    Raises:
        ReadError: it cannot be read, is none of this version, or has more directories or tags than are looked at.
    """
    file = range_file(uri, version)
    try:
        with kept_head(file, version) if is_remote(uri) else nullcontext(file.fetch) as fetch:
            return mask_directory(fetch)
    except OSError as error:
        raise ReadError(error.strerror or str(error), uri=shown(uri)) from error


def mask_directory(fetch: Fetch) -> int:
    """Which of the file's directories is the mask that hides pixels: a later one that says it is one, at full size.

    GDAL would be asked with Python's lock held, over the network for as long as a server takes, and what it meets on
    the way would be raised by whichever property is asked for next. A chain of directories that is cut off or turns
    back ends there, as it does for GDAL.

    Args:
        fetch: as for ``read_index``; of any file, also one that is no TIFF.

    Returns:
        Its number in the chain, as in GDAL's ``GTIFF_DIR``: the image is 1, and 0 stands for no mask.
    """
    head = bytes(fetch(0, HEADER_BYTES)).ljust(16, b"\0")
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None or head[2:4] not in (b"\x2a\0", b"\0\x2a", b"\x2b\0", b"\0\x2b"):
        return 0
    big = 43 in head[2:4]
    word, counter, entry = ("Q", "Q", 20) if big else ("I", "H", 12)
    (position,) = struct.unpack_from(order + word, head, 8 if big else 4)
    seen: set[int] = set()
    while 0 < position <= MOST_OFFSET and position not in seen:
        seen.add(position)
        body = _part(fetch, head, position, struct.calcsize(order + counter))
        (n,) = struct.unpack(order + counter, body) if body else (0,)
        start = position + struct.calcsize(order + counter)
        body = _part(fetch, head, start, n * entry + struct.calcsize(word)) if n <= _MOST_ENTRIES else b""
        if not body:
            return 0
        if n > MOST_TAGS or len(seen) > _MOST_DIRECTORIES:
            raise ReadError(f"whether it has a mask is not known: image {len(seen)} in it has {n} tags")
        kinds = [kind for i in range(n) if (kind := _kind(body, i * entry, entry, order)) is not None]
        if len(seen) > 1 and kinds and kinds[0] & _MASK and not kinds[0] & _REDUCED:
            return len(seen)
        (position,) = struct.unpack_from(order + word, body, n * entry)
    return 0


def _kind(body: bytes, at: int, entry: int, order: str) -> int | None:
    """What the entry at that place says of its directory; None if it is about anything else."""
    tag, form = struct.unpack_from(order + "HH", body, at)
    if tag != _KIND_TAG or form not in _KINDS:
        return None
    wide = struct.calcsize(_KINDS[form])
    room = body[at + entry - (8 if entry == 20 else 4) : at + entry]
    return int(struct.unpack_from(order + _KINDS[form], room)[0]) if wide <= len(room) else None


def _part(fetch: Fetch, head: bytes, offset: int, size: int) -> bytes:
    """Bytes of a file whose first are known; none where it ends before."""
    try:
        data = head[offset : offset + size] if offset + size <= len(head) else bytes(fetch(offset, size))
    except BeyondEndError:
        return b""
    return data if len(data) == size else b""
