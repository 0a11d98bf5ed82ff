"""GeoTIFFs: tiles as bytes, the mosaic as a COG, and the proof that a file can be read whole."""

from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.io import MemoryFile
from rasterio.shutil import copy as rasterio_copy
from rasterio.windows import Window as RasterioWindow

from clearyear import gdal
from clearyear.errors import ClearyearError
from clearyear.grid import Grid, Window

_BLOCK = 512
_LEAST_COG_BLOCK = 128
_JPEG_QUALITY = 90


def tile_block(width: int, height: int) -> int:
    """The block size of a GeoTIFF of that size: 512, or less where the image is smaller; a multiple of 16."""
    return min(_BLOCK, -(-max(width, height) // 16) * 16)


def _predictor(dtype: str) -> int:
    return 3 if dtype.startswith("float") else 2


def profile(grid: Grid, window: Window | None, *, count: int, dtype: str, nodata: float | None) -> dict[str, Any]:
    """Rasterio's profile of a tiled, lossless GeoTIFF over ``window`` of ``grid`` (None: all of it)."""
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
        "compress": "deflate",
        "predictor": _predictor(dtype),
        "interleave": "pixel",
        "photometric": "RGB" if count == 3 and dtype == "uint8" else "MINISBLACK",
    }


def encode_tile(
    array: NDArray[np.generic],
    grid: Grid,
    window: Window,
    *,
    nodata: float | None,
    names: tuple[str, ...] = (),
    tags: dict[str, str] | None = None,
) -> bytes:
    """One window's layer as a GeoTIFF in memory.

    Args:
        array: (B, H, W).
        grid: the plan's grid.
        window: where the array lies in it.
        nodata: the nodata tag.
        names: band descriptions.
        tags: metadata items; must not change between equal runs.

    Returns:
        The file's bytes; equal arguments give equal bytes.
    """
    settings = profile(grid, window, count=array.shape[0], dtype=str(array.dtype), nodata=nodata)
    with MemoryFile() as memory:
        with memory.open(**settings) as dataset:
            dataset.write(array)
            dataset.update_tags(**(tags or {}))
            for index, name in enumerate(names, start=1):
                if name:
                    dataset.set_band_description(index, name)
        return bytes(memory.getbuffer())


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


def write_cog(source: Path, target: Path, *, compress: str, resampling: str) -> None:
    """Turn a GeoTIFF into a COG with overviews; nodata stays nodata.

    Args:
        source: the full-resolution image.
        target: where the COG goes; not atomic, so give a scratch path.
        compress: deflate, zstd, lzw (lossless, with predictor) or jpeg (YCbCr, quality 90, internal mask).
        resampling: how overviews are made: ``average`` (of valid pixels) or ``nearest`` (classes, indices).
    """
    with rasterio.open(source) as dataset:
        block = max(_LEAST_COG_BLOCK, tile_block(dataset.width, dataset.height))
    options: dict[str, Any] = {"quality": _JPEG_QUALITY} if compress == "jpeg" else {"predictor": "YES"}
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
        for level in range(-1, levels):
            extra = {} if level < 0 else {"overview_level": level}
            with rasterio.open(path, driver=gdal.DRIVER, **extra) as dataset:
                for _, window in dataset.block_windows(1):
                    dataset.read(window=window)
    except (rasterio.errors.RasterioError, OSError, ClearyearError) as error:
        return [f"cannot be read: {gdal.words(error)}"]
    return found
