"""Cloud-optimized GeoTIFFs from blocks that are compressed already: directories first, then the smallest level.

Layout: TIFF 6.0, BigTIFF where 4 GiB do not suffice, and the ghost area and block leaders of GDAL's COG driver
(https://gdal.org/en/stable/drivers/raster/cog.html#file-format-details). What the tags of georeferencing and metadata
hold is not known here; they are taken over from a file that GDAL has written.
"""

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

_STRUCTURE = (
    b"LAYOUT=IFDS_BEFORE_DATA\nBLOCK_ORDER=ROW_MAJOR\nBLOCK_LEADER=SIZE_AS_UINT4\n"
    b"BLOCK_TRAILER=LAST_4_BYTES_REPEATED\nKNOWN_INCOMPATIBLE_EDITION=NO\n "
)
GHOST = b"GDAL_STRUCTURAL_METADATA_SIZE=%06d bytes\n%s" % (len(_STRUCTURE), _STRUCTURE)

CLASSIC_MOST = (1 << 32) - 1
"""Bytes of a TIFF whose offsets have 32 bits."""

SUBFILE, WIDTH, HEIGHT, COMPRESSION, PREDICTOR = 254, 256, 257, 259, 317
BLOCK_WIDTH, BLOCK_HEIGHT, OFFSETS, COUNTS = 322, 323, 324, 325
_STRIPS = {273, 278, 279}
LAYOUT_TAGS = {SUBFILE, WIDTH, HEIGHT, COMPRESSION, PREDICTOR, BLOCK_WIDTH, BLOCK_HEIGHT, OFFSETS, COUNTS, *_STRIPS}
BITS, PHOTOMETRIC, BANDS, PLANAR, EXTRA, FORMAT, NODATA = 258, 262, 277, 284, 338, 339, 42113
SAMPLE_TAGS = {BITS, PHOTOMETRIC, BANDS, PLANAR, EXTRA, FORMAT, NODATA}
"""What an overview says of its samples too."""

_SHORT, _LONG, _LONG8 = 3, 4, 16
_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes of a value, by TIFF type."""
_BESIDE = 8
"""Bytes around a block: its size before it, its last four bytes again behind it."""


class Field(NamedTuple):
    """A tag's values as they lie in the file, little-endian."""

    kind: int
    length: int
    data: bytes

    def numbers(self) -> list[int]:
        """The values of a tag of whole numbers."""
        return [int(n) for n in np.frombuffer(self.data, f"<u{_BYTES[self.kind]}")]


Directory = dict[int, Field]


@dataclass(frozen=True, kw_only=True)
class Level:
    """One level's blocks."""

    width: int
    height: int
    counts: NDArray[np.int64]
    """(rows, columns) of blocks: how many bytes; 0 where there is none, which reads as nodata."""
    read: Callable[[int, int], bytes]
    """(row, column) → the block's bytes."""


def number(value: int) -> Field:
    """A field of one whole number."""
    return Field(_LONG, 1, struct.pack("<I", value))


def read_directories(data: bytes) -> list[Directory]:
    """All directories of a little-endian TIFF, in the file's order.

    Raises:
        ValueError: it is none, or cut off.
    """
    if data[:4] == b"II\x2a\x00":
        head, counter, entry, width, link = "<I", "<H", "<HHI", 12, 4
    elif data[:8] == b"II\x2b\x00\x08\x00\x00\x00":
        head, counter, entry, width, link = "<Q", "<Q", "<HHQ", 20, 8
    else:
        raise ValueError("not a little-endian TIFF")
    try:
        (position,) = struct.unpack_from(head, data, link)
        found: list[Directory] = []
        while position and len(found) < 64:
            (n,) = struct.unpack_from(counter, data, position)
            body = position + struct.calcsize(counter)
            directory: Directory = {}
            for start in range(body, body + n * width, width):
                tag, kind, count = struct.unpack_from(entry, data, start)
                size, at = _BYTES[kind] * count, start + width - link
                if size > link:
                    (at,) = struct.unpack_from(head, data, at)
                if at + size > len(data):
                    raise ValueError(f"tag {tag} is cut off")
                directory[tag] = Field(kind, count, data[at : at + size])
            found.append(directory)
            (position,) = struct.unpack_from(head, data, body + n * width)
        return found
    except (struct.error, KeyError) as error:
        raise ValueError(f"damaged directories ({error})") from error


