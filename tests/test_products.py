"""Every reducer as a whole product: from a job to mosaics, item and preview, against NumPy and a plain Weiszfeld."""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pytest
import rasterio
from conftest import write_scene
from numpy.typing import NDArray
from runs import finished
from scipy.ndimage import binary_dilation, binary_opening

from clearyear import mosaic
from clearyear.cog.geotiff import problems
from clearyear.job import Job
from clearyear.plan import Plan
from clearyear.prepare import make_plan, put_down
from clearyear.publish import join_windows, validate
from clearyear.reducers.base import Stack
from clearyear.reducers.geomedian import Geomedian
from clearyear.reducers.layout import lay_out
from clearyear.stores import open_store
from clearyear.window import compute_window

DEVIATIONS = ["smad", "emad", "bcmad"]
PICKED = np.random.default_rng(29).choice(128 * 128, 150, replace=False)
"""Pixels looked at one by one: the plain solver takes its time."""


@pytest.fixture(scope="module")
def refl(data: Path) -> Path:
    return data / "s2" / "pt29snd" / "refl"


@pytest.fixture(scope="module")
def samples(refl: Path) -> NDArray[np.float64]:
    """(T, B, H, W) of the real reflectances, NaN where a band is nodata."""
    stack = oracle.read_all(sorted(refl.glob("*.tif"))).astype(np.float64)
    return np.where(stack == 0, np.nan, stack)


def read(plan: Plan, layer: str = "composite") -> NDArray[Any]:
    with rasterio.open(Path(plan.destination) / plan.mosaic_name(layer)) as dataset:
        pixels: NDArray[Any] = dataset.read()
        return pixels


def item_of(plan: Plan) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(plan.destination) / plan.item_name).read_text())
    return found


def deviations(mine: NDArray[np.float64], centre: NDArray[np.float64]) -> list[float]:
    """smad, emad, bcmad of samples (n, B) round a centre, as one would write them down."""
    cosine = 1 - (mine @ centre) / (np.linalg.norm(mine, axis=1) * np.linalg.norm(centre))
    euclid = np.linalg.norm(mine - centre, axis=1)
    bray_curtis = np.abs(mine - centre).sum(axis=1) / np.abs(mine + centre).sum(axis=1)
    return [float(np.median(each)) for each in (cosine, euclid, bray_curtis)]


def test_geomedian_of_real_reflectance(refl: Path, samples: NDArray[np.float64], tmp_path: Path) -> None:
    job = {"reducer": "geomedian", "layers": ["count", *DEVIATIONS], "period": "2021", "tile_size": 64}
    plan = finished(refl, tmp_path, **job)
    assert validate(plan.destination) == []
    whole = np.isfinite(samples).all(axis=1)
    composite, flat = read(plan).reshape(4, -1), samples.reshape(len(samples), 4, -1)
    assert np.array_equal(read(plan, "count")[0], whole.sum(axis=0))
    stack = oracle.read_all(sorted(refl.glob("*.tif")))
    unrounded = Geomedian().find(lay_out(Stack(stack, (0.0,))), "uint16", len(stack), 4, 128 * 128)[0]
    assert np.array_equal(composite, np.rint(unrounded))
    found = np.concatenate([read(plan, name) for name in DEVIATIONS]).reshape(3, -1)
    for p in PICKED:
        mine = flat[whole.reshape(len(samples), -1)[:, p], :, p]
        truth = oracle.geometric_median(mine)
        least = oracle.summed_distance(mine, truth)
        assert oracle.summed_distance(mine, unrounded[:, p]) <= least * (1 + 1e-6)
        assert np.allclose(found[:, p], deviations(mine, unrounded[:, p].astype(np.float64)), rtol=1e-5, atol=1e-8)
        if len(mine) > 2:  # the geometric median of two is any point between them
            assert np.abs(composite[:, p] - truth).max() < 0.6


