"""Masks of unlike scenes: of their own grid, coarser, grown, and what they take away."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from conftest import write_scene
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from observed import SCL, median_of, read, whole_of
from unlike import day, opened_and_dilated, plan_of, portugal, scene_of, whole

from clearyear.errors import InputError
from clearyear.grid import Window
from clearyear.masks import Bits, Mask, erased_by, grown
from clearyear.plan import Plan
from clearyear.reading.observe import observe

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


# -- masks that cannot be ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "says"),
    [
        ({"shift": 5, "values": [3]}, r"1 bits cannot have the values \[3\]; wanted: 0 to 1"),
        ({"shift": 5, "width": 2, "values": [-1]}, r"2 bits cannot have the values \[-1\]"),
        ({"shift": 5, "values": []}, "at least 1 item"),
    ],
)
def test_bits_that_never_match_are_refused(field: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Bits(name="own", **field)


@pytest.mark.parametrize(
    "mask",
    [
        Mask(asset="scl", bits=(Bits(name="own", shift=7), Bits(name="far", shift=8))),
        Mask(asset="scl", classes=(256, -1)),
    ],
)
def test_bits_and_classes_beyond_the_files_numbers_are_refused(tmp_path: Path, mask: Mask) -> None:
    files = {name: write_scene(tmp_path / f"{name}.tif", np.ones((1, 20, 20), np.uint8)) for name in ("data", "scl")}
    wanted = "Masks ask for bits or classes that their files' numbers cannot have: scl of uint8"
    with pytest.raises(InputError, match=wanted):
        plan_of([scene_of("s", day(0), files)], [mask])


def test_a_mask_of_another_size_without_a_place_is_refused(tmp_path: Path) -> None:
    nowhere = {"crs": None, "transform": Affine.identity()}
    files = {
        "data": write_scene(tmp_path / "data.tif", np.ones((1, 32, 32), np.uint8), **nowhere),
        "scl": write_scene(tmp_path / "scl.tif", np.ones((1, 16, 16), np.uint8), **nowhere),
    }
    with pytest.raises(InputError, match="s scl has no georeference, and 16×16 px instead of 32×32"):
        plan_of([scene_of("s", day(0), files)], [Mask(asset="scl", classes=(3,))])
