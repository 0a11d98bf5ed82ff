"""The checksum GDAL does not look at.

A DEFLATE block ends with the Adler-32 of what was packed. GDAL stops unpacking when the block is full, before it gets
there, and gives damaged blocks out as sound: of 324 blocks with 64 bytes zeroed it noticed 8 (benchmarks/silent.py).
Source of the format: RFC 1950.
"""

from collections.abc import Iterator, Sequence
from threading import local
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from rasterio.enums import Compression, Interleaving
from rasterio.io import DatasetReader

from clearyear.errors import ReadError
from clearyear.grid import Window
from clearyear.reading.ranges import Block, fetch_blocks
from clearyear.stores import RangeFile, shown

_thread = local()


def check_blocks(dataset: DatasetReader, file: RangeFile, piece: Window, numbers: Sequence[int] = ()) -> bool:
    """Unpack every DEFLATE block that ``piece`` touches, to its very end; other compressions have no checksum.

    Args:
        dataset: the scene, open.
        file: the same file, in the version it must have.
        piece: what was read of it.
        numbers: of the bands that were read, from 1; none: all.

    Returns:
        Whether anything was fetched: then the file still had that version.

    Raises:
        ReadError: a block is cut off or damaged, or cannot be had again.
    """
    if dataset.compression != Compression.deflate:
        return False
    height, width = dataset.block_shapes[0]
    samples = 1 if dataset.interleaving == Interleaving.band else dataset.count
    buffer: Any = _buffer(height * width * samples * np.dtype(dataset.dtypes[0]).itemsize)
    blocks = list(_blocks(dataset, piece, numbers or dataset.indexes))
    data: Any  # imagecodecs' types know no memoryview
    for block, data in fetch_blocks(file, blocks):
        try:
            imagecodecs.deflate_decode(data, out=buffer)  # a small block may claim gigabytes: it gets what is due
        except imagecodecs.DeflateError as error:
            raise ReadError(
                f"block {block.row},{block.col} does not decode to what its header says ({error})", uri=shown(file.uri)
            ) from error
    return bool(blocks)


def _blocks(dataset: DatasetReader, piece: Window, numbers: Sequence[int]) -> Iterator[Block]:
    """The blocks that ``piece`` touches, without those that were never written."""
    height, width = dataset.block_shapes[0]
    planes = [number - 1 for number in numbers] if dataset.interleaving == Interleaving.band else [0]
    for row in range(piece.row_off // height, (piece.row_off + piece.height - 1) // height + 1):
        for col in range(piece.col_off // width, (piece.col_off + piece.width - 1) // width + 1):
            for plane in planes:
                offset, size = (
                    dataset.get_tag_item(f"BLOCK_{what}_{col}_{row}", "TIFF", bidx=plane + 1)
                    for what in ("OFFSET", "SIZE")
                )
                if offset is not None and size is not None:
                    yield Block(int(offset), int(size), plane, row, col)


def _buffer(size: int) -> NDArray[np.uint8]:
    """This thread's scratch block."""
    buffer: NDArray[np.uint8] | None = getattr(_thread, "buffer", None)
    if buffer is None or len(buffer) != size:
        buffer = _thread.buffer = np.empty(size, np.uint8)
    return buffer
