"""Periods of solar days: who belongs to which year at 180°, in the Americas and in Australia, whatever the source."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from click.testing import CliRunner
from conftest import write_scene
from loopback.http import HttpServer
from loopback.stac import StacApi

from clearyear.backfill import jobs_of
from clearyear.cli import main
from clearyear.errors import InputError, NoScenesError
from clearyear.finding import find
from clearyear.job import Job, make_job
from clearyear.periods import parse_period
from clearyear.prepare import make_plan
from clearyear.scenes import headers
from clearyear.scenes.fuse import longitude_of_item
from clearyear.scenes.solar import Span, solar_time

YEARS = {
    # name: UTM zone, easting and northing of the centre; moment in UTC; the years by UTC and by solar days
    "fiji-west_20221231T223000": ((32760, 815_500, 8_007_500), 2022, 2023),  # 179.98° E
    "fiji-east_20221231T223000": ((32760, 819_800, 8_007_400), 2022, 2022),  # 179.98° W
    "auckland_20221231T221500": ((32760, 300_000, 5_900_000), 2022, 2023),
    "sydney_20221231T233000": ((32756, 330_000, 6_250_000), 2022, 2023),
    "lima_20230101T033000": ((32718, 280_000, 8_670_000), 2023, 2022),
    "ghana-before_20221231T233000": ((32631, 166_021, 0), 2022, 2022),  # 0°
    "ghana-after_20230101T003000": ((32631, 166_021, 0), 2023, 2023),
    "sydney-noon_20230101T010000": ((32756, 330_000, 6_250_000), 2023, 2023),
    "auckland-next_20231231T223000": ((32760, 300_000, 5_900_000), 2023, 2024),
    "auckland-day_20221231": ((32760, 300_000, 5_900_000), 2022, 2022),  # no time of day: its date is the day
    "auckland-may_20230501T220000": ((32760, 300_000, 5_900_000), 2023, 2023),
}


def transform(place: tuple[int, int, int]) -> Affine:
    """16 px of 10 m round the place."""
    return Affine(10, 0, place[1] - 80, 0, -10, place[2] + 80)


def longitude(name: str) -> float:
    from rasterio.warp import transform as warp

    zone, x, y = YEARS[name][0]
    return float(warp(f"EPSG:{zone}", "EPSG:4326", [x], [y])[0][0])


@pytest.fixture
def earth(tmp_path: Path) -> Path:
    for name, (place, _, _) in YEARS.items():
        for end in ("", "_B04"):
            path = tmp_path / ("bands" if end else "scenes") / f"{name}{end}.tif"
            write_scene(path, np.ones((1, 16, 16), np.uint8), crs=f"EPSG:{place[0]}", transform=transform(place))
    return tmp_path


def item(folder: Path, name: str) -> dict[str, Any]:
    moment = name.partition("_")[2]
    when = datetime.strptime(moment if "T" in moment else f"{moment}T000000", "%Y%m%dT%H%M%S")
    x = longitude(name)
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": name,
        "collection": "earth",
        "geometry": None,
        "bbox": [x - 0.01, -17.01, x + 0.01, -16.99],
        "properties": {"datetime": f"{when:%Y-%m-%dT%H:%M:%SZ}"},
        "links": [],
        "assets": {"data": {"href": str(folder / "scenes" / f"{name}.tif"), "type": "image/tiff; application=geotiff"}},
    }


def of_folder(earth: Path) -> dict[str, Any]:
    return {"scenes": str(earth / "scenes")}


def of_list(earth: Path) -> dict[str, Any]:
    return {"scenes": sorted(map(str, (earth / "scenes").glob("*.tif")))}


def of_manifest(earth: Path) -> dict[str, Any]:
    rows = []
    for n, name in enumerate(YEARS):  # the names of files say nothing here
        path = (earth / "scenes" / f"{name}.tif").rename(earth / "scenes" / f"file-{n}.tif")
        rows.append({"uri": str(path), "id": name, "datetime": item(earth, name)["properties"]["datetime"]})
    (earth / "list.json").write_text(json.dumps(rows))
    return {"scenes": str(earth / "list.json")}


def of_band_files(earth: Path) -> dict[str, Any]:
    return {"scenes": str(earth / "bands"), "pattern": "{id}_{band}.tif", "bands": ["B04"]}


def of_saved_items(earth: Path) -> dict[str, Any]:
    features = [item(earth, name) for name in YEARS if "T" in name]
    (earth / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return {"scenes": str(earth / "items.json"), "bands": ["data"]}


SOURCES = [of_folder, of_list, of_manifest, of_band_files, of_saved_items]


def names(year: int, *, days: str = "solar", **job: Any) -> list[str]:
    asked = make_job({"out": "unused", "period": str(year), "days": days, **job})
    return sorted(scene.id for scene in find(asked, parse_period(str(year))).scenes)


def wanted(year: int, *, days: str = "solar") -> list[str]:
    return sorted(name for name, years in YEARS.items() if years[1 if days == "utc" else 2] == year)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("days", ["utc", "solar"])
def test_each_scene_is_of_the_year_of_its_days(
    earth: Path, source: Callable[[Path], dict[str, Any]], days: str
) -> None:
    job = source(earth)
    dated_only = ["auckland-day_20221231"] if source is of_saved_items else []  # an item has a moment
    for year in (2022, 2023):
        assert names(year, days=days, **job) == sorted(set(wanted(year, days=days)) - set(dated_only))
    if days == "solar":
        assert names(2024, **job) == ["auckland-next_20231231T223000"]
    else:
        with pytest.raises(NoScenesError, match=r"was taken in 2024--P1Y"):
            names(2024, days=days, **job)


def test_only_what_is_near_an_end_is_opened(earth: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    real = headers.longitude_of

    def seen(uri: str, version: str) -> float | None:
        opened.append(Path(uri).stem)
        return real(uri, version)

    monkeypatch.setattr(headers, "longitude_of", seen)
    names(2023, **of_folder(earth))
    assert "auckland-may_20230501T220000" not in opened
    assert "auckland-day_20221231" not in opened
    assert len(opened) == len(YEARS) - 2
    opened.clear()
    names(2023, days="utc", **of_folder(earth))
    assert not opened


def test_an_unreadable_file_belongs_wherever_it_may(earth: Path) -> None:
    name = "auckland_20221231T221500"
    (earth / "scenes" / f"{name}.tif").write_bytes(b"no GeoTIFF")
    (earth / "scenes" / "auckland-may_20230501T220000.tif").write_bytes(b"no GeoTIFF")
    for year in (2022, 2023):
        assert name in names(year, **of_folder(earth))
    assert "auckland-may_20230501T220000" not in names(2022, **of_folder(earth))
    alone = {"scenes": [str(earth / "scenes" / f"{n}.tif") for n in (name, "auckland-next_20231231T223000")]}
    job = make_job({"out": "unused", "reducer": "band-median", "days": "solar", "period": "2022/2025", **alone})
    with pytest.raises(InputError, match=rf"1 of 2 scenes cannot be opened: {name}"):
        make_plan(job)
    assert len(make_plan(job.model_copy(update={"max_failed_reads": 1})).scenes) == 2


def test_a_file_without_a_place_keeps_its_utc(tmp_path: Path) -> None:
    write_scene(tmp_path / "s" / "site_20221231T233000.tif", np.ones((1, 16, 16), np.uint8), crs=None)
    local = 'LOCAL_CS["a site",UNIT["metre",1]]'
    write_scene(tmp_path / "s" / "plan_20221231T233100.tif", np.ones((1, 16, 16), np.uint8), crs=local)
    assert names(2022, scenes=str(tmp_path / "s")) == ["plan_20221231T233100", "site_20221231T233000"]


def test_what_lies_beside_the_period_harms_nobody(earth: Path) -> None:
    """Two files of one name, one of which solar days leave out."""
    twice = earth / "scenes" / "again" / "lima_20230101T033000.tif"
    twice.parent.mkdir()
    twice.write_bytes((earth / "scenes" / "lima_20230101T033000.tif").read_bytes())
    assert names(2023, **of_folder(earth)) == wanted(2023)
    with pytest.raises(InputError, match="1 scene names stand for more than one file"):
        names(2022, **of_folder(earth))


# -- searches ------------------------------------------------------------------------------------------------------


@pytest.fixture
def api(earth: Path, web: Any) -> Iterator[StacApi]:
    items = [item(earth, name) for name in YEARS if "T" in name]
    for one in items:
        one["assets"]["data"]["href"] = f"{web.url}/{one['id']}.tif"
    with StacApi(items, ["earth"]) as running:
        yield running


@pytest.fixture
def web(web: HttpServer, earth: Path) -> HttpServer:
    web.files |= {f"/{path.name}": path.read_bytes() for path in (earth / "scenes").glob("*.tif")}
    return web


def test_an_api_is_asked_for_half_a_day_more_and_what_was_saved_gives_the_same(api: StacApi, tmp_path: Path) -> None:
    saved = tmp_path / "found.json"
    search = {"url": api.url, "collections": ["earth"], "save_items": str(saved)}
    expected = wanted(2023)
    assert names(2023, stac=search, bands=["data"]) == expected
    assert api.searches()[0]["datetime"] == "2022-12-31T12:00:00.000Z/2024-01-01T11:59:59.999Z"
    api.requests.clear()
    assert names(2023, scenes=str(saved), bands=["data"]) == expected
    assert not api.requests
    assert names(2023, stac=search, days="utc", bands=["data"]) == wanted(2023, days="utc")
    assert api.searches()[0]["datetime"] == "2023-01-01T00:00:00.000Z/2023-12-31T23:59:59.999Z"
    most = {**search, "max_items": 2}
    newest = sorted(expected, key=lambda name: name.partition("_")[2])[-2:]
    assert names(2023, stac=most, bands=["data"]) == sorted(newest)  # the two newest that are meant


def test_an_answer_of_nothing_but_neighbours_is_explained(api: StacApi) -> None:
    api.items = [one for one in api.items if one["id"].startswith("auckland_")]
    search = {"url": api.url, "collections": ["earth"]}
    with pytest.raises(NoScenesError, match=r"has nothing of earth in 2022--P1Y \(solar days\)"):
        names(2022, stac=search, bands=["data"])
    for one in api.items:
        one["properties"]["eo:cloud_cover"] = 90
    search["query"] = ["eo:cloud_cover<95"]
    with pytest.raises(NoScenesError, match=r"has nothing of earth in 2022--P1Y \(solar days\)"):
        names(2022, stac=search, bands=["data"])
    search["query"] = ["eo:cloud_cover<5"]
    with pytest.raises(InputError, match=r"No item of earth fulfils eo:cloud_cover<5"):
        names(2023, stac=search, bands=["data"])


@pytest.mark.parametrize(
    ("box", "ring", "middle"),
    [
        ([179.0, 0, -177.0, 1], None, -179.0),
        ([-180, 0, 180, 1], [[179.5, 0], [180, 0], [-179.7, 0], [-179.7, 1], [179.5, 1], [179.5, 0]], 179.9),
        (None, [[10, 0], [12, 0], [12, 1], [10, 0]], 11.0),
        ([-180, -90, 180, 90], None, None),
        (None, "nonsense", None),
    ],
)
def test_the_longitude_of_an_item(box: Any, ring: Any, middle: float | None) -> None:
    geometry = ring if isinstance(ring, str) else ring and {"type": "Polygon", "coordinates": [ring]}
    found = longitude_of_item({"id": "a", "bbox": box, "geometry": geometry, "properties": {}})
    assert found == (middle if middle is None else pytest.approx(middle))


# -- periods, plans, backfill --------------------------------------------------------------------------------------


def test_solar_time() -> None:
    moment = datetime(2022, 12, 31, 23, 30, tzinfo=UTC)
    assert solar_time(moment, 0) == moment
    assert solar_time(moment, 151.2).isoformat() == "2023-01-01T09:34:48+00:00"
    assert solar_time(moment, 190) == solar_time(moment, -170)
    assert {solar_time(moment, east) - moment for east in (-180, 180)} == {timedelta(hours=-12), timedelta(hours=12)}
    last = datetime.max.replace(tzinfo=UTC)
    assert solar_time(last, 10) == last
    assert Span(parse_period("all"), "solar").holds(last, lambda: 170.0) is Span(parse_period("all")).holds(last, float)


def test_every_moment_is_of_one_month(earth: Path) -> None:
    """Wherever on Earth, the months of a year of solar days leave nothing out and share nothing."""
    rng = np.random.default_rng(3)
    months = [Span(period, "solar") for period, _ in jobs_of(job_of(earth), "2022/2025", "monthly")]
    for hours, east in zip(rng.uniform(24, 24 * 1094, 500), rng.uniform(-180, 180, 500), strict=True):
        moment = datetime(2022, 1, 1, tzinfo=UTC) + timedelta(hours=hours)
        found = [span.label for span in months if span.holds(moment, partial(float, east))]
        assert found == [f"{moment + timedelta(hours=east / 15):%Y-%m}--P1M (solar days)"]


def job_of(earth: Path, **keys: Any) -> Job:
    """Sydney alone: before and after UTC's midnight."""
    scenes = sorted(map(str, (earth / "scenes").glob("sydney*.tif")))
    return make_job({"out": str(earth / "out"), "reducer": "band-median", "scenes": scenes, "tile_size": 16, **keys})


