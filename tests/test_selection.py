"""Which windows a selection means, and what a run of one says of itself."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from click.testing import CliRunner
from rasterio.features import geometry_mask
from rasterio.warp import transform
from runs import plan_of

from clearyear.cli import main
from clearyear.errors import InputError
from clearyear.job import Job
from clearyear.plan import Plan
from clearyear.selection import select_windows

PLAN = plan_of()  # 4 × 3 windows of 16 px, 10 m


def ids(*selectors: str, plan: Plan = PLAN) -> list[str]:
    return [window.id for window in select_windows(plan, selectors)]


def polygon(tmp_path: Path, *corners: tuple[float, float], crs: str = "EPSG:32631", **changes: Any) -> str:
    """A GeoJSON file with one polygon, its corners given in pixels of the plan's grid."""
    a, _, c, _, e, f = PLAN.grid.transform
    xs, ys = transform(crs, "EPSG:4326", [a * x + c for x, _ in corners], [e * y + f for _, y in corners])
    ring = [[x, y] for x, y in zip(xs, ys, strict=True)]
    shape = {"type": "Polygon", "coordinates": [[*ring, ring[0]]], **changes}
    path = tmp_path / "field.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [{"type": "Feature", "geometry": shape}]}))
    return str(path)


@pytest.mark.parametrize(
    ("selectors", "numbers"),
    [
        ((), range(12)),
        (("x00016_y00016",), [5]),
        (("5",), [5]),
        (("-1",), [11]),
        (("::5",), [0, 5, 10]),
        (("1::5",), [1, 6, 11]),
        (("2:4",), [2, 3]),
        (("::-1",), range(12)),
        (("7", "2", "x00048_y00016", "7"), [2, 7]),  # number 7 twice and by its id: once, in the plan's order
    ],
)
def test_ids_numbers_and_slices(selectors: tuple[str, ...], numbers: list[int]) -> None:
    assert ids(*selectors) == [PLAN.windows[n].id for n in numbers]


