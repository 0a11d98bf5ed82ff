"""Servers that send a byte now and then: no silence, no error, and days until the end. Every way of reading gives up.

The answers below would end by themselves after ten seconds and more, and rightly: whoever waits for them sees no
failure, and fails the test.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import write_scene
from loopback.gcs import GcsServer
from loopback.http import HttpServer

from clearyear.errors import StoreError
from clearyear.grid import Grid, Window
from clearyear.reading import gdal
from clearyear.reading.stack import read_stack
from clearyear.scenes import Scene, find_scenes
from clearyear.stores import open_store

GRID = Grid(crs="EPSG:32631", transform=(10, 0, 0, 0, -10, 0), width=128, height=128, block=(64, 64))
FIRST, OTHER = (Window(col_off=x, row_off=x, width=64, height=64) for x in (0, 64))
DRIP = 0.001
"""Seconds from byte to byte: less than 1,000 a second; a block below has 12,288."""


@pytest.fixture(autouse=True)
def impatient(quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """All limits are what they are, only nearer."""
    for name, value in {
        "CLEARYEAR_REQUEST_SECONDS": "0.5",
        "CLEARYEAR_RETRIES": "1",
        "GDAL_HTTP_MAX_RETRY": "1",
        "GDAL_HTTP_LOW_SPEED_TIME": "1",
    }.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(params=["https-auto", "https-gdal", "gs-auto", "gs-gdal"])
def served(
    request: pytest.FixtureRequest, web: HttpServer, bucket: GcsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[list[Scene], Any, Any]:
    """Three scenes whose headers have been read, where the reader finds them; who serves them; their pixels."""
    where, reader = request.param.split("-")
    monkeypatch.setenv("CLEARYEAR_READER", reader)
    pixels = np.random.default_rng(1).integers(0, 255, (3, 3, 128, 128), np.uint8)
    for day, scene in enumerate(pixels, start=1):
        path = write_scene(tmp_path / f"a_2023010{day}.tif", scene, compress=None, blockxsize=64, blockysize=64)
        web.files[f"/s/{path.name}"] = path.read_bytes()
        bucket.put("in", f"s/{path.name}", path.read_bytes())
    names = sorted(web.files)
    scenes = find_scenes([f"{web.url}{name}" for name in names] if where == "https" else "gs://in/s")
    assert read_stack(scenes, GRID, FIRST, n_bands=3, dtype="uint8")[2] == []
    return scenes, web if where == "https" else bucket, pixels


def test_a_scene_that_drips_is_a_failed_read_and_may_be_tried_again(served: tuple[list[Scene], Any, Any]) -> None:
    scenes, server, pixels = served
    server.fail(r"GET .*a_20230102", times=99, drip=DRIP)
    stack, used, (failure,) = read_stack(scenes, GRID, OTHER, n_bands=3, dtype="uint8")
    assert (used, failure.scene, failure.transient) == ([0, 2], "a_20230102", True), failure
    assert np.array_equal(stack, pixels[[0, 2], :, 64:, 64:])


def test_one_answer_that_drips_is_asked_for_again(served: tuple[list[Scene], Any, Any]) -> None:
    """By us where we ask; GDAL takes it for a failure, and the task tries again."""
    scenes, server, pixels = served
    server.fail(r"GET .*a_20230102", times=1, drip=DRIP)
    stack, used, failed = read_stack(scenes, GRID, OTHER, n_bands=3, dtype="uint8")
    if failed:
        assert [failure.transient for failure in failed] == [True]
        stack, used, failed = read_stack(scenes, GRID, OTHER, n_bands=3, dtype="uint8")
    assert failed == []
    assert np.array_equal(stack, pixels[used, :, 64:, 64:])
    assert used == [0, 1, 2]


@pytest.mark.parametrize("verb", ["read", "write"])
def test_a_bucket_that_drips_is_given_up_by_name(bucket: GcsServer, monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    """google-cloud-storage: reading a file, and being told what lies there before one is written."""
    from google.cloud.storage.retry import DEFAULT_RETRY

    monkeypatch.setattr(DEFAULT_RETRY, "_timeout", 1.0)  # two minutes otherwise, that being its way
    store = open_store("gs://in/out")
    store.write("a.bin", bytes(16_000))
    bucket.fail(r" /", times=999, drip=DRIP if verb == "read" else 0.02)
    arguments = () if verb == "read" else (bytes(10),)
    with pytest.raises(StoreError, match=rf"Cannot {verb} gs://in/out/a\.bin") as caught:
        getattr(store, verb)("a.bin", *arguments)
    assert caught.value.transient


def test_a_bucket_that_drips_once_is_asked_again(bucket: GcsServer) -> None:
    store = open_store("gs://in/out")
    content = bytes(range(256)) * 50
    store.write("a.bin", content)
    bucket.fail(r"GET .*a\.bin", times=1, drip=DRIP)
    assert store.read("a.bin") == content


def test_the_limits_are_set_where_gdal_looks_for_them() -> None:
    """The fixture shortens them, so they are looked at here."""
    assert (gdal.OPTIONS["GDAL_HTTP_LOW_SPEED_TIME"], gdal.OPTIONS["GDAL_HTTP_LOW_SPEED_LIMIT"]) == ("60", "1000")
