"""The composite on Cloud Run, everything real but Google: server, worker, deployments, containers' command, clients."""

import copy
import hashlib
import json
from pathlib import Path

import pytest
import yaml
from cloud_harness import BUCKET, DEPLOY, FILES, PASSWORD, REGION, RUNNER, Cloud, assert_same, until

pytestmark = pytest.mark.e2e

JOB = {"period": "2021-06--P2M", "layers": ["count", "source"], "tile_size": 64}
FOLDER = "luminance-median/2021-06--P2M"


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
    return cloud.local({**JOB, "scenes": f"gs://{BUCKET}/tci"}, tmp_path_factory.mktemp("local"))


def job(out: str) -> dict[str, object]:
    return {**JOB, "scenes": f"gs://{BUCKET}/tci", "out": f"gs://{BUCKET}/{out}"}


def ask(cloud: Cloud, out: str) -> str:
    return cloud.ask(job(out))


def pixels(cloud: Cloud, out: str) -> dict[str, bytes]:
    return cloud.pixels(f"{out}/{FOLDER}")


def windows_of(cloud: Cloud, out: str) -> set[str]:
    return cloud.windows(f"{out}/{FOLDER}")


@pytest.fixture(scope="module")
def finished(cloud: Cloud, scenes: list[Path]) -> str:
    """A run whose job was refused twice, and the answer to whose start was lost; its id."""
    cloud.run.calls.clear()
    cloud.run.fail(r"POST .*/jobs$", 429)
    cloud.run.fail(r"POST .*/jobs$", 503)
    cloud.run.fail(r"POST .*:run$", 503, after=True)
    run = ask(cloud, "out")
    state = cloud.prefect.wait_for(run)
    assert state["name"] == "Completed", state["message"] + cloud.told()
    return run


def test_refused_jobs_are_asked_for_again_and_started_once(cloud: Cloud, finished: str) -> None:
    assert [call.status for call in cloud.run.seen(r"POST .*/jobs$")] == [429, 503, 200]
    assert [call.status for call in cloud.run.seen(r"POST .*:run$")] == [503]


def test_the_bytes_are_those_of_a_run_on_this_machine(cloud: Cloud, finished: str, local: dict[str, bytes]) -> None:
    assert len(local) > 10
    assert_same(pixels(cloud, "out"), local)


def test_the_job_is_the_one_that_was_deployed(cloud: Cloud, finished: str) -> None:
    created = cloud.run.seen(r"POST .*/jobs$")[-1]
    assert f"/locations/{REGION}/" in created.path
    task = created.body["template"]["template"]
    [container] = task["containers"]
    assert created.body["labels"]["app"] == created.body["template"]["labels"]["app"] == "clearyear"
    assert container["image"] == DEPLOY["CLEARYEAR_IMAGE"]
    assert container["resources"]["limits"] == {"cpu": "2", "memory": "8Gi"}
    assert container["command"] == ["prefect", "flow-run", "execute"]
    assert (task["serviceAccount"], task["maxRetries"], task["timeout"]) == (RUNNER, 0, "86400s")
    assert "vpcAccess" not in task


def test_the_password_is_in_the_job_only_by_reference(cloud: Cloud, finished: str) -> None:
    for call in cloud.run.calls:
        assert PASSWORD not in json.dumps(call.body)
    env = cloud.run.seen(r"POST .*/jobs$")[-1].body["template"]["template"]["containers"][0]["env"]
    [reference] = [v["valueSource"] for v in env if v["name"] == "PREFECT_API_AUTH_STRING"]
    assert reference == {"secretKeyRef": {"secret": "clearyear-prefect-auth", "version": "latest"}}