def test_what_the_item_and_the_files_say(refl: Path, tmp_path: Path) -> None:
    """Bands, types, nodata and titles; and scale and offset, where the scenes have them."""
    job = Job(
        scenes=str(refl),
        out=str(tmp_path),
        period="2021",
        reducer="geomedian",
        layers=["count", *DEVIATIONS],
        tile_size=128,
    )
    plan = make_plan(job)
    plan = put_down(
        plan.model_copy(update={"product": plan.product.model_copy(update={"scale": 1e-4, "offset": -0.1})})
    )
    store = open_store(plan.destination)
    compute_window(plan, plan.windows[0], store)
    join_windows(plan)
    item = item_of(plan)
    assets = item["assets"]
    about = {key: (assets[key]["data_type"], assets[key].get("nodata")) for key in plan.published}
    floats = dict.fromkeys(DEVIATIONS, ("float32", "nan"))
    assert about == {"composite": ("uint16", 0), "count": ("uint16", None), **floats}
    assert [band["name"] for band in assets["composite"]["bands"]] == ["B02", "B03", "B04", "B8A"]
    assert assets["emad"]["title"] == "Median Euclidean distance of the samples from the geometric median"
    assert (assets["composite"]["raster:scale"], assets["composite"]["raster:offset"]) == (1e-4, -0.1)
    assert (assets["emad"]["raster:scale"], assets["emad"]["raster:offset"]) == (1e-4, 0.0), "a distance has no offset"
    for layer in ("count", "smad", "bcmad"):
        assert not [key for key in assets[layer] if key.startswith("raster:")]
    assert "raster" in {uri.split("/")[3] for uri in item["stac_extensions"]}
    for name in (plan.mosaic_name(), plan.tile_name(plan.windows[0])):
        with rasterio.open(Path(plan.destination) / name) as dataset:
            assert (set(dataset.scales), set(dataset.offsets)) == ({1e-4}, {-0.1})
            assert dataset.descriptions == ("B02", "B03", "B04", "B8A")
    for name in (plan.mosaic_name("emad"), plan.tile_name(plan.windows[0], "emad")):
        with rasterio.open(Path(plan.destination) / name) as dataset:
            assert np.isnan(dataset.nodata)
            assert (dataset.scales, dataset.offsets) == ((1e-4,), (0.0,))
    for layer in ("count", "smad", "bcmad"):
        with rasterio.open(Path(plan.destination) / plan.mosaic_name(layer)) as dataset:
            assert (dataset.scales, dataset.offsets) == ((1.0,), (0.0,))
    with rasterio.open(Path(plan.destination) / plan.preview_name) as preview:
        red, _, blue = (float(band.mean()) for band in preview.read())
        assert red > blue, "dry fields are red: B04 stands for red, though it is not the first band"


