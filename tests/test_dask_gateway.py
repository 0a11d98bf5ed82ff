"""A real Dask Gateway on this machine: its server, its proxy, a cluster behind it, and a composite computed there.

Not among what is locked, since nothing of ours needs it but this test:
``pip install dask-gateway dask-gateway-server``, then ``pytest -m slow tests/test_dask_gateway.py``.
"""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from harness import free_port, running_process, wait_until_answers

pytestmark = pytest.mark.slow

KEPT: list[Any] = []
"""Gateways that are closed: see flows.engines."""

CONFIG = """
c.DaskGateway.backend_class = "dask_gateway_server.backends.local.UnsafeLocalBackend"
c.DaskGateway.address = "127.0.0.1:{private}"
c.Proxy.address = "127.0.0.1:{public}"
c.LocalClusterConfig.worker_cores = 1
# The commands dask-scheduler and dask-worker are gone from distributed.
c.LocalClusterConfig.scheduler_cmd = [{python!r}, "-m", "dask", "scheduler"]
c.LocalClusterConfig.worker_cmd = [{python!r}, "-m", "dask", "worker"]
"""


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[str]:
    """The address of a running one."""
    pytest.importorskip("dask_gateway_server", reason="pip install dask-gateway dask-gateway-server")
    public = free_port()
    config = tmp_path / "gateway.py"
    config.write_text(CONFIG.format(private=free_port(), public=public, python=sys.executable))
    command = [sys.executable, "-m", "dask_gateway_server", "-f", str(config)]
    with running_process("gateway", command, tmp_path, dict(os.environ)) as process:
        address = f"http://127.0.0.1:{public}"
        with httpx.Client(base_url=address) as api:
            wait_until_answers(api, "/api/health", process)
        yield address


def run(scenes: Path, out: Path, **environment: str) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    command = ["run", "--scenes", str(scenes), "--period", "2023", "--out", str(out), "--tile-size", "32", "--json"]
    command += ["--runner", "dask" if environment else "threads"]
    variables = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    variables |= {"PREFECT_HOME": str(out.parent / "prefect"), **environment}
    clearyear = [sys.executable, "-c", "import sys; from clearyear.cli import main; main(sys.argv[1:])"]
    done = subprocess.run(
        [*clearyear, *command], env=variables, cwd=out.parent, capture_output=True, text=True, timeout=900
    )
    return done, json.loads(done.stdout)


def digests(out: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in out.rglob("*.tif")}


def test_a_composite_through_a_gateway(gateway: str, scenes: Path, tmp_path: Path) -> None:
    client: Any = pytest.importorskip("dask_gateway")
    with closing(client.Gateway(gateway)) as ours:
        cluster = ours.new_cluster(shutdown_on_close=False)
        KEPT.extend((ours, cluster))
        cluster.scale(2)
        workers = cluster.get_client()
        workers.wait_for_workers(2, timeout=300)
        environment = {"DASK_GATEWAY__ADDRESS": gateway, "DASK_CLUSTER": cluster.name}
        done, said = run(scenes, tmp_path / "gateway", **environment)
        assert (done.returncode, said["status"], said["expected"]) == (0, "complete", 4), done.stderr
        assert "Traceback" not in done.stderr
        again, said = run(scenes, tmp_path / "again", **environment)  # the command's own Prefect is another one now
        assert (again.returncode, said["causes"]) == (0, {}), again.stderr
        computed = workers.run(lambda dask_worker: dask_worker.state.executed_count)
        assert sum(computed.values()) >= 8, "the windows were computed there"
        assert [one.name for one in ours.list_clusters()] == [cluster.name], "whoever started it ends it"

        done, said = run(scenes, tmp_path / "none", **environment | {"DASK_CLUSTER": "another"})
        assert done.returncode == 2, done.stderr
        assert "The Dask cluster 'another' cannot be used" in said["error"]
        workers.close()
        cluster.shutdown()
    _, said = run(scenes, tmp_path / "threads")
    assert digests(tmp_path / "gateway") == digests(tmp_path / "threads")
    assert len(digests(tmp_path / "gateway")) == 5
