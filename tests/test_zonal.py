"""Zonal statistics against a brute-force oracle, on a real raster and on made-up ones."""

import csv
import io
import math
from pathlib import Path
from typing import Any

import coverage_oracle as oracle
import geopandas
import numpy as np
import pytest
import rasterio
from affine import Affine
from conftest import write_scene
from runs import finished
from shapely import wkt
from shapely.geometry import MultiPolygon, Point, Polygon, box

from clearyear.errors import InputError
from clearyear.zonal.charts import time_series
from clearyear.zonal.compute import zonal_rows
from clearyear.zonal.job import STATISTICS, ZonalJob
from clearyear.zonal.polygons import read_polygons
from clearyear.zonal.raster import find_rasters
from clearyear.zonal.run import run_zonal
from clearyear.zonal.statistics import Gathered, far_median

# exactextract keeps shares in single precision; against exact areas that is what is left.
CLOSE = 2e-6


def rows_of(job: ZonalJob, **bounds: Any) -> list[dict[str, Any]]:
    [raster] = find_rasters(job)
    return zonal_rows(raster, read_polygons(job), job, **bounds)


def expected_rows(raster: Path, shapes: Any, nodata: float | None = None, *, negatives: bool = False) -> list[Any]:
    """Of every polygon, in the raster's own CRS, in every band."""
    found = []
    with rasterio.open(raster) as dataset:
        pixels = dataset.read()
        mark = dataset.nodata if nodata is None else nodata
        for shape in shapes:
            share = oracle.shares(shape, dataset.transform, dataset.width, dataset.height)
            for band in pixels:
                valid = dataset.dataset_mask() > 0 if dataset.nodata is None else np.ones(band.shape, bool)
                valid = valid & np.isfinite(band) & (band != np.array(mark, band.dtype) if mark is not None else True)
                valid = valid & (band >= 0) if negatives else valid
                found.append(oracle.statistics(share, band, valid))
    return found


def assert_agree(rows: list[dict[str, Any]], expected: list[dict[str, float]]) -> None:
    assert len(rows) == len(expected)
    for row, want in zip(rows, expected, strict=True):
        for name, value in want.items():
            scale = max(1.0, *np.nan_to_num([abs(want["max"]), abs(want["min"])]))
            slack = CLOSE * (scale * max(1.0, want["count"]) if name == "sum" else scale)
            same = math.isnan(row[name]) and math.isnan(value)
            same = same or math.isclose(row[name], value, rel_tol=1e-5, abs_tol=slack)
            assert same, f"{row['polygon']} {name}: {row[name]} instead of {value}"


SLOPE = [
    ("slope.tif", "polygons.shp"),
    ("slope_nodata.tif", "polygons_partial_overlap.shp"),
    ("all_nodata.tif", "polygons.shp"),
    ("slope_classes.tif", "polygons_partial_overlap.shp"),
    ("dataset_mask.tif", "polygons_no_overlap.shp"),
]


@pytest.mark.parametrize(("raster", "polygons"), SLOPE, ids=[f"{r}-{p}" for r, p in SLOPE])
def test_the_slope_raster_against_the_oracle(data: Path, tmp_path: Path, raster: str, polygons: str) -> None:
    folder = data / "zonal" / "slope"
    frame = geopandas.read_file(folder / polygons)
    with rasterio.open(folder / raster) as dataset:
        shapes = frame.to_crs(dataset.crs.to_wkt()).geometry
    job = ZonalJob(raster=str(folder / raster), polygons=str(folder / polygons), out=str(tmp_path))
    assert_agree(rows_of(job), expected_rows(folder / raster, shapes))


