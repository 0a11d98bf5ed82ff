"""The flow, run for real under one Prefect server: states, artifacts, resume, poisoned windows."""

import hashlib
import json
import time
from pathlib import Path
from threading import Lock
from typing import Any

import pytest

from clearyear.job import Job

pytestmark = pytest.mark.usefixtures("prefect_server")


def run(job: Job) -> Any:
    from flows.median_composite import median_composite

    return median_composite(job, return_state=True)


def digests(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.rglob("*.tif"))}


def mtimes(folder: Path) -> dict[str, int]:
    return {p.name: p.stat().st_mtime_ns for p in sorted((folder / "tiles").glob("*.tif"))}


@pytest.fixture
def job(scenes: Path, tmp_path: Path) -> Job:
    return Job(scenes=str(scenes), period="2023", out=str(tmp_path / "out"), tile_size=16, layers=["count", "source"])


@pytest.fixture
def folder(job: Job) -> Path:
    return Path(job.out) / "luminance-median" / "2023--P1Y"


def test_complete_run_is_completed(job: Job, folder: Path) -> None:
    state = run(job)
    assert state.is_completed(), state.message
    assert state.name == "Completed"
    outcome = state.result()
    assert (outcome["status"], outcome["expected"], outcome["ok"]) == ("complete", 12, 12)
    assert Path(outcome["mosaic"]).exists()
    assert Path(outcome["stac_item"]).exists()
    assert set(outcome["layers"]) == {"count", "source"}
    assert not (folder / ".clearyear-tmp").exists()


def test_second_run_computes_nothing_and_changes_no_byte(job: Job, folder: Path) -> None:
    run(job)
    before, stamps = digests(folder), mtimes(folder)
    assert run(job).is_completed()
    assert digests(folder) == before
    assert mtimes(folder) == stamps


def test_cached_result_whose_tile_is_gone_is_not_trusted(job: Job, folder: Path) -> None:
    run(job)
    before, stamps = digests(folder), mtimes(folder)
    gone = folder / "tiles" / "luminance-median_2023--P1Y_x00016_y00016.tif"
    gone.unlink()
    assert run(job).is_completed()
    assert digests(folder) == before
    changed = {name for name, stamp in mtimes(folder).items() if stamps[name] != stamp}
    assert changed == {p.name for p in (folder / "tiles").glob("*x00016_y00016*.tif")}


def test_new_version_of_a_scene_makes_every_window_stale(job: Job, scenes: Path, folder: Path) -> None:
    run(job)
    stamps = mtimes(folder)
    scene = sorted(scenes.glob("*.tif"))[0]
    data = scene.read_bytes()
    scene.write_bytes(data)  # same pixels, another version: only the file's time tells
    state = run(job)
    assert state.is_failed()
    assert "another plan" in str(state.result(raise_on_failure=False))
    assert run(job.model_copy(update={"overwrite": True})).is_completed()
    assert all(stamps[name] != stamp for name, stamp in mtimes(folder).items())


def test_poisoned_window_fails_by_name_and_publishes_nothing(job: Job, folder: Path, poisoned: Path) -> None:
    state = run(job)
    assert state.is_failed()
    assert state.name == "Failed"
    assert state.message.startswith("1 of 12 windows are not done: 1 missing (x00016_y00016: ")
    assert poisoned.stem in state.message
    outcome = state.result(raise_on_failure=False).outcome
    assert (outcome["status"], outcome["ok"], outcome["missing"]) == ("incomplete", 11, ["x00016_y00016"])
    assert outcome["mosaic"] is None
    assert outcome["stac_item"] is None
    assert not list(folder.glob("*.stac-item.json"))
    assert not (folder / "luminance-median_2023--P1Y.tif").exists()
    report = json.loads((folder / "report.json").read_text())
    assert [s["scene"] for s in report["failed_scenes"]] == [poisoned.stem]
    assert "x00016_y00016,missing," in (folder / "missing.csv").read_text()


def test_poisoned_window_stands_in_the_artifacts(job: Job, folder: Path, poisoned: Path) -> None:
    from prefect.artifacts import Artifact

    state = run(job)
    assert state.is_failed()
    found: Any = Artifact.get("missing-tiles")
    rows = json.loads(str(found.data))
    assert [row["id"] for row in rows] == ["x00016_y00016"]
    assert rows[0]["status"] == "missing"
    assert poisoned.stem in rows[0]["cause"]
    remedies = json.loads((folder / "report.json").read_text())["mend"]
    assert [way.split()[0] for way in remedies] == ["replace", "or", "or,"]
    assert rows[0]["repair"] == "; ".join(remedies[:2])
    wanted = f"1 of 12 windows are not there. What to do: replace {poisoned.stem}, and run the same job again with "
    assert str(found.description).startswith(wanted)
    summary: Any = Artifact.get("run-summary")
    assert str(summary.data).startswith("# luminance-median, 2023--P1Y, T31TCJ: incomplete")
    for figure in ("| windows done | 11 (91.7%) |", "| reads that failed | 1 |", " USD; ", "| bytes read, about | "):
        assert figure in str(summary.data)
    # The same value is in the report that the command line shows.
    report = json.loads((folder / "report.json").read_text())
    cost = report["figures"]["cost"]
    assert f"about {cost['usd']:,.4f} USD; " in str(summary.data)
    assert cost["vcpu_seconds"] == pytest.approx(report["figures"]["window_seconds"], abs=0.01)
    progress: Any = Artifact.get("windows-progress")
    assert float(str(progress.data)) == 91.0
    assert str(progress.description) == "11 of 12 windows are done, 1 is not"