def test_percentiles_of_real_reflectance(refl: Path, samples: NDArray[np.float64], tmp_path: Path) -> None:
    options = {"percentiles": [10, 50, 90]}
    job = {"reducer": "percentiles", "options": options, "layers": ["count"], "period": "2021", "tile_size": 64}
    plan = finished(refl, tmp_path, **job)
    assert np.array_equal(read(plan, "count"), np.isfinite(samples).sum(axis=0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a pixel without a sample
        expected = np.nan_to_num(np.nanpercentile(samples, options["percentiles"], axis=0), nan=0)
    assert np.array_equal(read(plan), np.rint(expected).reshape(12, 128, 128))
    names = [band["name"] for band in item_of(plan)["assets"]["composite"]["bands"]]
    assert names[:5] == ["p10_B02", "p10_B03", "p10_B04", "p10_B8A", "p50_B02"]
    assert validate(plan.destination) == []


def test_band_median_of_floats_is_nanmedian(refl: Path, tmp_path: Path) -> None:
    """In float32, to the last bit."""
    scenes = []
    for path in sorted(refl.glob("*.tif"))[:9]:
        pixels = oracle.read_all([path])[0]
        floats = np.where(pixels == 0, np.nan, pixels * np.float32(1e-4)).astype(np.float32)
        write_scene(tmp_path / "s" / path.name, floats, nodata=float("nan"), blockxsize=128, blockysize=128)
        scenes.append(floats)
    plan = finished(tmp_path / "s", tmp_path / "out", reducer="band-median", period="2021", tile_size=64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        expected = np.nanmedian(np.stack(scenes), axis=0)
    assert expected.dtype == np.float32
    assert read(plan).tobytes() == expected.tobytes()


def test_clear_count_of_real_reflectance(refl: Path, samples: NDArray[np.float64], tmp_path: Path) -> None:
    plan = finished(refl, tmp_path, reducer="clear-count", period="2021", tile_size=64)
    seen = np.isfinite(samples).all(axis=1).sum(axis=0)
    assert np.array_equal(read(plan), [seen] * 3)
    assert [b["name"] for b in item_of(plan)["assets"]["composite"]["bands"]] == ["observations", "clear", "kept"]
    assert validate(plan.destination) == []


def test_clear_count_under_a_mask(refl: Path, data: Path, samples: NDArray[np.float64], tmp_path: Path) -> None:
    """What the classes erase, and what opening and dilation make of that: scipy's, on whole images."""
    classes, folder = [0, 3, 8, 9, 10], data / "s2" / "pt29snd" / "scl"
    mask = {"asset": "scl", "from": str(folder), "classes": classes, "opening": 2, "dilation": 5}
    job = {"reducer": "clear-count", "layers": ["count"], "period": "2021", "tile_size": 64}
    plan = finished(refl, tmp_path, **job, masks=[mask])
    erased = np.isin(oracle.read_all(sorted(folder.glob("*.tif")))[:, 0], classes)
    disks = [np.hypot(*np.mgrid[-r : r + 1, -r : r + 1]) <= r for r in (2, 5)]
    grown = np.stack([binary_dilation(binary_opening(each, disks[0]), disks[1]) for each in erased])
    seen = np.isfinite(samples).all(axis=1)
    expected = [seen.sum(axis=0), (seen & ~erased).sum(axis=0), (seen & ~grown).sum(axis=0)]
    assert np.array_equal(read(plan), expected)
    assert np.array_equal(read(plan, "count")[0], expected[2])
    assert 0 < expected[2].min() < expected[2].max() < len(samples)
    assert (expected[1] < expected[2]).any(), "an opening gives back single pixels"


def test_geomedian_under_a_mask(refl: Path, data: Path, tmp_path: Path) -> None:
    """The command of the guide: count and deviations of what the mask leaves."""
    mask = {"asset": "scl", "from": str(data / "s2" / "pt29snd" / "scl")}
    job = {"reducer": "geomedian", "layers": ["count", *DEVIATIONS], "period": "2021", "tile_size": 64}
    plan = finished(refl, tmp_path, **job, masks=[mask])
    plain = finished(refl, tmp_path / "plain", reducer="clear-count", period="2021", tile_size=64, masks=[mask])
    assert np.array_equal(read(plan, "count")[0], read(plain)[2])
    cloudy = finished(refl, tmp_path / "cloudy", **job)
    assert read(plan, "emad").mean() < 0.8 * read(cloudy, "emad").mean(), "clouds are what lies far off"


@pytest.mark.parametrize(("dtype", "nodata"), [("int16", -9999), ("float32", float("nan"))])
@pytest.mark.parametrize("reducer", ["geomedian", "percentiles"])
def test_large_mosaics_are_put_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reducer: str, dtype: str, nodata: float
) -> None:
    """Several windows, overviews, signed and float pixels: the tiles' own bytes, never encoded again."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the mosaic was encoded again")

    monkeypatch.setattr(mosaic, "_encode_once", refuse)
    rng = np.random.default_rng(1)
    stack = rng.integers(-200, 3000, (3, 2, 600, 1100)).astype(dtype)
    stack[:, :, :99, :77] = nodata
    for month, pixels in enumerate(stack, start=1):
        path = tmp_path / "s" / f"a_2023{month:02d}01.tif"
        write_scene(path, pixels, nodata=nodata, blockxsize=512, blockysize=512)
    job = {"reducer": reducer, "options": {"percentiles": [50]} if reducer == "percentiles" else {"eps": 0.5}}
    layers = ["count", "emad"] if reducer == "geomedian" else ["count"]
    plan = finished(tmp_path / "s", tmp_path / "out", **job, layers=layers, tile_size=512)
    for layer in plan.published:
        path = Path(plan.destination) / plan.mosaic_name(layer)
        assert problems(str(path)) == []
        with rasterio.open(path) as dataset:
            assert dataset.overviews(1) == [2, 4]
            corner = dataset.read(out_shape=(dataset.count, 150, 275))[:, 0, 0]  # from an overview
            wanted = np.array(0 if layer == "count" else np.nan if layer == "emad" else nodata, corner.dtype)
            assert np.array_equal(corner, np.full(dataset.count, wanted), equal_nan=True)
    assert (read(plan, "count")[:, 99:, 77:] == 3).all()
    if reducer == "percentiles":
        expected = np.median(stack.astype(np.float64)[:, :, 99:, 77:], axis=0)
        assert np.array_equal(read(plan)[:, 99:, 77:], expected)


def test_nothing_is_made_that_is_not_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deviations take as long as the median."""

    def refuse(*_: Any) -> None:
        raise AssertionError("deviations were made")

    stack = np.ones((3, 2, 4, 4), np.uint16)
    whole = Geomedian().reduce(Stack(stack, (), 0.0))
    monkeypatch.setattr("clearyear.reducers.geomedian._deviations", refuse)
    assert list(Geomedian().reduce(Stack(stack, (), 0.0), wanted=("composite", "count"))) == ["composite", "count"]
    monkeypatch.undo()
    part = Geomedian().reduce(Stack(stack, (), 0.0), wanted=("composite", "smad"))
    assert all(part[name].tobytes() == array.tobytes() for name, array in whole.items())


@pytest.mark.parametrize(
    ("reducer", "nodata", "fill"),
    [
        ("geomedian", -9999, -9999),
        ("geomedian", None, None),
        ("band-median", -9999, -9999),
        ("luminance-median", 7, 0),
    ],
)
def test_what_a_pixel_without_a_sample_becomes(
    tmp_path: Path, reducer: str, nodata: float | None, fill: float | None
) -> None:
    """The scenes' nodata, unless the reducer has its own."""
    dtype = "uint8" if reducer == "luminance-median" else "int16"
    write_scene(tmp_path / "a_20230101.tif", np.ones((3, 16, 16), dtype), nodata=nodata)
    plan = make_plan(Job(scenes=str(tmp_path), out="/nowhere", period="2023", reducer=reducer))
    assert plan.product.nodata == fill


def test_a_mask_gives_a_composite_nodata(tmp_path: Path) -> None:
    """Every value counts where the scenes name no nodata; a pixel that a mask leaves without a sample needs one."""
    write_scene(tmp_path / "s" / "a_20230101.tif", np.ones((3, 16, 16), "int16"), nodata=None)
    classes = np.full((1, 16, 16), 4, np.uint8)
    classes[:, :5] = 3
    write_scene(tmp_path / "m" / "a_20230101_SCL.tif", classes)
    mask = {"asset": "scl", "from": str(tmp_path / "m"), "classes": [3], "opening": 0, "dilation": 0}
    plan = finished(tmp_path / "s", tmp_path / "out", reducer="geomedian", masks=[mask])
    assert plan.product.nodata == -32768
    assert (read(plan)[:, :5] == -32768).all()
    assert (read(plan)[:, 5:] == 1).all()