@pytest.mark.parametrize("name", ["multipolygons.shp", "featurecollection.geojson", "feature.geojson"])
def test_a_crs_that_is_wrong_in_the_file_is_told(data: Path, tmp_path: Path, name: str) -> None:
    """GeoJSON without a CRS is taken for longitude and latitude; these are metres."""
    folder = data / "zonal" / "slope"
    values: dict[str, Any] = {"raster": str(folder / "slope.tif"), "polygons": str(folder / name), "out": str(tmp_path)}
    with pytest.raises(InputError, match="its coordinates run from"):
        rows_of(ZonalJob(**values))
    with rasterio.open(folder / "slope.tif") as dataset:
        crs = dataset.crs.to_wkt()
    shapes = geopandas.read_file(folder / name).geometry
    assert_agree(rows_of(ZonalJob(**values, polygons_crs=crs)), expected_rows(folder / "slope.tif", shapes))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("lines.shp", r"2 of 2 shapes .* are no polygons: 1 .LineString"),
        ("points.shp", "3 of 3 shapes .* are no polygons"),
        ("multipoints.shp", "MultiPoint|its coordinates run from"),
        ("points_noproj.shp", "does not say what its coordinates are in"),
    ],
)
def test_lines_and_points_are_refused_by_name(data: Path, tmp_path: Path, name: str, said: str) -> None:
    folder = data / "zonal" / "slope"
    with pytest.raises(InputError, match=said):
        rows_of(ZonalJob(raster=str(folder / "slope.tif"), polygons=str(folder / name), out=str(tmp_path)))


# -- made up -------------------------------------------------------------------------------------------------

HOLE = Polygon(box(300033, 4899800, 300210, 4899977).exterior, [box(300075, 4899850, 300133, 4899911).exterior])
SHAPES = {
    "hole": HOLE,
    "parts": MultiPolygon([box(300005, 4899990, 300017, 4900013), box(300301, 4899703, 300388, 4899795)]),
    "touching-left": box(300100, 4899900, 300145, 4899955),
    "touching-right": box(300145, 4899900, 300200, 4899955),
    "inside-one-pixel": box(300142, 4899942, 300147, 4899948),
    "partly": box(299900, 4899950, 300055, 4900200),
    "outside": box(0, 0, 10, 10),
    "beside": box(299990, 4899700, 300000, 4900020),
    "circle": Point(300250, 4899820).buffer(83.3),
    "sliver": Polygon([(300000, 4900020), (300500, 4899620), (300500, 4899620.5)]),
    "empty": Polygon(),
    "none": None,
    "whole": box(299000, 4890000, 310000, 4910000),
}


@pytest.fixture
def raster(tmp_path: Path) -> Path:
    """Two bands of int16, 50 × 40 px of 10 m, nodata −1 and values below it."""
    pixels = np.random.default_rng(5).integers(-8, 60, (2, 40, 50)).astype(np.int16)
    pixels[1] = 7
    return write_scene(tmp_path / "r_20230115.tif", pixels, nodata=-1)


def polygons_file(folder: Path, name: str = "p.gpkg", shapes: Any = None, crs: Any = "EPSG:32631") -> Path:
    chosen = SHAPES if shapes is None else shapes
    frame = geopandas.GeoDataFrame({"id": list(chosen)}, geometry=list(chosen.values()), crs=crs)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    frame.to_parquet(path) if name.endswith("parquet") else frame.to_file(path)
    return path


@pytest.mark.parametrize("changes", [{}, {"nodata": [13.0]}, {"negatives_are_nodata": True}], ids=str)
def test_every_kind_of_polygon_against_the_oracle(tmp_path: Path, raster: Path, changes: Any) -> None:
    job = ZonalJob(raster=str(raster), polygons=str(polygons_file(tmp_path)), out=str(tmp_path), **changes)
    nodata = changes.get("nodata", [None])[0]
    expected = expected_rows(raster, SHAPES.values(), nodata, negatives="negatives_are_nodata" in changes)
    rows = rows_of(job)
    assert_agree(rows, expected)
    by_name = {row["polygon"]: row for row in rows[::2]}
    for name in ("outside", "beside", "empty", "none"):
        assert (by_name[name]["count"], by_name[name]["sum"]) == (0, 0)
        assert math.isnan(by_name[name]["mean"])
        assert math.isnan(by_name[name]["nodata_share"])
    assert by_name["outside"]["outside_share"] == by_name["beside"]["outside_share"] == 1
    assert math.isnan(by_name["empty"]["outside_share"])
    inside = box(300000, 4899620, 300500, 4900020)
    assert by_name["partly"]["outside_share"] == pytest.approx(
        1 - SHAPES["partly"].intersection(inside).area / SHAPES["partly"].area
    )
    assert by_name["hole"]["outside_share"] == 0
    assert [row["skew"] for row in rows[1::2] if row["stddev"] == 0] == pytest.approx([math.nan] * 9, nan_ok=True)


