"""GeoTIFFs: tiles as bytes, the mosaic as a COG, and the proof that a file can be read whole."""

import io
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import local
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.io import MemoryFile
from rasterio.shutil import copy as rasterio_copy
from rasterio.windows import Window as RasterioWindow

from clearyear.cog.layers import cog_block, tile_block
from clearyear.cog.tiffwrite import COMPRESSION, LAYOUT_TAGS, PREDICTOR, Directory, Level, number, read_directories
from clearyear.errors import ClearyearError
from clearyear.grid import Grid, Window
from clearyear.reading import gdal

_JPEG_QUALITY = 90
_TEMPLATE_SIDE = 16

Scale = tuple[float | None, float | None]
"""Scale and offset: a number × scale + offset is the physical value. None: there is none."""


def profile(grid: Grid, window: Window | None, *, count: int, dtype: str, nodata: float | None) -> dict[str, Any]:
    """Rasterio's profile of a tiled, uncompressed GeoTIFF over ``window`` of ``grid`` (None: all of it)."""
    w = window or Window(col_off=0, row_off=0, width=grid.width, height=grid.height)
    block = tile_block(w.width, w.height)
    return {
        "driver": "GTiff",
        "width": w.width,
        "height": w.height,
        "count": count,
        "dtype": dtype,
        "crs": grid.crs or None,
        "transform": Affine(*grid.transform_of(w)),
        "nodata": nodata,
        "tiled": True,
        "blockxsize": block,
        "blockysize": block,
        "interleave": "pixel",
        "photometric": "RGB" if count == 3 and dtype == "uint8" else "MINISBLACK",
        "sparse_ok": True,
    }


def fields(
    settings: dict[str, Any],
    *,
    compress: str,
    names: tuple[str, ...] = (),
    tags: dict[str, str] | None = None,
    scale: Scale = (None, None),
) -> Directory:
    """All tags of a GeoTIFF but its size and blocks, as GDAL writes them.

    Args:
        settings: of ``profile``.
        compress: deflate, zstd or lzw, with the predictor of the type.
        names: band descriptions.
        tags: metadata items; must not change between equal runs.
        scale: of ``describe``.
    """
    from clearyear.cog.blocks import CODES, predictor_of

    small = dict.fromkeys(("width", "height", "blockxsize", "blockysize"), _TEMPLATE_SIDE)
    with MemoryFile() as memory:
        with memory.open(**settings | small) as dataset:
            describe(dataset, names=names, tags=tags or {}, scale=scale)
        (directory,) = read_directories(bytes(memory.getbuffer()))
    kept = {tag: field for tag, field in directory.items() if tag not in LAYOUT_TAGS}
    return kept | {COMPRESSION: number(CODES[compress]), PREDICTOR: number(predictor_of(settings["dtype"]))}


def describe(dataset: Any, *, names: tuple[str, ...], tags: dict[str, str], scale: Scale) -> None:
    """Write into an open GeoTIFF what its bands are called, its metadata, and ``scale``: (scale, offset), if any."""
    dataset.update_tags(**tags)
    for index, name in enumerate(names, start=1):
        if name:
            dataset.set_band_description(index, name)
    if scale != (None, None):
        dataset.scales = (1.0 if scale[0] is None else scale[0],) * dataset.count
        dataset.offsets = (scale[1] or 0.0,) * dataset.count


def encode_tile(
    array: NDArray[np.generic],
    grid: Grid,
    window: Window,
    *,
    nodata: float | None,
    names: tuple[str, ...] = (),
    tags: dict[str, str] | None = None,
    compress: str = "deflate",
    block: int | None = None,
    overview: str | None = None,
    level: int | None = None,
    scale: Scale = (None, None),
) -> bytes:
    """One window's layer as a COG in memory.

    Args:
        array: (B, H, W).
        grid: the plan's grid.
        window: where the array lies in it.
        nodata: the nodata tag.
        names: band descriptions.
        tags: metadata items; must not change between equal runs.
        compress: deflate, zstd or lzw.
        block: side of the blocks; what suits the window if None.
        overview: how the half-size level is made, ``average`` or ``nearest``; None leaves it out.
        level: the compression's; None: its usual one.
        scale: of ``describe``.

    Returns:
        The file's bytes; equal arguments give equal bytes.
    """
    from clearyear.cog.overviews import halved
    from clearyear.cog.tiffwrite import write_tiff

    side = block or tile_block(window.width, window.height)
    settings = profile(grid, window, count=array.shape[0], dtype=str(array.dtype), nodata=nodata)
    images = [array] if overview is None else [array, halved(array, nodata=nodata, resampling=overview)]
    out = io.BytesIO()
    write_tiff(
        out,
        [_level(image, side, compress, level) for image in images],
        fields(settings, compress=compress, names=names, tags=tags, scale=scale),
        block=side,
    )
    return out.getvalue()


