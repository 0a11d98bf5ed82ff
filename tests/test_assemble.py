"""A mosaic from its tiles' bytes: every pixel of every level GDAL's own, read by two readers, gaps left out."""

import random
import struct
import tracemalloc
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import tifffile
from numpy.typing import NDArray
from rasterio.windows import Window as RasterioWindow
from rio_cogeo.cogeo import cog_validate
from test_memory import plan_of

from clearyear import mosaic as mosaic_module
from clearyear.cog import assemble as assemble_module
from clearyear.cog import tiffwrite
from clearyear.cog.assemble import _at_once, assemble, peak_bytes
from clearyear.cog.geotiff import encode_tile, problems, profile, write_cog
from clearyear.cog.layers import frame_of, layer_of
from clearyear.cog.overviews import Overview
from clearyear.completeness import check_plan
from clearyear.errors import StoreError
from clearyear.grid import Grid, Window
from clearyear.mosaic import Mosaic, build_mosaic
from clearyear.plan import Plan
from clearyear.stores import Store, open_store
from clearyear.window import WindowResult, write_layer

Array = NDArray[Any]


def made_plan(out: Path, size: tuple[int, int], *, tile_size: int = 1024, **product: Any) -> Plan:
    """A plan of (width, height) pixels whose one scene is never read."""
    base = plan_of(1)
    grid = base.grid.model_copy(update={"width": size[0], "height": size[1]})
    values: dict[str, Any] = {"n_bands": 3, "reducer": "band-median", "band_names": ("red", "", "blue")} | product
    values["band_names"] = values["band_names"][: values["n_bands"]]
    update = {"grid": grid, "tile_size": tile_size, "destination": str(out)}
    return base.model_copy(update=update | {"product": base.product.model_copy(update=values)})


def image_of(plan: Plan, layer: str = "composite", *, seed: int = 1) -> Array:
    """Smooth land with noise, a corner and single samples of nodata."""
    about, rng = layer_of(plan, layer), np.random.default_rng(seed)
    y, x = np.mgrid[: plan.grid.height, : plan.grid.width]
    shape = (about.n_bands, *y.shape)
    low = -60 if about.dtype in ("int16", "float32") else 1
    land = 90 + 50 * np.sin(x / 37) * np.cos(y / 23) + rng.integers(-20, 20, shape) + low
    pixels: Array = (land / 7 if about.dtype == "float32" else land).astype(about.dtype)
    if layer == "source":
        pixels = rng.integers(-1, 300, shape).astype("int16")
    elif about.nodata is not None:
        pixels[rng.random(shape) < 0.1] = about.nodata
        pixels[:, :333, :290] = about.nodata
    return pixels


def put(plan: Plan, images: dict[str, Array], windows: Iterable[Window] | None = None) -> Store:
    """Write the windows' tiles and records, as computing them would."""
    store = open_store(plan.destination)
    for w in plan.windows if windows is None else windows:
        area = np.s_[:, w.row_off : w.row_off + w.height, w.col_off : w.col_off + w.width]
        files = {name: write_layer(plan, w, store, name, image[area]) for name, image in images.items()}
        record = WindowResult(id=w.id, status="ok", fingerprint=plan.fingerprint(w), layers=files)
        store.write(plan.record_name(w), record.model_dump_json().encode())
    return store


def build(plan: Plan, store: Store) -> Mosaic:
    return build_mosaic(plan, store, check_plan(plan, store))


def by_gdal(plan: Plan, layer: str, image: Array, target: Path) -> Path:
    """What GDAL's COG driver makes of the whole image."""
    about, whole = layer_of(plan, layer), target.with_name("whole.tif")
    settings = profile(plan.grid, None, count=about.n_bands, dtype=about.dtype, nodata=about.nodata)
    with rasterio.open(whole, "w", **settings) as dataset:
        dataset.write(image)
    # Where a block of the level below takes more than 10 MB, GDAL would leave that level out and go back to the image.
    with rasterio.Env(GDAL_OVR_CHUNK_MAX_SIZE=10**9, GDAL_OVR_CHUNK_MAX_SIZE_FOR_TEMP_FILE=10**9):
        write_cog(whole, target, compress=about.compress, resampling=about.resampling)
    return target


def levels(path: str | Path) -> list[Array]:
    """Every level, by rasterio."""
    with rasterio.open(path) as dataset:
        found = [dataset.read()]
        n = len(dataset.overviews(1))
    for level in range(n):
        with rasterio.open(path, overview_level=level) as dataset:
            found.append(dataset.read())
    return found


