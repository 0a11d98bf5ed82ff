"""A plan as a table and as polygons: which scenes reach which window."""

import csv
import io
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rasterio.warp import transform
from runs import UTM, plan_of

from clearyear.errors import InputError
from clearyear.plan import Plan
from clearyear.scenes.scene import Place, Scene
from clearyear.views import save_view, seen_in, windows_csv, windows_geojson


def scene(name: str, day: int, place: Place | None = None) -> Scene:
    moment = datetime(2023, 5, day, 10, tzinfo=UTC)
    places = {"data": place} if place else {}
    return Scene(id=name, datetime=moment, assets={"data": f"/{name}.tif"}, version="1", size=100, places=places)


def test_scenes_and_days_of_each_window() -> None:
    shifted = Place(crs="EPSG:32631", transform=UTM, width=50, height=40, offset=(16, 0))
    # 60 m pixels in the neighbouring zone that begin where column 40 does: must be resampled, reaches the last columns.
    xs, ys = transform("EPSG:32631", "EPSG:32632", [300000 + 400.0], [4900020 + 1000.0])
    other = Place(crs="EPSG:32632", transform=(60.0, 0.0, xs[0], 0.0, -60.0, ys[0]), width=100, height=100)
    scenes = (scene("a", 1), scene("b", 1, shifted), scene("c", 2, shifted), scene("d", 3, other))
    seen = seen_in(plan_of(scenes=scenes), plan_of().windows)
    # Rows of four windows: column 0 is seen by a alone; 16 by a, b and c; 32 and 48 by all, on three dates.
    assert [tuple(s) for s in seen[:4]] == [(1, 1), (3, 2), (4, 3), (4, 3)]
    assert seen[4:8] == seen[:4]


def test_a_scene_with_a_file_for_each_band_is_seen_where_one_of_them_lies() -> None:
    left = Place(crs="EPSG:32631", transform=UTM, width=16, height=40, offset=(0, 0))
    right = left.model_copy(update={"offset": (32, 0)})
    one = scene("a", 1).model_copy(
        update={"assets": {"red": "/r.tif", "nir": "/n.tif"}, "places": {"red": left, "nir": right}}
    )
    product = plan_of().product.model_copy(update={"assets": ("red", "nir")})
    seen = seen_in(plan_of(scenes=(one,), product=product), plan_of().windows)
    assert [s.scenes for s in seen[:4]] == [1, 0, 1, 0]


def test_the_saved_plan_is_the_plan(tmp_path: Path) -> None:
    plan = plan_of()
    save_view(plan, str(tmp_path / "p.json"))
    assert Plan.from_json((tmp_path / "p.json").read_bytes()).id == plan.id
    assert [p.name for p in tmp_path.iterdir()] == ["p.json"]


def test_saved_windows_are_those_of_the_selection(tmp_path: Path) -> None:
    plan = plan_of()
    chosen = plan.windows[2:5]
    save_view(plan, str(tmp_path / "w.csv"), chosen)
    save_view(plan, str(tmp_path / "w.geojson"), chosen)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "w.csv").read_text())))
    shapes = json.loads((tmp_path / "w.geojson").read_text())["features"]
    assert [row["id"] for row in rows] == [shape["id"] for shape in shapes] == [w.id for w in chosen]
    assert {row["days"] for row in rows} == {"2"}
    assert shapes[0]["properties"] == {
        "id": chosen[0].id,
        "width": 16,
        "height": 16,
        "scenes": 2,
        "days": 2,
        "period": "2023--P1Y",
    }
    west, south = shapes[0]["geometry"]["coordinates"][0][0]
    assert 0 < west < 1
    assert 44 < south < 45


def test_another_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"not saved as 'plan.yaml'.*\.geojson"):
        save_view(plan_of(), str(tmp_path / "plan.yaml"))
    assert not list(tmp_path.iterdir())


def test_both_views_have_all_windows() -> None:
    plan = plan_of()
    assert len(windows_csv(plan).splitlines()) == 13
    assert len(json.loads(windows_geojson(plan))["features"]) == 12
