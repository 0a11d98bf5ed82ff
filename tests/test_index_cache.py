"""The kept heads of remote scenes: used for their own version only, never believed beyond what they are."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import write_scene
from loopback.http import HttpServer

from clearyear.grid import Window
from clearyear.reading import index_cache, sources
from clearyear.reading.direct import DirectSource
from clearyear.reading.index_cache import prune
from clearyear.reading.inner_mask import mask_of
from clearyear.reading.sources import source_of
from clearyear.scenes import find_scenes
from clearyear.stores import stat_uri

PIXELS = np.random.default_rng(5).integers(0, 255, (3, 256, 256), np.uint8)
FAR = Window(col_off=192, row_off=192, width=64, height=64)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache" / "of-mine"
    monkeypatch.setenv("CLEARYEAR_CACHE", str(folder))
    return folder


@pytest.fixture
def uri(tmp_path: Path, web: HttpServer) -> str:
    path = write_scene(tmp_path / "a_20230101.tif", PIXELS, compress=None, blockxsize=64, blockysize=64)
    web.files["/a_20230101.tif"] = path.read_bytes()
    return f"{web.url}/a_20230101.tif"


def in_a_new_process(uri: str, web: HttpServer) -> list[str]:
    """Read a block as if nothing were known in memory; which ranges were asked for, after the look at the version."""
    sources._source_of.cache_clear()
    entry = stat_uri(uri)
    assert entry
    web.requests.clear()
    source = source_of(uri, entry.version)
    assert isinstance(source, DirectSource)
    out = np.empty((3, 64, 64), np.uint8)
    source.read(FAR, out)
    assert np.array_equal(out, PIXELS[:, 192:, 192:])
    return [request.headers["range"] for request in web.requests]


def heads(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.head"))


HEAD = "bytes=0-32767"


def test_the_next_run_asks_for_no_header(uri: str, web: HttpServer, cache: Path) -> None:
    assert len(first := in_a_new_process(uri, web)) == 2
    assert first[0] == HEAD
    assert in_a_new_process(uri, web) == first[1:]
    (kept,) = heads(cache)
    assert kept.stat().st_size < 34_000
    assert [path.name for path in cache.iterdir()] == [kept.name]
    assert (cache.stat().st_mode & 0o777) == 0o700


@pytest.mark.usefixtures("cache")
def test_whether_there_is_a_mask_is_read_off_the_same_head(uri: str, web: HttpServer) -> None:
    """Planning looks for a mask; the first window asks for no header, and the next run's planning for nothing."""
    entry = stat_uri(uri)
    assert entry
    web.requests.clear()
    assert not mask_of(uri, entry.version)
    assert [request.headers["range"] for request in web.requests] == [HEAD]
    assert len(in_a_new_process(uri, web)) == 1
    mask_of.cache_clear()
    web.requests.clear()
    assert not mask_of(uri, entry.version)
    assert not web.requests


def test_another_version_is_read_anew(uri: str, web: HttpServer, cache: Path, tmp_path: Path) -> None:
    """The new file's blocks lie elsewhere: by the old index the pixels would be wrong."""
    in_a_new_process(uri, web)
    other = write_scene(tmp_path / "o.tif", PIXELS, compress=None, blockxsize=32, blockysize=128, interleave="band")
    web.files["/a_20230101.tif"] = other.read_bytes()
    assert in_a_new_process(uri, web)[0] == HEAD
    assert len(heads(cache)) == 2


def spoil(kept: Path, how: str, other: Path) -> None:
    line, _, data = kept.read_bytes().partition(b"\n")
    about = json.loads(line)
    if how == "damaged":
        kept.write_bytes(line + b"\n" + data[:200] + bytes([data[200] ^ 1]) + data[201:])
    elif how == "cut":
        kept.write_bytes(kept.read_bytes()[:-1])
    elif how == "empty":
        kept.write_bytes(b"")
    elif how == "no JSON":
        kept.write_bytes(b"\xff\xfe\n" + data)
    elif how == "another shape":
        kept.write_bytes(b"[1, 2]\n" + data)
    elif how == "of another scene":
        kept.write_bytes(other.read_bytes())
    elif how == "of another version":
        about["about"]["version"] = '"x"'
        kept.write_bytes(json.dumps(about).encode() + b"\n" + data)
    elif how == "lacks a part":
        about["segments"][0][1] = 16384
        kept.write_bytes(json.dumps(about).encode() + b"\n" + data)