def test_no_statistic_depends_on_the_blocks(tmp_path: Path, raster: Path) -> None:
    job = ZonalJob(raster=str(raster), polygons=str(polygons_file(tmp_path)), out=str(tmp_path))
    whole, cut = rows_of(job), rows_of(job, max_cells=60)
    for one, other in zip(whole, cut, strict=True):
        for name in STATISTICS:
            assert one[name] == pytest.approx(other[name], rel=1e-6, nan_ok=True), (one["polygon"], name)
    assert [r["median"] for r in whole] == pytest.approx([r["median"] for r in cut], abs=0, nan_ok=True)


@pytest.mark.parametrize("kind", ["few", "many", "heap", "one", "half"])
def test_a_median_does_not_depend_on_how_many_values_are_kept(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    values = {
        "few": rng.integers(0, 9, (8, 50)),
        "many": rng.normal(0, 1e3, (8, 50)),
        "heap": np.r_[np.full(300, 0.1), rng.normal(0.1, 1e-9, 96), -1e9, 1e9, 5, 7].reshape(8, 50),
        "one": np.full((8, 50), 7.25),
        "half": np.repeat([1.0, 2.0, 3.0, 1e6], 100).reshape(8, 50),
    }[kind].astype(float)
    weights = np.ones((8, 50)) if kind == "half" else rng.integers(1, 4, (8, 50)).astype(float)
    blocks = list(zip(values, weights, strict=True))
    whole, cut = Gathered(), Gathered()
    for each, most in ((whole, 10**6), (cut, 60)):
        monkeypatch.setattr("clearyear.zonal.statistics._KEPT", most)
        for x, w in blocks:
            each.add(x, w, np.ones(50, bool))
    if cut.too_many:
        cut.middle = far_median(lambda: blocks, cut)
    assert cut.too_many == (kind in ("many", "heap"))
    assert cut.median() == whole.median() == oracle.weighted_median(values.ravel(), weights.ravel())


def test_a_large_polygon_is_looked_at_again_for_its_median(
    tmp_path: Path, raster: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = np.random.default_rng(6).normal(0, 1, (1, 40, 50)).astype(np.float32)
    write_scene(raster, pixels, nodata=None)
    job = ZonalJob(raster=str(raster), polygons=str(polygons_file(tmp_path)), out=str(tmp_path))
    expected = rows_of(job)
    monkeypatch.setattr("clearyear.zonal.statistics._KEPT", 100)
    for row, want in zip(rows_of(job, max_cells=170), expected, strict=True):
        assert row["median"] == pytest.approx(want["median"], abs=0, nan_ok=True), row["polygon"]


def test_plain_numbers_have_their_plain_statistics() -> None:
    for n in (1, 2, 3, 10, 11):
        x = np.random.default_rng(n).normal(1e6, 1, n)
        found = Gathered()
        found.add(x, np.ones(n), np.ones(n, bool))
        result = found.result()
        assert result["median"] == pytest.approx(np.median(x), abs=1e-9)
        assert result["stddev"] == pytest.approx(np.std(x), rel=1e-9, abs=1e-6)


@pytest.mark.parametrize("name", ["p.geojson", "p.gpkg", "p.shp", "p.parquet"])
def test_every_format_and_another_crs(tmp_path: Path, raster: Path, name: str) -> None:
    shapes = {k: SHAPES[k] for k in ("hole", "parts", "partly", "circle")}
    there = geopandas.GeoSeries(list(shapes.values()), crs="EPSG:32631").to_crs("EPSG:4326")
    path = polygons_file(tmp_path, name, dict(zip(shapes, there, strict=True)), "EPSG:4326")
    job = ZonalJob(raster=str(raster), polygons=str(path), out=str(tmp_path))
    back = there.to_crs("EPSG:32631")
    assert [row["polygon"] for row in rows_of(job)[::2]] == list(shapes)
    assert_agree(rows_of(job), expected_rows(raster, back))


BOW = wkt.loads("POLYGON ((300000 4900000, 300100 4899900, 300100 4900000, 300000 4899900, 300000 4900000))")


def test_invalid_polygons_are_named_and_mended_only_when_asked(tmp_path: Path, raster: Path) -> None:
    path = polygons_file(tmp_path, shapes={"good": SHAPES["hole"], "bow": BOW})
    values: dict[str, Any] = {"raster": str(raster), "polygons": str(path), "out": str(tmp_path)}
    with pytest.raises(InputError, match=r"1 of 2 polygons .* are invalid: bow .Self-intersection"):
        rows_of(ZonalJob(**values))
    halves = [Polygon([(300000, 4900000), (300050, 4899950), (300000, 4899900)]),
              Polygon([(300100, 4899900), (300100, 4900000), (300050, 4899950)])]  # fmt: skip
    rows = rows_of(ZonalJob(**values, repair_invalid=True))
    assert_agree(rows, expected_rows(raster, [SHAPES["hole"], MultiPolygon(halves)]))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"id_column": "nme"}, "has no column 'nme'"),
        ({"id_column": "kind"}, "does not tell its polygons apart: a"),
        ({"polygons_crs": "EPSG:0"}, "is no CRS"),
        ({"polygons": "absent.gpkg"}, "is not there"),
        ({"polygons": "r_20230115.tif"}, "is no file of polygons"),
        ({"polygons": "text.geojson"}, "is not what its name says"),
        ({"polygons": "vrt.json"}, "is not what its name says"),
        ({"raster": "absent.tif"}, "is not there"),
        ({"raster": "."}, "holds no published mosaic"),
    ],
)
def test_wrong_input_is_refused(
    tmp_path: Path, raster: Path, changes: Any, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shapes = [SHAPES["hole"], SHAPES["circle"]]
    geopandas.GeoDataFrame({"kind": ["a", "a"]}, geometry=shapes, crs="EPSG:32631").to_file("p.gpkg")
    Path("text.geojson").write_text("nothing of the kind")
    Path("vrt.json").write_text('<OGRVRTDataSource><OGRVRTLayer name="p"><SrcDataSource>p.gpkg</SrcDataSource>'
                                "</OGRVRTLayer></OGRVRTDataSource>")  # fmt: skip
    with pytest.raises(InputError, match=said):
        run_zonal(ZonalJob(**{"raster": raster.name, "polygons": "p.gpkg", "out": "out", **changes}))


@pytest.mark.parametrize("transform", [Affine(10, 1, 0, 0, -10, 0), Affine(10, 0, 0, 0, 10, 0)])
def test_grids_that_run_askew_are_refused(tmp_path: Path, transform: Affine) -> None:
    path = write_scene(tmp_path / "odd.tif", np.ones((1, 20, 20), np.uint8), transform=transform)
    with pytest.raises(InputError, match="rotated or upside down"):
        rows_of(ZonalJob(raster=str(path), polygons=str(polygons_file(tmp_path)), out=str(tmp_path)))


# -- tables ---------------------------------------------------------------------------------------------------


def test_a_run_of_clearyear_with_its_periods_and_bands(scenes: Path, tmp_path: Path) -> None:
    for period in ("2023", "2023-01--P6M"):
        finished(scenes, tmp_path / "run", period=period, layers=["count"])
    shapes = {k: SHAPES[k] for k in ("hole", "outside")}
    path = polygons_file(tmp_path, shapes={**shapes, "=cmd()": SHAPES["circle"]})
    job = ZonalJob(raster=str(tmp_path / "run"), polygons=str(path), out=str(tmp_path / "z"), stats=["mean", "count"])
    outcome = run_zonal(job)
    assert (outcome.rasters, outcome.computed, outcome.polygons, outcome.rows) == (2, 2, 3, 18)
    table = list(csv.DictReader(io.StringIO((tmp_path / "z" / "series_luminance-median_p.csv").read_text())))
    assert len(table) == 18
    assert list(table[0]) == ["polygon", "product", "period", "start", "end", "band", "mean", "count"]
    assert {(r["period"], r["start"], r["end"]) for r in table} == {
        ("2023--P1Y", "2023-01-01", "2024-01-01"),
        ("2023-01--P6M", "2023-01-01", "2023-07-01"),
    }
    assert {r["band"] for r in table} == {"red", "green", "blue"}
    assert {r["polygon"] for r in table} == {"hole", "outside", "'=cmd()"}
    parquet = geopandas.read_parquet(tmp_path / "z" / "luminance-median_2023--P1Y_p.parquet")
    assert parquet.crs == "EPSG:32631"
    assert parquet["polygon"].tolist()[:3] == ["hole"] * 3
    maps = {"luminance-median_2023--P1Y_p_1_map.png", "luminance-median_2023-01--P6M_p_1_map.png"}
    charts = {f"series_luminance-median_p_{n}.png" for n in (1, 2, 3)}
    assert {p.rpartition("/")[2] for p in outcome.pictures} == {p.name for p in (tmp_path / "z").glob("*.png")}
    assert {p.rpartition("/")[2] for p in outcome.pictures} == maps | charts, "maps of the first band only"
    assert outcome.not_mapped == ["green", "blue"]
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "z").glob("luminance*")}
    assert run_zonal(job).computed == 0
    assert before == {p.name: p.stat().st_mtime_ns for p in (tmp_path / "z").glob("luminance*")}
    more = run_zonal(job.model_copy(update={"map_bands": ["blue", "red"]}))
    assert (more.computed, more.not_mapped) == (2, ["green"])
    new = {name.replace("_1_map", "_3_map") for name in maps}
    assert {p.rpartition("/")[2] for p in more.pictures} == maps | charts | new
    assert run_zonal(job.model_copy(update={"map_bands": ["all"]})).not_mapped == []
    assert len(list((tmp_path / "z").glob("*_map.png"))) == 6
    with pytest.raises(InputError, match=r"has no band 'nir' \(map_bands\)\. Wanted: of red, green, blue, or all"):
        run_zonal(job.model_copy(update={"map_bands": ["red", "nir"]}))
    layer = run_zonal(job.model_copy(update={"layer": "count", "pictures": False}))
    assert layer.not_mapped == []
    assert layer.computed == 2
    assert str(tmp_path / "z" / "luminance-median-count_2023--P1Y_p.csv") in layer.tables


