"""What a plan's layers are like as files, and how the mosaic's blocks lie over the windows."""

from dataclasses import dataclass

import numpy as np

from clearyear.grid import Grid, Window
from clearyear.plan import Plan

BLOCK = 512
_LEAST_COG_BLOCK = 128

JOINED_DTYPES = ("uint8", "uint16", "int16", "float32")
"""Where our overviews are known to be GDAL's; tiles of other types are joined by GDAL."""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One layer's tiles and mosaic: bands, type, nodata, names."""

    name: str
    n_bands: int
    dtype: str
    nodata: float | None
    band_names: tuple[str, ...]
    compress: str
    """The mosaic's."""
    resampling: str
    """How overviews are made."""
    level: int | None = None
    """The compression's; None: its usual one."""
    scale: float | None = None
    """A number × scale + offset is the physical value."""
    offset: float | None = None

    @property
    def joined(self) -> bool:
        """Whether its mosaic may be put together from its tiles' bytes."""
        if self.dtype not in JOINED_DTYPES:
            return False
        if self.nodata is None or self.dtype == "float32":
            return True
        limits = np.iinfo(self.dtype)  # a nodata tag that no sample can have is GDAL's to interpret
        return float(self.nodata).is_integer() and limits.min <= self.nodata <= limits.max

    @property
    def lossless(self) -> str:
        """The tiles' compression: the mosaic's, wherever that keeps every pixel."""
        return "deflate" if self.compress == "jpeg" else self.compress


def layer_of(plan: Plan, file: str) -> Layer:
    """One of a plan's ``files``, or its picture."""
    product, kind = plan.product, plan.kind(file)
    layer, _ = plan.files.get(file, (file, None))
    compress, _, level = product.compress_layers.get(layer, product.compress).partition(":")
    data = layer == "composite"
    return Layer(
        name=file,
        n_bands=kind.n_bands,
        dtype=kind.dtype,
        nodata=kind.nodata,
        band_names=kind.band_names,
        compress="deflate" if compress == "jpeg" and not data else compress,
        level=int(level) if level else None,
        # The mean of two indices is no scene.
        resampling="nearest" if kind.is_index else "average",
        scale=product.scale if (data and kind.scaled) or kind.is_distance else None,
        offset=product.offset if data and kind.scaled else None,
    )


@dataclass(frozen=True, kw_only=True)
class Frame:
    """The mosaic's blocks and levels, and what of them a tile holds whole."""

    block: int
    """Pixels; every block of every level is a square of that side."""
    sizes: tuple[tuple[int, int], ...]
    """(width, height) of each level, full resolution first."""
    whole: bool
    """Every block of the mosaic belongs to one window."""
    halved: bool
    """So does every block of the first overview, and two by two pixels make one of its pixels."""


def frame_of(grid: Grid, tile_size: int) -> Frame:
    """Lay blocks and levels over a grid cut in windows of ``tile_size``, as GDAL's COG driver does."""
    block = cog_block(grid.width, grid.height)
    sizes = [(grid.width, grid.height)]
    while max(sizes[-1]) > block and min(sizes[-1]) > 1:
        # The driver drops the odd pixel: the level's pixels are then a little more than two by two.
        sizes.append((sizes[-1][0] // 2, sizes[-1][1] // 2))
    single = tile_size >= max(grid.width, grid.height)
    even = not (grid.width % 2 or grid.height % 2)
    return Frame(
        block=block,
        sizes=tuple(sizes),
        # A strip of a few pixels has levels that only GDAL can tell.
        whole=(single or tile_size % block == 0) and max(sizes[-1]) <= block,
        halved=(single or tile_size % (2 * block) == 0) and even and len(sizes) > 1,
    )


def tile_block(width: int, height: int) -> int:
    """The block size of a GeoTIFF of that size: 512, or less where the image is smaller; a multiple of 16."""
    return min(BLOCK, -(-max(width, height) // 16) * 16)


def cog_block(width: int, height: int) -> int:
    """The block size of a mosaic: a tile's, but no less than the COG driver allows."""
    return max(_LEAST_COG_BLOCK, tile_block(width, height))


def block_of(frame: Frame, window: Window) -> int:
    """The block size of a window's tile: the mosaic's, if its blocks are to be used as they are."""
    return frame.block if frame.whole else tile_block(window.width, window.height)
