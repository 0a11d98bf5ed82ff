"""Scenes that lie elsewhere: the pixels of the local file, few requests, one version, and every failure named."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from conftest import random_pixels, write_scene
from loopback.gcs import GcsServer
from loopback.http import HttpServer
from numpy.typing import NDArray
from rasterio.windows import Window as RasterioWindow

from clearyear.grid import Grid, Window
from clearyear.memory import RANGE_BYTES
from clearyear.reading import sources
from clearyear.reading.direct import DirectSource
from clearyear.reading.ranges import GAP_BYTES, Block, ranges
from clearyear.reading.sources import GdalSource, source_of
from clearyear.reading.stack import FailedRead, read_stack
from clearyear.scenes import Scene, find_scenes

WHOLE = Window(col_off=0, row_off=0, width=90, height=70)
CORNER = Window(col_off=64, row_off=48, width=16, height=16)


@pytest.fixture(autouse=True)
def thrice(quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEARYEAR_RETRIES", "3")


@pytest.fixture(params=["http", "gs"])
def put(request: pytest.FixtureRequest) -> Any:
    """How to put a file where the scheme has it; gives its address."""
    if request.param == "http":
        server: HttpServer = request.getfixturevalue("web")

        def put_web(path: Path) -> str:
            server.files[f"/s/{path.name}"] = path.read_bytes()
            return f"{server.url}/s/{path.name}"

        return put_web
    emulator: GcsServer = request.getfixturevalue("bucket")

    def put_bucket(path: Path) -> str:
        emulator.put("in", path.name, path.read_bytes())
        return f"gs://in/{path.name}"

    return put_bucket


def made(folder: Path, n: int = 3, **profile: Any) -> list[Path]:
    """Scenes of 3 bands, 90 × 70 px, in blocks of 16."""
    stack = random_pixels(np.random.default_rng(3), (n, 3, 70, 90))
    return [write_scene(folder / f"a_2023010{i + 1}.tif", p, **profile) for i, p in enumerate(stack)]


def read(scenes: list[Scene], window: Window, bands: int = 3, dtype: str = "uint8") -> tuple[Any, list[FailedRead]]:
    grid = Grid(crs="EPSG:32631", transform=(10, 0, 0, 0, -10, 0), width=90, height=70, block=(16, 16))
    stack, _, failed = read_stack(scenes, grid, window, n_bands=bands, dtype=dtype)
    return stack, failed


def expected(paths: list[Path], window: Window) -> NDArray[Any]:
    """GDAL's pixels of the local files."""
    found = []
    for path in paths:
        with rasterio.open(path) as dataset:
            box = RasterioWindow(window.col_off, window.row_off, window.width, window.height)
            found.append(dataset.read(window=box))
    return np.stack(found)


# -- the same pixels -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "profile"),
    [
        ("uint8", {}),
        ("uint8", {"predictor": 2, "BIGTIFF": "YES"}),
        ("uint8", {"interleave": "band", "compress": "zstd"}),
        ("uint16", {"predictor": 2, "compress": "zstd"}),
        ("uint16", {"compress": None, "interleave": "band"}),
        ("uint16", {"blockxsize": 128, "blockysize": 128}),
        ("uint8", {"compress": "lzw"}),
        ("uint8", {"tiled": False, "blockxsize": None, "blockysize": None}),
        ("int16", {"predictor": 2}),
        ("float32", {"predictor": 3}),
    ],
    ids=lambda v: "-".join(map(str, v.values())) if isinstance(v, dict) else v,
)
def test_every_layout_gives_the_local_files_pixels(tmp_path: Path, put: Any, dtype: str, profile: Any) -> None:
    pixels = np.random.default_rng(1).integers(0, 200, (3, 70, 90)).astype(dtype)
    path = write_scene(tmp_path / "a_20230101.tif", pixels, **profile)
    scenes = find_scenes([put(path)])
    for window in (WHOLE, CORNER, Window(col_off=5, row_off=3, width=60, height=41)):
        stack, failed = read(scenes, window, dtype=dtype)
        assert failed == []
        assert np.array_equal(stack, expected([path], window))
    by_gdal = profile.get("predictor") == 3 or profile.get("compress") == "lzw" or profile.get("tiled") is False
    assert isinstance(source_of(scenes[0].uri, scenes[0].version), GdalSource) is by_gdal


def test_local_and_remote_scenes_in_one_stack(tmp_path: Path, put: Any) -> None:
    paths = made(tmp_path, 5)
    scenes = find_scenes([str(p) if i % 2 else put(p) for i, p in enumerate(paths)])
    stack, failed = read(scenes, WHOLE)
    assert failed == []
    assert np.array_equal(stack, expected(paths, WHOLE))