def levels_without_gdal(path: str | Path) -> list[Array]:
    """Every level, by tifffile."""
    with tifffile.TiffFile(path) as file:
        pages = [page.asarray() for page in file.series[0].levels]
    return [page[None] if page.ndim == 2 else np.moveaxis(page, -1, 0) for page in pages]


def assert_same(found: Sequence[Array], expected: Sequence[Array]) -> None:
    assert [a.shape for a in found] == [a.shape for a in expected]
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype
        assert np.array_equal(one, other, equal_nan=one.dtype.kind == "f")


@pytest.fixture
def joined(monkeypatch: pytest.MonkeyPatch) -> None:
    """The image must not be encoded again."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("encoded again")

    monkeypatch.setattr(mosaic_module, "_encode_once", refuse)


# -- pixels --------------------------------------------------------------------------------------------------

EVEN, ODD = (1060, 530), (1061, 555)


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


# -- tiles that are something else ---------------------------------------------------------------------------


def test_tiles_of_another_compression_are_encoded_once(tmp_path: Path) -> None:
    """The fingerprint does not name the compression: a plan may find tiles of another."""
    plan = made_plan(tmp_path / "out", EVEN, nodata=0.0)
    image = image_of(plan)
    store = put(plan, {"composite": image})
    other = plan.model_copy(update={"product": plan.product.model_copy(update={"compress": "zstd"})})
    build(other, store)
    path = store.uri(plan.mosaic_name())
    assert_same(levels(path), levels(by_gdal(other, "composite", image, tmp_path / "gdal.tif")))
    assert problems(path) == []
    assert not any(store.scratch().iterdir())


@pytest.mark.parametrize(
    "change", [{"blockxsize": 256, "blockysize": 256}, {}, {"predictor": 1}, {"nodata": 7}, {"compress": "lzw"}]
)
def test_tile_of_another_make_is_noticed(
    tmp_path: Path, change: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """One written by GDAL is taken as it is if its blocks are the mosaic's."""
    caplog.set_level("INFO")
    plan = made_plan(tmp_path / "out", EVEN, tile_size=512, nodata=0.0, n_bands=1)
    image = image_of(plan)
    store = put(plan, {"composite": image}, plan.windows[1:])
    w = plan.windows[0]
    settings = profile(plan.grid, w, count=1, dtype="uint8", nodata=0.0)
    with rasterio.MemoryFile() as memory:
        with memory.open(**settings | {"compress": "deflate", "predictor": 2} | change) as dataset:
            dataset.write(image[:, : w.height, : w.width])
        data = bytes(memory.getbuffer())
    result = check_plan(plan, store)[1].result
    assert result is not None
    name = plan.tile_name(w)
    store.write(name, data)
    layers = {"composite": record_of(name, data)}
    record = result.model_copy(update={"id": w.id, "fingerprint": plan.fingerprint(w), "layers": layers})
    store.write(plan.record_name(w), record.model_dump_json().encode())
    build(plan, store)
    assert ("encoded again" in caplog.text) == bool(change)
    assert_same(levels(store.uri(plan.mosaic_name())), levels(by_gdal(plan, "composite", image, tmp_path / "gdal.tif")))


def record_of(name: str, data: bytes) -> Any:
    import hashlib

    from clearyear.window import LayerFile

    return LayerFile(name=name, size=len(data), sha256=hashlib.sha256(data).hexdigest())


@pytest.mark.usefixtures("joined")
def test_tile_that_changed_is_refused(tmp_path: Path) -> None:
    plan = made_plan(tmp_path / "out", EVEN)
    store = put(plan, {"composite": image_of(plan)})
    statuses = check_plan(plan, store)
    name = plan.tile_name(plan.windows[-1])
    data = bytearray(store.read(name))
    data[-100] ^= 1
    store.write(name, bytes(data))
    with pytest.raises(StoreError, match=f"{name} has changed since it was checked") as caught:
        build_mosaic(plan, store, statuses)
    assert caught.value.transient
    assert store.stat(plan.mosaic_name()) is None
    assert not any(store.scratch().iterdir())


# -- bytes ---------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("joined")
@pytest.mark.parametrize("size", [EVEN, ODD])
def test_order_of_the_windows_changes_no_byte(tmp_path: Path, size: tuple[int, int]) -> None:
    found = []
    for n in range(2):
        plan = made_plan(tmp_path / str(n), size, tile_size=512)
        windows = list(plan.windows)
        random.Random(n).shuffle(windows)
        store = put(plan, {"composite": image_of(plan)}, windows)
        found += [build(plan, store), build(plan, store)]
    assert found == found[:1] * 4


