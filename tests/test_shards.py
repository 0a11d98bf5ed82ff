"""Windows computed on a work pool: a real server, a real process worker, and what can happen to a shard."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import random_pixels, write_scene
from harness import BIN, HEARING_SIGINT, PATIENCE, Prefect, kill, processes_of
from runs import finished

PERIOD = "luminance-median/2023--P1Y"
QUICK = {"CLEARYEAR_SHARD_POLL_SECONDS": "0.5"}

pytestmark = pytest.mark.e2e


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Two scenes of 320 × 320 px: 400 windows of 16 px, some seconds of work in one thread."""
    rng = np.random.default_rng(11)
    for month in (2, 7):
        write_scene(tmp_path / "many" / f"T31TCJ_2023{month:02d}15T104441_TCI.tif", random_pixels(rng, (3, 320, 320)))
    return tmp_path / "many"


@pytest.fixture(scope="module")
def nobody(prefect: Prefect) -> str:
    """A work pool without a worker, with a deployment of window-batch."""
    prefect.post("work_pools/", {"name": "nobody", "type": "process"})
    there = prefect.deployment("window-batch/local")
    kept = {key: there[key] for key in ("flow_id", "entrypoint", "parameter_openapi_schema", "tags")}
    prefect.post("deployments/", {"name": "nobody", "work_pool_name": "nobody", **kept})
    return "nobody"


def arguments(scenes: Path, out: Path, pool: str, per_shard: int) -> list[str]:
    job = {"scenes": scenes, "period": 2023, "out": out, "tile-size": 16, "layers": "count,source"}
    shards = {"work-pool": pool, "windows-per-shard": per_shard, "workers": 1}
    return ["run", "--json", *(str(part) for key, value in (job | shards).items() for part in (f"--{key}", value))]


def outcome_of(done: "subprocess.CompletedProcess[str]") -> dict[str, Any]:
    assert done.stdout, done.stderr
    outcome: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return outcome


def written(folder: Path) -> dict[str, bytes]:
    """Tiles and mosaics: all that must not depend on where it was computed."""
    return {p.name: p.read_bytes() for p in sorted(folder.rglob("*.tif"))}


def mtimes(folder: Path) -> dict[str, int]:
    """Of the tiles of finished windows: a window is finished when its record lies there."""
    tiles = folder / "tiles"
    done = [record.stem for record in tiles.glob("*.json")]
    return {p.name: p.stat().st_mtime_ns for stem in done for p in tiles.glob(f"{stem}*.tif")}


def shards_of(prefect: Prefect, folder: Path) -> list[dict[str, Any]]:
    """All flow runs of window-batch for this destination, oldest first."""
    body = {"flows": {"name": {"any_": ["window-batch"]}}, "sort": "EXPECTED_START_TIME_ASC"}
    runs = prefect.post("flow_runs/filter", body)
    return [run for run in runs if run["parameters"]["destination"] == str(folder)]


def wait_until(done: Callable[[], Any], process: "subprocess.Popen[str] | None" = None) -> Any:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if found := done():
            return found
        assert process is None or process.poll() is None, process and process.communicate()
        time.sleep(0.05)
    raise TimeoutError(done)


