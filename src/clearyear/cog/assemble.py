"""A mosaic put together from its tiles' own bytes: nothing that a window has compressed is compressed again.

Full-resolution blocks go over as they are, and those of the half-size level where the windows' borders allow. Smaller
overviews are made row by row from the level the tiles give. The blocks wait in a spool file, since a COG begins with
where they lie and with the smallest level; memory holds a few tiles and a row of blocks of each level.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
from numpy.typing import NDArray

from clearyear.cog import tiffwrite as tiff
from clearyear.cog.blocks import encode_block
from clearyear.cog.layers import Frame, Layer
from clearyear.cog.overviews import Overview
from clearyear.cog.parts import Part, part_of
from clearyear.grid import Window

_THREADS = 8
_AHEAD_BYTES = 64_000_000
"""Tiles read before their turn hold no more than this, unless one does."""
_WORK_BYTES = 64_000_000
"""Threads that take tiles apart hold no more than this beside, unless one does."""

_T = TypeVar("_T")
_R = TypeVar("_R")
Source = tuple[Window, Callable[[], bytes] | None, int]
"""A window, how to get its tile's checked bytes (None: it is missing), and about how many they are."""


def assemble(
    target: Path,
    sources: Sequence[Source],
    *,
    layer: Layer,
    frame: Frame,
    fields: tiff.Directory,
    classic_most: int = tiff.CLASSIC_MOST,
) -> None:
    """Write the COG of one layer.

    Args:
        target: where it goes; not atomic, so give a scratch path with room for twice the file.
        sources: all windows of the plan, row by row.
        layer: what the layer's files are like.
        frame: how the mosaic's blocks lie.
        fields: the mosaic's own tags, from ``cog.fields``.
        classic_most: a file larger than this becomes a BigTIFF.

    Raises:
        parts.Differs: a tile was written in another way, by an earlier version perhaps; nothing is left at ``target``.
    """
    base = 1 if frame.halved else 0
    spool_path = target.with_name(f"blocks-{target.name}")
    try:
        threads, ahead = _at_once(sources, layer, frame)
        with spool_path.open("w+b") as file, ThreadPoolExecutor(threads) as pool:
            spool = _Spool(file, frame)
            pyramid = _Pyramid(spool, layer, frame, base, pool, all(read for _, read, _ in sources))

            def load(source: Source) -> Part | None:
                window, read, _ = source
                return None if read is None else part_of(read(), window, layer, frame, fields)

            parts = _in_order(pool, load, sources, ahead)
            for _, row in groupby(parts, key=lambda found: found[0][0].row_off):
                pyramid.push(_put_row(spool, row, layer, frame, base))
            file.flush()
            with target.open("wb") as out:
                tiff.write_tiff(out, spool.levels(), fields, block=frame.block, classic_most=classic_most)
    finally:
        spool_path.unlink(missing_ok=True)


def peak_bytes(sources: Sequence[Source], layer: Layer, frame: Frame) -> int:
    """Bytes that ``assemble`` holds at most, however its threads come and go; the mosaic's height is not in it.

    Args:
        sources: as for ``assemble``, and so the next two.
        layer: what the layer's files are like.
        frame: how the mosaic's blocks lie.
    """
    threads, ahead = _at_once(sources, layer, frame)
    held, work = _tile_bytes(sources, layer, frame)
    base, sample = int(frame.halved), layer.n_bands * np.dtype(layer.dtype).itemsize
    row = max(window.height for window, _, _ in sources) >> base
    # A row of windows, once more while it is joined to the rows kept before it, and the level made of it; what each
    # level still waits for, a row of blocks at most, twice while that is added to.
    rows = 5 * row // 2 + 2 * frame.block
    # One tile is being put down while its successor is asked for.
    return (ahead + 1) * held + threads * work + rows * frame.sizes[base][0] * sample


