"""The STAC item: valid by the specification's own schema, right about place, files, origin and completeness."""

import hashlib
import json
import math
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio
from affine import Affine
from conftest import random_pixels, write_scene
from pystac.errors import STACValidationError
from pystac.validation import validate_dict
from rasterio.crs import CRS
from rasterio.warp import transform
from runs import finished, plan_of

from clearyear.coordinates import reproject
from clearyear.job import Job
from clearyear.mosaic import Mosaic
from clearyear.periods import parse_period
from clearyear.plan import Plan
from clearyear.prepare import make_plan, prepare
from clearyear.publish import join_windows
from clearyear.stac import make_item, place_of, wgs84_geometries, wgs84_geometry
from clearyear.stores import open_store
from clearyear.window import LayerFile, compute_window


def item_of(plan: Plan, **facts: Any) -> dict[str, Any]:
    digests = {"composite": "ab" * 32, "count": "cd" * 32, "source": "ef" * 32}
    layers = {k: LayerFile(name=plan.mosaic_name(k), size=100, sha256=digests[k]) for k in plan.product.layers}
    text = make_item(plan, Mosaic(layers=layers), {"complete": True, **facts}, extras={"preview": plan.preview_name})
    found: dict[str, Any] = json.loads(text)
    return found


def validate(item: dict[str, Any]) -> None:
    """By the core schemas that pystac brings along; those of the extensions are only on the network."""
    validate_dict({**item, "stac_extensions": []})
    assert pystac.Item.from_dict(item).to_dict(include_self_link=False, transform_hrefs=False) == item


def with_product(plan: Plan, **changes: Any) -> Plan:
    return plan.model_copy(update={"product": plan.product.model_copy(update=changes)})


def numbers(coordinates: Any) -> Iterator[float]:
    if isinstance(coordinates, list):
        for part in coordinates:
            yield from numbers(part)
    else:
        yield coordinates


# -- valid ---------------------------------------------------------------------------------------------------

PLANS = {
    "rgb": plan_of(),
    "no CRS": plan_of(grid=plan_of().grid.model_copy(update={"crs": ""})),
    "all": plan_of(period=parse_period("all")),
    "bands": with_product(
        plan_of(),
        name="my-bands",
        reducer="band-median",
        layers=("composite", "count"),
        n_bands=4,
        dtype="float32",
        nodata=float("nan"),
        band_names=("B02", "", "B04", "B08"),
    ),
    "antimeridian": plan_of(
        10980,
        10980,
        1024,
        grid=plan_of().grid.model_copy(
            update={
                "crs": "EPSG:32701",
                "transform": (10.0, 0.0, 99960.0, 0.0, -10.0, 8100040.0),
                "width": 10980,
                "height": 10980,
            }
        ),
    ),
}


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS.keys())
def test_valid_by_the_core_schema(plan: Plan) -> None:
    item = item_of(plan)
    validate(item)
    assert (item["stac_version"], item["id"]) == ("1.1.0", plan.stem)


@pytest.mark.parametrize(
    ("where", "value"),
    [
        ("geometry", {"type": "Circle"}),
        ("bbox", [1, 2]),
        ("assets", {"composite": {"title": "no href"}}),
        ("links", [{"rel": "derived_from"}]),
        ("properties", {"title": "no datetime"}),
    ],
)
def test_the_schema_is_really_asked(where: str, value: Any) -> None:
    with pytest.raises(STACValidationError):
        validate({**item_of(PLANS["rgb"]), where: value})


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS.keys())
def test_extensions_have_the_fields_their_specifications_ask_for(plan: Plan) -> None:
    item = item_of(plan)
    assert {uri.split("/")[3] for uri in item["stac_extensions"]} == {"projection", "file", "processing"}
    properties = item["properties"]
    assert properties["proj:code"] is None or re.fullmatch(r"EPSG:\d+", properties["proj:code"])
    assert len(properties["proj:shape"]) == 2
    assert len(properties["proj:transform"]) == 6
    assert properties["processing:level"] == "L3"
    assert set(properties["processing:software"]) == {"clearyear"}
    for asset in item["assets"].values():
        if "file:checksum" in asset:
            # Multihash: 0x12 says SHA2-256, 0x20 that 32 bytes follow.
            assert re.fullmatch(r"1220[0-9a-f]{64}", asset["file:checksum"])
            assert asset["file:size"] == 100


# -- place ---------------------------------------------------------------------------------------------------


def test_projection() -> None:
    plan = plan_of(1234, 567)
    properties = item_of(plan)["properties"]
    assert properties["proj:code"] == "EPSG:32631"
    assert properties["proj:shape"] == [567, 1234], "height first"
    assert properties["proj:transform"] == [10, 0, 300000, 0, -10, 4900020]
    assert "proj:wkt2" not in properties