def test_a_block_never_written_is_filled(tmp_path: Path, put: Any) -> None:
    path = write_scene(tmp_path / "a_20230101.tif", np.zeros((3, 70, 90), np.uint8), nodata=7, sparse_ok=True)
    with rasterio.open(path, "r+") as dataset:
        dataset.write(np.full((3, 16, 16), 9, np.uint8), window=RasterioWindow(16, 16, 16, 16))
    stack, failed = read(find_scenes([put(path)]), WHOLE)
    assert failed == []
    assert np.array_equal(stack, expected([path], WHOLE))


@pytest.mark.parametrize("name", ["a b_20230101.tif", "ä_20230101.tif", "a+b%c_20230101.tif", "a#1_20230101.tif"])
def test_odd_names(tmp_path: Path, web: HttpServer, name: str) -> None:
    from urllib.parse import quote

    (path,) = made(tmp_path, 1)
    web.files[f"/s/{name}"] = path.read_bytes()
    scenes = find_scenes([f"{web.url}/s/{quote(name)}"])
    stack, failed = read(scenes, WHOLE)
    assert failed == []
    assert np.array_equal(stack, expected([path], WHOLE))


# -- few requests --------------------------------------------------------------------------------------------


def test_the_index_is_asked_for_once_and_neighbours_come_together(tmp_path: Path, web: HttpServer) -> None:
    pixels = np.random.default_rng(1).integers(0, 255, (3, 256, 256), np.uint8)
    path = write_scene(tmp_path / "a_20230101.tif", pixels, blockxsize=64, blockysize=64, compress=None)
    web.files["/a_20230101.tif"] = path.read_bytes()
    source = DirectSource.open(str(path))
    (scene,) = find_scenes([f"{web.url}/a_20230101.tif"])
    grid = Grid(crs="EPSG:32631", transform=(10, 0, 0, 0, -10, 0), width=256, height=256, block=(64, 64))
    asked = []
    for window in ((0, 0, 64, 64), (64, 64, 64, 64), (0, 128, 128, 64), (0, 0, 256, 256)):
        web.count()
        piece = Window(**dict(zip(("col_off", "row_off", "width", "height"), window, strict=True)))
        stack, _, failed = read_stack([scene], grid, piece, n_bands=3, dtype="uint8")
        assert failed == []
        assert np.array_equal(stack, expected([path], piece))
        counted = web.count()
        asked.append((counted["GET"], counted["bytes"]))
    block = source.index.block_bytes
    assert asked == [(2, 32768 + block), (1, block), (1, 2 * block), (1, 16 * block)]


def test_ranges_join_what_is_near_and_stay_short() -> None:
    def block(offset: int, size: int) -> Block:
        return Block(offset, size, 0, 0, 0)

    def lengths(blocks: list[Block]) -> list[int]:
        return [len(run) for run in ranges(blocks)]

    assert lengths([]) == []
    assert lengths([block(500, 10), block(0, 500), block(518, 10)]) == [3]
    assert lengths([block(0, 10), block(1 << 20, 10)]) == [1, 1]
    assert lengths([block(0, 10), block(10 + GAP_BYTES, 10), block(21 + 2 * GAP_BYTES, 10)]) == [2, 1]
    assert lengths([block(i * 400_000, 400_000) for i in range(6)]) == [2, 2, 2]
    assert lengths([block(i * 2 * RANGE_BYTES, 2 * RANGE_BYTES) for i in range(3)]) == [1, 1, 1]
    assert lengths([block(0, 10), block(0, 10), block(5, 10)]) == [3]


