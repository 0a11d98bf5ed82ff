"""A month of tiles: complete only if all are there, joined without a pixel changed, and said what is absent."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import months
import numpy as np
import pystac
import pytest
import rasterio
from affine import Affine
from conftest import write_scene
from loopback.http import HttpServer
from PIL import Image

from clearyear.cog.geotiff import problems
from clearyear.errors import ClearyearError, InputError
from clearyear.lights.job import VIIRS_TILES, LightsJob
from clearyear.lights.join import join_month
from clearyear.lights.month import Month, downloads_folder, find_month, months_asked, standing
from clearyear.lights.report import MonthReport
from clearyear.lights.tiles import Tile, fetch_tile, without_file
from clearyear.periods import parse_period
from clearyear.scenes.template import months_of

TILES = list(VIIRS_TILES)
STEM = "night-lights_2023-01--P1M"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEARYEAR_RETRIES", "1")
    monkeypatch.setenv("CLEARYEAR_RETRY_SECONDS", "0.005")


@pytest.fixture
def web(web: HttpServer) -> HttpServer:
    """A source of archives, as the Earth Observation Group has it."""
    for name, content in months.files_of("202301").items():
        stem = name.removesuffix(".avg_rade9h.tif")
        inside = {f"{Path(stem).name}.cf_cvg.tif": b"how many", f"{Path(name).name}": content}
        web.files[f"/{stem}.tgz"] = months.tgz(inside)
    return web


def job_of(source: str, out: Path, **changes: Any) -> LightsJob:
    return LightsJob(**{"source": source, "out": str(out), "months": "2023-01", **changes})


def month_of(job: LightsJob) -> Month:
    return find_month(job, months_asked(job)[0])


def run(job: LightsJob) -> MonthReport:
    """One month without Prefect: what the flow does, tile by tile."""
    month = month_of(job)
    if (there := standing(month)) is not None:
        return there
    tiles: list[Tile] = []
    for found in month.found:
        try:
            assert found.entry is not None
            tiles.append(fetch_tile(found.name, found.entry.uri, month.folder, job.member))
        except AssertionError:
            tiles.append(without_file(found))
        except ClearyearError as error:
            tiles.append(without_file(found, error))
    return join_month(month, tiles)


def test_a_complete_month_is_its_tiles_pixel_for_pixel(tmp_path: Path) -> None:
    months.write_month(tmp_path / "in", "202301")
    report = run(job_of(f"{tmp_path}/in/{months.TEMPLATE}", tmp_path / "out"))
    folder = tmp_path / "out" / "night-lights" / "2023-01--P1M"
    assert (report.status, report.n_ok, report.missing) == ("complete", 6, [])
    assert report.mosaic == str(folder / f"{STEM}.tif")
    assert np.array_equal(months.read(report.mosaic), months.world("202301"))
    assert problems(report.mosaic) == []
    with rasterio.open(report.mosaic) as dataset:
        assert dataset.transform.almost_equals(Affine(1.25, 0, -180.625, 0, -1.25, 75.625))
        assert np.isnan(dataset.nodata)
        assert dataset.tags()["CLEARYEAR_TILES"] == "6 of 6"
    item = pystac.Item.from_file(str(folder / f"{STEM}.stac-item.json"))
    assert item.properties["clearyear:complete"] is True
    assert len(item.get_links("derived_from")) == 6
    assert sorted(p.name for p in folder.iterdir()) == sorted(
        [
            "month.json",
            "report.json",
            "missing.csv",
            *(f"{STEM}{end}" for end in (".tif", ".sha256", ".stac-item.json", "_preview.jpg")),
        ]
    )
    assert (folder / "missing.csv").read_text().splitlines() == ["month,tile,status,cause,address,what_to_do"]
    assert not (tmp_path / "out" / "night-lights" / "downloads").exists()


def test_a_month_with_five_tiles_says_which_is_absent(tmp_path: Path) -> None:
    months.write_month(tmp_path / "in", "202301", TILES[:2] + TILES[3:])
    job = job_of(f"{tmp_path}/in/{months.TEMPLATE}", tmp_path / "out")
    report = run(job)
    assert (report.status, report.mosaic, report.missing) == ("incomplete", None, ["75N060E"])
    assert report.sentence().startswith("2023-01: 5 of 6 tiles; 75N060E missing (75N060E: absent: ")
    assert "ask the source" in report.what_to_do()
    folder = tmp_path / "out" / "night-lights" / "2023-01--P1M"
    [row] = csv.DictReader(io.StringIO((folder / "missing.csv").read_text()))
    assert (row["month"], row["tile"], row["status"]) == ("2023-01--P1M", "75N060E", "absent")
    assert json.loads((folder / "report.json").read_text())["status"] == "incomplete"
    assert not list(folder.glob("*.tif"))

    report = run(job.model_copy(update={"allow_missing": True}))
    assert (report.status, report.allowed) == ("incomplete", True)
    assert report.mosaic is not None
    expected = months.world("202301")
    expected[:60, 192:] = np.nan
    assert np.array_equal(months.read(report.mosaic), expected, equal_nan=True)
    with rasterio.open(report.mosaic) as dataset:
        tags = dataset.tags()
    assert (tags["CLEARYEAR_COMPLETE"], tags["CLEARYEAR_MISSING_TILES"]) == ("NO", "75N060E")
    item = json.loads((folder / f"{STEM}.stac-item.json").read_text())
    assert item["properties"]["clearyear:complete"] is False
    assert item["properties"]["clearyear:missing_tiles"] == ["75N060E"]

    # It comes later: the same job completes the month.
    months.write_month(tmp_path / "in", "202301", ["75N060E"])
    report = run(job)
    assert report.status == "complete"
    assert report.mosaic is not None
    assert np.array_equal(months.read(report.mosaic), months.world("202301"))


def test_a_complete_month_is_not_done_again_until_a_tile_changes(tmp_path: Path) -> None:
    months.write_month(tmp_path / "in", "202301")
    job = job_of(f"{tmp_path}/in/{months.TEMPLATE}", tmp_path / "out")
    first = run(job)
    mosaic = Path(first.mosaic or "")
    assert run(job) == first
    whole, stamp = mosaic.read_bytes(), mosaic.stat().st_mtime_ns
    one = tmp_path / "in" / months.name_of("202301", "75N060W")
    gone = one.read_bytes()
    one.unlink()
    assert run(job) == first, "a tile that has gone from the source does not undo a complete month"
    one.write_bytes(gone)  # a new version by its time, the same pixels
    again = run(job)
    assert again.status == "complete"
    assert (mosaic.stat().st_mtime_ns > stamp, months.read(mosaic).tobytes()) == (
        True,
        months.world("202301").tobytes(),
    )
    mosaic.write_bytes(whole[:-1] + b"?")
    assert standing(month_of(job)) is None
    assert run(job).status == "complete"
    assert problems(str(mosaic)) == []


def test_archives_from_the_web_and_only_the_sixth_when_it_comes(web: HttpServer, tmp_path: Path) -> None:
    source = f"{web.url}/{months.TEMPLATE.removesuffix('.avg_rade9h.tif')}.tgz"
    sixth = next(path for path in web.files if "00N060E" in path)
    kept = web.files.pop(sixth)
    job = job_of(source, tmp_path / "out")
    assert run(job).missing == ["00N060E"]
    downloads = tmp_path / "out" / "night-lights" / "downloads" / "2023-01--P1M"
    assert sorted(p.name for p in downloads.glob("*.tif")) == sorted(f"{t}.tif" for t in TILES[:5])
    web.files[sixth] = kept
    web.count()
    (downloads / "notes.txt").write_text("somebody else's")
    report = run(job)
    assert report.status == "complete"
    # Beside the first byte of each, which tells its version, only the sixth is fetched.
    assert web.bytes_sent < len(kept) + 100
    assert np.array_equal(months.read(report.mosaic or ""), months.world("202301"))
    assert [p.name for p in downloads.iterdir()] == ["notes.txt"]


def test_a_tile_that_is_damaged_is_missing_and_the_others_are_kept(web: HttpServer, tmp_path: Path) -> None:
    source = f"{web.url}/{months.TEMPLATE.removesuffix('.avg_rade9h.tif')}.tgz"
    path = next(path for path in web.files if "75N180W" in path)
    web.files[path] = months.tgz({"x.avg_rade9h.tif": b"II*\0 no raster"})
    report = run(job_of(source, tmp_path / "out"))
    assert (report.status, report.missing) == ("incomplete", ["75N180W"])
    assert report.causes["75N180W"].startswith("cannot be opened: ")
    assert "mend the cause" in report.what_to_do()


def test_pixels_that_cannot_be_read_are_a_missing_tile(tmp_path: Path) -> None:
    months.write_month(tmp_path / "in", "202301")
    path = tmp_path / "in" / months.name_of("202301", "00N180W")
    path.write_bytes(path.read_bytes()[:-5000])
    job = job_of(f"{tmp_path}/in/{months.TEMPLATE}", tmp_path / "out")
    report = run(job)
    assert (report.status, report.missing, report.mosaic) == ("incomplete", ["00N180W"], None)
    assert run(job.model_copy(update={"allow_missing": True})).missing == ["00N180W"]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        ({"transform": Affine(1.25, 0, -60.625, 0, -1.25, 76.0)}, "off the grid of 75N180W by"),
        ({"transform": Affine(1.25, 0, -180.625, 0, -1.25, 75.625)}, "The file of tile 75N060W covers"),
        ({"transform": Affine(1.2, 0, -60.625, 0, -1.25, 75.625)}, "pixel width 1.2 instead of 1.25"),
        ({"dtype": "float64"}, "dtype float64 instead of float32"),
        ({"crs": "EPSG:4269"}, "CRS EPSG:4269 instead of EPSG:4326"),
        ({"nodata": -1}, "nodata -1.0 instead of None"),
    ],
)
def test_tiles_that_do_not_abut_are_refused_by_name(tmp_path: Path, spoil: Any, said: str) -> None:
    months.write_month(tmp_path / "in", "202301")
    odd = months.tile_bytes(months.world("202301"), "75N060W", **spoil)
    (tmp_path / "in" / months.name_of("202301", "75N060W")).write_bytes(odd)
    report = run(job_of(f"{tmp_path}/in/{months.TEMPLATE}", tmp_path / "out"))
    assert (report.status, report.mosaic) == ("failed", None)
    assert said in report.problem
    assert "75N060W" in report.problem


def test_integers_without_a_mark_for_gaps_ask_for_one(tmp_path: Path) -> None:
    bounds = {"west": (0, 0, 20, 20), "east": (20, 0, 40, 20)}
    pixels = np.arange(400, dtype=np.uint16).reshape(20, 20)
    profile = {"driver": "GTiff", "width": 20, "height": 20, "count": 1, "dtype": "uint16", "crs": "EPSG:4326"}
    with rasterio.open(tmp_path / "202301_west.tif", "w", **profile, transform=Affine(1, 0, 0, 0, -1, 20)) as dataset:
        dataset.write(pixels, 1)
    job = job_of(f"{tmp_path}/{{yyyymm}}_{{tile}}.tif", tmp_path / "out", tiles=bounds, allow_missing=True)
    report = run(job)
    assert report.status == "failed"
    assert "no value of uint16 marks them" in report.problem
    report = run(job.model_copy(update={"nodata": 65535, "overwrite": True}))
    assert report.status == "incomplete"
    found = months.read(report.mosaic or "")
    assert found.shape == (20, 40)
    assert np.array_equal(found[:, :20], pixels)
    assert (found[:, 20:] == 65535).all()


SQUARES = {"west": (0, 0, 20, 20), "east": (20, 0, 40, 20), "below": (20, -20, 40, 0)}


def squares(folder: Path, *names: str, **changes: Any) -> LightsJob:
    """A month of integer tiles without nodata; the last one has other tags, or a mask inside."""
    for name in names:
        left, _, _, top = SQUARES[name]
        pixels = np.arange(800, dtype=np.int16).reshape(2, 20, 20)
        place = Affine(1, 0, left, 0, -1, top)
        path = write_scene(folder / f"202301_{name}.tif", pixels, nodata=None, crs="EPSG:4326", transform=place)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as dataset:
        dataset.descriptions = changes.get("names", ("avg", "cvg"))
        dataset.scales, dataset.offsets = changes.get("scales", (1, 1)), changes.get("offsets", (0, 0))
        if changes.get("masked"):
            dataset.write_mask(np.zeros((20, 20), bool))
    bounds = {name: SQUARES[name] for name in names}
    return job_of(f"{folder}/{{yyyymm}}_{{tile}}.tif", folder / "out", tiles=bounds)


@pytest.mark.parametrize(
    ("odd", "said"),
    [
        ({"names": ("cvg", "avg")}, "east: band 1 is cvg instead of avg"),
        ({"scales": (0.1, 1), "offsets": (5, 0)}, "east: scale and offset × 0.1 + 5, × 1 + 0 instead of × 1 + 0"),
        ({"masked": True}, "Pixels are hidden by a mask in the tiles east"),
    ],
)
def test_tiles_whose_numbers_mean_something_else_are_refused(tmp_path: Path, odd: Any, said: str) -> None:
    squares(tmp_path, "west")
    west = (tmp_path / "202301_west.tif").read_bytes()
    job = squares(tmp_path, "west", "east", **odd)
    (tmp_path / "202301_west.tif").write_bytes(west)
    report = run(job)
    assert (report.status, report.mosaic) == ("failed", None)
    assert said in report.problem


def test_the_mosaic_has_the_scale_of_its_tiles(tmp_path: Path) -> None:
    report = run(squares(tmp_path, "west", scales=(0.1, 2), offsets=(5, 0)))
    with rasterio.open(report.mosaic or "") as dataset:
        assert (dataset.scales, dataset.offsets, dataset.descriptions) == ((0.1, 2), (5, 0), ("avg", "cvg"))


def test_places_where_no_tile_is_expected_are_no_zeros(tmp_path: Path) -> None:
    job = squares(tmp_path, "west", "below")
    report = run(job)
    assert report.status == "failed"
    assert "no value of int16 marks them" in report.problem
    report = run(job.model_copy(update={"nodata": -1, "overwrite": True}))
    assert report.status == "complete"
    assert (months.read(report.mosaic or "")[:20, 20:] == -1).all()


def test_another_jobs_month_is_not_replaced(tmp_path: Path) -> None:
    months.write_month(tmp_path / "in", "202301")
    job = job_of(f"{tmp_path}/in/{months.TEMPLATE}", tmp_path / "out")
    run(job)
    other = job.model_copy(update={"compress": "zstd"})
    with pytest.raises(InputError, match="holds the month of another job: compress differ"):
        month_of(other)
    assert run(other.model_copy(update={"overwrite": True})).status == "complete"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tiles": ["75N060W", "80N"]}, "tiles names 80N"),
        ({"tiles": ["75N060W", "75N060W"]}, "names a tile twice"),
        ({"tiles": {"a": (0, 0, 0, 1)}}, "The bounds of a are empty"),
        ({"tiles": {"../a": (0, 0, 1, 1)}}, "is no name for a tile"),
    ],
)
def test_wrong_jobs(tmp_path: Path, changes: Any, said: str) -> None:
    job = job_of(f"{tmp_path}/in/{months.TEMPLATE}", tmp_path / "out").model_copy(update=changes)
    with pytest.raises(InputError, match=said):
        find_month(job, months_of("2023-01")[0])


def test_a_bucket_needs_a_folder_for_what_is_on_its_way() -> None:
    with pytest.raises(InputError, match="no folder is named"):
        downloads_folder(LightsJob(source="/x", out="gs://bucket/out"))
    with pytest.raises(InputError, match="a folder on this machine"):
        downloads_folder(LightsJob(source="/x", out="gs://bucket/out", downloads="gs://bucket/d"))


def test_the_month_just_published() -> None:
    job = LightsJob(source="/x", out="/y")
    due = parse_period("2024-03-15").start
    assert [m.label for m in months_asked(job, due=due)] == ["2024-01--P1M"]
    assert [m.label for m in months_asked(job.model_copy(update={"lag": 3}), due=due)] == ["2023-11--P1M"]
    assert [m.label for m in months_asked(job.model_copy(update={"lag": 0}), due=due)] == ["2024-02--P1M"]


def test_the_picture_shows_lights_and_not_the_noise(tmp_path: Path) -> None:
    months.write_month(tmp_path / "in", "202301", TILES[:5])
    report = run(job_of(f"{tmp_path}/in/{months.TEMPLATE}", tmp_path / "out", allow_missing=True))
    with Image.open(report.preview or "") as image:
        grey = np.asarray(image.convert("L")).astype(int)
    assert grey.shape == (112, 288)
    assert grey[21, 42] > 200, "a town"
    assert grey[80:, :90].mean() < 60, "a noise round zero"
    assert abs(grey[70:, 200:].mean() - 26) < 6, "the tile that is absent"
