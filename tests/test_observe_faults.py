"""Unlike scenes that cannot be read, that take memory, that lie elsewhere."""

import threading
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from conftest import write_scene
from loopback.http import HttpServer
from observed import SCL, read, whole_of
from unlike import day, plan_of, portugal, scene_of, whole

from clearyear import memory
from clearyear.errors import WindowError
from clearyear.masks import Mask
from clearyear.memory import least_bytes, peak_bytes, pieces
from clearyear.reading import gdal
from clearyear.reading.observe import observe
from clearyear.scenes.scene import Scene
from clearyear.stores import open_store
from clearyear.window import compute_window, reduce_window

# -- what fails --------------------------------------------------------------------------------------------------


def files_a_band(folder: Path, n: int = 3) -> list[Scene]:
    rng = np.random.default_rng(6)
    return [
        scene_of(
            f"s{t}",
            day(t),
            {a: write_scene(folder / f"s{t}_{a}.tif", rng.integers(1, 9, (1, 20, 20), dtype=np.uint8)) for a in
             ("B04", "B08", "scl")},
        )
        for t in range(n)
    ]  # fmt: skip


@pytest.mark.parametrize("asset", ["B08", "scl"])
@pytest.mark.parametrize("job", [{}, {"resolution": 8}])
def test_a_file_that_fails_is_named_with_its_band(tmp_path: Path, asset: str, job: dict[str, Any]) -> None:
    scenes = files_a_band(tmp_path / "s")
    masks = [Mask(asset="scl", classes=(1,))]
    options: Any = {"found": {"assets": ("B04", "B08")}, "out": str(tmp_path / "out"), "max_failed_reads": 1, **job}
    plan = plan_of(scenes, masks, tile_size=16, **options)
    path = Path(scenes[1].assets[asset])
    path.write_bytes(path.read_bytes()[:-3] + b"\0\0\0")
    seen = observe(plan, plan.scenes, plan.windows[0])
    assert [(f.scene, f.uri) for f in seen.failed] == [("s1", str(path))]
    assert seen.failed[0].cause.startswith(f"{asset}: has changed since the plan was made")
    result = compute_window(plan, plan.windows[0], open_store(plan.destination))
    assert (result.scenes_used, [f.scene for f in result.failed_reads]) == (2, ["s1"])
    without = plan_of([scenes[0], scenes[2]], masks, tile_size=16, **options)
    assert np.array_equal(
        observe(without, without.scenes, plan.windows[0]).stack,
        observe(plan, [plan.scenes[0], plan.scenes[2]], plan.windows[0]).stack,
    )
    with pytest.raises(WindowError, match=rf"1 of 3 scenes could not be read: s1 \({asset}: has changed"):
        compute_window(plan.model_copy(update={"max_failed_reads": 0}), plan.windows[0], open_store(plan.destination))


