"""A mosaic from its tiles' bytes: every pixel of every level GDAL's own, read by two readers, gaps left out."""

import tracemalloc
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from mosaics import EVEN, ODD, assert_same, build, by_gdal, image_of, levels, levels_without_gdal, made_plan, put
from rio_cogeo.cogeo import cog_validate

from clearyear.cog import assemble as assemble_module
from clearyear.cog import tiffwrite
from clearyear.cog.assemble import _at_once, peak_bytes
from clearyear.cog.geotiff import problems
from clearyear.cog.layers import frame_of, layer_of
from clearyear.cog.overviews import Overview
from clearyear.completeness import check_plan
from clearyear.mosaic import build_mosaic


@pytest.mark.usefixtures("joined")
@pytest.mark.parametrize(
    ("size", "tile_size", "product"),
    [
        (EVEN, 1024, {"dtype": "uint8", "nodata": 0.0}),
        (EVEN, 1024, {"dtype": "uint8", "nodata": None, "compress": "zstd"}),
        (EVEN, 1024, {"dtype": "uint16", "nodata": 65535.0, "compress": "lzw"}),
        (EVEN, 1024, {"dtype": "int16", "nodata": -32768.0, "n_bands": 4}),
        (EVEN, 1024, {"dtype": "float32", "nodata": float("nan"), "n_bands": 1, "compress": "zstd"}),
        (EVEN, 512, {"dtype": "uint8", "nodata": 100.0}),
        (EVEN, 4096, {"dtype": "uint8", "nodata": 0.0}),
        (ODD, 1024, {"dtype": "uint8", "nodata": 0.0}),
        (ODD, 512, {"dtype": "uint16", "nodata": None, "n_bands": 2}),
        (ODD, 4096, {"dtype": "int16", "nodata": None}),
        (ODD, 1536, {"dtype": "float32", "nodata": -9999.0, "n_bands": 1}),
        ((300, 200), 1024, {"dtype": "uint8", "nodata": 0.0}),
        ((50, 40), 64, {"dtype": "uint16", "nodata": 0.0}),
    ],
    ids=lambda v: "-".join(map(str, v.values() if isinstance(v, dict) else v)) if not isinstance(v, int) else None,
)
def test_every_level_is_what_gdal_makes_of_the_image(
    tmp_path: Path, size: tuple[int, int], tile_size: int, product: dict[str, Any]
) -> None:
    plan = made_plan(tmp_path / "out", size, tile_size=tile_size, **product)
    image = image_of(plan)
    store = put(plan, {"composite": image})
    build(plan, store)
    path = store.uri(plan.mosaic_name())
    expected = by_gdal(plan, "composite", image, tmp_path / "gdal.tif")
    assert np.array_equal(levels(path)[0], image, equal_nan=image.dtype.kind == "f")
    assert_same(levels(path), levels(expected))
    assert_same(levels_without_gdal(path), levels(path))
    assert cog_validate(path, strict=True, quiet=True) == (True, [], [])
    with rasterio.open(path) as ours, rasterio.open(expected) as theirs:
        same = {**theirs.profile}
        assert {key: ours.profile[key] for key in same if key != "nodata"} == {
            key: value for key, value in same.items() if key != "nodata"
        }
        assert str(ours.nodata) == str(theirs.nodata)
        assert (ours.overviews(1), ours.block_shapes) == (theirs.overviews(1), theirs.block_shapes)
        assert (ours.colorinterp, ours.tags(ns="IMAGE_STRUCTURE")["LAYOUT"]) == (theirs.colorinterp, "COG")
        assert ours.descriptions == tuple(name or None for name in plan.product.band_names) + (None,) * (
            ours.count - len(plan.product.band_names)
        )


@pytest.mark.usefixtures("joined")
@pytest.mark.parametrize("size", [EVEN, ODD])
def test_count_and_source_layers(tmp_path: Path, size: tuple[int, int]) -> None:
    """Counts have no nodata, and overviews that are means; indices have no means."""
    names = ("composite", "count", "source")
    plan = made_plan(tmp_path / "out", size, layers=names, reducer="luminance-median", nodata=0.0)
    images = {name: image_of(plan, name) for name in names}
    store = put(plan, images)
    build(plan, store)
    for name, image in images.items():
        path = store.uri(plan.mosaic_name(name))
        assert_same(levels(path), levels(by_gdal(plan, name, image, tmp_path / f"{name}.tif")))
        assert_same(levels_without_gdal(path), levels(path))
        with rasterio.open(path) as dataset:
            assert dataset.nodata == {"composite": 0, "count": None, "source": -1}[name]


