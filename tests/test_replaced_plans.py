"""A plan that another run replaces amid the windows: nothing is written over what is the other's by then."""

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import random_pixels, write_scene

from clearyear.job import Job
from clearyear.plan import Plan
from clearyear.prepare import make_plan, prepare, put_down

pytestmark = pytest.mark.usefixtures("prefect_server")
Amid = Callable[[Callable[[], Any]], Any]


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """64 windows of 16 px, so that many are left when the first is there."""
    rng = np.random.default_rng(13)
    for month in (2, 7):
        write_scene(tmp_path / f"scenes/T31TCJ_2023{month:02d}15T104441_TCI.tif", random_pixels(rng, (3, 128, 128)))
    return Job(scenes=str(tmp_path / "scenes"), period="2023", out=str(tmp_path / "out"), tile_size=16)


@pytest.fixture
def other(job: Job) -> Plan:
    """What another run has in mind for the same windows."""
    return make_plan(job.model_copy(update={"layers": ["count"]}))


@pytest.fixture
def amid(other: Plan) -> Iterator[Amid]:
    """Does something and puts the other plan down as soon as it has finished a window."""

    def replace() -> None:
        end = time.monotonic() + 60
        while not records(other) and time.monotonic() < end:
            time.sleep(0.001)
        put_down(other, overwrite=True)

    with ThreadPoolExecutor(1) as pool:

        def run(work: Callable[[], Any]) -> Any:
            replaced = pool.submit(replace)
            answer = work()
            replaced.result()
            return answer

        yield run


def records(plan: Plan) -> list[Path]:
    return sorted(Path(plan.destination, "tiles").glob("*.json"))


def test_a_shard_leaves_no_causes_among_the_others_records(job: Job, other: Plan, amid: Amid) -> None:
    from flows.window_batch import window_batch

    plan = prepare(job)
    ids = [window.id for window in plan.windows]
    state = amid(lambda: window_batch(plan.destination, plan.digest, ids, workers=1, return_state=True))
    assert state.is_failed()
    assert "is no longer the one this run began with" in state.message
    assert 1 <= len(records(other)) < 64
    assert {json.loads(record.read_text())["status"] for record in records(other)} == {"ok"}


def test_a_run_leaves_no_report_beside_the_others_plan(job: Job, other: Plan, amid: Amid) -> None:
    from flows.median_composite import median_composite

    state = amid(lambda: median_composite(job.model_copy(update={"workers": 1}), return_state=True))
    assert state.is_failed()
    assert "is no longer the one this run began with" in state.message
    assert 1 <= len(records(other)) < 64
    assert not list(Path(other.destination).glob("report.*"))