def test_a_damaged_jpeg_2000_is_a_failed_read(data: Path, tmp_path: Path) -> None:
    whole_file = (data / "stac/earthsearch-33TWL/sentinel-2-l2a/S2A_33TWL_20230815_0_L2A/B04.tif").read_bytes()
    path = tmp_path / "B04.tif"
    path.write_bytes(whole_file[: len(whole_file) // 2])
    plan = plan_of([scene_of("s", day(0), {"data": path})])
    (failed,) = observe(plan, plan.scenes, whole_of(plan)).failed
    assert failed.scene == "s"
    assert "stream" in failed.cause or "decoded" in failed.cause


# -- memory ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("case", ["masked", "resampled", "another CRS"])
def test_memory_is_kept(tmp_path: Path, case: str, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What Python and NumPy really allocate stays within what is computed before."""
    rng = np.random.default_rng(1)
    scenes = []
    for t in range(8):
        bands = write_scene(tmp_path / f"{t}.tif", rng.integers(1, 99, (4, 256, 256), dtype=np.uint16), blockxsize=256)
        scl = write_scene(
            tmp_path / f"{t}_scl.tif", rng.integers(0, 12, (1, 128, 128), dtype=np.uint8),
            transform=Affine(20, 0, 300000, 0, -20, 4900020), nodata=None,
        )  # fmt: skip
        scenes.append(scene_of(f"s{t}", day(t), {"data": bands, "scl": scl}))
    job: dict[str, dict[str, Any]] = {
        "masked": {},
        "resampled": {"resolution": 9.0, "resampling": "bilinear"},
        "another CRS": {"crs": "EPSG:32630", "resolution": 10.0},
    }
    plan = plan_of(scenes, [SCL], out=str(tmp_path / "out"), tile_size=512, **job[case])
    monkeypatch.setattr(memory, "STRIP_SAMPLES", 1 << 19)
    store, window = open_store(plan.destination), plan.windows[0]
    compute_window(plan, window, store, threads=threads)  # kernels compiled, modules imported
    peaks = []

    def measured() -> None:
        tracemalloc.start()
        compute_window(plan, window, store, threads=threads)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()

    thread = threading.Thread(target=measured)
    thread.start()
    thread.join()
    peak = peak_bytes(plan, window, threads=threads)
    assert peaks[0] <= peak + 300_000
    assert peak < 3 * peaks[0] + (1 << 22) * threads


# -- elsewhere ---------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("compress", ["deflate", "lzw"])
def test_files_elsewhere_give_the_same(tmp_path: Path, web: HttpServer, compress: str) -> None:
    """Read by ranges, and by GDAL; some files here, some there; one that is gone is named."""
    rng = np.random.default_rng(6)
    scenes, moved = [], []
    for t in range(3):
        files = {
            asset: write_scene(
                tmp_path / f"s{t}_{asset}.tif",
                rng.integers(1, 9, (1, 40, 40), dtype=np.uint8),
                compress=compress,
                transform=Affine(10, 0, 300000 + 3 * t, 0, -10, 4900020),
            )
            for asset in ("B04", "B08", "scl")
        }
        scenes.append(scene_of(f"s{t}", day(t), files))
        web.files |= {f"/{path.name}": path.read_bytes() for path in files.values()}
        there: dict[str, Any] = {asset: f"{web.url}/{files[asset].name}" for asset in ("B08", "scl")}
        moved.append(scene_of(f"s{t}", day(t), files | there))
    mask = Mask(asset="scl", classes=(1, 2), opening=1, dilation=1)
    job: Any = {"found": {"assets": ("B04", "B08")}, "resolution": 8, "resampling": "bilinear", "tile_size": 32}
    expected = whole(plan_of(scenes, [mask], **job))
    plan = plan_of(moved, [mask], **job)
    for threads in (1, 2):
        for name, array in whole(plan, threads=threads).items():
            assert np.array_equal(array, expected[name])
    del web.files["/s1_B08.tif"]
    gdal.keep_open(0)
    (failed,) = observe(plan, plan.scenes, plan.windows[0]).failed
    assert (failed.scene, failed.uri) == ("s1", f"{web.url}/s1_B08.tif")
    assert failed.cause.startswith("B08: ")
    assert not failed.transient


def test_files_that_a_product_does_not_use_are_not_asked_for(data: Path) -> None:
    """Scenes with a mask beside them, and a job that wants none: each is the one file it was."""
    plan = plan_of(portugal(data, 2))
    assert plan.is_plain
    seen = observe(plan, plan.scenes, whole_of(plan))
    assert (seen.failed, seen.valid, seen.raw) == ([], None, None)
    assert np.array_equal(seen.stack, [read(scene.uri) for scene in plan.scenes])


def test_pieces_of_a_window_change_no_pixel(data: Path) -> None:
    """With the least memory there can be a window is read row by row, and the mask round each row anew."""
    plan = plan_of(portugal(data, 8), [SCL], tile_size=128)
    (window,) = plan.windows
    least = least_bytes(plan, window)
    assert len(pieces(plan, window, least)) == 128
    expected, _, _ = reduce_window(plan, window)
    found, _, _ = reduce_window(plan, window, window_bytes=least)
    assert expected is not None
    assert found is not None
    assert all(np.array_equal(found[name], array) for name, array in expected.items())