def _level(image: NDArray[np.generic], side: int, compress: str, level: int | None) -> Level:
    from clearyear.cog.blocks import encode_block

    _, height, width = image.shape
    rows, cols = -(-height // side), -(-width // side)
    blocks = [
        [
            encode_block(image[:, r * side : (r + 1) * side, c * side : (c + 1) * side], side, compress, level)
            for c in range(cols)
        ]
        for r in range(rows)
    ]
    counts = np.array([[len(data) for data in row] for row in blocks], np.int64)
    return Level(width=width, height=height, counts=counts, read=lambda r, c: blocks[r][c])


def decode_tile(data: bytes) -> NDArray[np.generic]:
    """The pixels (B, H, W) of a tile's bytes.

    Raises:
        rasterio.errors.RasterioError: they cannot be decoded.
    """
    with MemoryFile(data) as memory, memory.open(driver="GTiff") as dataset:
        array: NDArray[np.generic] = dataset.read()
        return array


def rasterio_window(window: Window) -> RasterioWindow:
    """The same rectangle in rasterio's type."""
    return RasterioWindow(window.col_off, window.row_off, window.width, window.height)


def write_cog(source: Path, target: Path, *, compress: str, resampling: str, level: int | None = None) -> None:
    """Turn a GeoTIFF into a COG with overviews; nodata stays nodata.

    Args:
        source: the full-resolution image.
        target: where the COG goes; not atomic, so give a scratch path.
        compress: deflate, zstd, lzw (lossless, with predictor) or jpeg (YCbCr, quality 90, internal mask).
        resampling: how overviews are made: ``average`` (of valid pixels) or ``nearest`` (classes, indices).
        level: the compression's; None: GDAL's own.
    """
    with rasterio.open(source) as dataset:
        block = cog_block(dataset.width, dataset.height)
    options: dict[str, Any] = {"quality": _JPEG_QUALITY} if compress == "jpeg" else {"predictor": "YES"}
    if level is not None:
        options["level"] = level
    rasterio_copy(
        source,
        target,
        driver="COG",
        blocksize=block,
        compress=compress.upper(),
        overview_resampling=resampling,
        bigtiff="IF_SAFER",
        num_threads="ALL_CPUS",
        **options,
    )


def problems(path: str) -> list[str]:
    """Why ``path`` is not a COG that can be read whole: strict validation, then every block of every level.

    Validation alone looks at the header; a file whose blocks are damaged passes it.
    """
    from rio_cogeo.cogeo import cog_validate

    try:
        # Before rio-cogeo opens it by whatever driver claims it: a VRT reaches elsewhere and may run code.
        with rasterio.open(path, driver=gdal.DRIVER) as dataset:
            levels = len(dataset.overviews(1))
        _, errors, warnings = cog_validate(path, strict=True, quiet=True)
        found = [*errors, *warnings]
        tiled = [_read_level(path, {} if level < 0 else {"overview_level": level}) for level in range(-1, levels)]
        if all(tiled):
            # rio-cogeo takes a level as wide as one block for one of strips.
            found = [said for said in found if "not tiled" not in said]
    except (rasterio.errors.RasterioError, OSError, ClearyearError) as error:
        return [f"cannot be read: {gdal.words(error)}"]
    return found


def _read_level(path: str, options: dict[str, int]) -> bool:
    """Decode every block of one level, each thread by a dataset and into a buffer of its own; are they tiles?"""
    own = local()

    def read(window: RasterioWindow) -> None:
        if not hasattr(own, "dataset"):
            own.dataset = rasterio.open(path, driver=gdal.DRIVER, sharing=False, **options)
            opened.append(own.dataset)
            own.buffer = np.empty((own.dataset.count, *own.dataset.block_shapes[0]), own.dataset.dtypes[0])
        own.dataset.read(window=window, out=own.buffer[:, : window.height, : window.width])

    with rasterio.open(path, driver=gdal.DRIVER, sharing=False, **options) as dataset:
        windows = [window for _, window in dataset.block_windows(1)]
        block_height, block_width = dataset.block_shapes[0]
    opened: list[Any] = []
    try:
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            for _ in pool.map(read, windows):
                pass
    finally:
        for dataset in opened:
            dataset.close()
    return bool(block_height == block_width and block_height % 16 == 0)
