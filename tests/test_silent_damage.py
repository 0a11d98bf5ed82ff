"""Damage that leaves a file readable: noticed wherever the file holds a checksum, by both readers."""

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from conftest import write_scene
from loopback.http import HttpServer

from clearyear.job import Job
from clearyear.prepare import make_plan
from clearyear.reading import sources
from clearyear.reading.stack import read_stack

KINDS: list[dict[str, Any]] = [
    {"dtype": "uint8", "interleave": "pixel", "predictor": 2},
    {"dtype": "uint8", "interleave": "band"},
    {"dtype": "uint8", "tiled": False, "blockxsize": None, "blockysize": 5},
    {"dtype": "uint8", "endianness": "big"},
    {"dtype": "uint16", "interleave": "pixel"},
    {"dtype": "int16", "predictor": 2},
    {"dtype": "float32", "predictor": 3},
]


def read_all(address: Path | str) -> Any:
    """The scene's pixels, or why it failed to read."""
    job = Job(scenes=[str(address)], period="all", out="/nowhere", reducer="band-median", tile_size=64)
    plan = make_plan(job)
    stack, used, failed = read_stack(plan.scenes, plan.grid, plan.windows[0], n_bands=3, dtype=plan.product.dtype)
    return stack[0].copy() if used else failed[0].cause


def block_of(path: Path) -> tuple[int, int]:
    """Where the block in the second row of the second band, or of all, begins, and its size."""
    with rasterio.open(path) as dataset:
        offset, size = (int(dataset.get_tag_item(f"BLOCK_{x}_0_1", "TIFF", bidx=2)) for x in ("OFFSET", "SIZE"))
    return offset, size


@pytest.mark.parametrize("reader", ["auto", "gdal"])
@pytest.mark.parametrize("kind", KINDS, ids=lambda k: "-".join(str(v) for v in k.values()))
@pytest.mark.parametrize("harm", ["one bit", "zeros", "end"])
def test_a_damaged_deflate_block_is_a_failed_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reader: str, kind: dict[str, Any], harm: str
) -> None:
    monkeypatch.setenv("CLEARYEAR_READER", reader)
    sources._source_of.cache_clear()
    rng = np.random.default_rng(3)
    pixels = (rng.integers(0, 9, (3, 50, 40)) + np.arange(40)).astype(kind["dtype"])
    profile = {"nodata": None, "blockxsize": 32, "blockysize": 32, **kind}
    path = write_scene(tmp_path / "a_20230101.tif", pixels, **{k: v for k, v in profile.items() if v is not None})
    assert np.array_equal(read_all(path), pixels)
    start, size = block_of(path)
    data = bytearray(path.read_bytes())
    if harm == "one bit":
        data[start + size // 2] ^= 4
    elif harm == "zeros":
        data[start + size // 2 : start + size // 2 + 20] = bytes(20)
    else:
        data[start + size - 20 : start + size] = bytes(20)
    path.write_bytes(data)
    said = read_all(path)
    assert isinstance(said, str), "the damage was not noticed"
    assert said


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: "-".join(str(v) for v in k.values()))
def test_damage_on_a_server_is_noticed_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: dict[str, Any]
) -> None:
    """Read by GDAL, which alone takes these zeros for sound."""
    monkeypatch.setenv("CLEARYEAR_READER", "gdal")
    rng = np.random.default_rng(3)
    pixels = (rng.integers(0, 9, (3, 50, 40)) + np.arange(40)).astype(kind["dtype"])
    profile = {"nodata": None, "blockxsize": 32, "blockysize": 32, **kind}
    path = write_scene(tmp_path / "a_20230101.tif", pixels, **{k: v for k, v in profile.items() if v is not None})
    start, size = block_of(path)
    data = bytearray(path.read_bytes())
    data[start + size - 20 : start + size] = bytes(20)
    with HttpServer() as web:
        web.files |= {"/sound_20230101.tif": path.read_bytes(), "/harmed_20230101.tif": bytes(data)}
        assert np.array_equal(read_all(f"{web.url}/sound_20230101.tif"), pixels)
        said = read_all(f"{web.url}/harmed_20230101.tif")
    assert isinstance(said, str), "the damage was not noticed"
    assert said


def test_a_block_that_unpacks_to_gigabytes_is_given_up_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """GDAL takes what it needs of it, and is content; the direct reader is not."""
    monkeypatch.setenv("CLEARYEAR_READER", "gdal")
    path = write_scene(tmp_path / "a_20230101.tif", np.ones((3, 16, 16), np.int16), nodata=None)
    data = bytearray(path.read_bytes())
    with rasterio.open(path) as dataset:
        start, size = (int(dataset.get_tag_item(f"BLOCK_{x}_0_0", "TIFF", bidx=1)) for x in ("OFFSET", "SIZE"))
    bomb = zlib.compress(bytes(1 << 26), 9)
    place = data.index(start.to_bytes(4, "little"))
    data[place : place + 4] = len(data).to_bytes(4, "little")
    place = data.index(size.to_bytes(4, "little"))
    data[place : place + 4] = len(bomb).to_bytes(4, "little")
    path.write_bytes(data + bomb)
    assert str(read_all(path)).startswith("block 0,0 does not decode to what its header says")


def test_blocks_never_written_are_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEARYEAR_READER", "gdal")
    path = write_scene(tmp_path / "a_20230101.tif", np.zeros((3, 64, 64), np.int16), nodata=None, sparse_ok=True)
    with rasterio.open(path) as dataset:
        assert dataset.get_tag_item("BLOCK_OFFSET_1_1", "TIFF", bidx=1) is None
    assert not read_all(path).any()
