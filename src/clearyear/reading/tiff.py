"""The tile index of a GeoTIFF: where each block's bytes lie and how they are packed.

It understands exactly what it claims and nothing more: little-endian, tiled, uint8, uint16, int16 or float32, DEFLATE,
ZSTD or uncompressed, horizontal predictor or none. Whatever else a header says is `Unsupported`; the caller falls back
to GDAL.
Source of the layout: TIFF 6.0, Adobe's DEFLATE note, the BigTIFF and GDAL ZSTD registrations.
"""

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Fetch = Callable[[int, int], bytes | memoryview]
"""(offset, size) → the bytes there; fewer only at the end of the file."""

HEADER_BYTES = 1 << 15
MOST_TAGS = 200
_MOST_BLOCKS = 1 << 22
_MOST_BLOCK_BYTES = 1 << 26
MOST_OFFSET = 1 << 62
"""No file is larger; a BigTIFF may claim 2⁶⁴ − 1, which the system's own reads cannot take."""
_NODATA_TAG = 42113
_ASCII = 2
_SIZES = {2: 1, 3: 2, 4: 4, 16: 8}
"""Bytes of a value, by TIFF type: ASCII, SHORT, LONG, LONG8. No tag we want is a BYTE; not all readers take one so."""
_WANTED = {256, 257, 258, 259, 262, 266, 277, 284, 317, 322, 323, 324, 325, 339, _NODATA_TAG}
_DTYPES = {(8, 1): "uint8", (16, 1): "uint16", (16, 2): "int16", (32, 3): "float32"}
"""(bits, sample format) → what composites are made of."""
_PHOTOMETRICS = {1, 2}
"""Brightness, and red, green, blue; GDAL shows other kinds (YCbCr, CIELAB) as the colours they stand for."""
_COMPRESSIONS = {1: "none", 8: "deflate", 32946: "deflate", 50000: "zstd"}


class Unsupported(Exception):  # noqa: N818  not a failure: GDAL takes over
    """The file is not one of those read directly; the reason is for a log."""


@dataclass(frozen=True, kw_only=True)
class TiffIndex:
    """The full-resolution image of one file."""

    width: int
    height: int
    n_bands: int
    dtype: str
    """``uint8``, ``uint16``, ``int16`` or ``float32``."""
    block_width: int
    block_height: int
    compression: str
    """``none``, ``deflate`` or ``zstd``."""
    predictor: int
    """1 none, 2 horizontal differencing."""
    separate: bool
    """Whether each band has blocks of its own (True) or a block holds all bands, pixel by pixel."""
    nodata: float | None
    """GDAL's nodata tag."""
    offsets: NDArray[np.uint64]
    """(planes, rows, columns) of blocks: where the bytes begin; planes is 1 unless ``separate``."""
    counts: NDArray[np.uint64]
    """The same shape: how many bytes; 0 is a block that was never written."""

    @property
    def block_bytes(self) -> int:
        """Bytes of one block when unpacked."""
        samples = 1 if self.separate else self.n_bands
        return self.block_width * self.block_height * samples * np.dtype(self.dtype).itemsize


def read_index(fetch: Fetch) -> TiffIndex:
    """Read the first image's index.

    Args:
        fetch: how to get at the bytes; called once for most COGs.

    Raises:
        Unsupported: the header says anything this module does not understand, or is damaged.
    """
    head = bytes(fetch(0, HEADER_BYTES))
    if head[:4] == b"II\x2a\x00":
        big, (position,) = False, struct.unpack_from("<I", head.ljust(8, b"\0"), 4)
    elif head[:8] == b"II\x2b\x00\x08\x00\x00\x00":
        big, (position,) = True, struct.unpack_from("<Q", head.ljust(16, b"\0"), 8)
    else:
        raise Unsupported("not a little-endian TIFF")

    def get(offset: int, size: int) -> bytes:
        if offset > MOST_OFFSET:
            raise Unsupported(f"its header points to byte {offset:,}")
        data = head[offset : offset + size] if offset + size <= len(head) else bytes(fetch(offset, size))
        if len(data) < size:
            raise Unsupported("its header is cut off")
        return data

    return _index(_tags(get, position, big=big))


