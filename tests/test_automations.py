"""The automations of deployments/automations.yaml fire, on a real server, and only when they should."""

import json
import shutil
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from cloud_harness import Alerts, until
from harness import ROOT, Prefect, copy_of_prefect_yaml, kill, processes_of, running_prefect

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

SERVER = {
    "PREFECT_SERVER_SERVICES_LATE_RUNS_ENABLED": "true",
    "PREFECT_SERVER_SERVICES_LATE_RUNS_AFTER_SECONDS": "1",
}
HEARTBEAT = 30
"""Seconds; Prefect takes no fewer."""
WAITS = """
import time
from prefect import flow

@flow
def waits(seconds: float) -> None:
    time.sleep(seconds)
"""


@pytest.fixture(scope="module")
def alerts() -> Iterator[Alerts]:
    with Alerts() as listening:
        yield listening


@pytest.fixture(scope="module")
def prefect(tmp_path_factory: pytest.TempPathFactory, alerts: Alerts) -> Iterator[Prefect]:
    """A server with the automations, whose zombies are given three heartbeats of 30 s instead of 180 s."""
    place = tmp_path_factory.mktemp("automations")
    for name in ("automations.py", "automations.yaml"):
        shutil.copy(ROOT / "deployments" / name, place)
    file = place / "automations.yaml"
    text = file.read_text()
    assert text.count("within: 540") == 1
    file.write_text(text.replace("within: 540", f"within: {3 * HEARTBEAT}"))
    (place / "waits.py").write_text(WAITS)
    (place / "server").mkdir()
    env = json.dumps({"env": {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT)}})
    with running_prefect(place / "server", **SERVER) as running:
        deploy = copy_of_prefect_yaml(place / "deploy").parent
        waits = ("waits.py:waits", "--name", "waits", "--pool", "local", "--tag", "clearyear", "--job-variable", env)
        for folder, words in (
            (place, ("python", "automations.py", alerts.url)),
            (deploy, ("prefect", "--no-prompt", "deploy", "--all")),
            (place, ("prefect", "--no-prompt", "deploy", *waits)),
        ):
            done = running.command(*words, cwd=folder)
            assert done.returncode == 0, done.stdout + done.stderr
        yield running


def test_a_run_that_stopped_without_a_word_is_crashed_and_one_that_works_is_not(
    prefect: Prefect, alerts: Alerts
) -> None:
    """One hangs with its whole machine: its processes are stopped, and the worker that started them sees no end."""
    well, lost = (prefect.submit("waits/waits", seconds=5 * HEARTBEAT) for _ in range(2))
    try:
        for run in (well, lost):
            until(partial(heartbeats, prefect, run), f"no heartbeat: {prefect.log('worker')[-3000:]}")
        stopped = processes_of(lost)
        assert stopped
        kill(lost, signal.SIGSTOP)
        state = prefect.wait_for(lost)
        assert state["type"] == "CRASHED"
        assert state["message"].startswith("Nothing was heard of it for nine minutes")
        [told] = until(lambda: [text for text in alerts.texts if lost in text], "nobody is told")
        assert "is Crashed. Nothing was heard of it" in told
        assert prefect.wait_for(well)["name"] == "Completed"
        assert heartbeats(prefect, well) > 3
        assert not [text for text in alerts.texts if well in text]
    finally:
        kill(lost)


def test_somebody_is_told_of_what_is_incomplete_and_of_nothing_else(
    prefect: Prefect, alerts: Alerts, poisoned: Path, tmp_path: Path
) -> None:
    job = {"scenes": str(poisoned.parent), "period": "2023", "tile_size": 16}
    allowed = prefect.submit(
        "median-composite/on-demand", job={**job, "out": str(tmp_path / "allowed"), "allow_missing": True}
    )
    complete = prefect.submit(
        "median-composite/on-demand", job={**job, "out": str(tmp_path / "complete"), "max_failed_reads": 1}
    )
    assert prefect.wait_for(complete)["name"] == "Completed"
    assert prefect.wait_for(allowed)["name"] == "CompletedWithMissing"
    [told] = until(lambda: [text for text in alerts.texts if allowed in text], "nobody is told")
    assert told.startswith("clearyear: luminance-median 2023--P1Y T31TCJ is CompletedWithMissing. 1 of 12 windows are")
    assert f"/runs/flow-run/{allowed}" in told
    assert not [text for text in alerts.texts if complete in text]


def test_somebody_is_told_of_an_annual_run_that_does_not_begin(prefect: Prefect, alerts: Alerts) -> None:
    prefect.post("work_pools/", {"name": "nobody", "type": "process"})
    there = prefect.deployment("median-composite/annual")
    kept = {key: there[key] for key in ("flow_id", "entrypoint", "parameter_openapi_schema", "tags")}
    prefect.post("deployments/", {"name": "late", "work_pool_name": "nobody", **kept})
    job = {"scenes": "/nowhere", "out": "/nowhere"}
    late = prefect.submit("median-composite/late", due=datetime.now(UTC) - timedelta(minutes=1), job=job)
    [told] = until(lambda: [text for text in alerts.texts if late in text], "nobody is told")
    assert " is Late. " in told


def heartbeats(prefect: Prefect, run: str) -> int:
    """How many the server has of a run."""
    wanted = {"event": {"name": ["prefect.flow-run.heartbeat"]}, "resource": {"id": [f"prefect.flow-run.{run}"]}}
    found: int = prefect.post("events/filter", {"filter": wanted})["total"]
    return found
