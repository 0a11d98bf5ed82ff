"""What a reducer is given of unlike scenes: at every pixel what plain rules say, however windows are cut."""

import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from conftest import write_scene
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from loopback.http import HttpServer
from numpy.typing import NDArray
from rasterio.enums import Resampling
from unlike import day, landsat, opened_and_dilated, plan_of, portugal, scene_of, warped, whole

from clearyear import memory
from clearyear.errors import WindowError
from clearyear.grid import Grid, Window
from clearyear.masks import Bits, Mask, erased_by, grown
from clearyear.memory import least_bytes, peak_bytes, pieces
from clearyear.plan import Plan
from clearyear.reading import gdal
from clearyear.reading.observe import observe
from clearyear.reading.samples import harmonise, keep_first
from clearyear.scenes.scene import Scene
from clearyear.stores import open_store
from clearyear.window import compute_window, reduce_window

SCL = Mask(asset="scl", classes=(0, 3, 8, 9, 10), opening=2, dilation=5)
BQA = Mask(asset="BQA", bits=(Bits(name="fill", shift=0), Bits(name="cloud", shift=4)))


def whole_of(plan: Plan) -> Window:
    return Window(col_off=0, row_off=0, width=plan.grid.width, height=plan.grid.height)


def read(path: str) -> NDArray[Any]:
    with rasterio.open(path) as dataset:
        pixels: NDArray[Any] = dataset.read()
    return pixels