def write_tiff(
    out: BinaryIO, levels: Sequence[Level], fields: Mapping[int, Field], *, block: int, classic_most: int = CLASSIC_MOST
) -> None:
    """Write a COG, one block in memory at a time.

    Args:
        out: where to; written from its position 0 on, without seeking.
        levels: full resolution first.
        fields: all other tags of the full resolution, compression and predictor among them.
        block: side of all blocks in pixels.
        classic_most: a file larger than this becomes a BigTIFF.
    """
    directories = [_directory(level, fields, block, is_first=i == 0) for i, level in enumerate(levels)]
    data = sum(int(level.counts.sum()) + _BESIDE * int(np.count_nonzero(level.counts)) for level in levels)
    big = len(_head(directories, big=False)) + data > classic_most
    position = len(_head(directories, big=big))
    for level, directory in reversed(list(zip(levels, directories, strict=True))):
        sizes = np.where(level.counts > 0, level.counts + _BESIDE, 0).ravel()
        ends = position + np.cumsum(sizes)
        offsets = np.where(sizes > 0, ends - sizes + _BESIDE // 2, 0)
        directory[OFFSETS] = _table(offsets, big=big)
        position = int(ends[-1])
    out.write(_head(directories, big=big))
    for level in reversed(levels):
        for row, col in np.argwhere(level.counts > 0).tolist():
            content = level.read(row, col)
            if len(content) != level.counts[row, col]:
                raise ValueError(f"block {row},{col} has {len(content)} bytes instead of {level.counts[row, col]}")
            out.write(struct.pack("<I", len(content)))
            out.write(content)
            out.write(content[-4:])


def _directory(level: Level, fields: Mapping[int, Field], block: int, *, is_first: bool) -> Directory:
    taken = SAMPLE_TAGS | {COMPRESSION, PREDICTOR}
    mine = dict(fields) if is_first else {tag: f for tag, f in fields.items() if tag in taken} | {SUBFILE: number(1)}
    return mine | {
        WIDTH: number(level.width),
        HEIGHT: number(level.height),
        BLOCK_WIDTH: number(block),
        BLOCK_HEIGHT: number(block),
        OFFSETS: _table(np.zeros(level.counts.size, np.int64), big=False),
        COUNTS: _table(level.counts.ravel(), big=False),
    }


def _table(values: NDArray[np.int64], *, big: bool) -> Field:
    return Field(_LONG8 if big else _LONG, len(values), values.astype("<u8" if big else "<u4").tobytes())


def _head(directories: Sequence[Directory], *, big: bool) -> bytes:
    """Everything before the first block: header, ghost area, directories, each with its values behind it."""
    counter, entry, pointer, room = ("<Q", "<HHQ", "<Q", 8) if big else ("<H", "<HHI", "<I", 4)
    out = bytearray(b"II\x2b\x00\x08\x00\x00\x00" if big else b"II\x2a\x00")
    first = len(out) + room + len(GHOST)
    out += struct.pack(pointer, first + first % 2) + GHOST
    for i, directory in enumerate(directories):
        out += bytes(len(out) % 2)
        fields = {tag: _widened(tag, field, big=big) for tag, field in sorted(directory.items())}
        values = len(out) + struct.calcsize(counter) + len(fields) * (struct.calcsize(entry) + room) + room
        rest = bytearray()
        out += struct.pack(counter, len(fields))
        for tag, field in fields.items():
            out += struct.pack(entry, tag, field.kind, field.length)
            if len(field.data) <= room:
                out += field.data.ljust(room, b"\0")
            else:
                out += struct.pack(pointer, values + len(rest))
                rest += field.data + bytes(len(field.data) % 2)
        following = values + len(rest)
        out += struct.pack(pointer, following + following % 2 if i + 1 < len(directories) else 0) + rest
    return bytes(out)


def _widened(tag: int, field: Field, *, big: bool) -> Field:
    """Offsets take the width the file needs, whatever they hold as yet."""
    if tag != OFFSETS or (field.kind == _LONG8) == big:
        return field
    return _table(np.frombuffer(field.data, f"<u{_BYTES[field.kind]}").astype(np.int64), big=big)
