"""Threads, processes and Dask compute the same bytes, fail in the same words, and are found where they are named."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from harness import Database
from runs import plan_of

from clearyear.budget import budget, process_budget
from clearyear.errors import InputError
from clearyear.job import Job, make_job
from clearyear.limits import Limit

GB = 1_000_000_000


def run(job: Job) -> dict[str, Any]:
    from flows.median_composite import median_composite

    found: Any = median_composite(job, return_state=True).result(raise_on_failure=False)
    if isinstance(found, InputError):
        raise found
    return dict(getattr(found, "outcome", found))


def digests(folder: str) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in Path(folder).rglob("*.tif")}


def threads_of_dask() -> Any:
    """A Dask cluster in this process, reached as one elsewhere would be."""
    import distributed

    cluster: Any = distributed.LocalCluster
    about = {"n_workers": 1, "threads_per_worker": 1, "processes": False, "dashboard_address": None}
    return cluster(**about, protocol="tcp://", host="127.0.0.1")


@pytest.fixture
def job(scenes: Path, tmp_path: Path) -> Job:
    values: dict[str, Any] = {"period": "2023", "tile_size": 32, "workers": 2, "allow_missing": True}
    return Job(scenes=str(scenes), out=str(tmp_path / "threads"), layers=["count", "source"], **values)


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize("runner", ["processes", "dask"])
def test_same_bytes_and_same_words(job: Job, poisoned: Path, tmp_path: Path, runner: str) -> None:
    causes = run(job)["causes"]
    other = make_job({**job.model_dump(), "out": str(tmp_path / runner), "runner": runner})
    found = run(other)
    assert found["causes"] == causes
    assert list(causes) == ["x00000_y00000"]
    assert digests(other.out) == digests(job.out)
    assert len(digests(job.out)) == 12  # three tiles and the mosaic, in three layers


@pytest.mark.usefixtures("prefect_server")
def test_a_scheduler_named_in_the_environment(job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with threads_of_dask() as cluster:
        monkeypatch.setenv("CLEARYEAR_DASK_ADDRESS", cluster.scheduler_address)
        found = run(job.model_copy(update={"runner": "dask"}))
        computed = sum(len(worker.state.tasks) + worker.state.executed_count for worker in cluster.workers.values())
    assert found["status"] == "complete"
    assert computed >= 4, "the windows were computed there"


@pytest.mark.slow
@pytest.mark.e2e
def test_a_cluster_serves_one_command_after_another(scenes: Path, tmp_path: Path) -> None:
    """Each brings a Prefect of its own, and the workers must not ask the one before, which is gone."""
    import distributed

    local: Any = distributed.LocalCluster
    about = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": None, "host": "127.0.0.1"}
    variables = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    main = [sys.executable, "-c", "from clearyear.cli import main; main()", "run", "--tile-size", "32", "--json"]
    with local(**about) as cluster:
        variables |= {"PREFECT_HOME": str(tmp_path / "prefect"), "CLEARYEAR_DASK_ADDRESS": cluster.scheduler_address}
        for name in ("first", "second"):
            job = ["--scenes", str(scenes), "--period", "2023", "--out", str(tmp_path / name), "--runner", "dask"]
            done = subprocess.run(
                [*main, *job], env=variables, cwd=tmp_path, capture_output=True, text=True, timeout=600
            )
            assert done.returncode == 0, done.stderr
            assert json.loads(done.stdout)["causes"] == {}


@pytest.mark.usefixtures("prefect_server")
def test_a_gateway_cluster_named_in_the_environment(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """dask-gateway's part is played by a module of ours with its three names; the cluster behind it is real."""
    asked: list[str] = []
    cluster = threads_of_dask()

    class Gateway:
        def connect(self, name: str) -> Any:
            if name != "mine":
                raise ValueError(f"Cluster {name!r} not found")
            asked.append(name)
            return cluster

        def close(self) -> None:
            asked.append("closed")

    module = ModuleType("dask_gateway")
    module.Gateway = Gateway  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "dask_gateway", module)
    monkeypatch.setenv("DASK_CLUSTER", "mine")
    dask = job.model_copy(update={"runner": "dask"})
    assert run(dask)["status"] == "complete"
    assert asked == ["mine", "closed"]
    assert cluster.status.name == "closed", "our side of it"
    monkeypatch.setenv("DASK_CLUSTER", "another")
    with pytest.raises(InputError, match=r"The Dask cluster 'another' cannot be used \(ValueError: Cluster 'another'"):
        run(dask.model_copy(update={"out": f"{job.out}-2"}))