def test_geometry_is_where_the_grid_is() -> None:
    """Against PROJ by way of rasterio's other function, corner by corner."""
    plan = plan_of(10980, 10980, 1024)
    item = item_of(plan)
    ring = item["geometry"]["coordinates"][0]
    assert item["geometry"]["type"] == "Polygon"
    assert ring[0] == ring[-1]
    xs, ys = transform(
        "EPSG:32631", "EPSG:4326", [300000, 409800, 409800, 300000], [4900020, 4900020, 4790220, 4790220]
    )
    wanted = {(round(x, 5), round(y, 5)) for x, y in zip(xs, ys, strict=True)}
    assert {(round(x, 5), round(y, 5)) for x, y in ring} == wanted
    assert 0.49 < xs[0] < 0.5 and 44.22 < ys[0] < 44.23, "longitude first"  # noqa: PT018
    assert item["bbox"] == pytest.approx([min(xs), min(ys), max(xs), max(ys)], abs=1e-6)
    area = sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in pairwise(ring))
    assert area > 0, "counterclockwise"


def test_a_granule_across_the_antimeridian_is_two_polygons() -> None:
    item = item_of(PLANS["antimeridian"])
    assert item["geometry"]["type"] == "MultiPolygon"
    east, west = sorted(item["geometry"]["coordinates"], key=lambda part: -max(numbers(part)))
    assert min(x for x, _ in east[0]) > 179
    assert max(x for x, _ in west[0]) < -179
    assert item["bbox"] == pytest.approx([179.2203763, -18.1573437, -179.7282681, -17.1494368], abs=1e-6)


@pytest.mark.parametrize(
    ("crs", "affine", "bbox"),
    [
        ("EPSG:4326", (0.1, 0, 178, 0, -0.1, 10), [178, 6, -177, 10]),
        ("EPSG:4326", (0.1, 0, -182, 0, -0.1, 10), [178, 6, -177, 10]),
        ("EPSG:4326", (7.2, 0, 0, 0, -4.5, 90), [-180, -90, 180, 90]),
        ("EPSG:4326", (4, 0, -10, 0, -1, 40), [-10, 0, -170, 40]),
        ("EPSG:3857", (10000, 0, 19900000, 0, -10000, 1000000), [178.7647415, 5.3819597, -176.743682, 8.9465739]),
        ("EPSG:3413", (1000, 0, -1000000, 0, -1000, 1020000), [177.9649655, 76.8692503, -179.4212744, 77.4488039]),
    ],
)
def test_what_crosses_180_is_cut_there_whatever_the_crs(crs: str, affine: Any, bbox: list[float]) -> None:
    grid = plan_of().grid.model_copy(update={"crs": crs, "transform": affine})
    place = place_of(grid, parse_period("2023"))
    assert place["geometry"]["type"] == "MultiPolygon"
    assert all(-180 <= x <= 180 for part in place["geometry"]["coordinates"] for x, _ in part[0])
    assert place["bbox"] == pytest.approx(bbox, abs=1e-3)


def test_the_corners_of_a_picture_of_the_whole_disk_lie_nowhere() -> None:
    disk = "+proj=geos +h=35786023 +lon_0=-75 +sweep=x"
    plan = plan_of(tile_size=10)
    grid = plan.grid.model_copy(update={"crs": disk, "transform": (220000, 0, -5500000, 0, -270000, 5400000)})
    rings = [grid.corners(window) for window in plan.windows]
    there = [
        bool(np.isfinite(reproject([x for x, _ in ring], [y for _, y in ring], disk, "EPSG:4326")).all())
        for ring in rings
    ]
    assert 0 < sum(there) < len(there)
    assert [one is not None for one in wgs84_geometries(disk, rings)] == there
    assert place_of(grid, parse_period("2023"))["geometry"] is None


def test_it_is_json_whatever_the_numbers() -> None:
    plan = with_product(plan_of(), dtype="float32", nodata=-math.inf, invalid_values=(math.nan, -math.inf, 0.5))
    layers = {"composite": LayerFile(name="a.tif", size=1, sha256="ab" * 32)}
    item = json.loads(make_item(plan, Mosaic(layers=layers), {}, extras={}), parse_constant=pytest.fail)
    assert item["properties"]["clearyear:invalid_values"] == ["nan", "-inf", 0.5]
    assert item["assets"]["composite"]["nodata"] == "-inf"


