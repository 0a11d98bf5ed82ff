"""A mosaic's file, byte by byte: tiles of another make are noticed, and the layout is what a COG promises."""

import random
import struct
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import tifffile
from mosaics import EVEN, ODD, assert_same, build, by_gdal, image_of, levels, levels_without_gdal, made_plan, put
from rasterio.windows import Window as RasterioWindow
from rio_cogeo.cogeo import cog_validate

from clearyear import mosaic as mosaic_module
from clearyear.cog import tiffwrite
from clearyear.cog.assemble import assemble
from clearyear.cog.geotiff import encode_tile, problems, profile
from clearyear.completeness import check_plan
from clearyear.errors import StoreError
from clearyear.grid import Grid, Window
from clearyear.mosaic import build_mosaic

# -- tiles that are something else ---------------------------------------------------------------------------


def test_tiles_of_another_compression_are_encoded_once(tmp_path: Path) -> None:
    """The fingerprint does not name the compression: a plan may find tiles of another."""
    plan = made_plan(tmp_path / "out", EVEN, nodata=0.0)
    image = image_of(plan)
    store = put(plan, {"composite": image})
    other = plan.model_copy(update={"product": plan.product.model_copy(update={"compress": "zstd"})})
    build(other, store)
    path = store.uri(plan.mosaic_name())
    assert_same(levels(path), levels(by_gdal(other, "composite", image, tmp_path / "gdal.tif")))
    assert problems(path) == []
    assert not any(store.scratch().iterdir())


@pytest.mark.parametrize(
    "change", [{"blockxsize": 256, "blockysize": 256}, {}, {"predictor": 1}, {"nodata": 7}, {"compress": "lzw"}]
)
def test_tile_of_another_make_is_noticed(
    tmp_path: Path, change: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """One written by GDAL is taken as it is if its blocks are the mosaic's."""
    caplog.set_level("INFO")
    plan = made_plan(tmp_path / "out", EVEN, tile_size=512, nodata=0.0, n_bands=1)
    image = image_of(plan)
    store = put(plan, {"composite": image}, plan.windows[1:])
    w = plan.windows[0]
    settings = profile(plan.grid, w, count=1, dtype="uint8", nodata=0.0)
    with rasterio.MemoryFile() as memory:
        with memory.open(**settings | {"compress": "deflate", "predictor": 2} | change) as dataset:
            dataset.write(image[:, : w.height, : w.width])
        data = bytes(memory.getbuffer())
    result = check_plan(plan, store)[1].result
    assert result is not None
    name = plan.tile_name(w)
    store.write(name, data)
    layers = {"composite": record_of(name, data)}
    record = result.model_copy(update={"id": w.id, "fingerprint": plan.fingerprint(w), "layers": layers})
    store.write(plan.record_name(w), record.model_dump_json().encode())
    build(plan, store)
    assert ("encoded again" in caplog.text) == bool(change)
    assert_same(levels(store.uri(plan.mosaic_name())), levels(by_gdal(plan, "composite", image, tmp_path / "gdal.tif")))


def record_of(name: str, data: bytes) -> Any:
    import hashlib

    from clearyear.window import LayerFile

    return LayerFile(name=name, size=len(data), sha256=hashlib.sha256(data).hexdigest())


@pytest.mark.usefixtures("joined")
def test_tile_that_changed_is_refused(tmp_path: Path) -> None:
    plan = made_plan(tmp_path / "out", EVEN)
    store = put(plan, {"composite": image_of(plan)})
    statuses = check_plan(plan, store)
    name = plan.tile_name(plan.windows[-1])
    data = bytearray(store.read(name))
    data[-100] ^= 1
    store.write(name, bytes(data))
    with pytest.raises(StoreError, match=f"{name} has changed since it was checked") as caught:
        build_mosaic(plan, store, statuses)
    assert caught.value.transient
    assert store.stat(plan.mosaic_name()) is None
    assert not any(store.scratch().iterdir())


# -- bytes ---------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("joined")
@pytest.mark.parametrize("size", [EVEN, ODD])
def test_order_of_the_windows_changes_no_byte(tmp_path: Path, size: tuple[int, int]) -> None:
    found = []
    for n in range(2):
        plan = made_plan(tmp_path / str(n), size, tile_size=512)
        windows = list(plan.windows)
        random.Random(n).shuffle(windows)
        store = put(plan, {"composite": image_of(plan)}, windows)
        found += [build(plan, store), build(plan, store)]
    assert found == found[:1] * 4


@pytest.mark.usefixtures("joined")
@pytest.mark.parametrize("big", [False, True])
def test_layout_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, big: bool) -> None:
    """GDAL's ghost area; the smallest level first, row by row; each block between its size and its last bytes."""
    if big:
        monkeypatch.setattr(mosaic_module, "assemble", partial(assemble, classic_most=100_000))
    plan = made_plan(tmp_path / "out", (1060, 1060))
    image = image_of(plan)
    store = put(plan, {"composite": image}, plan.windows[1:])
    image[:, :1024, :1024] = 0
    build(plan, store)
    path = store.uri(plan.mosaic_name())
    reference = by_gdal(plan, "composite", image, tmp_path / "gdal.tif")
    assert_same(levels(path), levels(reference))
    assert_same(levels_without_gdal(path), levels(path))
    assert problems(path) == []
    data = Path(path).read_bytes()
    with tifffile.TiffFile(path) as file:
        assert file.is_bigtiff is big
    start = 16 if big else 8
    assert data[start : start + 183] == reference.read_bytes()[8:191]
    position = 0
    found = []
    for directory in reversed(tiffwrite.read_directories(data)):
        offsets, counts = directory[tiffwrite.OFFSETS].numbers(), directory[tiffwrite.COUNTS].numbers()
        for offset, count in zip(offsets, counts, strict=True):
            if count == 0:
                assert offset == 0
                continue
            assert position in (0, offset - 4)
            assert struct.unpack_from("<I", data, offset - 4) == (count,)
            assert data[offset + count : offset + count + 4] == data[offset + count - 4 : offset + count]
            position = offset + count + 4
        found.append(counts.count(0))
    assert position == len(data)
    assert found == [0, 1, 4]