def test_no_more_requests_in_flight_than_the_setting(
    tmp_path: Path, web: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLEARYEAR_REQUESTS", "5")
    for path in (paths := made(tmp_path, 9)):
        web.files[f"/{path.name}"] = path.read_bytes()
    scenes = find_scenes([f"{web.url}/{path.name}" for path in paths])
    web.count()
    web.latency = 0.02
    stack, failed = read(scenes, WHOLE)
    assert failed == []
    assert np.array_equal(stack, expected(paths, WHOLE))
    assert 2 <= web.count()["most_at_once"] <= 5


# -- faults --------------------------------------------------------------------------------------------------


@pytest.fixture
def served(tmp_path: Path, web: HttpServer) -> tuple[list[Path], list[Scene]]:
    """Three scenes whose headers have been read; what fails from now on fails while blocks are read."""
    paths = made(tmp_path, compress=None)
    for path in paths:
        web.files[f"/{path.name}"] = path.read_bytes()
    scenes = find_scenes([f"{web.url}/{path.name}" for path in paths])
    assert read(scenes, CORNER)[1] == []
    return paths, scenes


@pytest.mark.parametrize(
    "fault",
    [{"status": status} for status in (408, 429, 500, 502, 503, 504)] + [{"truncate": 0}, {"truncate": 100}],
    ids=str,
)
def test_what_passes_is_tried_again(served: Any, web: HttpServer, fault: dict[str, Any]) -> None:
    paths, scenes = served
    web.fail(r"GET /a_20230102", times=2, **fault)
    stack, failed = read(scenes, WHOLE)
    assert failed == []
    assert np.array_equal(stack, expected(paths, WHOLE))


@pytest.mark.parametrize("reader", ["auto", "gdal"])
@pytest.mark.parametrize(
    ("fault", "words", "again"),
    [
        ({"status": 400}, "400", False),
        ({"status": 401}, "401", False),
        ({"status": 403}, "403", False),
        ({"status": 404}, "404", False),
        ({"status": 429}, "429", True),
        ({"status": 503}, "503", True),
        ({"truncate": 0}, "", True),
    ],
    ids=str,
)
def test_what_stays_is_named_with_its_scene_and_whether_to_try_again(
    tmp_path: Path,
    web: HttpServer,
    monkeypatch: pytest.MonkeyPatch,
    fault: dict[str, Any],
    words: str,
    again: bool,
    reader: str,
) -> None:
    """Both readers, while a block is read: the header has been."""
    monkeypatch.setenv("CLEARYEAR_READER", reader)
    pixels = np.random.default_rng(1).integers(0, 255, (3, 3, 70, 90), np.uint8)
    paths = []
    for day, scene in enumerate(pixels, start=1):
        # Blocks larger than what GDAL fetches with the header.
        big = np.pad(scene, ((0, 0), (0, 186), (0, 166)))
        paths.append(write_scene(tmp_path / f"a_2023010{day}.tif", big, compress=None, blockxsize=64, blockysize=64))
        web.files[f"/{paths[-1].name}"] = paths[-1].read_bytes()
    scenes = find_scenes([f"{web.url}/{path.name}" for path in paths])
    grid = Grid(crs="EPSG:32631", transform=(10, 0, 0, 0, -10, 0), width=256, height=256, block=(64, 64))
    first, other = (Window(col_off=x, row_off=x, width=64, height=64) for x in (0, 192))
    assert read_stack(scenes, grid, first, n_bands=3, dtype="uint8")[2] == []
    web.fail(r"(GET|HEAD) /a_20230102", times=99, **fault)
    stack, used, (failure,) = read_stack(scenes, grid, other, n_bands=3, dtype="uint8")
    assert (used, failure.scene, failure.transient) == ([0, 2], "a_20230102", again)
    assert words in failure.cause
    assert np.array_equal(stack, expected([paths[0], paths[2]], other))


@pytest.mark.parametrize(
    ("fault", "words", "again"),
    [
        ({"whole": True}, "gives whole files only", False),
        ({"longer": 7}, "bytes came for a range", True),
    ],
)
def test_an_answer_of_another_form_is_a_failed_read(
    served: Any, web: HttpServer, fault: dict[str, Any], words: str, again: bool
) -> None:
    paths, scenes = served
    web.fail(r"GET /a_20230102", times=99, **fault)
    stack, (failure,) = read(scenes, WHOLE)
    assert (failure.scene, failure.transient) == ("a_20230102", again)
    assert words in failure.cause
    assert np.array_equal(stack, expected([paths[0], paths[2]], WHOLE))


def test_a_file_that_is_cut_off_is_a_failed_read(served: Any, web: HttpServer, tmp_path: Path) -> None:
    """Its server says so consistently: no ETag to compare, the header untouched."""
    _, scenes = served
    source = source_of(scenes[1].uri, scenes[1].version)
    assert isinstance(source, DirectSource)
    whole, tag = web.files["/a_20230102.tif"], web.etag("/a_20230102.tif")
    web.files["/a_20230102.tif"] = whole[:-3000]
    web.pretend("/a_20230102.tif", tag)
    _, (failure,) = read(scenes, WHOLE)
    assert (failure.scene, failure.transient) == ("a_20230102", False)
    assert "is cut off" in failure.cause
    web.files["/a_20230102.tif"] = whole[:100]
    web.pretend("/a_20230102.tif", tag)
    _, (failure,) = read(scenes, WHOLE)
    assert (failure.scene, failure.transient) == ("a_20230102", False)
    assert "416" in failure.cause


def ranges_of(scene: Scene, window: Window) -> list[str]:
    """What is asked for to read a window of a scene, in order."""
    source = source_of(scene.uri, scene.version)
    assert isinstance(source, DirectSource)
    runs = [step.args[0] for step in source.steps(window, np.empty((3, 70, 90), np.uint8))]  # type: ignore[attr-defined]
    return [f"bytes={run[0].offset}-" for run in runs]


@pytest.mark.parametrize("which", [0, 1, -1])
def test_one_range_of_many_that_fails_fails_the_scene(
    served: Any, web: HttpServer, monkeypatch: pytest.MonkeyPatch, which: int
) -> None:
    monkeypatch.setattr("clearyear.reading.ranges.RANGE_BYTES", 0)  # every block a range of its own
    paths, scenes = served
    asked = ranges_of(scenes[1], WHOLE)
    assert len(asked) == 30
    web.fail(rf"a_20230102.tif {asked[which]}", status=404, times=99)
    stack, (failure,) = read(scenes, WHOLE)
    assert failure.scene == "a_20230102"
    assert np.array_equal(stack, expected([paths[0], paths[2]], WHOLE))


def test_nobody_writes_to_the_stack_when_it_has_been_handed_over(
    served: Any, web: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first range fails at once, the second comes late: by then its place holds another scene's pixels."""
    monkeypatch.setattr("clearyear.reading.ranges.RANGE_BYTES", 0)
    paths, scenes = served
    first, second, *_ = ranges_of(scenes[0], WHOLE)
    web.fail(rf"a_20230101.tif {first}", status=404, times=99)
    web.fail(rf"a_20230101.tif {second}", status=None, delay=0.4)
    stack, (failure,) = read(scenes, WHOLE)
    assert failure.scene == "a_20230101"
    time.sleep(0.6)
    assert np.array_equal(stack, expected(paths[1:], WHOLE))


@pytest.mark.parametrize("reader", ["auto", "gdal"])
@pytest.mark.parametrize("server", [{}, {"honours_if_match": False}, {"etags": False}], ids=str)
def test_two_versions_of_a_scene_are_never_mixed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: dict[str, Any], reader: str
) -> None:
    """The file is replaced between two windows by one of the same layout."""
    monkeypatch.setenv("CLEARYEAR_READER", reader)
    paths = made(tmp_path, compress=None)
    with HttpServer(**server) as web:
        for path in paths:
            web.files[f"/{path.name}"] = path.read_bytes()
        scenes = find_scenes([f"{web.url}/{path.name}" for path in paths])
        assert read(scenes, CORNER)[1] == []
        other = write_scene(tmp_path / "other.tif", np.full((3, 70, 90), 7, np.uint8), compress=None)
        web.files[f"/{paths[1].name}"] = other.read_bytes() + (b"" if server.get("etags", True) else b"\0")
        stack, (failure,) = read(scenes, WHOLE)
    assert (failure.scene, failure.cause) == ("a_20230102", "has changed since the plan was made")
    assert not failure.transient
    assert np.array_equal(stack, expected([paths[0], paths[2]], WHOLE))


@pytest.mark.parametrize("reader", ["auto", "gdal"])
def test_a_new_generation_in_a_bucket_is_another_version(
    tmp_path: Path, bucket: GcsServer, monkeypatch: pytest.MonkeyPatch, reader: str
) -> None:
    monkeypatch.setenv("CLEARYEAR_READER", reader)
    paths = made(tmp_path, compress=None)
    for path in paths:
        bucket.put("in", path.name, path.read_bytes())
    scenes = find_scenes("gs://in")
    assert read(scenes, CORNER)[1] == []
    bucket.put("in", paths[1].name, paths[0].read_bytes())
    stack, (failure,) = read(scenes, WHOLE)
    assert (failure.scene, failure.cause) == ("a_20230102", "has changed since the plan was made")
    assert np.array_equal(stack, expected([paths[0], paths[2]], WHOLE))


def test_a_server_that_falls_silent_is_tried_again(
    served: Any, web: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLEARYEAR_SILENCE_SECONDS", "0.2")
    sources._source_of.cache_clear()
    paths, scenes = served
    web.fail(r"GET /a_20230102", status=None, delay=5)
    stack, failed = read(scenes, WHOLE)
    assert failed == []
    assert np.array_equal(stack, expected(paths, WHOLE))