def test_no_crs_no_geometry() -> None:
    item = item_of(PLANS["no CRS"])
    assert item["geometry"] is None
    assert "bbox" not in item
    assert item["properties"]["proj:code"] is None
    assert item["properties"]["proj:shape"] == [40, 50]


LOCAL = 'LOCAL_CS["PAM",UNIT["metre",1,AUTHORITY["EPSG","9001"]],AXIS["Easting",EAST],AXIS["Northing",NORTH]]'


def test_a_crs_not_tied_to_the_earth_has_no_geometry_either() -> None:
    assert wgs84_geometry(LOCAL, [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 0.0)]) is None
    validate(item_of(plan_of(grid=plan_of().grid.model_copy(update={"crs": LOCAL}))))


def test_a_crs_without_a_code_is_written_out() -> None:
    crs = CRS.from_string("+proj=laea +lat_0=50 +lon_0=10 +datum=WGS84").to_wkt()
    transform = (10.0, 0.0, 0.0, 0.0, -10.0, 0.0)
    item = item_of(plan_of(grid=plan_of().grid.model_copy(update={"crs": crs, "transform": transform})))
    assert item["properties"]["proj:code"] is None
    assert item["properties"]["proj:wkt2"].startswith("PROJCRS[")
    assert CRS.from_wkt(item["properties"]["proj:wkt2"]) == CRS.from_wkt(crs)
    assert item["bbox"][0] == pytest.approx(10, abs=1e-6)
    assert item["bbox"][3] == pytest.approx(50, abs=1e-6)


# -- time ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("period", "start", "end"),
    [
        ("2023", "2023-01-01T00:00:00Z", "2023-12-31T23:59:59Z"),
        ("2023-02", "2023-02-01T00:00:00Z", "2023-02-28T23:59:59Z"),
        ("2023-06-01--P10D", "2023-06-01T00:00:00Z", "2023-06-10T23:59:59Z"),
        ("all", "2023-01-15T10:00:00Z", "2023-08-15T10:00:00Z"),
    ],
)
def test_a_span_includes_its_end_as_stac_wants_it(period: str, start: str, end: str) -> None:
    properties = item_of(plan_of(period=parse_period(period)))["properties"]
    assert properties["datetime"] is None
    assert (properties["start_datetime"], properties["end_datetime"]) == (start, end)


def test_the_title_and_lineage_are_for_people() -> None:
    properties = item_of(plan_of(period=parse_period("all")))["properties"]
    assert properties["title"] == "luminance-median, all"
    assert properties["processing:lineage"] == "luminance-median of 2 scenes, 2023-01-15 to 2023-08-15"
    properties = item_of(plan_of())["properties"]
    assert properties["processing:lineage"] == "luminance-median of 2 scenes, 2023-01-15 to 2023-08-15"
    assert properties["title"] == "luminance-median, 2023--P1Y"
    assert properties["clearyear:plan"] == plan_of().id
    assert properties["clearyear:reducer"] == "luminance-median"
    assert properties["clearyear:invalid_values"] == [0, 255]


# -- files and origin ----------------------------------------------------------------------------------------


def test_bands_of_every_layer() -> None:
    assets = item_of(PLANS["rgb"])["assets"]
    assert set(assets) == {"composite", "count", "source", "preview"}
    composite, count, source = assets["composite"], assets["count"], assets["source"]
    assert [b["name"] for b in composite["bands"]] == ["red", "green", "blue"]
    assert (composite["data_type"], composite["nodata"], composite["roles"]) == ("uint8", 0, ["data", "visual"])
    assert ([b["name"] for b in count["bands"]], count["data_type"]) == (["count"], "uint16")
    assert "nodata" not in count
    assert ([b["name"] for b in source["bands"]], source["data_type"], source["nodata"]) == (["source"], "int16", -1)
    assert count["roles"] == source["roles"] == ["data"]
    assert composite["type"] == "image/tiff; application=geotiff; profile=cloud-optimized"
    assert (assets["preview"]["type"], assets["preview"]["roles"]) == ("image/jpeg", ["thumbnail"])


def test_bands_of_a_band_median() -> None:
    assets = item_of(PLANS["bands"])["assets"]
    assert [b["name"] for b in assets["composite"]["bands"]] == ["B02", "band-2", "B04", "B08"]
    assert (assets["composite"]["nodata"], assets["composite"]["roles"]) == ("nan", ["data"])
    assert [b["name"] for b in assets["count"]["bands"]] == ["B02", "band-2", "B04", "B08"]