def median_of(stack: NDArray[Any], valid: NDArray[np.bool_]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Band medians and counts (B, H, W) the plain way, nodata 0."""
    middle = np.ma.median(np.ma.masked_array(stack.astype(np.float64), ~valid), axis=0)  # type: ignore[no-untyped-call]
    return np.rint(np.ma.filled(middle, 0)).astype(stack.dtype), valid.sum(axis=0)


# -- masks -------------------------------------------------------------------------------------------------------


@given(
    seed=st.integers(0, 999),
    shape=st.tuples(st.integers(1, 24), st.integers(1, 24)),
    opening=st.integers(0, 4),
    dilation=st.integers(0, 5),
    share=st.sampled_from([0.02, 0.3, 0.8]),
)
@hypothesis_settings(max_examples=60)
def test_morphology_is_that_of_the_plain_rule(
    seed: int, shape: tuple[int, int], opening: int, dilation: int, share: float
) -> None:
    erased = np.random.default_rng(seed).random(shape) < share
    mask = Mask(asset="m", opening=opening, dilation=dilation)
    assert np.array_equal(grown(mask, erased), opened_and_dilated(erased, opening, dilation))


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32"])
def test_classes_and_bits(dtype: str) -> None:
    values = np.array([[0, 1, 3, 9, 16, 96, 127]], dtype)
    assert erased_by(Mask(asset="m", classes=(3, 9)), values).tolist() == [[0, 0, 1, 1, 0, 0, 0]]
    wide = Bits(name="confidence", shift=5, width=2, values=(3,))
    assert erased_by(Mask(asset="m", bits=(Bits(name="cloud", shift=4), wide)), values).tolist() == [
        [0, 0, 0, 0, 1, 1, 1]
    ]
    assert not erased_by(Mask(asset="m"), values).any()


@pytest.mark.parametrize("tile_size", [64, 50, 128])
def test_a_class_band_masks_alike_however_windows_are_cut(data: Path, tile_size: int) -> None:
    """30 dates; the oracle opens and dilates whole images with shifted copies."""
    scenes = portugal(data)
    plan = plan_of(scenes, [SCL], tile_size=tile_size)
    stack = np.array([read(scene.uri) for scene in scenes])
    clear = np.array(
        [
            ~opened_and_dilated(np.isin(read(scene.assets["scl"])[0], SCL.classes), SCL.opening, SCL.dilation)
            for scene in scenes
        ]
    )
    composite, count = median_of(stack, (stack != 0) & clear[:, None])
    layers = whole(plan)
    assert np.array_equal(layers["count"], count)
    assert np.array_equal(layers["composite"], composite)
    assert count.min() < count.max() < 30


def coarse_mask(folder: Path) -> Plan:
    """Bands of 10 m, classes of 20 m that begin 30 m outside them, on one side only."""
    rng = np.random.default_rng(5)
    scenes = []
    for n in range(3):
        bands = write_scene(folder / f"{n}.tif", rng.integers(1, 99, (1, 50, 60), dtype=np.uint16))
        classes = (rng.random((1, 26, 28)) < (0.1, 0.5, 0.7)[n]).astype(np.uint8) * 9
        place = Affine(20, 0, 299970, 0, -20, 4900050)
        scl = write_scene(folder / f"{n}_scl.tif", classes, transform=place, nodata=None)
        scenes.append(scene_of(f"s{n}", day(n), {"data": bands, "scl": scl}))
    return plan_of(scenes, [Mask(asset="scl", classes=(9,), opening=1, dilation=2)])


@pytest.fixture(scope="module")
def coarse(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return coarse_mask(tmp_path_factory.mktemp("coarse"))


@given(x=st.integers(0, 59), y=st.integers(0, 49), width=st.integers(1, 60), height=st.integers(1, 50))
@hypothesis_settings(max_examples=40)
def test_a_mask_on_another_grid_is_worked_out_there_and_then_looked_up(
    coarse: Plan, x: int, y: int, width: int, height: int
) -> None:
    window = Window(col_off=x, row_off=y, width=min(width, 60 - x), height=min(height, 50 - y))
    seen = observe(coarse, coarse.scenes, window)
    assert seen.valid is not None
    for t, scene in enumerate(coarse.scenes):
        erased = opened_and_dilated(read(scene.assets["scl"])[0] == 9, 1, 2)
        for i in range(window.height):
            for j in range(window.width):
                col, row = (10 * (x + j) + 5 + 30) // 20, (10 * (y + i) + 5 + 30) // 20
                assert seen.valid[t, 0, i, j] == (col < 28 and row < 26 and not erased[row, col])


def test_as_much_is_read_round_a_window_as_decides_about_it(coarse: Plan) -> None:
    """Every pixel of small windows; with one pixel less round each, forty come out differently."""
    whole_mask = observe(coarse, coarse.scenes, whole_of(coarse)).valid
    assert whole_mask is not None
    for window in coarse.grid.windows(7):
        mask = observe(coarse, coarse.scenes, window).valid
        assert mask is not None
        rows = slice(window.row_off, window.row_off + window.height)
        assert np.array_equal(mask, whole_mask[:, :, rows, window.col_off : window.col_off + window.width])


def test_where_a_mask_does_not_reach_nothing_is_valid(coarse: Plan) -> None:
    """28 columns of 20 m from 30 m left of the bands end 7 columns of 10 m before they do."""
    seen = observe(coarse, coarse.scenes, whole_of(coarse))
    assert seen.valid is not None
    assert seen.valid[..., :53].any()
    assert not seen.valid[..., 53:].any()


def test_a_reducer_may_know_the_mask_before_morphology(data: Path) -> None:
    scenes = portugal(data, 6)
    layers = whole(plan_of(scenes, [SCL], reducer="clear-count", tile_size=50))
    classes = np.array([read(scene.assets["scl"])[0] for scene in scenes])
    seen = np.array([(read(scene.uri) != 0).all(axis=0) for scene in scenes])
    raw = np.isin(classes, SCL.classes)
    kept = [~opened_and_dilated(erased, 2, 5) for erased in raw]
    expected = [seen.sum(axis=0), (seen & ~raw).sum(axis=0), (seen & np.array(kept)).sum(axis=0)]
    assert np.array_equal(layers["composite"], np.array(expected))


# -- other grids -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("month", "tile_size"), [(None, 64), (None, 1000), (9, 50)])
def test_landsat_scenes_each_on_its_own_grid(data: Path, month: int | None, tile_size: int) -> None:
    """Every pixel is GDAL's nearest of the whole scene, every mask the bits of that same pixel."""
    scenes = landsat(data, ("B4", "B3", "BQA"), month=month)
    plan = plan_of(scenes, [BQA], found={"assets": ("B4", "B3")}, resolution=3000, tile_size=tile_size)
    stack = np.array([[warped(s.assets[band], plan.grid)[0] for band in ("B4", "B3")] for s in scenes])
    quality = np.array([warped(s.assets["BQA"], plan.grid, outside=1)[0] for s in scenes])
    clear = (quality & 0b10001) == 0
    composite, count = median_of(stack, (stack != 0) & clear[:, None])
    layers = whole(plan)
    assert np.array_equal(layers["count"], count)
    assert np.array_equal(layers["composite"], composite)
    assert count.max() >= (2 if month else 6)


@pytest.mark.parametrize("method", ["nearest", "cubic"])
def test_another_crs_at_any_tile_size(data: Path, method: str) -> None:
    scenes = landsat(data, ("B4", "BQA"), month=9)
    job: Any = {"crs": "EPSG:4326", "resolution": 0.03, "resampling": method, "found": {"assets": ("B4",)}}
    layers = whole(plan_of(scenes, [BQA], tile_size=1000, **job))
    assert layers["count"].max() > 1
    for tile_size in (32, 50):
        for name, array in whole(plan_of(scenes, [BQA], tile_size=tile_size, **job), threads=2).items():
            assert np.array_equal(array, layers[name]), (name, tile_size)
    if method == "nearest":
        plan = plan_of(scenes, [BQA], tile_size=1000, **job)
        stack = np.array([warped(scene.assets["B4"], plan.grid) for scene in scenes])
        clear = np.array([warped(scene.assets["BQA"], plan.grid, outside=1) for scene in scenes])
        composite, count = median_of(stack, (stack != 0) & ((clear & 0b10001) == 0))
        assert np.array_equal(layers["count"], count)
        assert np.array_equal(layers["composite"], composite)


def test_parts_of_a_window_change_no_pixel(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A window that needs more of a file than is held at once is read in parts."""
    scenes = landsat(data, ("B4", "BQA"), month=9)
    grown_mask = BQA.model_copy(update={"opening": 1, "dilation": 2})
    plan = plan_of(scenes, [grown_mask], found={"assets": ("B4",)}, resolution=3000, resampling="bilinear")
    expected = whole(plan)
    for size in (5000, 100):
        monkeypatch.setattr("clearyear.reading.located.SOURCE_BYTES", size)
        for name, array in whole(plan).items():
            assert np.array_equal(array, expected[name])


def test_interpolated_is_near_gdal_where_both_have_all_samples(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    pixels = rng.integers(1000, 1200, (1, 40, 50), dtype=np.uint16)
    scene = scene_of("s", day(0), {"data": write_scene(tmp_path / "s.tif", pixels)})
    plan = plan_of([scene], resolution=7, resampling="bilinear", tile_size=16)
    layers = whole(plan)
    theirs = warped(tmp_path / "s.tif", plan.grid, method=Resampling.bilinear)
    both = (layers["count"] > 0) & (theirs > 0)
    assert both.sum() > 0.95 * 40 * 50 * 100 / 49
    assert np.abs(layers["composite"].astype(int) - theirs)[both].max() <= 1


def test_nothing_without_nodata_is_made_up_where_a_file_does_not_reach(tmp_path: Path) -> None:
    """Files without a nodata value: the mask beside the stack alone says where they end, for each band."""
    red = write_scene(tmp_path / "r.tif", np.zeros((1, 20, 20), np.uint8), nodata=None)
    nir = write_scene(
        tmp_path / "n.tif",
        np.zeros((1, 10, 10), np.uint8),
        nodata=None,
        transform=Affine(10, 0, 300150, 0, -10, 4900020),
    )
    scene = scene_of("s", day(0), {"B04": red, "B08": nir})
    plan = plan_of([scene], found={"assets": ("B04", "B08")}, resolution="B04", nodata=None)
    assert plan.valid_bands == 2
    count = whole(plan)["count"]
    assert count[0].all()
    assert count[1].sum() == 10 * 5
    assert count[1, :10, 15:].all()


@given(
    x=st.integers(-30, 30), y=st.integers(-30, 30), left=st.integers(0, 19), top=st.integers(0, 15),
    width=st.integers(1, 20), height=st.integers(1, 16),
)  # fmt: skip
@hypothesis_settings(max_examples=60)
def test_a_shifted_file_fills_what_it_covers(
    shifted: tuple[Scene, NDArray[Any], Grid], x: int, y: int, left: int, top: int, width: int, height: int
) -> None:
    scene, pixels, grid = shifted
    place = {"crs": grid.crs, "transform": grid.transform, "width": 20, "height": 16, "offset": (x, y)}
    placed = Scene.model_validate({**scene.model_dump(), "places": {"data": place}})
    plan = plan_of([scene]).model_copy(update={"scenes": (placed,)})
    window = Window(col_off=left, row_off=top, width=min(width, 20 - left), height=min(height, 16 - top))
    seen = observe(plan, plan.scenes, window)
    assert seen.valid is not None
    for i in range(window.height):
        for j in range(window.width):
            col, row = left + j - x, top + i - y
            is_there = 0 <= col < 20 and 0 <= row < 16
            assert seen.valid[0, 0, i, j] == is_there
            assert (seen.stack[0, :, i, j] == (pixels[:, row, col] if is_there else 0)).all()


@pytest.fixture(scope="module", params=["deflate", "lzw"])
def shifted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Read directly, and by GDAL."""
    pixels = np.random.default_rng(0).integers(1, 99, (3, 16, 20), dtype=np.uint16)
    path = write_scene(tmp_path_factory.mktemp("shifted") / "s.tif", pixels, compress=request.param)
    scene = scene_of("s", day(0), {"data": path})
    return scene, pixels, plan_of([scene]).grid


# -- harmonised, fused -------------------------------------------------------------------------------------------


def test_harmonised_once_and_never_what_is_invalid(tmp_path: Path) -> None:
    pixels = np.array([[[0, 1, 900, 1000, 1001, 1002, 3000, 21000, 20000, 65535]]], np.uint16)
    path = write_scene(tmp_path / "s.tif", pixels)
    files: Any = {"assets": ("B04",), "scale": 1e-4}
    scene = scene_of("s", day(0), {"B04": path}, add={"B04": -1000})
    plan = plan_of([scene], found=files, saturated=[20000, 65535])
    composite = observe(plan, plan.scenes, whole_of(plan)).stack[0, 0, 0].tolist()
    # 21000 − 1000 would be the saturated 20000: it goes on by one.
    assert composite == [0, 1, 1, 1, 1, 2, 2000, 20001, 20000, 65535]
    by_name = scene_of("s", day(0), {"data": path}, add={"red": -1000})
    plan = plan_of([by_name], saturated=[]).model_copy(update={"scenes": (by_name,)})
    named = plan.model_copy(update={"product": plan.product.model_copy(update={"band_names": ("red",)})})
    assert observe(named, named.scenes, whole_of(named)).stack[0, 0, 0].tolist()[6] == 2000


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
def test_harmonised_values_stay_in_their_type(dtype: str) -> None:
    samples = np.array([[100, 120, 127]], dtype)
    harmonise(samples, 200, np.array([120], dtype))
    expected = {"uint8": [255, 120, 255], "int16": [300, 120, 327], "float32": [300, 120, 327]}
    assert samples.tolist() == [expected[dtype]]


@pytest.mark.parametrize("whole_samples", [True, False])
def test_of_a_group_only_the_first_valid_sample_counts(whole_samples: bool) -> None:
    rng = np.random.default_rng(8)
    stack = rng.integers(0, 3, (4, 2, 9, 11)).astype(np.uint16)  # 0 is nodata
    given_mask = rng.random((4, 1 if whole_samples else 2, 9, 11)) < 0.7
    valid = given_mask.copy()
    keep_first(stack, valid, np.array([0, 2, 3]), np.array([0], np.uint16), whole=whole_samples)
    usable: NDArray[np.bool_] = (stack > 0) & given_mask
    if whole_samples:
        usable = np.broadcast_to(usable.all(axis=1, keepdims=True), stack.shape)
    left: NDArray[np.bool_] = (stack > 0) & valid
    if whole_samples:
        left = np.broadcast_to(left.all(axis=1, keepdims=True), stack.shape)
    assert np.array_equal(left[1], usable[1])  # of no group
    first = np.argmax(usable[[0, 2, 3]], axis=0)
    for t, member in enumerate((0, 2, 3)):
        assert np.array_equal(left[member], usable[member] & (first == t))


def test_fused_scenes_are_counted_once_and_the_source_is_the_one_that_counts(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    scenes = []
    for n, group in enumerate(("", "a", "a", "")):
        pixels = rng.integers(60, 90, (3, 20, 20), dtype=np.uint8)
        pixels[:, :, : 5 * n] = 0
        path = write_scene(tmp_path / f"{n}.tif", pixels[:, :, ::-1] if n == 1 else pixels)
        scenes.append(scene_of(f"s{n}", day(n), {"data": path}, group=group))
    layers = whole(plan_of(scenes, reducer="luminance-median", layers=["count", "source"], tile_size=16))
    stack = np.array([read(scene.uri) for scene in scenes])
    valid: NDArray[np.bool_] = np.array((stack > 0).all(axis=1))
    valid[2] &= ~valid[1]
    assert np.array_equal(layers["count"][0], valid.sum(axis=0))
    chosen = layers["source"][0]
    assert valid[chosen, np.arange(20)[:, None], np.arange(20)].all()
    assert {1, 2} <= set(np.unique(chosen))
    # Both parts of a day are one observation, also where both have seen the pixel.
    counted = whole(plan_of(scenes, reducer="clear-count", tile_size=16))
    assert np.array_equal(counted["composite"], [valid.sum(axis=0)] * 3)


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


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[HttpServer]:
    monkeypatch.setenv("CLEARYEAR_RETRIES", "1")
    monkeypatch.setenv("CLEARYEAR_RETRY_SECONDS", "0.005")
    with HttpServer() as running:
        yield running


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