@pytest.mark.parametrize(
    ("selector", "words"),
    [
        ("12", "no window number 12"),
        ("x00001_y00000", "lies outside"),
        ("all of them", "cannot be read"),
        ("::0", "step of 0"),
        ("12:", "none of the 12 windows"),
        ("nowhere.geojson", "is not there"),
    ],
)
def test_what_means_nothing_is_refused(selector: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        ids(selector)


def test_polygons_mean_the_windows_they_share_an_area_with(tmp_path: Path) -> None:
    inside = polygon(tmp_path, (17, 17), (30, 17), (30, 30), (17, 30))
    assert ids(inside) == ["x00016_y00016"]
    across = polygon(tmp_path, (15, 15), (17, 15), (17, 17), (15, 17))
    assert ids(across) == ["x00000_y00000", "x00016_y00000", "x00000_y00016", "x00016_y00016"]
    # A triangle whose box covers four windows and which itself leaves one of them out.
    triangle = polygon(tmp_path, (1, 1), (31, 1), (1, 31))
    assert ids(triangle) == ["x00000_y00000", "x00016_y00000", "x00000_y00016"]


def test_polygons_agree_with_rasterised_ones(tmp_path: Path) -> None:
    """By chance: a window is meant where a pixel's centre lies in the polygon, and only where it touches a pixel."""
    rng = np.random.default_rng(3)
    for _ in range(20):
        corners = [(float(x), float(y)) for x, y in rng.uniform(-10, 60, (3, 2))]
        shape = {"type": "Polygon", "coordinates": [[*corners, corners[0]]]}
        least, most = (_burnt(shape, all_touched=touched) for touched in (False, True))
        assert least <= set(_or_none(polygon(tmp_path, *corners))) <= most


def _burnt(shape: dict[str, Any], *, all_touched: bool) -> set[str]:
    """Windows in which rasterio burns a polygon, ten samples a pixel and direction."""
    tenth = Affine(0.1, 0, 0, 0, 0.1, 0)
    inside = geometry_mask([shape], (400, 500), tenth, all_touched=all_touched, invert=True)
    blocks = {w.id: (w.row_off * 10, w.col_off * 10, w.height * 10, w.width * 10) for w in PLAN.windows}
    return {name for name, (y, x, height, width) in blocks.items() if inside[y : y + height, x : x + width].any()}


def _or_none(selector: str) -> list[str]:
    try:
        return ids(selector)
    except InputError as error:
        if "selects none" not in str(error):
            raise
        return []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("no json", "is not GeoJSON"),
        ('{"type": "Point", "coordinates": [1, 44]}', "holds Point"),
        ('{"type": "FeatureCollection", "features": []}', "holds nothing"),
        ('{"type": "Polygon", "coordinates": [[[3e5, 4e6], [4e5, 4e6], [4e5, 5e6], [3e5, 4e6]]]}', "no degrees"),
    ],
)
def test_a_file_without_polygons_is_refused(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "field.geojson"
    path.write_text(content)
    with pytest.raises(InputError, match=words):
        ids(str(path))


@pytest.mark.parametrize(
    "box", [(-180, -90, 180, 90), (-100, -10, 100, 80), (-30, 30, 60, 72), (0, -90, 360, 90)], ids=str
)
def test_polygons_may_be_as_large_as_the_earth(tmp_path: Path, box: tuple[int, int, int, int]) -> None:
    west, south, east, north = box
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    path = tmp_path / "large.geojson"
    path.write_text(json.dumps({"type": "Polygon", "coordinates": [ring]}))
    assert ids(str(path)) == [window.id for window in PLAN.windows]


def test_a_polygon_where_the_crs_has_no_place_is_refused(tmp_path: Path) -> None:
    grid = PLAN.grid.model_copy(update={"crs": "EPSG:32660", "transform": (1000, 0, 800000, 0, -1000, 20000)})
    path = tmp_path / "large.geojson"
    path.write_text('{"type": "Polygon", "coordinates": [[[-180, -9], [180, -9], [180, 9], [-180, 9], [-180, -9]]]}')
    with pytest.raises(InputError, match="reaches where the scenes' CRS has no place"):
        ids(str(path), plan=plan_of(grid=grid))


def test_polygons_need_a_crs(tmp_path: Path) -> None:
    plan = plan_of(grid=PLAN.grid.model_copy(update={"crs": ""}))
    with pytest.raises(InputError, match="no CRS"):
        ids(polygon(tmp_path, (1, 1), (2, 1), (2, 2)), plan=plan)


# -- runs of a selection -------------------------------------------------------------------------------------


@pytest.fixture
def job(scenes: Path, tmp_path: Path) -> Job:
    return Job(scenes=str(scenes), period="2023", out=str(tmp_path / "out"), tile_size=16, select=["::5", "0"])


@pytest.mark.usefixtures("prefect_server")
def test_a_run_of_a_selection_computes_only_that_and_says_so(job: Job) -> None:
    from flows.median_composite import median_composite

    state: Any = median_composite(job, return_state=True)
    assert state.is_failed()
    found = state.result(raise_on_failure=False).outcome
    folder = Path(found["report"]).parent
    assert {p.stem[-13:] for p in (folder / "tiles").glob("*.tif")} == set(ids("::5"))
    assert (found["status"], found["ok"], len(found["missing"]), found["mosaic"]) == ("incomplete", 3, 9, None)
    assert set(found["causes"].values()) == {"not among the 3 windows of this run's selection"}
    assert found["problem"].endswith("; this run was of a selection of 3 windows")
    assert "not among the 3 windows" in (folder / "report.md").read_text()

    allowed: Any = median_composite(job.model_copy(update={"allow_missing": True}), return_state=True)
    assert allowed.name == "CompletedWithMissing"
    assert Path(allowed.result()["mosaic"]).exists()
    before = {p.name: p.stat().st_mtime_ns for p in (folder / "tiles").glob("*.tif")}

    state = median_composite(job.model_copy(update={"select": []}), return_state=True)
    assert state.name == "Completed"
    assert state.result()["status"] == "complete"
    after = {p.name: p.stat().st_mtime_ns for p in (folder / "tiles").glob("*.tif")}
    assert {name: after[name] for name in before} == before, "the selection's windows are kept"
    # With the rest there, a run of a selection is complete.
    assert median_composite(job, return_state=True).name == "Completed"


def test_the_dry_run_of_a_selection(job: Job, tmp_path: Path) -> None:
    flags = ["--scenes", str(job.scenes), "--period", "2023", "--out", job.out, "--tile-size", "16"]
    chosen = ["--select", "::5", "--select", "x00000_y00000"]
    saved = [str(tmp_path / f"plan.{kind}") for kind in ("json", "csv", "geojson")]
    options = [part for path in saved for part in ("--save", path)]
    dry = CliRunner().invoke(main, ["plan", *flags, *chosen, *options, "--json"])
    assert dry.exit_code == 0, dry.output
    said = json.loads(dry.stdout)
    assert [w["id"] for w in said["windows"]] == ids("::5")
    assert (said["new"], said["skip"]) == (3, 0)
    assert said["warnings"][-1] == "a selection; the other 9 of 12 windows are left as they are"
    assert Plan.from_json(Path(saved[0]).read_text()).id == said["plan"]
    assert len(Path(saved[1]).read_text().splitlines()) == 4
    assert len(json.loads(Path(saved[2]).read_text())["features"]) == 3
    also = CliRunner().invoke(main, ["run", *flags, *chosen, "--dryrun", "--json"])
    assert json.loads(also.stdout) == said
    assert not Path(job.out).exists(), "a dry run writes nothing"
    wrong = CliRunner().invoke(main, ["run", *flags, "--select", "99", "--json"])
    assert wrong.exit_code == 2
    assert "no window number 99" in json.loads(wrong.stdout)["error"]
