"""Windows → one COG a layer: every pixel in its place, gaps marked and named, valid to the strictest reading."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pytest
import rasterio
from conftest import random_pixels, write_scene
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, MaskFlags, PhotometricInterp
from rio_cogeo.cogeo import cog_validate

from clearyear.cog.geotiff import problems
from clearyear.completeness import check_plan
from clearyear.errors import StoreError
from clearyear.job import Job
from clearyear.mosaic import Mosaic, build_mosaic
from clearyear.plan import Plan
from clearyear.prepare import make_plan
from clearyear.stores import Store, open_store
from clearyear.window import compute_window


def computed(scenes: Path, out: Path, *, skip: Sequence[str] = (), **job: Any) -> tuple[Plan, Store]:
    """A plan with its windows computed, all but some."""
    values = {"scenes": str(scenes), "period": "2023", "out": str(out), "tile_size": 16, "layers": ["count", "source"]}
    plan = make_plan(Job.model_validate(values | job))
    store = open_store(plan.destination)
    for window in plan.windows:
        if window.id not in skip:
            compute_window(plan, window, store)
    return plan, store


def build(plan: Plan, store: Store) -> Mosaic:
    return build_mosaic(plan, store, check_plan(plan, store))


def whole(scenes: Path) -> dict[str, NDArray[Any]]:
    composite, count, source = oracle.luminance_median(oracle.read_all(sorted(scenes.glob("*.tif"))))
    return {"composite": composite, "count": count[None], "source": source[None]}


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Store]:
    """560 × 530 px, large enough for overviews; the upper left corner is nodata."""
    folder = tmp_path_factory.mktemp("big")
    pixels = random_pixels(np.random.default_rng(1), (4, 3, 530, 560))
    pixels[:, :, :200, :200] = 0
    for day, scene in enumerate(pixels, start=1):
        write_scene(folder / "s" / f"a_2023010{day}.tif", scene, blockxsize=256, blockysize=256)
    return computed(folder / "s", folder / "out", tile_size=256)


# -- pixels --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compress", ["deflate", "zstd", "lzw"])
@pytest.mark.parametrize("tile_size", [16, 23, 64])
def test_mosaic_of_windows_equals_the_whole(scenes: Path, tmp_path: Path, tile_size: int, compress: str) -> None:
    plan, store = computed(scenes, tmp_path / "out", tile_size=tile_size, compress=compress)
    mosaic = build(plan, store)
    expected = whole(scenes)
    assert set(mosaic.layers) == set(expected)
    for layer, file in mosaic.layers.items():
        data = store.read(file.name)
        assert file.name == plan.mosaic_name(layer)
        assert (file.size, file.sha256) == (len(data), hashlib.sha256(data).hexdigest())
        with rasterio.open(store.uri(file.name)) as dataset:
            assert np.array_equal(dataset.read(), expected[layer])
            assert dataset.profile["compress"] == compress
            assert dataset.nodata == {"composite": 0, "count": None, "source": -1}[layer]
            assert (dataset.crs.to_string(), tuple(dataset.transform)[:6]) == (plan.grid.crs, plan.grid.transform)


def test_composite_says_what_it_is(scenes: Path, tmp_path: Path) -> None:
    plan, store = computed(scenes, tmp_path / "out")
    build(plan, store)
    with rasterio.open(store.uri(plan.mosaic_name())) as dataset:
        assert dataset.descriptions == ("red", "green", "blue")
        assert dataset.colorinterp == (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
        tags = {k.removeprefix("CLEARYEAR_"): v for k, v in dataset.tags().items() if k.startswith("CLEARYEAR_")}
    assert tags == {
        "PRODUCT": "luminance-median",
        "REDUCER": "luminance-median",
        "PERIOD": "2023--P1Y",
        "SCENES": "7",
        "PLAN": plan.id,
        "COMPLETE": "YES",
        "WINDOWS": "12 of 12",
    }


def test_equal_windows_give_equal_bytes_and_leave_nothing_behind(scenes: Path, tmp_path: Path) -> None:
    plan, store = computed(scenes, tmp_path / "out")
    assert build(plan, store) == build(plan, store)
    names = {e.name for e in store.entries() if not e.name.startswith("tiles/")}
    assert names == {*map(plan.mosaic_name, plan.product.layers), plan.preview_name}
    assert not any(store.scratch().iterdir())


# -- gaps ----------------------------------------------------------------------------------------------------

GAPS = ["x00016_y00016", "x00048_y00032"]


def holes(height: int = 40, width: int = 50) -> NDArray[np.bool_]:
    gone = np.zeros((height, width), np.bool_)
    gone[16:32, 16:32] = gone[32:, 48:] = True
    return gone


def test_window_that_is_not_done_stays_nodata_and_is_named(scenes: Path, tmp_path: Path) -> None:
    """One was never computed, of the other a tile is damaged: none of its layers is trusted."""
    plan, store = computed(scenes, tmp_path / "out", skip=GAPS[:1])
    store.write(f"tiles/{plan.stem}_{GAPS[1]}_count.tif", b"damaged")
    build(plan, store)
    for layer, pixels in whole(scenes).items():
        nodata = {"composite": 0, "count": 0, "source": -1}[layer]
        with rasterio.open(store.uri(plan.mosaic_name(layer))) as dataset:
            assert np.array_equal(dataset.read(), np.where(holes(), nodata, pixels))
            tags = dataset.tags()
            assert (tags["CLEARYEAR_COMPLETE"], tags["CLEARYEAR_WINDOWS"]) == ("NO", "10 of 12")
            assert tags["CLEARYEAR_MISSING_WINDOWS"].split() == GAPS
        assert problems(store.uri(plan.mosaic_name(layer))) == []


@pytest.mark.parametrize(
    ("dtype", "nodata"), [("int16", -32768), ("float32", None), ("uint16", 65535), ("uint16", None), ("uint8", None)]
)
def test_missing_window_is_told_apart_whatever_the_scenes_call_nodata(
    tmp_path: Path, dtype: str, nodata: float | None
) -> None:
    """With no nodata value at all a mask does it; a gap must never pass for zeros that were seen."""
    pixels = np.random.default_rng(2).integers(0, 9, (2, 40, 50)).astype(dtype)
    write_scene(tmp_path / "s" / "a_20230101.tif", pixels, nodata=nodata)
    plan, store = computed(tmp_path / "s", tmp_path / "out", skip=GAPS, reducer="band-median", layers=[])
    build(plan, store)
    with rasterio.open(store.uri(plan.mosaic_name())) as dataset:
        assert np.array_equal(dataset.read_masks(1) == 0, holes())
        assert np.array_equal(dataset.read()[:, ~holes()], pixels[:, ~holes()])
    assert problems(store.uri(plan.mosaic_name())) == []


def test_changed_tile_is_refused(scenes: Path, tmp_path: Path) -> None:
    plan, store = computed(scenes, tmp_path / "out")
    statuses = check_plan(plan, store)
    name = plan.tile_name(plan.windows[5])
    store.write(name, store.read(plan.tile_name(plan.windows[6])))
    with pytest.raises(StoreError, match=f"{name} has changed since it was checked") as caught:
        build_mosaic(plan, store, statuses)
    assert caught.value.transient
    assert store.stat(plan.mosaic_name()) is None
    assert not any(store.scratch().iterdir())


# -- what a COG is -------------------------------------------------------------------------------------------


def test_strictly_valid_with_overviews(big: tuple[Plan, Store]) -> None:
    plan, store = big
    for file in build(plan, store).layers.values():
        path = store.uri(file.name)
        assert cog_validate(path, strict=True, quiet=True) == (True, [], [])
        assert problems(path) == []
        with rasterio.open(path) as dataset:
            assert (dataset.overviews(1), dataset.block_shapes[0]) == ([2], (512, 512))


def test_overviews_of_the_source_layer_are_nearest(big: tuple[Plan, Store]) -> None:
    """An index has no mean: each overview pixel is one of the four below it."""
    plan, store = big
    build(plan, store)
    path = store.uri(plan.mosaic_name("source"))
    with rasterio.open(path) as full, rasterio.open(path, overview_level=0) as small:
        below = full.read(1).reshape(265, 2, 280, 2).transpose(0, 2, 1, 3).reshape(265, 280, 4)
        shown = small.read(1)
    assert (shown[..., None] == below).any(axis=-1).all()
    assert set(np.unique(shown)) == {-1, 0, 1, 2, 3}


def test_overviews_of_the_composite_average_what_is_there(big: tuple[Plan, Store]) -> None:
    plan, store = big
    build(plan, store)
    path = store.uri(plan.mosaic_name())
    with rasterio.open(path) as full, rasterio.open(path, overview_level=0) as small:
        below = full.read(1).reshape(265, 2, 280, 2).transpose(0, 2, 1, 3).reshape(265, 280, 4).astype(float)
        shown = small.read(1)
    assert not shown[:100, :100].any()
    seen = below[110:, 110:]
    means = np.nanmean(np.where(seen > 0, seen, np.nan), axis=-1)
    assert np.nanmax(np.abs(shown[110:, 110:] - means)) <= 0.5


def test_problems_sees_what_validation_does_not(big: tuple[Plan, Store], tmp_path: Path) -> None:
    plan, store = big
    build(plan, store)
    data = store.read(plan.mosaic_name())
    damaged = tmp_path / "damaged.tif"
    for overview in (None, 0):
        with rasterio.open(store.uri(plan.mosaic_name())) as dataset:
            block = int(dataset.get_tag_item("BLOCK_OFFSET_0_0", "TIFF", bidx=1, ovr=overview))
        damaged.write_bytes(data[:block] + bytes(2000) + data[block + 2000 :])
        assert cog_validate(damaged, strict=True, quiet=True) == (True, [], [])
        assert problems(str(damaged))[0].startswith("cannot be read: ")
    damaged.write_bytes(data[: len(data) * 3 // 4])
    assert problems(str(damaged))[0].startswith("cannot be read: ")
    damaged.write_bytes(b"no TIFF")
    assert "not recognized as being in a supported file format" in problems(str(damaged))[0]


def test_problems_of_a_tiff_that_is_no_cog(tmp_path: Path) -> None:
    pixels = np.ones((1, 600, 600), "uint8")
    striped = write_scene(tmp_path / "striped.tif", pixels, tiled=False, blockxsize=600, blockysize=600)
    assert any("tiled" in said for said in problems(str(striped)))
    flat = write_scene(tmp_path / "flat.tif", pixels, blockxsize=512, blockysize=512)
    assert any("overviews" in said for said in problems(str(flat)))


# -- JPEG ----------------------------------------------------------------------------------------------------


def test_jpeg_has_a_mask_so_that_nodata_stays_nodata(tmp_path: Path) -> None:
    smooth = np.broadcast_to(np.linspace(60, 200, 560, dtype="uint8"), (3, 530, 560)).copy()
    smooth[:, :200, :200] = 0
    for day in (1, 2):
        write_scene(tmp_path / "s" / f"a_2023010{day}.tif", smooth, blockxsize=256, blockysize=256)
    plan, store = computed(
        tmp_path / "s", tmp_path / "out", tile_size=256, compress="jpeg", layers=["count"], skip=["x00512_y00512"]
    )
    build(plan, store)
    gone = np.zeros((530, 560), np.bool_)
    gone[:200, :200] = gone[512:, 512:] = True
    with rasterio.open(store.uri(plan.mosaic_name())) as dataset:
        assert (dataset.profile["compress"], dataset.photometric) == ("jpeg", PhotometricInterp.ycbcr)
        assert dataset.nodata is None
        assert dataset.mask_flag_enums == ([MaskFlags.per_dataset],) * 3
        assert np.array_equal(dataset.read_masks(1) == 0, gone)
        seen = dataset.read()[:, ~gone].astype(int)
        assert np.abs(seen - smooth[:, ~gone]).max() <= 6
        small = dataset.read_masks(1, out_shape=(265, 280))
        assert np.array_equal(small == 0, gone[::2, ::2])
    with rasterio.open(store.uri(plan.mosaic_name("count"))) as count:
        assert count.profile["compress"] == "deflate"
        assert np.array_equal(count.read(1), np.where(gone, 0, 2))
    for layer in plan.product.layers:
        assert problems(store.uri(plan.mosaic_name(layer))) == []