def test_allowed_missing_is_completed_under_its_own_name(job: Job, folder: Path, poisoned: Path) -> None:
    import rasterio

    state = run(job.model_copy(update={"allow_missing": True}))
    assert state.is_completed()
    assert state.name == "CompletedWithMissing"
    outcome = state.result()
    assert outcome["status"] == "incomplete"
    with rasterio.open(outcome["mosaic"]) as mosaic:
        assert mosaic.tags()["CLEARYEAR_COMPLETE"] == "NO"
        assert mosaic.tags()["CLEARYEAR_MISSING_WINDOWS"] == "x00016_y00016"
        pixels = mosaic.read()
    assert not pixels[:, 16:32, 16:32].any()
    assert pixels[:, :16].any()
    item = json.loads(Path(outcome["stac_item"]).read_text())
    assert item["properties"]["clearyear:complete"] is False
    assert item["properties"]["clearyear:missing_windows"] == ["x00016_y00016"]


def test_failed_read_within_the_limit_is_counted_not_hidden(job: Job, folder: Path, poisoned: Path) -> None:
    state = run(job.model_copy(update={"max_failed_reads": 1}))
    assert state.is_completed(), state.message
    outcome = state.result()
    assert (outcome["status"], outcome["failed_reads"]) == ("complete", 1)
    report = json.loads((folder / "report.json").read_text())
    assert report["failed_scenes"][0]["scene"] == poisoned.stem
    # Asking for more afterwards makes that window stale, and only that one.
    state = run(job)
    assert state.is_failed()
    assert state.result(raise_on_failure=False).outcome["missing"] == ["x00016_y00016"]


def test_only_transient_errors_are_tried_again(monkeypatch: pytest.MonkeyPatch, job: Job) -> None:
    from clearyear.errors import StoreError, WindowError
    from clearyear.window import compute_window
    from flows import steps
    from tasks import window_median as module

    tries: dict[str, int] = {}

    def flaky(plan: Any, window: Any, store: Any, **share: Any) -> Any:
        tries[window.id] = tries.get(window.id, 0) + 1
        if window.id == "x00000_y00000" and tries[window.id] < 3:
            raise StoreError("503 from the bucket", transient=True)
        if window.id == "x00016_y00000":
            raise WindowError("3 of 7 scenes could not be read")
        return compute_window(plan, window, store, **share)

    monkeypatch.setattr(module, "compute_window", flaky)
    quick = module.window_median.with_options(retry_delay_seconds=0)
    monkeypatch.setattr(steps, "window_median", quick)
    state = run(job)
    assert state.result(raise_on_failure=False).outcome["missing"] == ["x00016_y00000"]
    assert tries["x00000_y00000"] == 3
    assert tries["x00016_y00000"] == 1
    assert set(tries.values()) == {1, 3}


def test_repair_flow_computes_only_what_is_not_there(job: Job, folder: Path) -> None:
    from flows.repair import repair

    run(job)
    before, stamps = digests(folder), mtimes(folder)
    tiles = sorted((folder / "tiles").glob("*_x*.tif"))
    lost, cut = tiles[0], next(p for p in tiles if "x00032_y00016" in p.name)
    lost.unlink()
    cut.write_bytes(cut.read_bytes()[:100])
    state = repair(str(Path(job.out)), return_state=True)
    assert state.is_completed()
    assert digests(folder) == before
    changed = {name for name, stamp in mtimes(folder).items() if stamps[name] != stamp}
    assert {name.split("_")[2] + "_" + name.split("_")[3].split(".")[0] for name in changed} == {
        "x00000_y00000",
        "x00032_y00016",
    }


# -- batches -------------------------------------------------------------------------------------------------


