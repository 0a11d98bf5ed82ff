"""The flows night-lights and zonal in this process, with Prefect's own server: states, artifacts, what goes on."""

import json
from pathlib import Path
from typing import Any

import geopandas
import months
import pytest
from click.testing import CliRunner
from shapely.geometry import box

from clearyear.cli import main
from clearyear.lights.job import VIIRS_TILES, LightsJob
from clearyear.lights.tiles import fetch_tile

pytestmark = pytest.mark.usefixtures("prefect_server")

FIVE = list(VIIRS_TILES)[:5]


@pytest.fixture
def polygons(tmp_path: Path) -> Path:
    """Three countries: one bright, one dark, one partly beyond the 75th degree."""
    shapes = {"Bright": box(-131, 36, -121, 51), "Dark": box(0, 5, 30, 20), "North": box(100, 70, 120, 80)}
    path = tmp_path / "countries.geojson"
    geopandas.GeoDataFrame({"id": list(shapes)}, geometry=list(shapes.values()), crs="EPSG:4326").to_file(path)
    return path


def run_flow(job: LightsJob) -> tuple[Any, Any]:
    from flows.night_lights import night_lights

    state = night_lights(job, return_state=True)
    return state, state.result(raise_on_failure=False)


def test_a_span_goes_on_after_a_bad_month_and_is_completed_later(tmp_path: Path, polygons: Path) -> None:
    for month, tiles in (("202301", list(VIIRS_TILES)), ("202302", FIVE), ("202303", list(VIIRS_TILES))):
        months.write_month(tmp_path / "in", month, tiles)
    source = f"{tmp_path}/in/{months.TEMPLATE}"
    zonal: dict[str, Any] = {"polygons": str(polygons), "negatives_are_nodata": True}
    values: dict[str, Any] = {
        "source": source,
        "out": str(tmp_path / "out"),
        "months": "2023-01/2023-03",
        "zonal": zonal,
    }
    state, error = run_flow(LightsJob(**values))
    assert state.name == "Failed"
    assert state.message.startswith("2 of 3 months are complete; 2023-02: 5 of 6 tiles; 00N060E missing")
    outcome = error.outcome
    assert (outcome["ok"], outcome["incomplete"]) == (["2023-01--P1M", "2023-03--P1M"], ["2023-02--P1M"])
    assert outcome["zonal"]["rows"] == 6
    folder = tmp_path / "out" / "night-lights"
    assert (folder / "months_2023-01_2023-03_missing.csv").read_text().count("00N060E") >= 1

    state, outcome = run_flow(LightsJob(**values, allow_missing=True))
    assert state.name == "CompletedWithMissing"
    assert outcome["zonal"]["rows"] == 9
    assert outcome["zonal"]["incomplete"] == ["2023-02--P1M"]

    months.write_month(tmp_path / "in", "202302", ["00N060E"])
    state, outcome = run_flow(LightsJob(**values))
    assert (state.name, outcome["status"]) == ("Completed", "complete")
    assert outcome["zonal"]["computed"] == 1, "only the table of the month that was joined again"
    series = geopandas.read_parquet(folder / "zonal" / "series_night-lights_countries.parquet")
    bright = series[series["polygon"] == "Bright"]
    assert bright["start"].tolist() == ["2023-01-01", "2023-02-01", "2023-03-01"]
    assert bright["max"].is_monotonic_increasing
    assert (series["min"] >= 0).all()
    assert (folder / "zonal" / "series_night-lights_countries.png").exists()


def test_artifacts_say_what_is_absent_and_what_to_do(tmp_path: Path) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

    months.write_month(tmp_path / "in", "202301", FIVE)
    job = LightsJob(source=f"{tmp_path}/in/{months.TEMPLATE}", out=str(tmp_path / "out"), months="2023-01/2023-02")
    state, _ = run_flow(job)
    with get_client(sync_client=True) as client:
        run_id = ArtifactFilterFlowRunId(any_=[state.state_details.flow_run_id])
        shown = {a.key: a for a in client.read_artifacts(artifact_filter=ArtifactFilter(flow_run_id=run_id))}
    assert set(shown) == {"months-tiles", "months-summary"}
    first, second = json.loads(str(shown["months-tiles"].data))
    assert (first["month"], first["status"], first["75N060W"], first["00N060E"]) == (
        "2023-01",
        "incomplete",
        "ok",
        "ABSENT",
    )
    assert first["what to do"].startswith("ask the source for the tile")
    assert second["what to do"].startswith("not published yet")
    assert "0 of 6" in str(shown["months-summary"].data)


