"""One window, end to end: what cannot be read is named, never nodata; equal inputs, equal bytes; the record last."""

import hashlib
import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pytest
import rasterio
from conftest import write_scene
from numpy.typing import NDArray

from clearyear.errors import StoreError, WindowError
from clearyear.grid import Window
from clearyear.job import Job
from clearyear.memory import least_bytes, peak_bytes, pieces
from clearyear.plan import Plan
from clearyear.prepare import make_plan
from clearyear.reading.stack import read_stack
from clearyear.stores import Store, open_store, stat_uri
from clearyear.window import WindowResult, compute_window, reduce_window

WHOLE = Window(col_off=0, row_off=0, width=50, height=40)
BROKEN = Window(col_off=16, row_off=16, width=16, height=16)


@pytest.fixture(autouse=True, params=["auto", "gdal"])
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of this holds whoever reads the files."""
    monkeypatch.setenv("CLEARYEAR_READER", request.param)


def plan_of(scenes: Path, out: Path, **job: Any) -> Plan:
    values = {"scenes": str(scenes), "period": "2023", "out": str(out), "tile_size": 16, "layers": ["count", "source"]}
    return make_plan(Job.model_validate(values | job))


def part(whole: NDArray[Any], window: Window) -> NDArray[Any]:
    """What of (…, H, W) lies in the window."""
    rows = slice(window.row_off, window.row_off + window.height)
    return whole[..., rows, window.col_off : window.col_off + window.width]


@pytest.fixture
def plan(scenes: Path, tmp_path: Path) -> Plan:
    """12 windows of seven scenes, 50 × 40 px."""
    return plan_of(scenes, tmp_path / "out")


@pytest.fixture
def store(plan: Plan) -> Store:
    return open_store(plan.destination)


def read(plan: Plan, window: Window) -> tuple[NDArray[Any], list[int], list[tuple[str, str]]]:
    n_bands, dtype = plan.product.n_bands, plan.product.dtype
    stack, used, failed = read_stack(plan.scenes, plan.grid, window, n_bands=n_bands, dtype=dtype)
    return stack, used, [(f.scene, f.cause) for f in failed]


def as_now(plan: Plan) -> Plan:
    """The plan of the same scenes in the version that lies there now."""
    now = {s.id: entry.version for s in plan.scenes if (entry := stat_uri(s.uri))}
    scenes = tuple(s.model_copy(update={"version": now.get(s.id, s.version)}) for s in plan.scenes)
    return plan.model_copy(update={"scenes": scenes})


def paths(plan: Plan, indices: Sequence[int] | None = None) -> list[Path]:
    return [Path(plan.scenes[i].uri) for i in (range(len(plan.scenes)) if indices is None else indices)]


def poison(path: Path, block: str = "1_1") -> None:
    """Damage one block, at column 16, row 16 unless said otherwise, and no other."""
    with rasterio.open(path) as dataset:
        tags = (dataset.get_tag_item(f"BLOCK_{what}_{block}", "TIFF", bidx=1) for what in ("OFFSET", "SIZE"))
        offset, size = map(int, tags)
    data = bytearray(path.read_bytes())
    data[offset : offset + size] = bytes(size)
    path.write_bytes(data)


# -- reading -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rectangle", [(0, 0, 50, 40), (16, 16, 16, 16), (48, 32, 2, 8), (7, 5, 30, 29), (49, 39, 1, 1)]
)
def test_stack_is_what_the_files_hold(plan: Plan, rectangle: tuple[int, int, int, int]) -> None:
    window = Window(**dict(zip(("col_off", "row_off", "width", "height"), rectangle, strict=True)))
    stack, used, failed = read(plan, window)
    assert np.array_equal(stack, part(oracle.read_all(paths(plan)), window))
    assert (used, failed) == ([0, 1, 2, 3, 4, 5, 6], [])


def test_failed_reads_are_named_and_the_rest_closes_up(plan: Plan) -> None:
    gone, cut, other = paths(plan, [1, 4, 5])
    expected = oracle.read_all(paths(plan, [0, 2, 3, 6]))
    gone.unlink()
    cut.write_bytes(b"II*\0")
    other.write_text("no TIFF at all")
    stack, used, failed = read(as_now(plan), WHOLE)
    assert used == [0, 2, 3, 6]
    assert np.array_equal(stack, expected)
    assert [scene for scene, _ in failed] == [gone.stem, cut.stem, other.stem]
    assert "No such file" in failed[0][1]
    assert all(cause for _, cause in failed)


def test_truncated_scene_fails_where_it_is_cut_and_nowhere_else(plan: Plan) -> None:
    path = paths(plan, [3])[0]
    before = oracle.read_all(paths(plan))
    with rasterio.open(path) as dataset:
        offset = int(dataset.get_tag_item("BLOCK_OFFSET_1_1", "TIFF", bidx=1))
    path.write_bytes(path.read_bytes()[: offset + 10])
    plan = as_now(plan)
    _, used, ((scene, cause),) = read(plan, BROKEN)
    assert (used, scene) == ([0, 1, 2, 4, 5, 6], path.stem)
    assert re.search(r"cut off|[Rr]ead error|failed|Cannot read", cause)
    first = Window(col_off=0, row_off=0, width=16, height=16)
    stack, _, failed = read(plan, first)
    assert failed == []
    assert np.array_equal(stack, part(before, first))


@pytest.mark.parametrize(
    ("pixels", "words"),
    [
        (np.ones((3, 40, 51), "uint8"), "has become 51×40 px, 3 bands of uint8"),
        (np.ones((1, 40, 50), "uint8"), "has become 50×40 px, 1 bands of uint8"),
        (np.ones((3, 40, 50), "int16"), "has become 50×40 px, 3 bands of int16"),
    ],
)
def test_scene_that_has_become_another_is_refused(plan: Plan, pixels: NDArray[Any], words: str) -> None:
    path = paths(plan, [2])[0]
    write_scene(path, pixels)
    assert read(as_now(plan), WHOLE)[1:] == ([0, 1, 3, 4, 5, 6], [(path.stem, words)])


@pytest.mark.parametrize("profile", [{}, {"compress": None}, {"blockxsize": 32, "blockysize": 32}])
def test_scene_overwritten_between_two_windows_is_refused(
    scenes: Path, tmp_path: Path, profile: dict[str, Any]
) -> None:
    """Windows of one plan must not mix two versions of a scene, though the new one looks like the old."""
    path = sorted(scenes.glob("*.tif"))[2]
    write_scene(path, oracle.read_all([path])[0], compress=profile.get("compress", "deflate"))
    plan = plan_of(scenes, tmp_path / "out")
    assert read(plan, BROKEN)[2] == []
    other = write_scene(tmp_path / "other.tif", np.full((3, 40, 50), 7, "uint8"), **profile)
    path.write_bytes(other.read_bytes())
    assert read(plan, WHOLE)[1:] == ([0, 1, 3, 4, 5, 6], [(path.stem, "has changed since the plan was made")])


# -- computing -----------------------------------------------------------------------------------------------


def test_tiles_hold_what_the_oracle_says(plan: Plan, store: Store) -> None:
    composite, count, source = oracle.luminance_median(oracle.read_all(paths(plan)))
    for window in plan.windows:
        compute_window(plan, window, store)
        for layer, whole in {"composite": composite, "count": count[None], "source": source[None]}.items():
            with rasterio.open(store.uri(plan.tile_name(window, layer))) as tile:
                assert np.array_equal(tile.read(), part(whole, window))
                assert tuple(tile.transform)[:6] == plan.grid.transform_of(window)
                assert tile.crs.to_string() == "EPSG:32631"
                assert tile.nodata == {"composite": 0, "count": None, "source": -1}[layer]
                assert tile.tags()["CLEARYEAR_FINGERPRINT"] == plan.fingerprint(window)


def test_result_tells_what_was_done(plan: Plan, store: Store) -> None:
    result = compute_window(plan, BROKEN, store)
    _, count, _ = oracle.luminance_median(oracle.read_all(paths(plan))[:, :, 16:32, 16:32])
    assert (result.id, result.status, result.fingerprint) == ("x00016_y00016", "ok", plan.fingerprint(BROKEN))
    assert (result.scenes_used, result.failed_reads, result.cause) == (7, (), "")
    assert result.valid_share == round(float((count > 0).mean()), 6)
    assert result.bytes_read == plan.read_bytes(BROKEN) > 0
    for layer, file in result.layers.items():
        data = store.read(file.name)
        assert file.name == plan.tile_name(BROKEN, layer)
        assert (file.size, file.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert WindowResult.model_validate_json(store.read(plan.record_name(BROKEN))) == result


def test_equal_inputs_give_equal_bytes(plan: Plan, tmp_path: Path) -> None:
    stores = [open_store(str(tmp_path / name)) for name in ("one", "two")]
    first, second = (compute_window(plan, BROKEN, store) for store in stores)
    assert first.layers == second.layers
    for layer in plan.product.layers:
        assert stores[0].read(plan.tile_name(BROKEN, layer)) == stores[1].read(plan.tile_name(BROKEN, layer))


@pytest.mark.parametrize("value", [0, 255])
def test_window_without_a_valid_sample_is_empty(tmp_path: Path, value: int) -> None:
    for day in (1, 2):
        write_scene(tmp_path / f"s/a_2023010{day}.tif", np.full((3, 20, 20), value, "uint8"))
    plan = plan_of(tmp_path / "s", tmp_path / "out")
    result = compute_window(plan, plan.windows[0], store := open_store(plan.destination))
    assert (result.status, result.valid_share, result.scenes_used) == ("empty", 0.0, 2)
    with rasterio.open(store.uri(plan.tile_name(plan.windows[0]))) as tile:
        assert not tile.read().any()
        assert not tile.dataset_mask().any()


def test_one_valid_pixel_is_not_empty(tmp_path: Path) -> None:
    pixels = np.zeros((3, 20, 20), "uint8")
    pixels[:, 3, 4] = 7
    plan = plan_of(write_scene(tmp_path / "s/a_20230101.tif", pixels).parent, tmp_path / "out")
    result = compute_window(plan, plan.windows[0], open_store(plan.destination))
    assert (result.status, result.valid_share) == ("ok", round(1 / 256, 6))


def test_more_failures_than_allowed_fail_the_window_and_leave_a_record(plan: Plan, store: Store) -> None:
    broken = paths(plan, [1, 4])
    for path in broken:
        poison(path)
    plan = as_now(plan)
    with pytest.raises(WindowError, match=rf"[12] of 7 scenes could not be read: {broken[0].stem} \(.+\)") as caught:
        compute_window(plan, BROKEN, store)
    assert (caught.value.window, caught.value.scene, caught.value.transient) == (BROKEN.id, broken[0].stem, False)
    assert caught.value.wanted == "at most 0 (max_failed_reads)"
    record = WindowResult.model_validate_json(store.read(plan.record_name(BROKEN)))
    assert (record.status, record.layers, record.cause) == ("failed", {}, caught.value.found)
    assert record.failed_reads[0].scene == broken[0].stem
    assert [e.name for e in store.entries()] == [plan.record_name(BROKEN)]


def test_source_keeps_the_plans_numbers_when_a_read_failed(scenes: Path, tmp_path: Path) -> None:
    broken = [sorted(scenes.glob("*.tif"))[i] for i in (1, 4)]
    for path in broken:
        poison(path)
    plan = plan_of(scenes, tmp_path / "out", max_failed_reads=2)
    left = [0, 2, 3, 5, 6]
    stack = oracle.read_all(paths(plan, left))[:, :, 16:32, 16:32]
    composite, count, source = oracle.luminance_median(stack)
    layers, used, failed = reduce_window(plan, BROKEN)
    assert layers
    assert (used, [f.scene for f in failed]) == (5, [p.stem for p in broken])
    assert np.array_equal(layers["composite"], composite)
    assert np.array_equal(layers["count"][0], count)
    assert np.array_equal(layers["source"][0], np.where(source < 0, -1, np.array(left)[source]))
    assert layers["source"].dtype == np.int16
    result = compute_window(plan, BROKEN, open_store(plan.destination))
    assert (result.status, result.scenes_used, len(result.failed_reads)) == ("ok", 5, 2)


def test_all_scenes_gone_fails_whatever_is_allowed(scenes: Path, tmp_path: Path) -> None:
    plan = plan_of(scenes, tmp_path / "out", max_failed_reads=100)
    shutil.rmtree(scenes)
    with pytest.raises(WindowError, match="7 of 7 scenes could not be read"):
        compute_window(plan, BROKEN, open_store(plan.destination))


def test_record_is_written_last(plan: Plan, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever write fails, there is no record; so a record always speaks of tiles that are whole."""
    names: list[str] = []
    limit = [0]
    write = type(store).write

    def limited(self: Store, name: str, data: bytes) -> None:
        names.append(name)
        if len(names) > limit[0]:
            raise StoreError("the disk stutters", transient=True)
        write(self, name, data)

    monkeypatch.setattr(type(store), "write", limited)
    for limit[0] in range(4):
        names.clear()
        with pytest.raises(StoreError, match="the disk stutters"):
            compute_window(plan, BROKEN, store)
        assert store.stat(plan.record_name(BROKEN)) is None
    limit[0] = 4
    names.clear()
    compute_window(plan, BROKEN, store)
    assert names == [*(plan.tile_name(BROKEN, layer) for layer in plan.product.layers), plan.record_name(BROKEN)]
    assert json.loads(store.read(plan.record_name(BROKEN)))["status"] == "ok"