@pytest.mark.parametrize("naming", ["{product}_{start:%Y-%m}", "monthly-mosaic-{start:%Y-%m}", ""])
def test_the_period_is_the_runs_whatever_its_files_are_called(scenes: Path, tmp_path: Path, naming: str) -> None:
    plan = finished(scenes, tmp_path / "run", period="2023-06--P3M", tile_size=64, naming=naming or None)
    [raster] = find_rasters(ZonalJob(raster=str(tmp_path / "run"), polygons="p.gpkg", out=str(tmp_path / "z")))
    assert (raster.product, raster.period) == (plan.product.name, plan.period)


def test_every_band_of_a_run_with_a_file_for_each(scenes: Path, tmp_path: Path) -> None:
    finished(scenes, tmp_path / "run", tile_size=64, outputs="per-band", layers=["count"])
    job = ZonalJob(raster=str(tmp_path / "run"), polygons="p.gpkg", out=str(tmp_path / "z"))
    found = {r.product.removeprefix("luminance-median"): r.band_names for r in find_rasters(job)}
    assert found == {"": ("red",), "-green": ("green",), "-blue": ("blue",)}
    [count] = find_rasters(job.model_copy(update={"layer": "count"}))
    assert count.band_names == ("count",)


def test_periods_that_start_together_are_not_averaged_in_the_chart() -> None:
    def drawn(year: float, month: float) -> bytes:
        starts = ["2023-01-01", "2023-01-01", "2023-02-01"]
        periods = ["2023--P1Y", "2023-01--P1M", "2023-02--P1M"]
        frame = geopandas.GeoDataFrame({"start": starts, "period": periods, "polygon": "a", "mean": [year, month, 5.0]})
        return time_series(frame, "mean", title="t", subtitle="s")

    assert drawn(10, 30) != drawn(20, 20)
    assert drawn(10, 30) == drawn(10, 30)