def test_derived_from_every_scene_in_the_order_of_the_source_layer() -> None:
    plan = plan_of()
    remote = plan.scenes[1].model_copy(update={"assets": {"data": "gs://bucket/a/s2.tif"}})
    links = item_of(plan.model_copy(update={"scenes": (plan.scenes[0], remote)}))["links"]
    assert {(k["rel"], k["href"]) for k in links[:3]} == {
        ("root", "../../catalog.json"),
        ("parent", "../collection.json"),
        ("collection", "../collection.json"),
    }
    assert [(k["rel"], k["href"], k["title"]) for k in links[3:]] == [
        ("derived_from", "file:///data/s%2020230115.tif", "s20230115"),
        ("derived_from", "gs://bucket/a/s2.tif", "s20230815"),
    ]


def test_of_a_real_run_every_file_is_what_the_item_says(scenes: Path, tmp_path: Path) -> None:
    plan = finished(scenes, tmp_path / "out", layers=["count", "source"])
    folder = Path(plan.destination)
    item = json.loads((folder / plan.item_name).read_text())
    validate(item)
    for layer in ("composite", "count", "source"):
        asset = item["assets"][layer]
        data = (folder / asset["href"]).read_bytes()
        assert asset["file:checksum"] == "1220" + hashlib.sha256(data).hexdigest()
        assert asset["file:size"] == len(data)
        with rasterio.open(folder / asset["href"]) as dataset:
            assert [dataset.height, dataset.width] == item["properties"]["proj:shape"]
            assert list(dataset.transform)[:6] == item["properties"]["proj:transform"]
            assert dataset.crs.to_string() == item["properties"]["proj:code"]
            assert (dataset.count, dataset.dtypes[0]) == (len(asset["bands"]), asset["data_type"])
    for name in ("preview", "tile_map", "plan", "report"):
        assert (folder / item["assets"][name]["href"]).exists()
    origins = [link["title"] for link in item["links"] if link["rel"] == "derived_from"]
    assert origins == [p.stem for p in sorted(scenes.glob("*.tif"))]
    properties = item["properties"]
    assert properties["clearyear:complete"] is True
    assert (properties["clearyear:windows_expected"], properties["clearyear:windows_done"]) == (12, 12)
    assert (properties["clearyear:missing_windows"], properties["clearyear:failed_reads"]) == ([], [])
    assert 0.9 < properties["clearyear:valid_share"] <= 1


def test_an_incomplete_mosaic_says_so(scenes: Path, tmp_path: Path) -> None:
    job = Job(scenes=str(scenes), period="2023", out=str(tmp_path / "out"), tile_size=16, allow_missing=True)
    plan = prepare(job)
    store = open_store(plan.destination)
    for window in plan.windows[2:]:
        compute_window(plan, window, store)
    join_windows(plan)
    item = json.loads((Path(plan.destination) / plan.item_name).read_text())
    validate(item)
    assert item["properties"]["clearyear:complete"] is False
    assert item["properties"]["clearyear:missing_windows"] == ["x00000_y00000", "x00016_y00000"]
    assert item["properties"]["clearyear:windows_done"] == 10


@pytest.mark.parametrize("crs", [None, LOCAL], ids=["none", "local"])
def test_scenes_that_lie_nowhere_make_a_run_all_the_same(tmp_path: Path, crs: str | None) -> None:
    for index, pixels in enumerate(random_pixels(np.random.default_rng(3), (3, 3, 32, 32))):
        write_scene(tmp_path / "scenes" / f"a_2023010{index + 1}.tif", pixels, crs=crs)
    plan = finished(tmp_path / "scenes", tmp_path / "out")
    item = json.loads((Path(plan.destination) / plan.item_name).read_text())
    validate(item)
    assert (item["geometry"], item["properties"]["proj:code"]) == (None, None)
    features = json.loads((Path(plan.destination) / "windows.geojson").read_text())["features"]
    assert [f["geometry"] for f in features] == [None] * 4


def test_scenes_across_the_antimeridian_make_a_plan(tmp_path: Path) -> None:
    where = {"crs": "EPSG:32701", "transform": Affine(3000, 0, 99960, 0, -3000, 8100040)}
    write_scene(tmp_path / "scenes" / "T01_20230101.tif", np.full((3, 32, 32), 9, np.uint8), **where)
    job = Job(scenes=str(tmp_path / "scenes"), period="2023", out=str(tmp_path / "out"), tile_size=16)
    assert len(make_plan(job).windows) == 4
    prepare(job)
    text = (tmp_path / "out" / "luminance-median" / "2023--P1Y" / "windows.geojson").read_text()
    kinds = [f["geometry"]["type"] for f in json.loads(text)["features"]]
    assert kinds == ["Polygon", "MultiPolygon", "Polygon", "MultiPolygon"]