def test_a_plan_knows_of_days_what_came_of_them(earth: Path) -> None:
    """Whoever asks otherwise and means the same scenes has the same plan: nothing is computed again."""
    both = [make_plan(job_of(earth, period="2022/2024", days=days)) for days in ("utc", "solar")]
    assert both[0].id == both[1].id
    assert both[0].to_json() == both[1].to_json()
    other = [make_plan(job_of(earth, period="2023", days=days)) for days in ("utc", "solar")]
    assert [len(plan.scenes) for plan in other] == [1, 2]
    assert other[0].id != other[1].id


@pytest.mark.usefixtures("prefect_server")
def test_a_backfill_by_solar_days(earth: Path) -> None:
    job = job_of(earth)
    values = [*job.scenes] if isinstance(job.scenes, list) else []
    (earth / "list.csv").write_text("uri\n" + "\n".join(values) + "\n")
    arguments = ["backfill", "--scenes", str(earth / "list.csv"), "--out", job.out, "--reducer", "band-median"]
    arguments += ["--span", "2022-12/2023-02", "--frequency", "monthly", "--continue-on-failure", "--json"]
    done = CliRunner().invoke(main, [*arguments, "--days", "solar", "--allow-empty"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)["periods"]
    assert [(p["period"], p["state"]) for p in found] == [("2022-12--P1M", "no scenes"), ("2023-01--P1M", "complete")]
    assert "was taken in 2022-12--P1M (solar days)" in found[0]["cause"]
    plan = json.loads(Path(found[1]["destination"], "plan.json").read_text())
    assert [scene["datetime"] for scene in plan["scenes"]] == ["2022-12-31T23:30:00Z", "2023-01-01T01:00:00Z"]


def test_a_wrong_value_is_named(earth: Path) -> None:
    with pytest.raises(InputError, match=r"days = 'local': Input should be 'utc' or 'solar'"):
        job_of(earth, days="local")
    assert job_of(earth).days == "utc"