def test_results_are_kept_in_the_bucket(cloud: Cloud, finished: str, local: dict[str, bytes]) -> None:
    tiles = [name for name in local if name.startswith("tiles/") and "_count" not in name and "_source" not in name]
    records = cloud.objects("prefect-results")
    # Results of other runs lie here, too.
    place = hashlib.sha256(f"gs://{BUCKET}/out/{FOLDER}".encode()).hexdigest()[:12]
    assert len([name for name in records if "window-median-" in name and place in name]) == len(tiles)
    # Prefect asks for the bucket itself, so that objects' rights alone are not enough for whoever runs the job.
    assert [r for r in cloud.bucket.requests if (r.method, r.path) == ("GET", f"/storage/v1/b/{BUCKET}")]


def test_the_job_is_gone_when_its_run_has_ended(cloud: Cloud, finished: str) -> None:
    until(lambda: not cloud.run.region.jobs, "the worker leaves the job behind")


@pytest.mark.slow
def test_a_lost_machine_is_told_of_and_repaired(cloud: Cloud, finished: str, local: dict[str, bytes]) -> None:
    """Some windows are there, the next hangs, and the machine is lost: nothing of the container can say so."""
    cloud.bucket.fail("POST /upload/", status=None, times=12)  # harmless; then comes the next in line
    cloud.bucket.fail("POST /upload/", status=None, delay=3600, times=1000)
    run = ask(cloud, "lost")
    until(lambda: windows_of(cloud, "lost"), f"no window is ever done: {cloud.told()}")
    execution = cloud.running(run)
    assert execution is not None
    cloud.run.kill(execution.resource["name"])
    cloud.bucket.mend()
    state = cloud.prefect.wait_for(run)
    assert state["type"] == "CRASHED", state
    assert "status code 1" in state["message"]
    name = cloud.prefect.api.get(f"flow_runs/{run}").json()["name"]
    [alert] = until(lambda: [t for t in cloud.alerts.about(name) if run in t], "nobody is told")
    assert alert.startswith(f"clearyear: {name} is Crashed. ")

    done, before = windows_of(cloud, "lost"), cloud.generations(f"lost/{FOLDER}/tiles")
    assert 0 < len(done) < len(windows_of(cloud, "out"))
    state = cloud.prefect.wait_for(cloud.prefect.submit("repair/on-demand-cloud-run", out=f"gs://{BUCKET}/lost"))
    assert state["name"] == "Completed", state["message"] + cloud.told()
    after = cloud.generations(f"lost/{FOLDER}/tiles")
    kept = [name for name in after if before.get(name) == after[name]]
    assert {name.removesuffix(".json") for name in kept if name.endswith(".json")} == done
    assert_same(pixels(cloud, "lost"), local)


@pytest.mark.slow
def test_a_cancelled_run_leaves_no_job(cloud: Cloud, scenes: list[Path]) -> None:
    # Slow, but never stuck: a request that hangs would hold the process for as long as its client waits.
    cloud.bucket.fail(r"GET .*/cancelled/.*\.tif$", status=None, delay=5, times=1000)
    run = ask(cloud, "cancelled")
    execution = until(lambda: cloud.running(run), "it never runs")
    until(lambda: cloud.prefect.api.get(f"flow_runs/{run}").json()["state"]["name"] == "Running", "it never runs")
    done = cloud.prefect.command("prefect", "flow-run", "cancel", run)
    assert done.returncode == 0, done.stdout + done.stderr
    assert cloud.prefect.wait_for(run)["name"] == "Cancelled"
    assert execution.ended.wait(60)
    until(lambda: not cloud.run.region.jobs, "the worker leaves the job behind")
    cloud.bucket.mend()


@pytest.mark.slow
def test_a_job_that_may_not_be_made_is_crashed_and_told_of(cloud: Cloud, scenes: list[Path]) -> None:
    cloud.run.fail(r"POST .*/jobs$", 403)
    run = ask(cloud, "refused")
    state = cloud.prefect.wait_for(run)
    assert state["type"] == "CRASHED"
    assert "403" in state["message"]
    until(lambda: [t for t in cloud.alerts.texts if run in t], "nobody is told")
    assert not cloud.objects("refused")