def _tags(get: Callable[[int, int], bytes], position: int, *, big: bool) -> dict[int, Any]:
    """Tag → its values, for the tags we want."""
    counter, entry, width = ("<Q", "<HHQ", 20) if big else ("<H", "<HHI", 12)
    (n,) = struct.unpack(counter, get(position, struct.calcsize(counter)))
    if not 0 < n <= MOST_TAGS:
        raise Unsupported(f"its directory claims {n} tags")
    body = get(position + struct.calcsize(counter), n * width)
    found: dict[int, Any] = {}
    for start in range(0, n * width, width):
        tag, kind, count = struct.unpack_from(entry, body, start)
        if tag not in _WANTED:
            continue
        # A number written as text is none to libtiff.
        if kind not in _SIZES or (kind == _ASCII) != (tag == _NODATA_TAG) or not 0 < count <= _MOST_BLOCKS:
            raise Unsupported(f"tag {tag} claims {count} values of type {kind}")
        size = _SIZES[kind] * count
        room, at = (8 if big else 4), start + struct.calcsize(entry)
        if size <= room:
            data = body[at : at + size]
        else:
            (offset,) = struct.unpack_from("<Q" if big else "<I", body, at)
            data = get(offset, size)
        found[tag] = np.frombuffer(data, f"<u{_SIZES[kind]}")
    return found


def _index(tags: dict[int, Any]) -> TiffIndex:
    width, height, n_bands = _one(tags, 256), _one(tags, 257), _one(tags, 277, 1)
    block_width, block_height = _one(tags, 322), _one(tags, 323)
    kinds = {(int(bits), form) for bits in tags.get(258, [1]) for form in {int(f) for f in tags.get(339, [1])}}
    dtype = _DTYPES.get(next(iter(kinds))) if len(kinds) == 1 else None
    planar, predictor = _one(tags, 284, 1), _one(tags, 317, 1)
    compression = _COMPRESSIONS.get(_one(tags, 259, 1))
    if dtype is None:
        raise Unsupported(f"samples of (bits, format) {sorted(kinds)}")
    if compression is None or predictor not in (1, 2) or planar not in (1, 2) or _one(tags, 266, 1) != 1:
        raise Unsupported(f"compression {_one(tags, 259, 1)}, predictor {predictor}, layout {planar}")
    if _one(tags, 262) not in _PHOTOMETRICS:
        raise Unsupported(f"colours of kind {_one(tags, 262)}")
    if not (0 < width < 1 << 24 and 0 < height < 1 << 24 and 0 < n_bands <= 64):
        raise Unsupported(f"a size of {width}×{height}×{n_bands}")
    if block_width % 16 or block_height % 16 or not (block_width and block_height):
        raise Unsupported(f"blocks of {block_width}×{block_height}")
    shape = (n_bands if planar == 2 else 1, -(-height // block_height), -(-width // block_width))
    offsets, counts = _blocks(tags, shape)
    index = TiffIndex(
        width=width,
        height=height,
        n_bands=n_bands,
        dtype=dtype,
        block_width=block_width,
        block_height=block_height,
        compression=compression,
        predictor=predictor if compression != "none" else 1,
        separate=planar == 2,
        nodata=_nodata(tags.get(_NODATA_TAG)),
        offsets=offsets,
        counts=counts,
    )
    if index.block_bytes > _MOST_BLOCK_BYTES or int(counts.max()) > 2 * _MOST_BLOCK_BYTES:
        raise Unsupported(f"blocks of {index.block_bytes} bytes")
    if int(offsets.max()) > MOST_OFFSET:
        raise Unsupported(f"a block at byte {int(offsets.max()):,}")
    return index


def _one(tags: dict[int, Any], tag: int, default: int | None = None) -> int:
    """The one value of a tag; of several libtiff takes none."""
    if len(tags.get(tag, ())) > 1:
        raise Unsupported(f"tag {tag} has {len(tags[tag])} values")
    if tag in tags:
        return int(tags[tag][0])
    if default is None:
        raise Unsupported(f"tag {tag} is absent: not tiled, or damaged")
    return default


def _blocks(tags: dict[int, Any], shape: tuple[int, int, int]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Offsets and byte counts of all blocks, in ``shape``."""
    offsets, counts = tags.get(324, ()), tags.get(325, ())
    n_blocks = shape[0] * shape[1] * shape[2]
    if len(offsets) != n_blocks or len(counts) != n_blocks:
        raise Unsupported(f"{len(offsets)} offsets and {len(counts)} sizes for {n_blocks} blocks")
    return np.asarray(offsets, np.uint64).reshape(shape), np.asarray(counts, np.uint64).reshape(shape)


def _nodata(text: Any) -> float | None:
    if text is None:
        return None
    said = text.tobytes().split(b"\0")[0].decode("latin-1").strip()
    # Python takes «1_0» for ten, GDAL for one: only what both read alike.
    if not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?nan|[+-]?inf", said):
        raise Unsupported("a nodata tag that is no number")
    return float(said)
