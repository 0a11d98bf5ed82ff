"""How large a shard's job is: the plan's word, the user's, or the pool's."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from harness import ROOT
from test_sizing import year

from clearyear.errors import InputError
from clearyear.sizing import job_size

pytestmark = pytest.mark.usefixtures("prefect_server")

TEMPLATES = {
    "cloud-run-v2": ROOT / "deployments" / "cloud_run" / "base-job-template.json",
    "kubernetes": ROOT / "deployments" / "kubernetes" / "base-job-template.json",
}
PLAN = year(10980, 1024)
TOO_LARGE = year(60000, 60000)
"""Its one window's layers are more than the largest Cloud Run job can hold."""


@pytest.fixture
def deployment() -> Callable[..., Any]:
    """Makes a deployment of window-batch on a pool of this type, with these job variables of its own."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate

    from flows.window_batch import window_batch

    def make(kind: str, **variables: str) -> Any:
        template: Path | None = TEMPLATES.get(kind.removesuffix(":push"))
        pool = WorkPoolCreate(name=f"pool-{uuid4()}", type=kind)
        if template:
            pool.base_job_template = json.loads(template.read_text())
        with get_client(sync_client=True) as client:
            client.create_work_pool(pool)
            flow = client.create_flow(window_batch)
            made = client.create_deployment(flow, name=pool.name, work_pool_name=pool.name, job_variables=variables)
            return client.read_deployment(made)

    return make


def size_of(deployment: Any, plan: Any = PLAN, **asked: Any) -> Any:
    from flows.shard_pool import shard_size

    return shard_size(plan, deployment, **{"per_shard": 50, "workers": None, "memory_limit": None, **asked})


@pytest.mark.parametrize("kind", ["cloud-run-v2", "cloud-run-v2:push", "kubernetes"])
def test_it_is_computed_from_the_plan(deployment: Callable[..., Any], kind: str) -> None:
    found, size = size_of(deployment(kind)), job_size(PLAN, joins=False)
    assert found.job_variables == {
        "cpu": str(size.cpu),
        "memory": f"{size.memory_gib}Gi",
        "env.CLEARYEAR_WORKERS": str(size.workers),
    }
    assert found.after_crash == found.job_variables | {"memory": f"{2 * size.memory_gib}Gi"}
    assert found.parameters == {"workers": None, "memory_limit": size.memory_gib << 30}


@pytest.mark.parametrize("variables", [{"cpu": "4"}, {"memory": "16Gi"}, {"cpu": "4", "memory": "16Gi"}], ids=str)
def test_a_deployment_that_says_a_size_is_left_alone(deployment: Callable[..., Any], variables: dict[str, str]) -> None:
    found = size_of(deployment("cloud-run-v2", **variables), workers=3)
    assert (found.parameters, found.job_variables, found.after_crash) == ({"workers": 3, "memory_limit": None}, {}, {})


def test_a_pool_without_sizes_is_left_alone(deployment: Callable[..., Any]) -> None:
    found = size_of(deployment("process"), workers=3)
    assert (found.parameters, found.job_variables, found.after_crash) == ({"workers": 3, "memory_limit": None}, {}, {})


def test_windows_at_once_and_memory_are_the_users_where_he_says_so(deployment: Callable[..., Any]) -> None:
    pool = deployment("cloud-run-v2")
    found = size_of(pool, workers=4)
    assert found.job_variables["cpu"] == "4"
    assert found.parameters["workers"] == 4
    assert size_of(pool, workers=4, per_shard=1).job_variables["cpu"] == "1"
    limited = size_of(pool, workers=4, memory_limit=1_500_000_000)
    assert limited.job_variables["memory"] == "2Gi"
    assert limited.parameters == {"workers": 4, "memory_limit": 1_500_000_000}
    # A limit above what is needed is not paid for.
    generous = size_of(pool, memory_limit=30 << 30)
    assert generous == size_of(pool)


def test_a_window_that_no_job_can_hold_is_refused_on_cloud_run_only(deployment: Callable[..., Any]) -> None:
    with pytest.raises(InputError, match="One window takes"):
        size_of(deployment("cloud-run-v2"), TOO_LARGE)
    assert size_of(deployment("kubernetes"), TOO_LARGE).job_variables == {}