@pytest.fixture
def begin(prefect: Prefect) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Starts `clearyear` against the server, and does not wait."""
    begun: list[subprocess.Popen[str]] = []

    def start(*words: str, **environment: str) -> "subprocess.Popen[str]":
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
        env = prefect.environment | QUICK | environment
        command = [sys.executable, "-c", HEARING_SIGINT, str(BIN / "clearyear"), *words]
        begun.append(subprocess.Popen(command, env=env, text=True, **pipes))  # type: ignore[call-overload]
        return begun[-1]

    yield start
    for process in begun:
        process.kill()
        process.wait()


def half_way(prefect: Prefect, folder: Path, process: "subprocess.Popen[str] | None" = None) -> dict[str, Any]:
    """The one shard for this destination, once some of its windows are there."""
    wait_until(lambda: len(list((folder / "tiles").glob("*.json"))) >= 5, process)
    [shard] = shards_of(prefect, folder)
    return shard


def test_shards_give_the_same_bytes_as_one_process(prefect: Prefect, scenes: Path, tmp_path: Path) -> None:
    done = prefect.command("clearyear", *arguments(scenes, tmp_path / "out", "local", 6), cwd=tmp_path, **QUICK)
    assert done.returncode == 0, done.stdout + done.stderr + prefect.log("worker")[-3000:]
    finished(scenes, tmp_path / "alone", layers=["count", "source"])
    made = written(tmp_path / "out" / PERIOD)
    assert len(made) == 3 * (12 + 1)  # composite, count and source: the windows' tiles and the mosaic
    assert made == written(tmp_path / "alone" / PERIOD)
    shards = sorted(shards_of(prefect, tmp_path / "out" / PERIOD), key=lambda run: str(run["name"]))
    name = "luminance-median 2023--P1Y T31TCJ"
    assert {(run["name"], run["state_name"]) for run in shards} == {
        (f"{name} x00000_y00000 +5", "Completed"),
        (f"{name} x00032_y00016 +5", "Completed"),
    }
    known = {"product:luminance-median", "period:2023--P1Y", "granule:T31TCJ"}
    assert all(known < set(run["tags"]) for run in shards)
    # From the parent's page to each of its shards, and back by Prefect's own link.
    assert all(run["parent_task_run_id"] for run in shards)
    [parent] = {tag.partition(":")[2] for run in shards for tag in run["tags"] if tag.startswith("clearyear-parent:")}
    assert prefect.api.get(f"flow_runs/{parent}").json()["name"] == name
    shown = prefect.post("artifacts/filter", {"flow_runs": {"id": {"any_": [parent]}}})
    [links] = [artifact["data"] for artifact in shown if artifact["key"] == "shards"]
    for run, windows in zip(shards, ("x00000_y00000 +5", "x00032_y00016 +5"), strict=True):
        assert f"| [{windows}](/runs/flow-run/{run['id']}) | 0 | 1 | ended as Completed: 6 windows computed" in links


def test_a_window_that_cannot_be_computed_is_named_and_not_sent_again(
    prefect: Prefect, scenes: Path, poisoned: Path, tmp_path: Path
) -> None:
    done = prefect.command("clearyear", *arguments(scenes, tmp_path / "out", "local", 12), cwd=tmp_path, **QUICK)
    assert done.returncode == 3, done.stdout + done.stderr
    outcome = outcome_of(done)
    assert (outcome["ok"], outcome["missing"]) == (11, ["x00016_y00016"])
    assert outcome["causes"]["x00016_y00016"].startswith(f"1 of 7 scenes could not be read: {poisoned.stem}")
    [shard] = shards_of(prefect, tmp_path / "out" / PERIOD)
    assert shard["state_name"] == "Failed"
    assert shard["state"]["message"].startswith("1 of 12 windows failed (x00016_y00016: ")


def test_a_killed_shard_is_noticed_and_only_what_it_left_is_sent_again(
    prefect: Prefect, many: Path, tmp_path: Path, begin: Callable[..., "subprocess.Popen[str]"]
) -> None:
    folder = tmp_path / "out" / PERIOD
    parent = begin(*arguments(many, tmp_path / "out", "local", 400))
    first = half_way(prefect, folder, parent)
    kill(first["id"])
    before = mtimes(folder)
    assert 5 <= len(before) < 400
    out, err = parent.communicate(timeout=PATIENCE)
    assert parent.returncode == 0, out + err
    assert {name: stamp for name, stamp in mtimes(folder).items() if name in before} == before
    runs = {run["id"]: run for run in shards_of(prefect, folder)}
    assert [run["state_name"] for run in runs.values()] == ["Crashed", "Completed"]
    sent_again = next(run for run_id, run in runs.items() if run_id != first["id"])["parameters"]["window_ids"]
    assert not {name.removesuffix(".tif").split("_", 2)[2] for name in before} & set(sent_again)
    finished(many, tmp_path / "alone", layers=["count", "source"])
    assert written(folder) == written(tmp_path / "alone" / PERIOD)


@pytest.mark.slow
def test_a_run_whose_parent_was_killed_goes_on_with_the_shards_it_has(
    prefect: Prefect, many: Path, tmp_path: Path, begin: Callable[..., "subprocess.Popen[str]"]
) -> None:
    folder = tmp_path / "out" / PERIOD
    words = arguments(many, tmp_path / "out", "local", 400)
    parent = begin(*words)
    half_way(prefect, folder, parent)
    parent.kill()
    parent.wait()
    again = begin(*words)
    out, err = again.communicate(timeout=PATIENCE)
    assert again.returncode == 0, out + err
    [shard] = shards_of(prefect, folder)
    assert shard["state_name"] == "Completed"


@pytest.mark.slow
def test_repair_on_a_pool_sends_what_is_not_there_and_nothing_else(
    prefect: Prefect, scenes: Path, tmp_path: Path
) -> None:
    finished(scenes, tmp_path / "out", layers=["count", "source"])
    folder = tmp_path / "out" / PERIOD
    whole, before = written(folder), mtimes(folder)
    (folder / "tiles" / "luminance-median_2023--P1Y_x00016_y00000.tif").unlink()
    damaged = folder / "tiles" / "luminance-median_2023--P1Y_x00032_y00016_count.tif"
    damaged.write_bytes(damaged.read_bytes()[:100])
    run = prefect.submit("repair/on-demand", out=str(tmp_path / "out"), work_pool="local")
    state = prefect.wait_for(run)
    assert state["name"] == "Completed", state["message"]
    [shard] = shards_of(prefect, folder)
    assert shard["parameters"]["window_ids"] == ["x00016_y00000", "x00032_y00016"]
    assert shard["state_name"] == "Completed"
    assert written(folder) == whole
    changed = {name for name, stamp in mtimes(folder).items() if before[name] != stamp}
    assert {name.removesuffix(".tif").split("_", 2)[2][:13] for name in changed} == {"x00016_y00000", "x00032_y00016"}
    run_now = prefect.api.get(f"flow_runs/{run}").json()
    assert run_now["name"] == "repair luminance-median 2023--P1Y T31TCJ"
    assert {"clearyear", "repair", "period:2023--P1Y"} < set(run_now["tags"])


@pytest.mark.slow
def test_a_pool_without_a_worker_fails_in_the_end_and_names_the_windows(
    prefect: Prefect, scenes: Path, tmp_path: Path, nobody: str
) -> None:
    limits = {"CLEARYEAR_SHARD_START_SECONDS": "2", "CLEARYEAR_SHARD_TRIES": "2"}
    done = prefect.command(
        "clearyear", *arguments(scenes, tmp_path / "out", nobody, 12), cwd=tmp_path, **QUICK, **limits
    )
    assert done.returncode == 3, done.stdout + done.stderr
    outcome = outcome_of(done)
    assert (outcome["ok"], len(outcome["missing"])) == (0, 12)
    assert "was not started in 2 s (Scheduled), try 2 of 2" in outcome["causes"]["x00000_y00000"]
    runs = shards_of(prefect, tmp_path / "out" / PERIOD)
    assert [run["state_name"] for run in runs] == ["Cancelled", "Cancelled"]


@pytest.mark.slow
def test_cancelling_the_run_cancels_its_shards(prefect: Prefect, many: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out" / PERIOD
    job = {"scenes": str(many), "period": "2023", "out": str(tmp_path / "out"), "layers": ["count", "source"]}
    slow = {"tile_size": 16, "workers": 1, "work_pool": "local", "windows_per_shard": 400}
    parent = prefect.submit("median-composite/on-demand", job=job | slow)
    shard = half_way(prefect, folder)
    prefect.post(f"flow_runs/{parent}/set_state", {"state": {"type": "CANCELLING"}})
    assert prefect.wait_for(parent)["type"] == "CANCELLED"
    assert prefect.wait_for(shard["id"])["type"] == "CANCELLED"
    wait_until(lambda: not processes_of(shard["id"]))
    assert len(mtimes(folder)) < 400


@pytest.mark.slow
def test_ctrl_c_cancels_the_shards(
    prefect: Prefect, scenes: Path, tmp_path: Path, nobody: str, begin: Callable[..., "subprocess.Popen[str]"]
) -> None:
    parent = begin(*arguments(scenes, tmp_path / "out", nobody, 4))
    folder = tmp_path / "out" / PERIOD
    wait_until(lambda: len(shards_of(prefect, folder)) == 3, parent)
    parent.send_signal(signal.SIGINT)
    parent.communicate(timeout=PATIENCE)
    assert parent.returncode == 130
    assert {run["state_name"] for run in shards_of(prefect, folder)} == {"Cancelled"}


def test_a_pool_that_has_no_deployment_is_refused_with_those_that_have(
    prefect: Prefect, scenes: Path, tmp_path: Path, nobody: str
) -> None:
    done = prefect.command("clearyear", *arguments(scenes, tmp_path / "out", "nowhere", 4), cwd=tmp_path, **QUICK)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "The work pool 'nowhere' has no deployments of window-batch" in done.stderr
    assert "local, nobody" in done.stderr