@pytest.mark.parametrize(
    ("dtype", "nodata", "most"),
    [("int16", 0.0, 1), ("float32", None, 1e-5)],
)
def test_where_overviews_are_not_gdals_to_the_last_bit(
    tmp_path: Path, dtype: str, nodata: float | None, most: float
) -> None:
    """Means that round to a nodata amid the values: GDAL loses those pixels. Floats: it adds them in another order."""
    plan = made_plan(tmp_path / "out", (1024, 1024), dtype=dtype, nodata=nodata)
    image = image_of(plan)
    store = put(plan, {"composite": image})
    build(plan, store)
    ours = levels(store.uri(plan.mosaic_name()))
    theirs = levels(by_gdal(plan, "composite", image, tmp_path / "gdal.tif"))
    for below, one, other in zip(ours, ours[1:], theirs[1:], strict=False):
        assert np.abs(one.astype(float) - other.astype(float)).max() <= most
        if nodata is not None:
            quads = below.reshape(below.shape[0], one.shape[1], 2, one.shape[2], 2)
            assert np.array_equal(one != nodata, (quads != nodata).any(axis=(2, 4)))


@pytest.mark.parametrize("resampling", ["average", "nearest"])
def test_rows_may_come_in_any_portions(resampling: str) -> None:
    rng = np.random.default_rng(4)
    pixels = rng.integers(0, 5, (2, 1101, 333)).astype("uint8")

    def level() -> Overview:
        return Overview((333, 1101), (166, 550), dtype="uint8", nodata=0.0, resampling=resampling)

    cuts = [0, *sorted(rng.choice(np.arange(1, 1101), 40, replace=False).tolist()), 1101]
    portions, made = level(), []
    for start, end in pairwise(cuts):
        made.append(portions.push(pixels[:, start:end]))
    assert np.array_equal(np.concatenate(made, axis=1), level().push(pixels))


@pytest.mark.parametrize("size", [(513, 513), (1025, 300), (10980, 700), (700, 2751), (511, 20), (1026, 17)])
def test_levels_are_laid_out_as_the_driver_does(tmp_path: Path, size: tuple[int, int]) -> None:
    plan = made_plan(tmp_path, size, n_bands=1)
    path = by_gdal(plan, "composite", np.ones((1, size[1], size[0]), "uint8"), tmp_path / "gdal.tif")
    frame = frame_of(plan.grid, 1024)
    assert frame.whole
    assert [(a.shape[2], a.shape[1]) for a in levels(path)] == list(frame.sizes)
    with rasterio.open(path) as dataset:
        assert dataset.block_shapes == [(frame.block, frame.block)]


def test_level_as_wide_as_a_block_is_tiled_all_the_same(tmp_path: Path) -> None:
    """rio-cogeo alone says it is not, of GDAL's own files too."""
    plan = made_plan(tmp_path / "out", (1024, 1100))
    image = image_of(plan)
    store = put(plan, {"composite": image})
    build(plan, store)
    for path in (store.uri(plan.mosaic_name()), by_gdal(plan, "composite", image, tmp_path / "gdal.tif")):
        assert cog_validate(path, strict=True, quiet=True)[1] == ["Overview of index 0 is not tiled"]
        assert problems(str(path)) == []