def test_tile_is_a_cog_of_its_own(tmp_path: Path) -> None:
    plan = made_plan(tmp_path / "out", EVEN, nodata=0.0)
    image = image_of(plan)
    store = put(plan, {"composite": image})
    for w in plan.windows:
        path = store.uri(plan.tile_name(w))
        assert cog_validate(path, strict=True, quiet=True) == (True, [], [])
        part = image[:, w.row_off : w.row_off + w.height, w.col_off : w.col_off + w.width]
        assert np.array_equal(levels(path)[0], part)
        with rasterio.open(path) as dataset:
            assert dataset.transform == rasterio.Affine(*plan.grid.transform_of(w))
            assert dataset.descriptions == ("red", None, "blue")
            assert dataset.tags()["CLEARYEAR_WINDOW"] == w.id
            assert (dataset.overviews(1), dataset.block_shapes[0], dataset.nodata) == ([2], (512, 512), 0)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "uint16", "int16", "int32", "uint32", "float32", "float64"])
@pytest.mark.parametrize("compress", ["deflate", "zstd", "lzw"])
def test_tile_of_any_type_reads_back(tmp_path: Path, dtype: str, compress: str) -> None:
    rng = np.random.default_rng(5)
    grid = Grid(crs="", transform=(2.0, 0.5, 7.0, 0.25, -3.0, 9.0), width=70, height=50, block=(16, 16))
    window = Window(col_off=16, row_off=0, width=54, height=50)
    pixels = rng.integers(0, 100, (2, 50, 54)).astype(dtype)
    (tmp_path / "t.tif").write_bytes(encode_tile(pixels, grid, window, nodata=3.0, compress=compress))
    with rasterio.open(tmp_path / "t.tif") as dataset:
        assert np.array_equal(dataset.read(), pixels)
        assert (dataset.nodata, dataset.compression.name) == (3, compress)
        assert dataset.transform == rasterio.Affine(*grid.transform_of(window))
        assert np.array_equal(
            dataset.read(window=RasterioWindow(9, 9, 9, 9)),
            pixels[:, 9:18, 9:18],
        )


def test_damaged_directories_are_said_to_be() -> None:
    plan = made_plan(Path("/nowhere"), (64, 64))
    data = encode_tile(np.ones((3, 64, 64), "uint8"), plan.grid, plan.windows[0], nodata=0.0)
    assert len(tiffwrite.read_directories(data)) == 1
    for harm in (b"", b"MM\x00\x2a", data[:6], data[:200], data[:260]):
        with pytest.raises(ValueError, match=r"."):
            tiffwrite.read_directories(harm)
