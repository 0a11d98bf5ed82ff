"""What a reducer is given of unlike scenes: at every pixel what plain rules say, however windows are cut."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from conftest import write_scene
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from observed import median_of, read, whole_of
from rasterio.enums import Resampling
from unlike import day, landsat, plan_of, scene_of, warped, whole

from clearyear.grid import Grid, Window
from clearyear.masks import Bits, Mask
from clearyear.reading.observe import observe
from clearyear.reading.samples import harmonise, keep_first
from clearyear.scenes.scene import Scene

BQA = Mask(asset="BQA", bits=(Bits(name="fill", shift=0), Bits(name="cloud", shift=4)))


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
    plan = plan_of(scenes, [grown_mask], found={"assets": ("B4",)}, resolution=6000, resampling="bilinear")
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


def test_of_signed_numbers_a_negative_sum_is_what_it_is() -> None:
    samples = np.array([[-2500, 10, -32768, -32000]], np.int16)
    harmonise(samples, -1000, np.array([-32768, -990], np.int16))
    assert samples.tolist() == [[-3500, -989, -32768, -32767]]


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