@pytest.mark.usefixtures("prefect_server")
def test_what_cannot_be_reached_is_said(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows.engines import engine

    plan = plan_of()
    allowed = process_budget(plan, plan.windows, workers=1)
    monkeypatch.setenv("CLEARYEAR_DASK_ADDRESS", "tcp://192.0.2.7:8786")
    with (
        pytest.raises(InputError, match=r"workers at tcp://192.0.2.7:8786 cannot reach Prefect"),
        engine("dask", allowed),
    ):
        pass
    monkeypatch.delenv("CLEARYEAR_DASK_ADDRESS")
    monkeypatch.setenv("DASK_CLUSTER", "mine")
    monkeypatch.setitem(sys.modules, "dask_gateway", None)
    with pytest.raises(InputError, match="pip install dask-gateway"), engine("dask", allowed):
        pass
    monkeypatch.setitem(sys.modules, "prefect_dask.task_runners", None)
    with pytest.raises(InputError, match=r"pip install '\.\[dask\]' in clearyear's checkout"), engine("dask", allowed):
        pass


@pytest.mark.usefixtures("prefect_server")
def test_a_process_that_dies_is_a_cause_and_not_the_end() -> None:
    from prefect import flow, task

    from flows.engines import engine
    from flows.steps import causes_of

    plan = plan_of()
    allowed = process_budget(plan, plan.windows, workers=1)

    @task
    def dies() -> None:
        os._exit(3)

    @flow
    def windows_that_die() -> dict[str, str]:
        with engine("processes", allowed) as started:
            return causes_of(started.submit(dies, {}), ["x00000_y00000"])

    causes = windows_that_die()
    assert list(causes) == ["x00000_y00000"]
    assert "the process that computed it was lost (BrokenProcessPool" in causes["x00000_y00000"]


@pytest.mark.usefixtures("prefect_server")
def test_a_cluster_of_our_own_hears_nobody_else() -> None:
    from distributed import Client

    from flows.engines import engine

    plan = plan_of()
    with engine("dask", process_budget(plan, plan.windows, workers=1)) as started:
        address = started.client.scheduler.address  # type: ignore[attr-defined]
        assert address.startswith("tls://127.0.0.1:")
        stranger: Any = Client
        with pytest.raises((OSError, TypeError, ValueError)):
            stranger(address.replace("tls://", "tcp://"), timeout="2 s")


# -- memory --------------------------------------------------------------------------------------------------


def test_each_process_counts_by_itself() -> None:
    plan = plan_of(1024, 1024, 256)
    given: dict[str, Any] = {"workers": None, "cores": 4, "by_gdal": 0, "own_bytes": GB // 4}
    limit = Limit(GB, "the test")
    shared = budget(plan, plan.windows, limit=limit, **given)
    assert shared.workers == 4
    apart = budget(plan, plan.windows, limit=limit, each_bytes=GB // 4, **given)
    assert apart.workers == 2, "a quarter is the parent's, and beside three more no window would fit"
    assert GB * 3 // 4 <= apart.beside_bytes < apart.peak_bytes <= GB
    free = budget(plan, plan.windows, limit=None, each_bytes=GB // 4, **given)
    assert free.workers == 4
    assert free.peak_bytes > 5 * GB // 4
    with pytest.raises(InputError, match="at least"):
        budget(plan, plan.windows, limit=Limit(GB // 2, "the test"), each_bytes=GB // 4, **given)


def test_one_engine_at_a_time() -> None:
    with pytest.raises(InputError, match=r"In the job: the runner dask computes here, a work_pool elsewhere"):
        make_job({"scenes": "/s", "out": "/o", "runner": "dask", "work_pool": "local"})
    with pytest.raises(InputError, match="runner = 'ray'"):
        make_job({"scenes": "/s", "out": "/o", "runner": "ray"})


# -- the server of one command -------------------------------------------------------------------------------

CODE = """
import json, os
from clearyear import console
console.set_up(debug=False)
from prefect import flow, task
from prefect.server.api.server import SubprocessASGIServer
from prefect.task_runners import ProcessPoolTaskRunner

@task
def look():
    from prefect.client.orchestration import get_client
    from prefect.server.api.server import SubprocessASGIServer
    from prefect.settings import PREFECT_API_URL
    with get_client(sync_client=True) as client:
        runs = len(client.read_flow_runs())
    own = len(SubprocessASGIServer._instances)
    return {"pid": os.getpid(), "url": PREFECT_API_URL.value(), "runs": runs, "own": own}

@flow(task_runner=ProcessPoolTaskRunner(max_workers=1))
def there():
    return look.submit().result()

if __name__ == "__main__":  # a process that is started reads this file, too
    from flows.server import start_server

    start_server()
    print(json.dumps({**there(), "ours": SubprocessASGIServer().api_url, "parent": os.getpid()}))
"""


@pytest.mark.e2e
def test_processes_use_the_commands_own_server(tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    environment |= {"PREFECT_HOME": str(tmp_path / "prefect"), "PYTHONWARNINGS": "ignore"}
    Database.put(tmp_path / "prefect" / "prefect.db")
    script = tmp_path / "there.py"
    script.write_text(CODE)
    done = subprocess.run(
        [sys.executable, str(script)], env=environment, capture_output=True, text=True, timeout=300, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["pid"] != said["parent"]
    assert (said["url"], said["runs"], said["own"]) == (said["ours"], 1, 0)
