"""Reading blocks directly: bytes from the file, decoded by libdeflate or zstd, put in place by a compiled loop.

The pixels are those GDAL gives. It takes about two thirds of GDAL's time, and its memory is one block a thread.
"""

import os
from dataclasses import dataclass
from threading import local
from typing import Any

import imagecodecs
import numba
import numpy as np
from numpy.typing import NDArray

from clearyear.errors import ReadError
from clearyear.grid import Window
from clearyear.tiff import TiffIndex, Unsupported, read_index

_thread = local()


@dataclass(frozen=True, kw_only=True)
class DirectSource:
    """One local file, its index read once."""

    path: str
    index: TiffIndex
    fill: int
    """What a block that was never written holds: the nodata tag, or 0, as GDAL has it."""

    @classmethod
    def open(cls, path: str) -> "DirectSource":
        """Read the file's index.

        Raises:
            Unsupported: GDAL must read this one.
            OSError: it cannot be opened.
        """
        descriptor = os.open(path, os.O_RDONLY)
        try:
            index = read_index(lambda offset, size: os.pread(descriptor, size, offset))
        finally:
            os.close(descriptor)
        fill = index.nodata or 0.0
        if not (fill.is_integer() and 0 <= fill <= np.iinfo(index.dtype).max):
            raise Unsupported(f"a nodata tag of {fill} for {index.dtype}")
        return cls(path=path, index=index, fill=int(fill))

    def shape(self) -> tuple[int, int, int, str]:
        """See Source; of the version whose index this is."""
        return self.index.width, self.index.height, self.index.n_bands, self.index.dtype

    def read(self, piece: Window, out: NDArray[np.generic]) -> None:
        """Fill ``out`` (B, H, W) with the pixels of ``piece``.

        Raises:
            ReadError: a block is cut off, does not decode, or decodes to another size than its header says.
        """
        index = self.index
        try:
            descriptor = os.open(self.path, os.O_RDONLY)
        except OSError as error:
            raise ReadError(error.strerror or str(error), uri=self.path) from error
        try:
            last_row = (piece.row_off + piece.height - 1) // index.block_height
            last_col = (piece.col_off + piece.width - 1) // index.block_width
            for row in range(piece.row_off // index.block_height, last_row + 1):
                for col in range(piece.col_off // index.block_width, last_col + 1):
                    self._read_block(descriptor, row, col, piece, out)
        finally:
            os.close(descriptor)

    def _read_block(self, descriptor: int, row: int, col: int, piece: Window, out: NDArray[np.generic]) -> None:
        """Put the part of one block that lies in ``piece`` into its place in ``out``."""
        index = self.index
        top, left = row * index.block_height, col * index.block_width
        y0, x0 = max(piece.row_off, top), max(piece.col_off, left)
        y1 = min(piece.row_off + piece.height, top + index.block_height)
        x1 = min(piece.col_off + piece.width, left + index.block_width)
        place = out[:, y0 - piece.row_off : y1 - piece.row_off, x0 - piece.col_off : x1 - piece.col_off]
        for plane in range(index.offsets.shape[0]):
            bands = place[plane : plane + 1] if index.separate else place
            size = int(index.counts[plane, row, col])
            if size == 0:
                bands[:] = self.fill
                continue
            data = os.pread(descriptor, size, int(index.offsets[plane, row, col]))
            if len(data) < size:
                raise ReadError(f"block {row},{col} is cut off: {len(data)} of {size} bytes", uri=self.path)
            samples = self._unpack(data, row, col).view(index.dtype)
            put_block(samples, index.block_width, index.predictor == 2, bands, y0 - top, x0 - left)

    def _unpack(self, data: bytes, row: int, col: int) -> NDArray[np.uint8]:
        index = self.index
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
            raise ReadError(f"block {row},{col} does not decode ({error})", uri=self.path) from error
        if len(unpacked) != index.block_bytes:
            raise ReadError(
                f"block {row},{col} decodes to {len(unpacked)} bytes instead of {index.block_bytes}", uri=self.path
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

    samples: a block's (rows × block_width × B) values, flat; out: (B, h, w), filled from the block's row ``top`` and
    column ``left`` on. Sums wrap as the predictor's do: uint32 ones are twice as fast as narrow ones here.
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