def _at_once(sources: Sequence[Source], layer: Layer, frame: Frame) -> tuple[int, int]:
    """How many threads may take tiles apart, and how many tiles may be read before their turn: one or more of each."""
    held, work = _tile_bytes(sources, layer, frame)
    return max(1, min(_THREADS, _WORK_BYTES // work)), max(1, min(2 * _THREADS, _AHEAD_BYTES // held))


def _tile_bytes(sources: Sequence[Source], layer: Layer, frame: Frame) -> tuple[int, int]:
    """Bytes of one tile that waits for its turn: blocks and pixels; and of one at work: file, a block, that unpacked.

    To compress a block of an overview takes three or four blocks, and not the tile.
    """
    base, sample = int(frame.halved), layer.n_bands * np.dtype(layer.dtype).itemsize
    block = frame.block**2 * sample
    size = max(size for _, _, size in sources)
    return size + max(w.n_pixels >> 2 * base for w, _, _ in sources) * sample, max(size + 2 * block, 4 * block)


def _in_order(
    pool: ThreadPoolExecutor, work: Callable[[_T], _R], items: Iterable[_T], ahead: int
) -> Iterator[tuple[_T, _R]]:
    """(item, its result) in the items' order, ``ahead`` of them at work or waiting."""
    waiting: deque[tuple[_T, Future[_R]]] = deque()
    try:
        for item in items:
            waiting.append((item, pool.submit(work, item)))
            if len(waiting) >= ahead:
                first, result = waiting.popleft()
                yield first, result.result()
        while waiting:
            first, result = waiting.popleft()
            yield first, result.result()
    finally:
        for _, result in waiting:
            result.cancel()


def _put_row(
    spool: "_Spool", row: Iterable[tuple[Source, Part | None]], layer: Layer, frame: Frame, base: int
) -> NDArray[Any]:
    """Spool one row of windows; returns the rows of pixels that overviews are made from, gaps filled."""
    pixels = np.empty((0, 0, 0), layer.dtype)
    for (window, _, _), part in row:
        if pixels.size == 0:
            shape = (layer.n_bands, window.height >> base, frame.sizes[base][0] if len(frame.sizes) > 1 else 1)
            pixels = np.full(shape, layer.nodata or 0, layer.dtype)
        if part is None:
            continue
        for level, blocks in enumerate(part.blocks):
            step = frame.block << level
            for r, found in enumerate(blocks, start=window.row_off // step):
                for c, content in enumerate(found, start=window.col_off // step):
                    spool.put(level, r, c, content)
        if part.pixels is not None:
            left = window.col_off >> base
            pixels[:, :, left : left + part.pixels.shape[2]] = part.pixels
    return pixels


class _Spool:
    """Compressed blocks in the order they come, and where each lies."""

    def __init__(self, file: BinaryIO, frame: Frame) -> None:
        self._file, self._sizes, self._end = file, frame.sizes, 0
        shapes = [(-(-height // frame.block), -(-width // frame.block)) for width, height in frame.sizes]
        self._offsets = [np.zeros(shape, np.int64) for shape in shapes]
        self._counts = [np.zeros(shape, np.int64) for shape in shapes]

    def put(self, level: int, row: int, col: int, content: bytes) -> None:
        self._file.write(content)
        self._offsets[level][row, col], self._counts[level][row, col] = self._end, len(content)
        self._end += len(content)

    def levels(self) -> list[tiff.Level]:
        """For the writer; the file must be flushed."""
        return [
            tiff.Level(width=width, height=height, counts=counts, read=self._reader(level))
            for level, ((width, height), counts) in enumerate(zip(self._sizes, self._counts, strict=True))
        ]

    def _reader(self, level: int) -> Callable[[int, int], bytes]:
        offsets, counts, descriptor = self._offsets[level], self._counts[level], self._file.fileno()
        return lambda row, col: os.pread(descriptor, int(counts[row, col]), int(offsets[row, col]))


class _Pyramid:
    """The levels the tiles do not hold, each a row of blocks at a time."""

    def __init__(
        self, spool: _Spool, layer: Layer, frame: Frame, base: int, pool: ThreadPoolExecutor, complete: bool
    ) -> None:
        self._spool, self._layer, self._frame, self._base, self._pool = spool, layer, frame, base, pool
        self._complete = complete
        self._levels = [
            Overview(below, size, dtype=layer.dtype, nodata=layer.nodata, resampling=layer.resampling)
            for below, size in zip(frame.sizes[base:], frame.sizes[base + 1 :], strict=False)
        ]
        self._waiting = [np.empty((layer.n_bands, 0, level.size[0]), layer.dtype) for level in self._levels]
        self._rows = [0] * len(self._levels)

    def push(self, rows: NDArray[Any]) -> None:
        """Take the next rows of the level the tiles give."""
        side = self._frame.block
        for i, level in enumerate(self._levels):
            rows = level.push(rows)
            waiting = np.concatenate([self._waiting[i], rows], axis=1)
            while waiting.shape[1] >= side or (
                waiting.shape[1] and self._rows[i] * side + waiting.shape[1] == level.size[1]
            ):
                self._put(i, waiting[:, :side])
                waiting = waiting[:, side:].copy()
                self._rows[i] += 1
            self._waiting[i] = waiting

    def _put(self, i: int, rows: NDArray[Any]) -> None:
        """Compress one row of blocks. Where windows are missing, a block of nothing but gaps is left out."""
        side, layer = self._frame.block, self._layer
        blocks = [rows[:, :, left : left + side] for left in range(0, rows.shape[2], side)]
        fill = np.asarray(layer.nodata or 0, layer.dtype)

        def encode(block: NDArray[Any]) -> bytes:
            if not self._complete and np.array_equal(block, np.broadcast_to(fill, block.shape), equal_nan=True):
                return b""
            return encode_block(block, side, layer.lossless, layer.level)

        for col, content in enumerate(self._pool.map(encode, blocks)):
            self._spool.put(self._base + 1 + i, self._rows[i], col, content)
