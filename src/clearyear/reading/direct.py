"""Reading blocks directly: ranges of bytes, decoded by libdeflate or zstd, put in place by a compiled loop.

The pixels are those GDAL gives. The bytes come from a local file or from elsewhere, through one seam: what lies close
together is fetched in one range, and ranges can be read at once, each by a thread that decodes what it has fetched.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from threading import local
from typing import Any

import imagecodecs
import numba
import numpy as np
from numpy.typing import NDArray

from clearyear.errors import ReadError
from clearyear.grid import Window
from clearyear.reading.ranges import Block, fetch_range, ranges
from clearyear.reading.tiff import TiffIndex, Unsupported, read_index
from clearyear.stores import LocalFile, RangeFile, shown

_thread = local()

Step = Callable[[], None]
"""A part of a read that any thread can do: fetch one range, decode it, put its pixels in place."""


@dataclass(frozen=True, kw_only=True)
class DirectSource:
    """One file, its index read once."""

    file: RangeFile
    index: TiffIndex
    fill: float
    """What a block that was never written holds: the nodata tag, or 0, as GDAL has it."""

    @classmethod
    def open(cls, path: str) -> "DirectSource":
        """Read a local file's index.

        Raises:
            Unsupported: GDAL must read this one.
            OSError: it cannot be opened.
        """
        file = LocalFile(path)
        return cls.of(file, read_index(file.fetch))

    @classmethod
    def of(cls, file: RangeFile, index: TiffIndex) -> "DirectSource":
        """The source of a file whose index is known.

        Raises:
            Unsupported: GDAL must read this one.
        """
        fill, dtype = index.nodata or 0.0, np.dtype(index.dtype)
        if dtype.kind == "f":
            # Of a number that is too large for the type GDAL makes one of its own.
            fits = not math.isfinite(fill) or abs(fill) <= float(np.finfo(dtype).max)
        else:
            fits = fill.is_integer() and np.iinfo(dtype).min <= fill <= np.iinfo(dtype).max
        if not fits:
            raise Unsupported(f"a nodata tag of {fill} for {index.dtype}")
        return cls(file=file, index=index, fill=fill)

    @property
    def path(self) -> str:
        """The file's address."""
        return self.file.uri

    def shape(self) -> tuple[int, int, int, str]:
        """See Source; of the version whose index this is."""
        return self.index.width, self.index.height, self.index.n_bands, self.index.dtype

    def read(self, piece: Window, out: NDArray[np.generic]) -> None:
        """Fill ``out`` (B, H, W) with the pixels of ``piece``.

        Raises:
            ReadError: a block is cut off, does not decode, or decodes to another size than its header says.
        """
        for step in self.steps(piece, out):
            step()

    def steps(self, piece: Window, out: NDArray[np.generic], bands: Sequence[int] = ()) -> list[Step]:
        """The parts of ``read``, one for each range of bytes; blocks never written are filled at once."""
        chosen = tuple(band - 1 for band in bands)
        stored = []
        for block in self._blocks(piece, chosen):
            if block.size:
                stored.append(block)
            else:
                self._place(block, piece, out, chosen)[0][:] = self.fill
        return [partial(self._read_range, blocks, piece, out, chosen) for blocks in ranges(stored)]

    def _blocks(self, piece: Window, chosen: tuple[int, ...]) -> Iterator[Block]:
        """All blocks that ``piece`` touches; of the bands ``chosen`` from 0, if any are and they have blocks each."""
        index = self.index
        last_row = (piece.row_off + piece.height - 1) // index.block_height
        last_col = (piece.col_off + piece.width - 1) // index.block_width
        for plane in chosen if chosen and index.separate else range(index.offsets.shape[0]):
            for row in range(piece.row_off // index.block_height, last_row + 1):
                for col in range(piece.col_off // index.block_width, last_col + 1):
                    offset, size = index.offsets[plane, row, col], index.counts[plane, row, col]
                    yield Block(int(offset), int(size), plane, row, col)

    def _place(
        self, block: Block, piece: Window, out: NDArray[np.generic], chosen: tuple[int, ...]
    ) -> tuple[NDArray[np.generic], int, int]:
        """What of ``out`` the block fills, (bands, h, w), and the first row and column of the block that it takes."""
        index = self.index
        top, left = block.row * index.block_height, block.col * index.block_width
        y0, x0 = max(piece.row_off, top), max(piece.col_off, left)
        y1 = min(piece.row_off + piece.height, top + index.block_height)
        x1 = min(piece.col_off + piece.width, left + index.block_width)
        place = out[:, y0 - piece.row_off : y1 - piece.row_off, x0 - piece.col_off : x1 - piece.col_off]
        if index.separate:
            band = chosen.index(block.plane) if chosen else block.plane
            place = place[band : band + 1]
        return place, y0 - top, x0 - left

    def _read_range(
        self, blocks: list[Block], piece: Window, out: NDArray[np.generic], chosen: tuple[int, ...]
    ) -> None:
        """Fetch what holds these blocks, and put what of them lies in ``piece`` into its place in ``out``."""
        # Moved as unsigned bits of the same size: the predictor's sums wrap alike in every type.
        index, bits = self.index, f"u{np.dtype(self.index.dtype).itemsize}"
        some = None if index.separate or not chosen else np.array(chosen)
        for block, packed in fetch_range(self.file, blocks):
            samples = self._unpack(packed, block).view(bits)
            bands, top, left = self._place(block, piece, out, chosen)
            place, differenced = bands.view(bits), index.predictor == 2
            if some is None:
                put_block(samples, index.block_width, differenced, place, top, left)
            else:
                put_bands(samples, index.block_width, index.n_bands, differenced, place, some, top, left)

    def _unpack(self, data: Any, block: Block) -> NDArray[np.uint8]:
        index, name = self.index, f"block {block.row},{block.col}"
        buffer: Any = _buffer(index.block_bytes)
        unpacked: Any
        try:
            if index.compression == "deflate":
                unpacked = imagecodecs.deflate_decode(data, out=buffer)
            elif index.compression == "zstd":
                unpacked = imagecodecs.zstd_decode(data, out=buffer)
            else:
                unpacked = np.frombuffer(data, np.uint8)
        except (imagecodecs.DeflateError, imagecodecs.ZstdError) as error:
            raise ReadError(f"{name} does not decode ({error})", uri=shown(self.path)) from error
        if len(unpacked) != index.block_bytes:
            raise ReadError(
                f"{name} decodes to {len(unpacked)} bytes instead of {index.block_bytes}", uri=shown(self.path)
            )
        result: NDArray[np.uint8] = unpacked
        return result


def _buffer(size: int) -> NDArray[np.uint8]:
    """This thread's scratch block: a fresh one for each read would cost more in page faults than the decoding."""
    buffer: NDArray[np.uint8] | None = getattr(_thread, "buffer", None)
    if buffer is None or len(buffer) != size:
        buffer = _thread.buffer = np.empty(size, np.uint8)
    return buffer


@numba.njit(nogil=True, cache=True)
def put_block(samples, block_width, differenced, out, top, left):  # type: ignore[no-untyped-def]
    """Undo the horizontal predictor and take pixel-interleaved samples apart.

    samples: a block's (rows × block_width × B) values, flat and unsigned; out: (B, h, w), filled from the block's row
    ``top`` and column ``left`` on. Sums wrap as the predictor's do: uint32 ones are twice as fast as narrow ones.
    """
    n_bands, height, width = out.shape
    row_size = block_width * n_bands
    for y in range(height):
        row = samples[(top + y) * row_size : (top + y + 1) * row_size]
        if not differenced:
            for band in range(n_bands):
                target = out[band, y]
                for x in range(width):
                    target[x] = row[(left + x) * n_bands + band]
        elif n_bands == 3:
            red, green, blue = np.uint32(0), np.uint32(0), np.uint32(0)
            first, second, third = out[0, y], out[1, y], out[2, y]
            for x in range(left):
                red += np.uint32(row[3 * x])
                green += np.uint32(row[3 * x + 1])
                blue += np.uint32(row[3 * x + 2])
            for x in range(width):
                red += np.uint32(row[3 * (left + x)])
                green += np.uint32(row[3 * (left + x) + 1])
                blue += np.uint32(row[3 * (left + x) + 2])
                first[x] = red
                second[x] = green
                third[x] = blue
        else:
            for band in range(n_bands):
                total = np.uint32(0)
                target = out[band, y]
                for x in range(left):
                    total += np.uint32(row[x * n_bands + band])
                for x in range(width):
                    total += np.uint32(row[(left + x) * n_bands + band])
                    target[x] = total


@numba.njit(nogil=True, cache=True)
def put_bands(samples, block_width, n_bands, differenced, out, chosen, top, left):  # type: ignore[no-untyped-def]
    """As ``put_block`` from blocks of ``n_bands``, of which ``out`` takes those that ``chosen`` numbers from 0."""
    _, height, width = out.shape
    row_size = block_width * n_bands
    for y in range(height):
        row = samples[(top + y) * row_size : (top + y + 1) * row_size]
        for place, band in enumerate(chosen):
            target = out[place, y]
            if not differenced:
                for x in range(width):
                    target[x] = row[(left + x) * n_bands + band]
                continue
            total = np.uint32(0)
            for x in range(left):
                total += np.uint32(row[x * n_bands + band])
            for x in range(width):
                total += np.uint32(row[(left + x) * n_bands + band])
                target[x] = total
