"""The checksum GDAL does not look at.

A DEFLATE block ends with the Adler-32 of what was packed. GDAL stops unpacking when the block is full, before it gets
there, and gives damaged blocks out as sound: of 324 blocks with 64 bytes zeroed it noticed 8 (benchmarks/silent.py).
Source of the format: RFC 1950.
"""

import os
from threading import local
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from rasterio.enums import Compression, Interleaving
from rasterio.io import DatasetReader

from clearyear.errors import ReadError
from clearyear.grid import Window

_thread = local()


def check_blocks(dataset: DatasetReader, path: str, piece: Window) -> None:
    """Unpack every DEFLATE block that ``piece`` touches, to its very end; other compressions have no checksum.

    Args:
        dataset: the scene, open.
        path: the same file, on this machine.
        piece: what was read of it.

    Raises:
        ReadError: a block is cut off or damaged.
    """
    if dataset.compression != Compression.deflate:
        return
    height, width = dataset.block_shapes[0]
    planes = range(1, dataset.count + 1) if dataset.interleaving == Interleaving.band else (1,)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        for row in range(piece.row_off // height, (piece.row_off + piece.height - 1) // height + 1):
            for col in range(piece.col_off // width, (piece.col_off + piece.width - 1) // width + 1):
                for band in planes:
                    _check_block(dataset, descriptor, (row, col, band))
    except OSError as error:
        raise ReadError(error.strerror or str(error), uri=path) from error
    finally:
        os.close(descriptor)


def _check_block(dataset: DatasetReader, descriptor: int, place: tuple[int, int, int]) -> None:
    row, col, band = place
    offset, size = (dataset.get_tag_item(f"BLOCK_{what}_{col}_{row}", "TIFF", bidx=band) for what in ("OFFSET", "SIZE"))
    if offset is None or size is None:
        return  # never written
    data = os.pread(descriptor, int(size), int(offset))
    height, width = dataset.block_shapes[0]
    samples = 1 if dataset.interleaving == Interleaving.band else dataset.count
    buffer: Any = _buffer(height * width * samples * np.dtype(dataset.dtypes[0]).itemsize)
    try:
        imagecodecs.deflate_decode(data, out=buffer)  # a small block may claim gigabytes: it gets what its header says
    except imagecodecs.DeflateError as error:
        raise ReadError(f"block {row},{col} does not decode to what its header says ({error})") from error


def _buffer(size: int) -> NDArray[np.uint8]:
    """This thread's scratch block."""
    buffer: NDArray[np.uint8] | None = getattr(_thread, "buffer", None)
    if buffer is None or len(buffer) != size:
        buffer = _thread.buffer = np.empty(size, np.uint8)
    return buffer
