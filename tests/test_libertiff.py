"""GDAL's second reader of GeoTIFF, where the installed GDAL has it: the first one's pixels, or not used."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from conftest import write_scene
from rasterio.errors import RasterioError
from rasterio.windows import Window

from clearyear.errors import ReadError
from clearyear.reading.gdal import FAST_DRIVER, _has_fast_driver, borrow_raster

pytestmark = pytest.mark.skipif(not _has_fast_driver(), reason="this GDAL has no LIBERTIFF (3.11 and later do)")

AGREED = [
    (compress, dtype, predictor, interleave, bands)
    for compress in ("deflate", "zstd")
    for dtype in ("uint16", "int16", "uint32", "int32", "float32", "float64")
    for predictor in (1, 2, 3)
    for interleave in ("pixel", "band")
    for bands in (1, 3)
    if predictor == 1 or (predictor == 3) == dtype.startswith("float")
]


def layout(compress: str | None, predictor: int = 1, *, tiled: bool = True, **more: Any) -> dict[str, Any]:
    profile: dict[str, Any] = {"compress": compress, **more}
    if predictor > 1:
        profile["predictor"] = predictor
    return profile if tiled else profile | {"tiled": False, "blockxsize": None, "blockysize": 7}


def both(path: Path, box: Window) -> tuple[Any, Any, str]:
    """What GTiff reads, what we read, and through which driver."""
    with rasterio.open(path, driver="GTiff", sharing=False) as dataset:
        theirs = dataset.read(window=box)
    with borrow_raster(str(path), str(path.stat().st_mtime_ns)) as dataset:
        return theirs, dataset.read(window=box), dataset.driver


def test_every_layout_it_is_used_for(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for number, (compress, dtype, predictor, interleave, bands) in enumerate(AGREED):
        pixels = rng.integers(0, 250, (bands, 70, 90)).astype(dtype)
        profile = layout(compress, predictor, interleave=interleave)
        path = write_scene(tmp_path / f"{number}.tif", pixels, **profile)
        for box in (Window(0, 0, 90, 70), Window(5, 3, 60, 41), Window(89, 69, 1, 1)):
            theirs, ours, driver = both(path, box)
            assert driver == FAST_DRIVER
            assert ours.dtype == theirs.dtype
            assert np.array_equal(ours, theirs), (profile, dtype)


@pytest.mark.parametrize(
    ("dtype", "profile"),
    [
        ("uint16", layout("packbits", ENDIANNESS="BIG")),
        ("float32", layout("lerc", ENDIANNESS="BIG")),
        ("int16", layout("deflate", ENDIANNESS="BIG")),
        ("int16", layout("deflate", tiled=False)),
        ("int16", layout("lzw")),
        ("int16", layout(None)),
        ("uint8", layout("deflate")),
        ("uint8", layout("jpeg")),
        ("uint8", layout("packbits")),
        ("uint8", layout("deflate", NBITS=4)),
        ("complex64", layout("deflate")),
        ("int8", layout("deflate")),
    ],
)
def test_what_it_is_not_used_for(tmp_path: Path, dtype: str, profile: dict[str, Any]) -> None:
    pixels = np.random.default_rng(1).integers(0, 15, (3, 70, 90)).astype(dtype)
    theirs, ours, driver = both(write_scene(tmp_path / "s.tif", pixels, **profile), Window(5, 3, 60, 41))
    assert driver == "GTiff"
    assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("nodata", [None, 0, 7])
def test_blocks_never_written(tmp_path: Path, nodata: int | None) -> None:
    path = write_scene(tmp_path / "s.tif", np.zeros((3, 64, 64), np.int16), nodata=nodata, sparse_ok=True)
    with rasterio.open(path, "r+") as dataset:
        dataset.write(np.full((3, 16, 16), 9, np.int16), window=Window(16, 16, 16, 16))
    theirs, ours, driver = both(path, Window(0, 0, 64, 64))
    assert driver == FAST_DRIVER
    assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("how", ["zeros", "cut"])
@pytest.mark.parametrize("compress", ["deflate", "zstd"])
def test_damage_fails_where_it_fails_with_gtiff(tmp_path: Path, compress: str | None, how: str) -> None:
    pixels = np.random.default_rng(2).integers(0, 250, (3, 64, 64)).astype(np.int16)
    path = write_scene(tmp_path / "s.tif", pixels, compress=compress)
    with rasterio.open(path) as dataset:
        offset, size = (int(dataset.get_tag_item(f"BLOCK_{n}_1_1", "TIFF", bidx=1)) for n in ("OFFSET", "SIZE"))
    data = path.read_bytes()
    path.write_bytes(data[: offset + 10] if how == "cut" else data[:offset] + bytes(size) + data[offset + size :])
    box = Window(16, 16, 16, 16)
    try:
        with rasterio.open(path, driver="GTiff", sharing=False) as dataset:
            expected = dataset.read(window=box)
    except RasterioError:
        with pytest.raises(ReadError), borrow_raster(str(path), "1") as dataset:
            dataset.read(window=box)
    else:
        with borrow_raster(str(path), "1") as dataset:
            assert np.array_equal(dataset.read(window=box), expected)


def test_nothing_else_may_open_a_scene(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_text("<VRTDataset rasterXSize='1' rasterYSize='1'></VRTDataset>")
    with pytest.raises(ReadError), borrow_raster(str(tmp_path / "a.tif"), "1"):
        pass
