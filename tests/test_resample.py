"""Pixels at given points: GDAL's nearest, an interpolation that invalid samples never enter, no trace of windows."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from conftest import write_scene
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from rasterio.enums import Resampling
from unlike import warped

from clearyear.coordinates import Fields
from clearyear.grid import Grid, Window
from clearyear.reading.resample import REACH, box_of, sample

UTM = Grid(crs="EPSG:32631", transform=(10, 0, 300000, 0, -10, 4900020), width=24, height=18, block=(16, 16))
ELSEWHERE = Grid(crs="EPSG:32630", transform=(2.3, 0, 779191, 0, -2.3, 4902961), width=150, height=110, block=(16, 16))


def resampled(
    pixels: NDArray[Any], source: Grid, grid: Grid, window: Window, method: str, invalid: tuple[int, ...] = (0,)
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """A window of ``grid`` from a raster of which only what is needed is given."""
    points = Fields(grid, window).centres(source.crs)
    size = (source.width, source.height)
    left, top, width, height = box_of(source.transform, size, points, REACH[method])
    out = np.empty((len(pixels), window.height, window.width), pixels.dtype)
    inside = np.empty(out.shape[1:], np.bool_)
    held = np.ascontiguousarray(pixels[:, top : top + height, left : left + width])
    values = np.array(invalid, pixels.dtype)
    options: Any = {"method": method, "invalid": values, "fill": 0, "out": out, "inside": inside}
    sample(held, (left, top), source.transform, size, points, **options)
    return out, inside


def whole_of(grid: Grid) -> Window:
    return Window(col_off=0, row_off=0, width=grid.width, height=grid.height)


def spotted(seed: int = 3, *, share: float = 0.15) -> NDArray[np.uint16]:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(1, 4000, (1, UTM.height, UTM.width), dtype=np.uint16)
    return np.where(rng.random(pixels.shape) < share, np.uint16(0), pixels)


def by_hand(pixels: NDArray[Any], column: float, row: float, method: str) -> int:
    """The rule once more, for one pixel at (column, row) of a plane (H, W) with nodata 0; −1 outside."""
    height, width = pixels.shape
    u, v = int(np.floor(column)), int(np.floor(row))
    if not (0 <= u < width and 0 <= v < height):
        return -1
    own = int(pixels[v, u])
    if own == 0 or method == "nearest":
        return own

    def weight(distance: float, kernel: str) -> float:
        x = abs(distance)
        if kernel == "bilinear":
            return max(0.0, 1 - x)
        return 1.5 * x**3 - 2.5 * x**2 + 1 if x < 1 else -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0

    for kernel in ("cubic", "bilinear") if method == "cubic" else ("bilinear",):
        total = weights = 0.0
        spoiled = False
        for y in range(v - 3, v + 4):
            for x in range(u - 3, u + 4):
                w = weight(column - x - 0.5, kernel) * weight(row - y - 0.5, kernel)
                if abs(w) < 1e-15:
                    continue
                if 0 <= x < width and 0 <= y < height and pixels[y, x]:
                    total += w * int(pixels[y, x])
                    weights += w
                else:
                    spoiled = True
        if kernel == "bilinear" or not spoiled:
            break
    value = min(max(int(np.rint(total / weights)), 0), 65535)
    return value or own


@pytest.mark.parametrize("method", ["nearest", "bilinear", "cubic"])
@pytest.mark.parametrize("grid", ["finer", "shifted", "coarser"])
def test_every_pixel_follows_the_rule(method: str, grid: str) -> None:
    step, x0 = {"finer": (4.0, 299990.0), "shifted": (10.0, 300003.0), "coarser": (23.0, 299990.0)}[grid]
    target = UTM.model_copy(
        update={"transform": (step, 0, x0, 0, -step, 4900031.0), "width": int(260 / step), "height": int(200 / step)}
    )
    pixels = spotted()
    out, inside = resampled(pixels, UTM, target, whole_of(target), method)
    for i in range(target.height):
        for j in range(target.width):
            column = (x0 + step * (j + 0.5) - 300000) / 10
            row = (4900020 - (4900031 - step * (i + 0.5))) / 10
            expected = by_hand(pixels[0], column, row, method)
            assert inside[i, j] == (expected >= 0)
            assert int(out[0, i, j]) == max(expected, 0)


@pytest.mark.parametrize("method", ["bilinear", "cubic"])
def test_what_is_valid_does_not_depend_on_the_method_and_nothing_bleeds(method: str) -> None:
    pixels = np.where(spotted() > 0, np.uint16(1000), np.uint16(0))
    near, _ = resampled(pixels, UTM, ELSEWHERE, whole_of(ELSEWHERE), "nearest")
    out, _ = resampled(pixels, UTM, ELSEWHERE, whole_of(ELSEWHERE), method)
    assert (near > 0).any()
    assert np.array_equal(out, near)  # a mean of equal numbers is that number, whatever invalid ones lie beside


def test_interpolation_never_makes_an_invalid_value_of_valid_ones() -> None:
    pixels = np.tile(np.array([90, 110], np.uint16), (1, 18, 12))
    target = UTM.model_copy(update={"transform": (10, 0, 300005, 0, -10, 4900020), "width": 23})
    assert (resampled(pixels, UTM, target, whole_of(target), "bilinear")[0] == 100).all()
    out, _ = resampled(pixels, UTM, target, whole_of(target), "bilinear", invalid=(100,))
    assert set(np.unique(out)) == {90, 110}


@given(
    method=st.sampled_from(["nearest", "bilinear", "cubic"]),
    x=st.integers(0, 149),
    y=st.integers(0, 109),
    width=st.integers(1, 60),
    height=st.integers(1, 60),
    crs=st.sampled_from(["EPSG:32630", "EPSG:32631"]),
)
@hypothesis_settings(max_examples=60)
def test_a_pixel_does_not_depend_on_the_window(method: str, x: int, y: int, width: int, height: int, crs: str) -> None:
    near = {"EPSG:32630": ELSEWHERE.transform, "EPSG:32631": (2.1, 0, 299990.3, 0, -2.3, 4900031.7)}[crs]
    grid = ELSEWHERE.model_copy(update={"crs": crs, "transform": near})
    window = Window(col_off=x, row_off=y, width=min(width, 150 - x), height=min(height, 110 - y))
    pixels = spotted()
    all_of_it, all_inside = resampled(pixels, UTM, grid, whole_of(grid), method)
    out, inside = resampled(pixels, UTM, grid, window, method)
    place = np.s_[y : y + window.height, x : x + window.width]
    assert np.array_equal(out[0], all_of_it[0][place])
    assert np.array_equal(inside, all_inside[place])
    assert all_inside.any()


def test_nearest_is_that_of_gdal(tmp_path: Path) -> None:
    pixels = spotted(share=0.0)
    path = write_scene(tmp_path / "a.tif", pixels, nodata=None)
    out, inside = resampled(pixels, UTM, ELSEWHERE, whole_of(ELSEWHERE), "nearest")
    assert inside.any()
    assert not inside.all()
    assert np.array_equal(np.where(inside, out, 0), warped(path, ELSEWHERE))


@pytest.mark.parametrize("method", [Resampling.bilinear, Resampling.cubic])
def test_interpolation_is_that_of_gdal_inside_an_image_without_gaps(tmp_path: Path, method: Resampling) -> None:
    """To one number: GDAL rounds halves up, and its last places differ. Its kernel is wider only on coarser grids."""
    rng = np.random.default_rng(1)
    pixels = rng.integers(1000, 1200, (1, UTM.height, UTM.width), dtype=np.uint16)
    path = write_scene(tmp_path / "a.tif", pixels, nodata=None)
    grid = UTM.model_copy(update={"transform": (4.0, 0, 300031.0, 0, -4.0, 4899987.0), "width": 44, "height": 28})
    out, inside = resampled(pixels, UTM, grid, whole_of(grid), method.name)
    assert inside.all()
    assert np.abs(out.astype(int) - warped(path, grid, method=method).astype(int)).max() <= 1


def test_a_point_that_has_no_place_in_the_other_crs_is_outside() -> None:
    far = Grid(crs="EPSG:4326", transform=(1.0, 0, -180.0, 0, -1.0, 90.0), width=360, height=180, block=(16, 16))
    out, inside = resampled(spotted(), UTM, far, whole_of(far), "cubic")
    assert not inside.any() or inside.sum() == 1
    assert (out[0][~inside] == 0).all()


@pytest.mark.parametrize("dtype", ["int16", "float32", "uint8"])
def test_other_types(dtype: str) -> None:
    pixels = (spotted() % 100).astype(dtype)
    if dtype == "float32":
        pixels[pixels == 0] = np.nan
    fine = UTM.model_copy(update={"transform": (5.0, 0, 300000, 0, -5.0, 4900020), "width": 48, "height": 36})
    out, inside = resampled(pixels, UTM, fine, whole_of(fine), "bilinear")
    assert inside.all()
    near, _ = resampled(pixels, UTM, fine, whole_of(fine), "nearest")
    bad = np.isnan(near) if dtype == "float32" else near == 0
    assert np.array_equal(np.isnan(out) if dtype == "float32" else out == 0, bad)
    assert out[~bad].min() >= 1
    assert out[~bad].max() <= 99


def test_a_rotated_raster(tmp_path: Path) -> None:
    turned = UTM.model_copy(update={"transform": (8.0, 6.0, 300000.0, 6.0, -8.0, 4900020.0)})
    pixels = spotted(share=0.0)
    path = write_scene(tmp_path / "a.tif", pixels, nodata=None, transform=rasterio.Affine(*turned.transform))
    grid = UTM.model_copy(update={"width": 40, "height": 30, "transform": (9.0, 0, 299991.0, 0, -9.0, 4900103.0)})
    out, inside = resampled(pixels, turned, grid, whole_of(grid), "nearest")
    assert inside.any()
    assert np.array_equal(np.where(inside, out, 0), warped(path, grid))