def test_nothing_is_ever_overwritten_by_another(tmp_path: Path, raster: Path) -> None:
    out = tmp_path / "z"
    path = polygons_file(tmp_path, shapes={"hole": SHAPES["hole"]})
    values: dict[str, Any] = {"polygons": str(path), "out": str(out), "pictures": False, "product": "r"}
    run_zonal(ZonalJob(raster=str(raster), period="2023-01", **values))
    twin = tmp_path / "twin" / raster.name
    twin.parent.mkdir()
    twin.write_bytes(raster.read_bytes())
    with pytest.raises(InputError, match=r"is the table of .* What to do: choose another destination"):
        run_zonal(ZonalJob(raster=str(twin), period="2023-01", **values))
    run_zonal(ZonalJob(raster=str(twin), period="2023-02", **values))
    names = {p.name for p in out.iterdir()}
    assert {"r_2023-01--P1M_p.csv", "r_2023-02--P1M_p.csv", "series_r_p.csv"} <= names
    assert len((out / "series_r_p.csv").read_text().splitlines()) == 1 + 2 * 2

    # Under another name the same polygons have a series of their own.
    run_zonal(ZonalJob(raster=str(twin), period="2023-02", **{**values, "name": "q"}))
    assert len((out / "series_r_q.csv").read_text().splitlines()) == 1 + 2
    assert len((out / "series_r_p.csv").read_text().splitlines()) == 1 + 2 * 2

    # The polygons change: a table is replaced by its own, and the series does not mix.
    polygons_file(tmp_path, shapes={"hole": SHAPES["circle"]})
    outcome = run_zonal(ZonalJob(raster=str(twin), period="2023-02", **values))
    assert (outcome.computed, outcome.left_out) == (1, ["2023-01--P1M"])
    assert len((out / "series_r_p.csv").read_text().splitlines()) == 1 + 2


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_table_that_is_cut_is_made_anew(tmp_path: Path, raster: Path, ending: str) -> None:
    path = polygons_file(tmp_path, shapes={"hole": SHAPES["hole"]})
    job = ZonalJob(raster=str(raster), polygons=str(path), out=str(tmp_path / "z"), pictures=False)
    table = Path(run_zonal(job).tables[0]).with_suffix(f".{ending}")
    whole = table.read_bytes()
    table.write_bytes(whole[:40])
    assert run_zonal(job).computed == 1
    assert table.read_bytes() == whole
    assert run_zonal(job).computed == 0


def test_an_incomplete_mosaic_is_refused_unless_allowed(scenes: Path, poisoned: Path, tmp_path: Path) -> None:
    from clearyear.errors import WindowError
    from clearyear.job import Job
    from clearyear.prepare import prepare
    from clearyear.publish import join_windows
    from clearyear.stores import open_store
    from clearyear.window import compute_window

    job = Job(scenes=str(scenes), period="2023", out=str(tmp_path / "run"), tile_size=16, allow_missing=True)
    plan = prepare(job)
    for window in plan.windows:
        try:
            compute_window(plan, window, open_store(plan.destination))
        except WindowError:
            assert window.id == "x00016_y00016"
    join_windows(plan)
    path = polygons_file(tmp_path, shapes={"hole": SHAPES["hole"]})
    values: dict[str, Any] = {
        "raster": str(tmp_path / "run"),
        "polygons": str(path),
        "out": str(tmp_path / "z"),
        "pictures": False,
    }
    with pytest.raises(InputError, match="1 of 1 mosaics are incomplete: luminance-median, 2023--P1Y"):
        run_zonal(ZonalJob(**values))
    outcome = run_zonal(ZonalJob(**values, allow_missing=True))
    assert outcome.incomplete == ["2023--P1Y"]
