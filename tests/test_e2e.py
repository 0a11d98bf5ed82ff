"""The deployments of prefect.yaml on a real Prefect server, run by a real process worker."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import oracle
import pytest
import rasterio
from conftest import random_pixels, write_scene
from harness import Prefect, copy_of_prefect_yaml

from clearyear.job import Job

pytestmark = pytest.mark.e2e

PERIOD = "luminance-median/2023--P1Y"


def make_scenes(folder: Path, seed: int) -> list[Path]:
    """Five scenes of 2023 and one of the January after, 50 × 40 px; those of 2023."""
    pixels = random_pixels(np.random.default_rng(seed), (6, 3, 40, 50))
    days = ["20230115", "20230404", "20230601", "20230815", "20231231", "20240105"]
    paths = [folder / f"T31TCJ_{day}T104441_TCI.tif" for day in days]
    for path, scene in zip(paths, pixels, strict=True):
        write_scene(path, scene)
    return paths[:5]


def assert_equals_oracle(outcome_folder: Path, scenes: list[Path]) -> None:
    composite, count, source = oracle.luminance_median(oracle.read_all(scenes))
    for layer, expected in {"": composite, "_count": count[None], "_source": source[None]}.items():
        with rasterio.open(outcome_folder / f"luminance-median_2023--P1Y{layer}.tif") as dataset:
            assert np.array_equal(dataset.read(), expected), layer


def mtimes(folder: Path) -> dict[str, int]:
    return {p.name: p.stat().st_mtime_ns for p in (folder / "tiles").glob("*.tif")}


def changed(folder: Path, before: dict[str, int]) -> set[str]:
    """Ids of the windows whose tiles were written since."""
    names = [name for name, stamp in mtimes(folder).items() if before.get(name) != stamp]
    return {"_".join(Path(name).stem.removesuffix("_count").removesuffix("_source").split("_")[-2:]) for name in names}


def test_a_job_run_on_demand_is_completed_and_right(prefect: Prefect, tmp_path: Path) -> None:
    scenes = make_scenes(tmp_path / "scenes", seed=1)
    job = {"scenes": str(tmp_path / "scenes"), "period": "2023", "out": str(tmp_path), "layers": ["count", "source"]}
    name, parameter = "median-composite/on-demand", f"job={json.dumps({**job, 'tile_size': 16})}"
    done = prefect.command("prefect", "deployment", "run", name, "-p", parameter, "--watch")
    assert done.returncode == 0, done.stdout + prefect.log("worker")[-3000:]
    assert "Completed" in done.stdout
    assert_equals_oracle(tmp_path / PERIOD, scenes)


def test_a_late_annual_run_fails_is_mended_and_retried(prefect: Prefect, tmp_path: Path) -> None:
    """Due in January 2024 and not run since; a scene on disk is damaged, then restored from the backup."""
    scenes, folder = make_scenes(tmp_path / "scenes", seed=2), tmp_path / PERIOD
    damaged, backup, stat = scenes[2], scenes[2].read_bytes(), scenes[2].stat()
    spoil_block(damaged, column=1, row=1)
    os.utime(damaged, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    job = {"scenes": str(tmp_path / "scenes"), "out": str(tmp_path), "layers": ["count", "source"], "tile_size": 16}
    run = prefect.submit("median-composite/annual", due=datetime(2024, 1, 15, 2, tzinfo=UTC), job=job)
    state = prefect.wait_for(run)
    assert state["name"] == "Failed"
    assert state["message"].startswith(
        "1 of 12 windows are not done: 1 missing (x00016_y00016: 1 of 5 scenes could not"
    )
    assert damaged.stem in state["message"]
    assert not list(folder.glob("*.stac-item.json"))
    log = prefect.log_of(run)
    assert "1 of 12 windows are not done" in log
    assert "Traceback" not in log
    assert "Timeout of" not in log
    shown = prefect.post("artifacts/filter", {"flow_runs": {"id": {"any_": [run]}}})
    artifacts = {artifact["key"]: artifact["data"] for artifact in shown}
    assert set(artifacts) == {"run-summary", "missing-tiles", "windows-progress"}
    assert "![tile map](data:image/jpeg;base64," in artifacts["run-summary"]
    assert [row["bounds"] for row in json.loads(artifacts["missing-tiles"])] == ["300160, 4899700, 300320, 4899860"]

    before = mtimes(folder)
    damaged.write_bytes(backup)
    os.utime(damaged, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    done = prefect.command("prefect", "flow-run", "retry", run)
    assert done.returncode == 0, done.stdout + done.stderr
    state = prefect.wait_for(run)
    assert state["name"] == "Completed", state["message"]
    assert changed(folder, before) == {"x00016_y00016"}
    assert_equals_oracle(folder, scenes)


def test_the_command_line_uses_the_server_and_a_worker_repairs(prefect: Prefect, tmp_path: Path) -> None:
    scenes, folder = make_scenes(tmp_path / "scenes", seed=3), tmp_path / PERIOD
    arguments = [
        "--scenes",
        "scenes",
        "--period",
        "2023",
        "--out",
        ".",
        "--tile-size",
        "16",
        "--layers",
        "count,source",
    ]
    done = prefect.command("clearyear", "run", *arguments, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout.splitlines()[-1])
    assert (outcome["status"], outcome["ok"]) == ("complete", 12)
    assert done.stderr == ""
    runs = prefect.post("flow_runs/filter", {"flow_runs": {"deployment_id": {"is_null_": True}}})
    [mine] = [run for run in runs if run["parameters"].get("job", {}).get("scenes") == "scenes"]
    assert mine["state_name"] == "Completed"
    assert mine["name"] == "luminance-median 2023--P1Y T31TCJ"
    assert set(mine["tags"]) == {"product:luminance-median", "period:2023--P1Y", "granule:T31TCJ"}
    assert outcome["mosaic"] in mine["state"]["message"]
    log = [line["message"] for line in prefect.post("logs/filter", {"logs": {"flow_run_id": {"any_": [mine["id"]]}}})]
    assert "0 of 12 windows are there already" in log
    assert sum(line == "Finished in state Completed()" for line in log) >= 12

    before = mtimes(folder)
    tile = folder / "tiles" / "luminance-median_2023--P1Y_x00032_y00000.tif"
    tile.write_bytes(tile.read_bytes()[:100])
    state = prefect.wait_for(prefect.submit("repair/on-demand", out=str(tmp_path)))
    assert state["name"] == "Completed", state["message"]
    assert changed(folder, before) == {"x00032_y00000"}
    assert_equals_oracle(folder, scenes)


def test_annual_is_scheduled_once_a_year_in_its_time_zone(prefect: Prefect, place: Path) -> None:
    annual = prefect.deployment("median-composite/annual")
    [schedule] = annual["schedules"]
    assert schedule["active"]
    assert schedule["schedule"] == {"cron": "0 3 15 1 *", "timezone": "Europe/Berlin", "day_or": True}
    assert annual["parameters"] == {
        "job": {"scenes": str(place / "annual"), "out": str(place / "composites"), "layers": ["count", "source"]}
    }
    # The scheduler is a service of its own in the server: that a schedule is there does not mean that it is served.
    due = prefect.wait_until_scheduled(annual["id"]).astimezone(ZoneInfo("Europe/Berlin"))
    assert (due.month, due.day, due.hour, due.minute) == (1, 15, 3, 0)
    assert due > datetime.now(UTC)


@pytest.mark.parametrize("name", ["median-composite/on-demand", "median-composite/annual"])
def test_the_form_explains_every_field(prefect: Prefect, name: str) -> None:
    schema = prefect.deployment(name)["parameter_openapi_schema"]
    fields = schema["definitions"]["Job"]["properties"]
    assert set(fields) == set(Job.model_fields)
    for field, shown in fields.items():
        assert shown.get("title"), field
        assert shown.get("description"), field
        assert "<" not in shown["description"], f"{field}: the form takes this for HTML and leaves it out"


@pytest.mark.parametrize(
    ("job", "complaint"),
    [
        ({"scenes": "/data", "out": "/out", "perod": "2023"}, "perod"),
        ({"scenes": "/data", "out": "/out", "tile_size": 8}, "8 is less than the minimum"),
        ({"scenes": "/data", "out": "/out", "reducer": "mean"}, "mean"),
        ({"scenes": "/data"}, "'out' is a required property"),
    ],
)
def test_wrong_parameters_are_refused_before_a_run_is_made(
    prefect: Prefect, job: dict[str, Any], complaint: str
) -> None:
    deployment = prefect.deployment("median-composite/on-demand")["id"]
    runs = {"deployments": {"id": {"any_": [deployment]}}}
    before = prefect.post("flow_runs/count", runs)
    answer = prefect.api.post(f"deployments/{deployment}/create_flow_run", json={"parameters": {"job": job}})
    assert answer.is_client_error
    assert complaint in answer.text
    assert prefect.post("flow_runs/count", runs) == before


def test_annual_deployed_without_its_addresses_says_so(prefect: Prefect, place: Path) -> None:
    file = copy_of_prefect_yaml(place / "unset")
    file.write_text(file.read_text().replace("name: annual", "name: unset"))
    done = prefect.command("prefect", "--no-prompt", "deploy", "--name", "unset", cwd=file.parent)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "CLEARYEAR_SCENES" in done.stdout + done.stderr
    unset = prefect.deployment("median-composite/unset")
    assert unset["parameters"] == {"job": {"layers": ["count", "source"]}}
    answer = prefect.api.post(f"deployments/{unset['id']}/create_flow_run", json={})
    assert answer.is_client_error
    assert "'out' is a required property" in answer.text  # scenes may come from a search instead


def spoil_block(path: Path, *, column: int, row: int) -> None:
    """Overwrite one block of a scene with zeros: its size stays."""
    with rasterio.open(path) as dataset:
        name = f"{column}_{row}"
        offset = int(dataset.get_tag_item(f"BLOCK_OFFSET_{name}", "TIFF", bidx=1))
        size = int(dataset.get_tag_item(f"BLOCK_SIZE_{name}", "TIFF", bidx=1))
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(bytes(size))