# -- gaps ----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("joined")
@pytest.mark.parametrize("tile_size", [512, 1024])
@pytest.mark.parametrize("gone", [["x00000_y00000"], ["x01024_y00000", "x00000_y00512"], "all"])
def test_missing_window_is_left_out(tmp_path: Path, tile_size: int, gone: list[str] | str) -> None:
    names = ("composite", "count", "source")
    plan = made_plan(tmp_path / "out", EVEN, tile_size=tile_size, layers=names, reducer="luminance-median")
    images = {name: image_of(plan, name) for name in names}
    store = put(plan, images, [w for w in plan.windows if gone != "all" and w.id not in gone])
    build(plan, store)
    for name, image in images.items():
        holed = image.copy()
        for w in plan.windows:
            if gone == "all" or w.id in gone:
                fill = layer_of(plan, name).nodata or 0
                holed[:, w.row_off : w.row_off + w.height, w.col_off : w.col_off + w.width] = fill
        path = store.uri(plan.mosaic_name(name))
        assert_same(levels(path), levels(by_gdal(plan, name, holed, tmp_path / f"{name}.tif")))
        assert_same(levels_without_gdal(path), levels(path))
        assert problems(path) == []
        with rasterio.open(path) as dataset:
            assert dataset.tags()["CLEARYEAR_COMPLETE"] == "NO"
            for w in plan.windows:
                column, row = w.col_off // 512, w.row_off // 512
                is_there = dataset.get_tag_item(f"BLOCK_OFFSET_{column}_{row}", "TIFF", bidx=1) is not None
                assert is_there == (gone != "all" and w.id not in gone)
        first = tiffwrite.read_directories(Path(path).read_bytes())[1]
        left_out = 0 in first[tiffwrite.COUNTS].numbers()
        assert left_out == (gone == "all" or tile_size == 1024)


def test_strip_too_narrow_for_its_levels_is_encoded_once(tmp_path: Path) -> None:
    plan = made_plan(tmp_path / "out", (1380, 3), tile_size=512)
    image = image_of(plan)
    store = put(plan, {"composite": image})
    build(plan, store)
    found = levels(store.uri(plan.mosaic_name()))
    assert_same(found, levels(by_gdal(plan, "composite", image, tmp_path / "gdal.tif")))


# -- memory --------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("joined")
@pytest.mark.parametrize("width", [1024, 1023])
def test_memory_does_not_grow_with_the_image(tmp_path: Path, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """How much of the bound is taken depends on which threads are at work together; the bound does not."""
    monkeypatch.setattr(assemble_module, "_THREADS", 2)
    bounds = []
    for height in (512, 4096, 16384):
        plan = made_plan(tmp_path / str(height), (width, height), tile_size=512)
        x, y = np.arange(width), np.arange(height)[:, None]
        image = np.repeat(((x // 9 + y // 7) % 200 + 1).astype("uint8")[None], 3, axis=0)
        store = put(plan, {"composite": image})
        statuses = check_plan(plan, store)
        if height == 512:  # what is imported and compiled at first use is none of the image's
            build_mosaic(plan, store, statuses)
            continue
        sizes = [status.result.layers["composite"].size for status in statuses if status.result]
        sources = [(window, None, size) for window, size in zip(plan.windows, sizes, strict=True)]
        bounds.append(peak_bytes(sources, layer_of(plan, "composite"), frame_of(plan.grid, 512)))
        del image
        tracemalloc.start()
        try:
            build_mosaic(plan, store, statuses)
            assert tracemalloc.get_traced_memory()[1] < bounds[-1]
        finally:
            tracemalloc.stop()
    # The larger image has 50 MB, the smaller 12.6. Only the tiles' own sizes as files differ, a few bytes.
    assert bounds[1] - bounds[0] < 1e4
    assert bounds[1] < 20e6


@pytest.mark.parametrize(
    ("n_bands", "dtype", "threads"), [(3, "uint8", 8), (10, "uint16", 2), (20, "float32", 1), (200, "float32", 1)]
)
def test_large_tiles_are_taken_apart_by_fewer_threads(n_bands: int, dtype: str, threads: int) -> None:
    plan = made_plan(Path("/nowhere"), (10980, 10980), n_bands=n_bands, dtype=dtype)
    layer, frame = layer_of(plan, "composite"), frame_of(plan.grid, 1024)
    tile = 1024 * 1024 * n_bands * np.dtype(dtype).itemsize
    sources = [(w, None, tile) for w in plan.windows]
    assert _at_once(sources, layer, frame)[0] == threads
    rows = (5 * 512 // 2 + 2 * 512) * 5490 * tile // 1024**2
    # Where not even two fit, one is put down, one comes after it, and one is at work.
    held, work = 5 * tile // 4, 3 * tile // 2
    assert peak_bytes(sources, layer, frame) - rows <= max(128_000_000 + held, 2 * held + work)
