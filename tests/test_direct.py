"""The direct reader gives GDAL's pixels for what it understands, and refuses or falls back on everything else."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from conftest import write_scene
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.windows import Window as RasterioWindow
from test_hostile_scenes import set_tag

from clearyear.errors import ReadError
from clearyear.grid import Window
from clearyear.reading.direct import DirectSource
from clearyear.reading.sources import GdalSource, source_of
from clearyear.reading.tiff import Unsupported, read_index

LAYOUTS = [
    {"compress": compress, "interleave": interleave, "predictor": predictor, "BIGTIFF": big}
    for compress in ("deflate", "zstd", None)
    for interleave in ("pixel", "band")
    for predictor in (1, 2)
    for big in ("NO", "YES")
    if not (compress is None and predictor == 2)
]


def gdal_pixels(path: Path, window: Window) -> Any:
    with rasterio.open(path) as dataset:
        return dataset.read(window=RasterioWindow(window.col_off, window.row_off, window.width, window.height))


def direct_pixels(path: Path, window: Window, n_bands: int, dtype: str) -> Any:
    out = np.full((n_bands, window.height, window.width), 77, dtype)
    DirectSource.open(str(path)).read(window, out)
    return out


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
@pytest.mark.parametrize("n_bands", [1, 3, 4])
@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda v: "-".join(str(x) for x in v.values()))
def test_every_layout_it_claims(tmp_path: Path, layout: dict[str, Any], n_bands: int, dtype: str) -> None:
    rng = np.random.default_rng(1)
    bits = f"u{np.dtype(dtype).itemsize}"
    pixels = rng.integers(0, np.iinfo(bits).max, (n_bands, 70, 90), dtype=bits, endpoint=True).view(dtype)
    path = write_scene(tmp_path / "s.tif", pixels, blockxsize=32, blockysize=16, **layout)
    for window in ((0, 0, 90, 70), (32, 16, 32, 16), (5, 3, 60, 41), (89, 69, 1, 1)):
        w = Window(col_off=window[0], row_off=window[1], width=window[2], height=window[3])
        # Bit by bit: floats of any bits are NaN of many kinds, too.
        assert np.array_equal(direct_pixels(path, w, n_bands, dtype).view(bits), gdal_pixels(path, w).view(bits))


@given(x=st.integers(0, 127), y=st.integers(0, 127), width=st.integers(1, 128), height=st.integers(1, 128))
@settings(max_examples=40)
def test_any_window_of_real_scenes(data: Path, x: int, y: int, width: int, height: int) -> None:
    window = Window(col_off=x, row_off=y, width=min(width, 128 - x), height=min(height, 128 - y))
    for path in sorted((data / "s2" / "pt29snd" / "tci").glob("*.tif"))[:3]:
        assert np.array_equal(direct_pixels(path, window, 3, "uint8"), gdal_pixels(path, window))


@pytest.mark.parametrize("text", [b"1_0", b"0x10", b"1 0", b"ten", b"", "\u0661".encode()])
def test_a_nodata_tag_that_python_reads_otherwise_than_gdal(tmp_path: Path, text: bytes) -> None:
    path = write_scene(tmp_path / "s.tif", np.ones((1, 16, 16), np.uint8), nodata=77)
    path.write_bytes(path.read_bytes().replace(b"77\0", text.ljust(2, b"\0")[:3].ljust(3, b"\0")))
    if path.read_bytes().count(b"77\0"):
        raise AssertionError("the tag was not found")
    with pytest.raises(Unsupported, match="a nodata tag that is no number"):
        DirectSource.open(str(path))


def test_a_nodata_tag_beyond_float32_is_gdals_to_interpret(tmp_path: Path) -> None:
    path = write_scene(tmp_path / "s.tif", np.ones((1, 16, 16), np.float32), nodata=1234567)
    data = path.read_bytes()
    assert data.count(b"1234567\0") == 1
    path.write_bytes(data.replace(b"1234567\0", b"-1e300\0\0"))
    with pytest.raises(Unsupported, match="a nodata tag of -1e"):
        DirectSource.open(str(path))


@pytest.mark.parametrize(
    ("tag", "change"),
    [(262, {"value": 6}), (262, {"value": 8}), (317, {"value": 2, "kind": 2})],
    ids=["YCbCr without JPEG", "CIELAB", "a predictor that is text"],
)
def test_what_gdal_shows_otherwise_than_it_is_stored(tmp_path: Path, tag: int, change: dict[str, int]) -> None:
    pixels = np.random.default_rng(1).integers(1, 200, (3, 64, 64), dtype=np.uint8)
    path = write_scene(tmp_path / "s.tif", pixels, photometric="rgb", interleave="pixel", predictor=2)
    set_tag(path, tag, **change)
    window = Window(col_off=0, row_off=0, width=64, height=64)
    assert not np.array_equal(gdal_pixels(path, window), pixels)
    with pytest.raises(Unsupported):
        DirectSource.open(str(path))


def test_block_offsets_are_no_bytes(tmp_path: Path) -> None:
    """GDAL makes something else of them than they say."""
    path = write_scene(tmp_path / "s.tif", np.ones((3, 64, 64), np.uint8), interleave="pixel")
    data, entry = path.read_bytes(), struct.pack("<HHI", 324, 4, 16)
    assert data.count(entry) == 1
    path.write_bytes(data.replace(entry, struct.pack("<HHI", 324, 1, 16)))
    with pytest.raises(Unsupported, match="tag 324 claims 16 values of type 1"):
        DirectSource.open(str(path))


def test_a_predictor_of_two_values_is_none(tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(1, 200, (3, 64, 64), dtype=np.uint8)
    path = write_scene(tmp_path / "s.tif", pixels, interleave="pixel", predictor=2)
    data, entry = path.read_bytes(), struct.pack("<HHIH", 317, 3, 1, 2)
    assert data.count(entry) == 1
    path.write_bytes(data.replace(entry, struct.pack("<HHIH", 317, 3, 2, 2)))
    window = Window(col_off=0, row_off=0, width=64, height=64)
    assert not np.array_equal(gdal_pixels(path, window), pixels)
    with pytest.raises(Unsupported, match="tag 317 has 2 values"):
        DirectSource.open(str(path))


@pytest.mark.parametrize(
    ("dtype", "nodata"),
    [("uint8", None), ("uint8", 0), ("uint8", 7), ("int16", -9999), ("float32", float("nan")), ("float32", -0.1)],
)
def test_a_block_never_written_holds_what_gdal_says(tmp_path: Path, dtype: str, nodata: float | None) -> None:
    pixels = np.full((1, 64, 64), nodata or 0, dtype)
    path = tmp_path / "sparse.tif"
    write_scene(path, pixels, nodata=nodata, sparse_ok=True)
    with rasterio.open(path, "r+") as dataset:
        dataset.write(np.full((1, 16, 16), 9, dtype), window=RasterioWindow(16, 16, 16, 16))
    window = Window(col_off=0, row_off=0, width=64, height=64)
    assert (read_index(lambda o, n: path.read_bytes()[o : o + n]).counts == 0).any()
    found, wanted = direct_pixels(path, window, 1, dtype), gdal_pixels(path, window)
    assert np.array_equal(found, wanted, equal_nan=dtype == "float32")


@pytest.mark.parametrize(
    ("dtype", "profile"),
    [
        ("uint8", {"compress": "lzw"}),
        ("uint8", {"compress": "jpeg"}),
        ("uint8", {"tiled": False, "blockxsize": None, "blockysize": None}),
        ("uint8", {"ENDIANNESS": "BIG"}),
        ("int32", {}),
        ("int8", {}),
        ("int16", {"nodata": 3.5}),
        ("float32", {"compress": "deflate", "predictor": 3}),
        ("uint8", {"NBITS": 4}),
        ("uint16", {"nodata": 3.5}),
    ],
)
def test_what_it_does_not_understand_gdal_reads(tmp_path: Path, dtype: str, profile: dict[str, Any]) -> None:
    path = write_scene(tmp_path / "s.tif", np.ones((1, 64, 64), dtype), **profile)
    with pytest.raises(Unsupported):
        DirectSource.open(str(path))
    assert isinstance(source_of(str(path), "1"), GdalSource)


def damaged(path: Path, offset: int, data: bytes) -> None:
    content = bytearray(path.read_bytes())
    content[offset : offset + len(data)] = data
    path.write_bytes(content)


@pytest.mark.parametrize("compress", ["deflate", "zstd"])
def test_damage_inside_a_block_is_a_failed_read(tmp_path: Path, compress: str) -> None:
    pixels = np.random.default_rng(2).integers(0, 255, (3, 64, 64), dtype=np.uint8)
    path = write_scene(tmp_path / "s.tif", pixels, compress=compress)
    index = read_index(lambda o, n: path.read_bytes()[o : o + n])
    damaged(path, int(index.offsets[0, 1, 1]) + 30, b"\xff" * 40)
    good = Window(col_off=0, row_off=0, width=16, height=16)
    bad = Window(col_off=16, row_off=16, width=8, height=8)
    assert np.array_equal(direct_pixels(path, good, 3, "uint8"), pixels[:, :16, :16])
    if compress == "deflate":  # zstd frames written by GDAL carry no checksum: damage may decode to other values
        with pytest.raises(ReadError, match=r"block 1,1 does not decode"):
            direct_pixels(path, bad, 3, "uint8")


def test_a_cut_off_file_is_a_failed_read(tmp_path: Path) -> None:
    pixels = np.random.default_rng(2).integers(0, 255, (3, 64, 64), dtype=np.uint8)
    path = write_scene(tmp_path / "s.tif", pixels)
    index = read_index(lambda o, n: path.read_bytes()[o : o + n])
    last = int(index.offsets.max())
    row, col = np.argwhere(index.offsets[0] == last)[0]
    source = DirectSource.open(str(path))
    path.write_bytes(path.read_bytes()[: last + 10])
    window = Window(col_off=int(col) * 16, row_off=int(row) * 16, width=16, height=16)
    with pytest.raises(ReadError, match=r"is cut off: 10 of \d+ bytes"):
        source.read(window, np.empty((3, 16, 16), np.uint8))


def test_a_block_of_another_size_is_a_failed_read(tmp_path: Path) -> None:
    path = write_scene(tmp_path / "s.tif", np.ones((1, 64, 64), np.uint8))
    other = write_scene(tmp_path / "o.tif", np.ones((1, 64, 64), np.uint8), blockxsize=32)
    index = read_index(lambda o, n: other.read_bytes()[o : o + n])
    block = other.read_bytes()[int(index.offsets[0, 0, 0]) :][: int(index.counts[0, 0, 0])]
    mine = read_index(lambda o, n: path.read_bytes()[o : o + n])
    damaged(path, int(mine.offsets[0, 0, 0]), block)
    source = DirectSource.open(str(path))
    source.index.counts[0, 0, 0] = len(block)
    with pytest.raises(ReadError, match="block 0,0 does"):
        source.read(Window(col_off=0, row_off=0, width=16, height=16), np.empty((1, 16, 16), np.uint8))


@given(position=st.integers(0, 400), value=st.binary(min_size=1, max_size=8))
@settings(max_examples=300)
def test_hostile_headers_end_in_a_refusal_or_in_pixels(
    tmp_path_factory: pytest.TempPathFactory, position: int, value: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "hostile.tif"
    if not path.exists():
        write_scene(path, np.ones((3, 64, 64), np.uint8))
    content = bytearray(path.read_bytes())
    content[position : position + len(value)] = value
    hostile = path.with_name("hostile-now.tif")
    hostile.write_bytes(content)
    try:
        source = DirectSource.open(str(hostile))
        width, height, n_bands, dtype = source.shape()
        if width <= 4096 and height <= 4096 and n_bands <= 8:
            source.read(Window(col_off=0, row_off=0, width=16, height=16), np.empty((n_bands, 16, 16), dtype))
    except (Unsupported, ReadError):
        pass
