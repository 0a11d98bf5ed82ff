"""Night lights as deployments on a real server with a real worker: killed in the middle, run again, nothing lost."""

import json
import os
import signal
import time
from pathlib import Path

import geopandas
import months
import numpy as np
import pytest
from harness import PATIENCE, Prefect
from loopback.http import HttpServer
from shapely.geometry import box

from clearyear.lights.job import VIIRS_TILES, LightsJob

pytestmark = pytest.mark.e2e

STEM = "night-lights/2023-01--P1M/night-lights_2023-01--P1M"


def kill_run(run_id: str) -> int:
    """Kill whatever works for a flow run, as a machine that loses power would; how many processes there were."""
    mark, found = f"PREFECT__FLOW_RUN_ID={run_id}".encode(), 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (process / "environ").read_bytes().split(b"\0"):
                os.kill(int(process.name), signal.SIGKILL)
                found += 1
        except OSError:
            continue
    return found


def test_killed_while_it_fetches_and_run_again(prefect: Prefect, tmp_path: Path) -> None:
    """Four tiles come, two hang; the run is killed; the next asks for the two, joins the month, counts in it."""
    polygons = tmp_path / "p.geojson"
    geopandas.GeoDataFrame({"id": ["a"]}, geometry=[box(-131, 36, -121, 51)], crs="EPSG:4326").to_file(polygons)
    with HttpServer() as web:
        web.files |= {f"/{name}": content for name, content in months.files_of("202301").items()}
        web.fail("GET .*_00N060[EW].* bytes=0-[1-9]", None, times=9, delay=2 * PATIENCE)
        job = {"source": f"{web.url}/{months.TEMPLATE}", "out": str(tmp_path / "out"), "months": "2023-01"}
        run = prefect.submit("night-lights/on-demand", job={**job, "zonal": {"polygons": str(polygons)}})
        downloads = tmp_path / "out" / "night-lights" / "downloads" / "2023-01--P1M"
        end = time.monotonic() + PATIENCE
        while len(list(downloads.glob("*.tif"))) < 4:
            assert time.monotonic() < end, prefect.log("worker")[-3000:]
            time.sleep(0.2)
        assert kill_run(run)
        assert prefect.wait_for(run)["name"] == "Crashed"
        assert not (tmp_path / "out" / f"{STEM}.tif").exists()
        web.calm()
        web.count()
        # A run of its own and no retry: Prefect 3.8's worker says «crashed» a second time some ten seconds after the
        # first, whatever state the run is in by then.
        run = prefect.submit("night-lights/on-demand", job={**job, "zonal": {"polygons": str(polygons)}})
        state = prefect.wait_for(run)
        assert state["name"] == "Completed", state["message"]
        fetched = {
            r.path for r in web.requests if r.headers.get("range", "bytes=0-0") != "bytes=0-0" and r.method == "GET"
        }
    assert {Path(path).name.split("_")[3] for path in fetched if path.endswith(".tif")} == {"00N060E", "00N060W"}
    assert np.array_equal(months.read(tmp_path / "out" / f"{STEM}.tif"), months.world("202301"))
    shown = prefect.post("artifacts/filter", {"flow_runs": {"id": {"any_": [run]}}})
    artifacts = {artifact["key"]: artifact["data"] for artifact in shown}
    assert set(artifacts) == {"months-tiles", "months-summary", "zonal-statistics"}
    [row] = json.loads(artifacts["months-tiles"])
    assert (row["status"], row["what to do"]) == ("complete", "")
    assert "data:image/jpeg;base64," in artifacts["zonal-statistics"]


def test_a_month_with_a_tile_absent_fails_by_name(prefect: Prefect, tmp_path: Path) -> None:
    months.write_month(tmp_path / "in", "202301", list(VIIRS_TILES)[:5])
    job = {"source": f"{tmp_path}/in/{months.TEMPLATE}", "out": str(tmp_path / "out"), "months": "2023-01"}
    run = prefect.submit("night-lights/on-demand", job=job)
    state = prefect.wait_for(run)
    assert state["name"] == "Failed"
    assert state["message"].startswith("0 of 1 months are complete; 2023-01: 5 of 6 tiles; 00N060E missing")
    assert "Traceback" not in prefect.log_of(run)


def test_the_schedule_and_the_form(prefect: Prefect, place: Path) -> None:
    monthly = prefect.deployment("night-lights/monthly")
    [schedule] = monthly["schedules"]
    assert schedule["schedule"] == {"cron": "0 4 20 * *", "timezone": "Etc/UTC", "day_or": True}
    assert not schedule["active"]
    assert monthly["parameters"]["job"]["source"] == f"{place}/lights/{{yyyymm}}_{{tile}}.tif"
    fields = monthly["parameter_openapi_schema"]["definitions"]["LightsJob"]["properties"]
    assert set(fields) == set(LightsJob.model_fields)
    for field, described in fields.items():
        assert described.get("title"), field
        assert "<" not in described.get("description", ""), f"{field}: the form takes this for HTML and leaves it out"
