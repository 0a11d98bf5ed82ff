"""Made-up months of VIIRS-like tiles: the six global ones with pixels of 1.25 degrees, in files or archives."""

import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.io import MemoryFile

from clearyear.lights.job import VIIRS_TILES

STEP = 1.25
SHAPE = (112, 288)
"""Rows and columns of a whole month: 140° by 360°."""
TEMPLATE = "{yyyymm}/SVDNB_npp_{yyyymm}01-{yyyymm_last}_{tile}_vcmcfg.avg_rade9h.tif"
LAST = {"202301": "20230131", "202302": "20230228", "202303": "20230331"}


def world(month: str) -> NDArray[np.float32]:
    """The pixels of a whole month: a noise round zero, and places that shine more from month to month."""
    rng = np.random.default_rng(int(month))
    pixels = rng.normal(0.1, 0.4, SHAPE).astype(np.float32)
    for row, col in ((20, 40), (22, 125), (30, 200), (60, 150), (70, 80)):
        pixels[row : row + 4, col : col + 6] += 20 + 3 * (int(month) % 100) + row / 10
    return pixels


def part(pixels: NDArray[np.float32], tile: str) -> NDArray[np.float32]:
    """One tile's pixels of a month."""
    left, bottom, right, top = VIIRS_TILES[tile]
    rows = slice(round((75 - top) / STEP), round((75 - bottom) / STEP))
    return pixels[rows, round((left + 180) / STEP) : round((right + 180) / STEP)]


def tile_bytes(pixels: NDArray[np.float32], tile: str, **profile: Any) -> bytes:
    """A tile as a GeoTIFF: stored row by row, its origin half a pixel beside the round number, as VIIRS has it."""
    left, _, _, top = VIIRS_TILES[tile]
    data = part(pixels, tile)
    settings: dict[str, Any] = {
        "driver": "GTiff",
        "height": data.shape[0],
        "width": data.shape[1],
        "count": 1,
        "dtype": "float32",
        "crs": "EPSG:4326",
        "transform": Affine(STEP, 0, left - STEP / 2, 0, -STEP, top + STEP / 2),
        **profile,
    }
    with MemoryFile() as memory:
        with memory.open(**settings) as dataset:
            dataset.write(data, 1)
        return bytes(memory.getbuffer())


def name_of(month: str, tile: str) -> str:
    """A tile's path below the root, as TEMPLATE has it."""
    return f"{month}/SVDNB_npp_{month}01-{LAST[month]}_{tile}_vcmcfg.avg_rade9h.tif"


def files_of(month: str, tiles: Any = VIIRS_TILES) -> dict[str, bytes]:
    """Path → content of a month's tiles."""
    pixels = world(month)
    return {name_of(month, tile): tile_bytes(pixels, tile) for tile in tiles}


def write_month(root: Path, month: str, tiles: Any = VIIRS_TILES) -> None:
    """A month's tiles in a folder."""
    for name, content in files_of(month, tiles).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)


def tgz(members: dict[str, bytes]) -> bytes:
    """An archive of these files."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def read(path: str | Path) -> NDArray[np.float32]:
    """The first band."""
    with rasterio.open(path) as dataset:
        pixels: NDArray[np.float32] = dataset.read(1)
        return pixels