def test_what_is_wrong_with_the_job_fails_before_anything_is_fetched(tmp_path: Path) -> None:
    state, error = run_flow(LightsJob(source=f"{tmp_path}/{{yyyymm}}.tif", out=str(tmp_path / "out"), months="2023-01"))
    assert state.is_failed()
    assert "where the tile's name stands" in str(error)
    assert not (tmp_path / "out").exists()


def test_a_tile_that_breaks_off_is_tried_again_by_its_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tasks.night_lights as module
    from clearyear.errors import ReadError

    months.write_month(tmp_path / "in", "202301")
    tries: dict[str, int] = {}

    def once_broken(name: str, *arguments: Any) -> Any:
        tries[name] = tries.get(name, 0) + 1
        if name == "75N060W" and tries[name] == 1:
            raise ReadError("the line is cut", transient=True)
        return fetch_tile(name, *arguments)

    monkeypatch.setattr(module, "fetch_tile", once_broken)
    monkeypatch.setattr(module.download_tile, "retry_delay_seconds", 0)
    job = LightsJob(source=f"{tmp_path}/in/{months.TEMPLATE}", out=str(tmp_path / "out"), months="2023-01")
    state, _ = run_flow(job)
    assert state.name == "Completed"
    assert tries == dict.fromkeys(VIIRS_TILES, 1) | {"75N060W": 2}


def test_the_verbs(tmp_path: Path, polygons: Path) -> None:
    months.write_month(tmp_path / "in", "202301")
    months.write_month(tmp_path / "in", "202302", FIVE)
    (tmp_path / "job.yaml").write_text(
        f"source: {tmp_path}/in/{months.TEMPLATE}\nout: {tmp_path}/out\nmonths: 2023-01/2023-02\n"
    )
    done = CliRunner().invoke(main, ["lights", str(tmp_path / "job.yaml"), "--json"])
    assert done.exit_code == 3, done.output
    outcome = json.loads(done.stdout.splitlines()[-1])
    assert (outcome["status"], outcome["expected"], len(outcome["ok"])) == ("incomplete", 2, 1)
    assert CliRunner().invoke(main, ["lights", str(tmp_path / "job.yaml"), "--allow-missing"]).exit_code == 0
    arguments = ["zonal", str(tmp_path / "out"), "--polygons", str(polygons), "--out", str(tmp_path / "z")]
    refused = CliRunner().invoke(main, [*arguments, "--stats", "mean,count"])
    assert refused.exit_code == 2
    assert "1 of 2 mosaics are incomplete: night-lights, 2023-02--P1M" in refused.stderr
    done = CliRunner().invoke(main, [*arguments, "--stats", "mean,count", "--allow-missing", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["rows"] == 6
    wrong = CliRunner().invoke(main, [*arguments, "--stats", "average"])
    assert wrong.exit_code == 2
    assert "average" in wrong.stderr
    wrong = CliRunner().invoke(main, ["lights", "--source", "/x", "--out", "/y", "--months", "2023-14"])
    assert wrong.exit_code == 2


def test_the_zonal_flow(tmp_path: Path, polygons: Path) -> None:
    from clearyear.zonal.job import ZonalJob
    from flows.zonal import zonal

    months.write_month(tmp_path / "in", "202301")
    run_flow(LightsJob(source=f"{tmp_path}/in/{months.TEMPLATE}", out=str(tmp_path / "out"), months="2023-01"))
    job = ZonalJob(raster=str(tmp_path / "out"), polygons=str(polygons), out=str(tmp_path / "z"))
    state = zonal(job, return_state=True)
    assert state.name == "Completed"
    assert state.message == "3 rows of 3 polygons in 1 periods"
    mosaic = next((tmp_path / "out").rglob("night-lights_2023-01--P1M.tif"))
    mosaic.write_bytes(mosaic.read_bytes()[:3000])
    state = zonal(job, return_state=True)
    assert state.name == "Failed"
    assert str(state.message).startswith("1 of 1 tables could not be made (2023-01--P1M:")
