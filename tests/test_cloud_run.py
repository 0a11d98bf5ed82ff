"""The composite on Cloud Run, everything real but Google: server, worker, deployments, containers' command, clients."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cloud_harness import BUCKET, Cloud, running_cloud

pytestmark = pytest.mark.e2e

JOB = {"period": "2021-06--P2M", "layers": ["count", "source"], "tile_size": 64}
FOLDER = "luminance-median/2021-06--P2M"
SAME_BYTES = (".tif", ".jpg")
"""Tiles, layers, mosaic and preview: what follows from the scenes alone."""


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with running_cloud(tmp_path_factory.mktemp("cloud")) as running:
        yield running


@pytest.fixture(scope="module")
def scenes(data: Path, cloud: Cloud) -> list[Path]:
    """A real summer's scenes, in the bucket."""
    paths = sorted((data / "s2" / "pt29snd" / "tci").glob("*_2021*.tif"))
    assert len(paths) > 20
    cloud.upload(paths, "tci")
    return paths


@pytest.fixture(scope="module")
def local(cloud: Cloud, scenes: list[Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What `clearyear run` makes on this machine of the same scenes in the bucket: name → data."""
    folder = tmp_path_factory.mktemp("local")
    flags = [f"--{key.replace('_', '-')}={','.join(v) if isinstance(v, list) else v}" for key, v in JOB.items()]
    done = cloud.prefect.command("clearyear", "run", f"--scenes=gs://{BUCKET}/tci", f"--out={folder}", *flags)
    assert done.returncode == 0, done.stderr
    whole = folder / FOLDER
    return {str(p.relative_to(whole)): p.read_bytes() for p in whole.rglob("*") if p.name.endswith(SAME_BYTES)}


def ask(cloud: Cloud, out: str) -> str:
    """`prefect deployment run`, as a user types it; the id of the run."""
    job = json.dumps({**JOB, "scenes": f"gs://{BUCKET}/tci", "out": f"gs://{BUCKET}/{out}"})
    name = "median-composite/on-demand-cloud-run"
    done = cloud.prefect.command("prefect", "deployment", "run", name, "-p", f"job={job}")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.split("UUID: ")[1].split()[0]


def test_a_run_survives_refused_jobs_and_gives_the_bytes_of_a_local_one(cloud: Cloud, local: dict[str, bytes]) -> None:
    cloud.run.fail(r"POST .*/jobs$", 429)
    cloud.run.fail(r"POST .*/jobs$", 503)
    cloud.run.fail(r"POST .*:run$", 503, after=True)
    run = ask(cloud, "out")
    state = cloud.prefect.wait_for(run)
    assert state["name"] == "Completed", state["message"] + cloud.told()
    made = {name: data for name, data in cloud.objects(f"out/{FOLDER}").items() if name.endswith(SAME_BYTES)}
    assert made.keys() == local.keys()
    assert [name for name in local if made[name] != local[name]] == []
    assert [call.status for call in cloud.run.seen(r"POST .*/jobs$")] == [429, 503, 200]
    # The answer to the start was lost, and yet the job was started once.
    assert [call.status for call in cloud.run.seen(r"POST .*:run$")] == [503]