@pytest.mark.parametrize(
    "how",
    ["damaged", "cut", "empty", "no JSON", "another shape", "of another scene", "of another version", "lacks a part"],
)
def test_a_damaged_or_foreign_file_is_as_good_as_none(
    uri: str, web: HttpServer, cache: Path, tmp_path: Path, how: str
) -> None:
    in_a_new_process(uri, web)
    (kept,) = heads(cache)
    before = kept.read_bytes()
    other = write_scene(tmp_path / "b_20230102.tif", PIXELS, blockxsize=32, blockysize=32)
    web.files["/b_20230102.tif"] = other.read_bytes()
    in_a_new_process(f"{web.url}/b_20230102.tif", web)
    spoil(kept, how, next(path for path in heads(cache) if path != kept))
    assert in_a_new_process(uri, web)[0] == HEAD
    if how != "lacks a part":  # what was there of it is sound
        assert kept.read_bytes() == before
    assert len(in_a_new_process(uri, web)) == 1


def test_it_can_be_switched_off(uri: str, web: HttpServer, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEARYEAR_CACHE", "")
    for _ in range(2):
        assert in_a_new_process(uri, web)[0] == HEAD
    assert not cache.exists()


def test_a_folder_that_cannot_be_written_is_no_failure(
    uri: str, web: HttpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("CLEARYEAR_CACHE", str(tmp_path / "file" / "cache"))
    for _ in range(2):
        assert in_a_new_process(uri, web)[0] == HEAD


def test_without_etag_and_date_a_version_is_too_little_to_know_a_head_by(
    uri: str, cache: Path, web: HttpServer
) -> None:
    web.etags = web.dates = False
    entry = stat_uri(uri)
    assert entry
    assert entry.version == f"0-{entry.size}"
    for _ in range(2):
        assert in_a_new_process(uri, web)[0] == HEAD
    web.dates = True
    assert in_a_new_process(uri, web)[0] == HEAD
    assert len(in_a_new_process(uri, web)) == 1


def test_a_signature_is_not_kept_and_a_new_one_finds_the_same_head(uri: str, web: HttpServer, cache: Path) -> None:
    in_a_new_process(f"{uri}?sig=s3cret&x=1", web)
    (kept,) = heads(cache)
    assert b"s3cret" not in kept.read_bytes()
    assert len(in_a_new_process(f"{uri}?sig=other", web)) == 1


def test_what_was_unused_for_longest_goes_first_and_only_what_is_ours(tmp_path: Path) -> None:
    for age in range(10):
        path = tmp_path / f"{age}.head"
        path.write_bytes(bytes(100))
        os.utime(path, (1_000_000 - age, 1_000_000 - age))
    (tmp_path / "notes.txt").write_bytes(bytes(5000))
    os.utime(tmp_path / "notes.txt", (1, 1))
    prune(tmp_path, most=1000)
    assert len(heads(tmp_path)) == 10
    prune(tmp_path, most=999)
    assert [path.name for path in heads(tmp_path)] == [f"{age}.head" for age in range(7)]
    assert (tmp_path / "notes.txt").exists()


def test_the_folder_stays_within_its_bound(
    tmp_path: Path, web: HttpServer, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_cache, "_LOOK_EVERY", 1)
    monkeypatch.setattr(index_cache, "_MOST_BYTES", 100_000)
    path: Any = write_scene(tmp_path / "s.tif", PIXELS, compress=None)
    for day in range(1, 9):
        web.files[f"/a_2023010{day}.tif"] = path.read_bytes()
    for scene in find_scenes([f"{web.url}/a_2023010{day}.tif" for day in range(1, 9)]):
        source_of(scene.uri, scene.version)
        assert sum(kept.stat().st_size for kept in heads(cache)) <= 100_000
    assert heads(cache)