@pytest.mark.usefixtures("joined")
@pytest.mark.parametrize("big", [False, True])
def test_layout_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, big: bool) -> None:
    """GDAL's ghost area; the smallest level first, row by row; each block between its size and its last bytes."""
    if big:
        monkeypatch.setattr(mosaic_module, "assemble", partial(assemble, classic_most=100_000))
    plan = made_plan(tmp_path / "out", (1060, 1060))
    image = image_of(plan)
    store = put(plan, {"composite": image}, plan.windows[1:])
    image[:, :1024, :1024] = 0
    build(plan, store)
    path = store.uri(plan.mosaic_name())
    reference = by_gdal(plan, "composite", image, tmp_path / "gdal.tif")
    assert_same(levels(path), levels(reference))
    assert_same(levels_without_gdal(path), levels(path))
    assert problems(path) == []
    data = Path(path).read_bytes()
    with tifffile.TiffFile(path) as file:
        assert file.is_bigtiff is big
    start = 16 if big else 8
    assert data[start : start + 183] == reference.read_bytes()[8:191]
    position = 0
    found = []
    for directory in reversed(tiffwrite.read_directories(data)):
        offsets, counts = directory[tiffwrite.OFFSETS].numbers(), directory[tiffwrite.COUNTS].numbers()
        for offset, count in zip(offsets, counts, strict=True):
            if count == 0:
                assert offset == 0
                continue
            assert position in (0, offset - 4)
            assert struct.unpack_from("<I", data, offset - 4) == (count,)
            assert data[offset + count : offset + count + 4] == data[offset + count - 4 : offset + count]
            position = offset + count + 4
        found.append(counts.count(0))
    assert position == len(data)
    assert found == [0, 1, 4]


def test_tile_is_a_cog_of_its_own(tmp_path: Path) -> None:
    plan = made_plan(tmp_path / "out", EVEN, nodata=0.0)
    image = image_of(plan)
    store = put(plan, {"composite": image})
    for w in plan.windows:
        path = store.uri(plan.tile_name(w))
        assert cog_validate(path, strict=True, quiet=True) == (True, [], [])
        part = image[:, w.row_off : w.row_off + w.height, w.col_off : w.col_off + w.width]
        assert np.array_equal(levels(path)[0], part)
        with rasterio.open(path) as dataset:
            assert dataset.transform == rasterio.Affine(*plan.grid.transform_of(w))
            assert dataset.descriptions == ("red", None, "blue")
            assert dataset.tags()["CLEARYEAR_WINDOW"] == w.id
            assert (dataset.overviews(1), dataset.block_shapes[0], dataset.nodata) == ([2], (512, 512), 0)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "uint16", "int16", "int32", "uint32", "float32", "float64"])
@pytest.mark.parametrize("compress", ["deflate", "zstd", "lzw"])
def test_tile_of_any_type_reads_back(tmp_path: Path, dtype: str, compress: str) -> None:
    rng = np.random.default_rng(5)
    grid = Grid(crs="", transform=(2.0, 0.5, 7.0, 0.25, -3.0, 9.0), width=70, height=50, block=(16, 16))
    window = Window(col_off=16, row_off=0, width=54, height=50)
    pixels = rng.integers(0, 100, (2, 50, 54)).astype(dtype)
    (tmp_path / "t.tif").write_bytes(encode_tile(pixels, grid, window, nodata=3.0, compress=compress))
    with rasterio.open(tmp_path / "t.tif") as dataset:
        assert np.array_equal(dataset.read(), pixels)
        assert (dataset.nodata, dataset.compression.name) == (3, compress)
        assert dataset.transform == rasterio.Affine(*grid.transform_of(window))
        assert np.array_equal(
            dataset.read(window=RasterioWindow(9, 9, 9, 9)),
            pixels[:, 9:18, 9:18],
        )


def test_damaged_directories_are_said_to_be() -> None:
    plan = made_plan(Path("/nowhere"), (64, 64))
    data = encode_tile(np.ones((3, 64, 64), "uint8"), plan.grid, plan.windows[0], nodata=0.0)
    assert len(tiffwrite.read_directories(data)) == 1
    for harm in (b"", b"MM\x00\x2a", data[:6], data[:200], data[:260]):
        with pytest.raises(ValueError, match=r"."):
            tiffwrite.read_directories(harm)


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
