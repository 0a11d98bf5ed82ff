"""A tile taken apart into the blocks a mosaic is made of; or the reason why it cannot be."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clearyear.cog import tiffwrite as tiff
from clearyear.cog.blocks import CODES, decode_block, predictor_of
from clearyear.cog.layers import Frame, Layer
from clearyear.grid import Window


class Differs(Exception):  # noqa: N818  not a failure: the tiles are decoded instead
    """A tile's blocks are not the mosaic's; the reason is for a log."""


@dataclass(frozen=True)
class Part:
    """What a tile gives: compressed blocks by level, row and column, and the pixels overviews are made from."""

    blocks: list[list[list[bytes]]]
    pixels: NDArray[Any] | None


def part_of(data: bytes, window: Window, layer: Layer, frame: Frame, fields: tiff.Directory) -> Part:
    """Take a tile apart; decode only what overviews are made from."""
    sizes = [(window.width, window.height)]
    if frame.halved:
        sizes.append((window.width // 2, window.height // 2))
    try:
        directories = tiff.read_directories(data)
    except ValueError as error:
        raise Differs(f"{window.id}: {error}") from error
    if len(directories) != len(sizes):
        raise Differs(f"{window.id}: {len(directories)} levels instead of {len(sizes)}")
    blocks = []
    for directory, size in zip(directories, sizes, strict=True):
        if odd := _difference(directory, size, layer, frame, fields):
            raise Differs(f"{window.id}: its tag {odd} is not the mosaic's")
        blocks.append(_blocks(data, directory, window))
    if len(frame.sizes) == 1:
        return Part(blocks, None)
    width, height = sizes[-1]
    pixels = np.empty((layer.n_bands, height, width), layer.dtype)
    for row, found in enumerate(blocks[-1]):
        for col, content in enumerate(found):
            try:
                block = decode_block(content, layer.n_bands, layer.dtype, frame.block, layer.lossless)
            except ValueError as error:
                raise Differs(f"{window.id}: {error}") from error
            place = pixels[:, row * frame.block :, col * frame.block :][:, : frame.block, : frame.block]
            place[:] = block[:, : place.shape[1], : place.shape[2]]
            del block  # or two would be there while the next is unpacked
    return Part(blocks, pixels)


def _difference(
    directory: tiff.Directory, size: tuple[int, int], layer: Layer, frame: Frame, fields: tiff.Directory
) -> int | None:
    """The first tag by which a tile's level could not be read as a part of the mosaic's."""
    n_blocks = -(-size[0] // frame.block) * -(-size[1] // frame.block)
    wanted = {
        tiff.WIDTH: [size[0]],
        tiff.HEIGHT: [size[1]],
        tiff.COMPRESSION: [CODES[layer.lossless]],
        tiff.PREDICTOR: [predictor_of(layer.dtype)],
        tiff.BLOCK_WIDTH: [frame.block],
        tiff.BLOCK_HEIGHT: [frame.block],
    }
    for tag, values in wanted.items():
        if tag not in directory or directory[tag].numbers() != values:
            return tag
    for tag in sorted(tiff.SAMPLE_TAGS):
        if directory.get(tag) != fields.get(tag):
            return tag
    for tag in (tiff.OFFSETS, tiff.COUNTS):
        if tag not in directory or directory[tag].length != n_blocks:
            return tag
    return tiff.COUNTS if 0 in directory[tiff.COUNTS].numbers() else None


def _blocks(data: bytes, directory: tiff.Directory, window: Window) -> list[list[bytes]]:
    offsets, counts = directory[tiff.OFFSETS].numbers(), directory[tiff.COUNTS].numbers()
    found = [data[offset : offset + count] for offset, count in zip(offsets, counts, strict=True)]
    if [len(content) for content in found] != counts:
        raise Differs(f"{window.id}: a block lies outside the file")
    columns = -(-directory[tiff.WIDTH].numbers()[0] // directory[tiff.BLOCK_WIDTH].numbers()[0])
    return [found[start : start + columns] for start in range(0, len(found), columns)]