def test_automations_are_there_once_however_often_they_are_made(cloud: Cloud) -> None:
    done = cloud.prefect.command("python", str(FILES.parent / "automations.py"), cloud.alerts.url)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("updated") == 3
    found = cloud.prefect.post("automations/filter", {})
    assert {a["name"]: a["trigger"]["posture"] for a in found} == {
        "clearyear-incomplete": "Reactive",
        "clearyear-annual-late": "Reactive",
        "clearyear-zombie": "Proactive",
    }
    assert cloud.alerts.url not in json.dumps(found)


def test_annual_is_scheduled_in_its_pool(cloud: Cloud) -> None:
    annual = cloud.prefect.deployment("median-composite/annual-cloud-run")
    assert annual["work_pool_name"] == "cloud-run"
    [schedule] = annual["schedules"]
    assert schedule["schedule"] == {"cron": "0 3 15 1 *", "timezone": "Europe/Berlin", "day_or": True}
    assert annual["parameters"]["job"]["scenes"] == DEPLOY["CLEARYEAR_SCENES"]


@pytest.mark.slow
def test_a_run_takes_the_size_that_its_plan_asks_for(cloud: Cloud, scenes: list[Path]) -> None:
    size = cloud.prefect.command(
        "python", str(FILES / "size.py"), "--scenes", str(scenes[0].parent), "--out", "gs://b/o", "--period", "2021"
    )
    assert size.returncode == 0, size.stderr
    name, flags = "repair/on-demand-cloud-run", size.stdout.split()
    done = cloud.prefect.command("prefect", "deployment", "run", name, "-p", "out=gs://b/none", *flags)
    assert done.returncode == 0, done.stdout + done.stderr
    run = done.stdout.split("UUID: ")[1].split()[0]
    cloud.prefect.wait_for(run)
    [container] = cloud.run.seen(r"POST .*/jobs$")[-1].body["template"]["template"]["containers"]
    assert container["resources"]["limits"] == {"cpu": "1", "memory": "2Gi"}
    env = {variable["name"]: variable.get("value") for variable in container["env"]}
    assert env["CLEARYEAR_WORKERS"] == "1"
    assert env["PREFECT_RESULTS_DEFAULT_STORAGE_BLOCK"] == "gcs-bucket/clearyear-results"


@pytest.fixture(scope="module")
def without(cloud: Cloud) -> None:
    """Deployments of `repair` by one who had not set one of the two variables."""
    document = yaml.safe_load((FILES / "prefect.yaml").read_text())
    [repair] = [d for d in document["deployments"] if d["entrypoint"] == "flows.repair.repair"]
    document["deployments"] = []
    for variable in ("image", "service_account_name"):
        made = copy.deepcopy({**repair, "name": f"without-{variable}"})
        made["work_pool"]["job_variables"][variable] = "{{ CLEARYEAR_NOT_SET }}"
        document["deployments"].append(made)
    place = cloud.prefect.folder / "without"
    place.mkdir()
    (place / "prefect.yaml").write_text(yaml.safe_dump(document))
    done = cloud.prefect.command("prefect", "--no-prompt", "deploy", "--all", cwd=place, **DEPLOY)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.usefixtures("without")
@pytest.mark.parametrize(("left_out", "asked_for"), [("IMAGE", "image"), ("RUNNER", "service_account_name")])
def test_a_run_without_image_or_account_is_refused_before_it_is_made(
    cloud: Cloud, left_out: str, asked_for: str
) -> None:
    """Prefect asks for what is required when a run is made."""
    assert f'{asked_for}: "{{{{ CLEARYEAR_{left_out} }}}}"' in (FILES / "prefect.yaml").read_text()
    deployment = cloud.prefect.deployment(f"repair/without-{asked_for}")["id"]
    body = {"parameters": {"out": "gs://b/o"}}
    answer = cloud.prefect.api.post(f"deployments/{deployment}/create_flow_run", json=body)
    assert answer.is_client_error
    assert f"'{asked_for}' is a required property" in answer.text