@pytest.fixture
def batches_of_three(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a plan of thousands of windows is cut, here twelve into four."""
    from flows import steps

    monkeypatch.setattr(steps, "MOST_TASKS", 4)


def task_runs(job: Job, count: int) -> dict[str, str]:
    """Name → state of the task runs of the last flow run for this job, once the server knows so many."""
    import time

    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
    from prefect.client.schemas.sorting import FlowRunSort

    with get_client(sync_client=True) as client:
        [last] = client.read_flow_runs(limit=1, sort=FlowRunSort.START_TIME_DESC)
        assert last.parameters["job"]["out"] == job.out
        for _ in range(600):
            mine = FlowRunFilter(id=FlowRunFilterId(any_=[last.id]))
            found = client.read_task_runs(flow_run_filter=mine)
            if len(found) >= count and all(run.state and run.state.is_final() for run in found):
                break
            time.sleep(0.1)
        return {run.name: str(run.state and run.state.name) for run in found}


def test_cut_into_as_many_batches_as_there_may_be_tasks() -> None:
    from flows.steps import MOST_TASKS, in_batches

    for count in (1, 121, MOST_TASKS, MOST_TASKS + 1, 10_000):
        ids = [str(number) for number in range(count)]
        batches = in_batches(ids)
        assert [i for batch in batches for i in batch] == ids
        assert len(batches) <= MOST_TASKS
        assert {len(batch) for batch in batches[:-1]} <= {len(batches[0])}
        assert len(batches) == count or count > MOST_TASKS


@pytest.mark.usefixtures("batches_of_three")
def test_batches_give_the_same_bytes_and_name_their_windows(
    job: Job, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(job).is_completed()
    names = {"x00000_y00000 +2", "x00048_y00000 +2", "x00032_y00016 +2", "x00016_y00032 +2"}
    runs = task_runs(job, 5)
    assert {name for name in runs if " +" in name} == names
    assert set(runs.values()) == {"Completed"}
    batched = digests(folder)
    monkeypatch.undo()
    alone = job.model_copy(update={"out": str(tmp_path / "alone")})
    assert run(alone).is_completed()
    assert digests(Path(alone.out)) == batched


@pytest.mark.usefixtures("batches_of_three")
def test_poisoned_window_of_a_batch_fails_alone(job: Job, folder: Path, poisoned: Path) -> None:
    state = run(job)
    assert state.message.startswith("1 of 12 windows are not done: 1 missing (x00016_y00016: 1 of 7 scenes could not")
    assert state.result(raise_on_failure=False).outcome["missing"] == ["x00016_y00016"]
    assert {name for name, end in task_runs(job, 4).items() if end == "Failed"} == {"x00048_y00000 +2"}


@pytest.mark.usefixtures("batches_of_three")
def test_a_batch_tried_again_computes_only_what_is_not_done(monkeypatch: pytest.MonkeyPatch, job: Job) -> None:
    from clearyear import batch
    from clearyear.errors import StoreError
    from clearyear.window import compute_window
    from flows import steps
    from tasks import window_median as module

    tries: dict[str, int] = {}

    def flaky(plan: Any, window: Any, store: Any, **share: Any) -> Any:
        tries[window.id] = tries.get(window.id, 0) + 1
        if window.id == "x00016_y00000" and tries[window.id] < 3:
            raise StoreError("503 from the bucket", transient=True)
        return compute_window(plan, window, store, **share)

    monkeypatch.setattr(batch, "compute_window", flaky)
    monkeypatch.setattr(steps, "window_medians", module.window_medians.with_options(retry_delay_seconds=0))
    assert run(job).is_completed()
    assert tries.pop("x00016_y00000") == 3
    assert set(tries.values()) == {1}
    assert len(tries) == 11


@pytest.mark.usefixtures("batches_of_three")
def test_a_window_that_never_ends_does_not_take_its_batch_with_it(monkeypatch: pytest.MonkeyPatch, job: Job) -> None:
    import time

    from clearyear import batch
    from clearyear.window import compute_window
    from flows import steps
    from tasks import window_median as module

    def stuck(plan: Any, window: Any, store: Any, **share: Any) -> Any:
        while window.id == "x00016_y00000":  # as reading scene after scene from a server that drips
            time.sleep(0.01)
        return compute_window(plan, window, store, **share)

    monkeypatch.setattr(batch, "compute_window", stuck)
    monkeypatch.setattr(module, "TIMEOUT_SECONDS", 2)
    monkeypatch.setattr(steps, "window_medians", module.window_medians.with_options(retries=0))
    state = run(job)
    assert state.result(raise_on_failure=False).outcome["missing"] == ["x00016_y00000"]
    assert "x00016_y00000: TimeoutError" in state.message


@pytest.mark.slow
@pytest.mark.parametrize("limit", [None, 1])
def test_the_tag_limits_how_many_windows_are_computed_at_once(
    monkeypatch: pytest.MonkeyPatch, job: Job, limit: int | None
) -> None:
    from prefect.client.orchestration import get_client

    import tasks.window_median as tasks
    from clearyear.window import compute_window
    from tasks.window_median import WINDOW_TAG

    inside, most, lock = 0, 0, Lock()

    def counted(*arguments: Any, **more: Any) -> Any:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        time.sleep(0.5)  # so that the others have begun, if they may
        try:
            return compute_window(*arguments, **more)
        finally:
            with lock:
                inside -= 1

    monkeypatch.setattr(tasks, "compute_window", counted)
    with get_client(sync_client=True) as client:
        if limit:
            client.create_concurrency_limit(tag=WINDOW_TAG, concurrency_limit=limit)
        try:
            assert run(job.model_copy(update={"tile_size": 32, "workers": 3})).is_completed()
        finally:
            if limit:
                client.delete_concurrency_limit_by_tag(tag=WINDOW_TAG)
    assert most == (limit or 3)