def test_scene_that_fails_in_one_piece_is_left_out_of_all(scenes: Path, tmp_path: Path) -> None:
    """How a window is cut to fit the memory must not show: a damaged block counts against its whole window."""
    files = sorted(scenes.glob("*.tif"))
    poison(files[2])
    poison(files[4], "3_2")
    plan = plan_of(scenes, tmp_path / "out", max_failed_reads=2)
    one_block = Window(col_off=0, row_off=0, width=16, height=16)
    tight = least_bytes(plan, WHOLE) + peak_bytes(plan, one_block) - least_bytes(plan, one_block)
    assert len(pieces(plan, WHOLE, tight)) == 12
    left = [0, 1, 3, 5, 6]
    composite, count, source = oracle.luminance_median(oracle.read_all(paths(plan, left)))
    layers, used, failed = reduce_window(plan, WHOLE, window_bytes=tight)
    assert layers
    assert (used, [f.scene for f in failed]) == (5, [files[2].stem, files[4].stem])
    assert np.array_equal(layers["composite"], composite)
    assert np.array_equal(layers["count"][0], count)
    assert np.array_equal(layers["source"][0], np.where(source < 0, -1, np.array(left)[source]))
    layers, _, failed = reduce_window(plan.model_copy(update={"max_failed_reads": 1}), WHOLE, window_bytes=tight)
    assert layers is None
    assert [f.scene for f in failed] == [files[2].stem, files[4].stem]
