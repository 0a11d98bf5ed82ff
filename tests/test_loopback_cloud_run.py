"""The stand-in for Cloud Run does what the service does, by Google's own client through its proxy."""

import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import google.auth
import google_auth_httplib2
import httplib2
import pytest
from google.auth.transport.requests import Request
from googleapiclient import discovery
from googleapiclient.errors import HttpError
from loopback.cloud_run import PROJECT, CloudRun

PARENT = f"projects/{PROJECT}/locations/us-central1"
PATIENCE = 60.0


class Client:
    """Google's client for jobs, as Prefect's worker uses it."""

    def __init__(self, cloud: CloudRun) -> None:
        credentials, self.project = google.auth.default()
        # The proxy comes from the environment, as the worker's does: it is for https, not for the metadata server.
        http = httplib2.Http(ca_certs=cloud.env()["HTTPLIB2_CA_CERTS"])
        authorized = google_auth_httplib2.AuthorizedHttp(credentials, http=http)
        service = discovery.build("run", "v2", http=authorized, static_discovery=True)
        self.jobs: Any = service.projects().locations().jobs()

    def create(self, *command: str, job_id: str = "job", **task: Any) -> None:
        container = {"image": "an/image:1", "command": list(command), **task.pop("container", {})}
        body = {"template": {"template": {"containers": [container], "maxRetries": 0, **task}}}
        self.jobs.create(parent=PARENT, jobId=job_id, body=body).execute()

    def run(self, job_id: str = "job") -> str:
        name: str = self.jobs.run(name=f"{PARENT}/jobs/{job_id}", body={}).execute()["metadata"]["name"]
        return name

    def execution(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.jobs.executions().get(name=name).execute()
        return found

    def ended(self, name: str) -> dict[str, Any]:
        until(lambda: "completionTime" in self.execution(name))
        [condition] = self.execution(name)["conditions"]
        return dict(condition)


def until(holds: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end, "it never comes to hold"
        time.sleep(0.02)


@pytest.fixture
def cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CloudRun]:
    with CloudRun(tmp_path / "run", image={"PATH": "/usr/bin:/bin", "FROM_IMAGE": "yes"}, grace=0.2) as server:
        # google.auth reads these when it is imported, which it is.
        monkeypatch.setattr("google.auth.compute_engine._metadata._GCE_METADATA_HOST", server.address)
        monkeypatch.setattr("google.auth.compute_engine._metadata._NO_GCE_CHECK", False)
        monkeypatch.setenv("GCE_METADATA_IP", server.address)
        monkeypatch.setenv("https_proxy", f"http://{server.address}")
        monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
        monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "no-gcloud"))
        yield server
    assert server.left_over() == []


@pytest.fixture
def client(cloud: CloudRun) -> Client:
    return Client(cloud)


def status_of(call: Callable[[], object]) -> int:
    with pytest.raises(HttpError) as caught:
        call()
    return int(caught.value.resp.status)


def test_identity_comes_from_the_metadata_server(client: Client) -> None:
    assert client.project == PROJECT


def test_a_container_has_its_image_and_its_variables_and_nothing_of_ours(
    client: Client, cloud: CloudRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OURS", "must not be seen")
    cloud.region.secrets["password"] = "xyz"
    env = [
        {"name": "A", "value": "1"},
        {"name": "S", "valueSource": {"secretKeyRef": {"secret": "password", "version": "latest"}}},
    ]
    client.create("env", container={"env": env})
    assert client.ended(client.run())["state"] == "CONDITION_SUCCEEDED"
    printed = cloud.logs()
    assert {"A=1", "S=xyz", "FROM_IMAGE=yes", "CLOUD_RUN_JOB=job"} <= set(printed.splitlines())
    assert "OURS" not in printed


def test_life_of_a_job(client: Client, cloud: CloudRun) -> None:
    client.create("true")
    assert status_of(lambda: client.create("true")) == 409
    name = client.run()
    client.ended(name)
    job = client.jobs.get(name=f"{PARENT}/jobs/job").execute()
    assert job["terminalCondition"]["state"] == "CONDITION_SUCCEEDED"
    assert job["latestCreatedExecution"]["name"] == name
    assert [e["name"] for e in client.jobs.executions().list(parent=job["name"]).execute()["executions"]] == [name]
    client.jobs.delete(name=job["name"]).execute()
    assert status_of(lambda: client.jobs.get(name=job["name"]).execute()) == 404
    assert "jobs" not in {k for k, v in client.jobs.list(parent=PARENT).execute().items() if v}
    assert [f"{c.method} {c.status}" for c in cloud.seen(r"POST .*/jobs$")] == ["POST 200", "POST 409"]


@pytest.mark.parametrize(
    ("command", "said"),
    [("exit 3", "Exit code 3."), ("kill -9 $$", "Exit code 137.")],
)
def test_a_container_that_fails_is_a_failed_execution(client: Client, command: str, said: str) -> None:
    client.create("sh", "-c", command)
    condition = client.ended(client.run())
    assert condition["state"] == "CONDITION_FAILED"
    assert condition["message"].endswith(said)


def test_a_failed_container_is_tried_again_where_the_job_says_so(client: Client, cloud: CloudRun) -> None:
    client.create(
        "sh", "-c", "echo attempt $CLOUD_RUN_TASK_ATTEMPT; exit $((1 - CLOUD_RUN_TASK_ATTEMPT))", maxRetries=2
    )
    name = client.run()
    assert client.ended(name)["state"] == "CONDITION_SUCCEEDED"
    assert client.execution(name)["retriedCount"] == 1
    assert "attempt 1" in cloud.logs()
    assert "attempt 2" not in cloud.logs()


DAUGHTER = "setsid sleep 300 & "
"""A process in a session of its own, as Prefect's engine is."""


def test_a_lost_machine_takes_everything_with_it(client: Client, cloud: CloudRun) -> None:
    client.create("sh", "-c", DAUGHTER + "echo up; trap 'echo told' TERM; sleep 300 & wait")
    name = client.run()
    until(lambda: "up" in cloud.logs())
    assert cloud.kill("job") == [name]
    assert client.ended(name)["state"] == "CONDITION_FAILED"
    assert "told" not in cloud.logs()
    assert cloud.left_over() == []


def test_a_timeout_tells_the_first_process_and_then_kills_all(client: Client, cloud: CloudRun) -> None:
    client.create("sh", "-c", DAUGHTER + "trap 'echo told' TERM; while :; do sleep 0.05; done", timeout="1s")
    condition = client.ended(client.run())
    assert condition["message"].endswith("The configured timeout was reached.")
    assert "told" in cloud.logs()
    assert cloud.left_over() == []


def test_deleting_a_job_ends_its_execution(client: Client, cloud: CloudRun) -> None:
    client.create("sh", "-c", "echo up; trap 'echo told; exit 0' TERM; while :; do sleep 0.05; done")
    name = client.run()
    until(lambda: "up" in cloud.logs())
    [execution] = cloud.running()
    client.jobs.delete(name=f"{PARENT}/jobs/job").execute()
    assert execution.ended.wait(PATIENCE)
    assert "told" in cloud.logs()
    assert status_of(lambda: client.execution(name)) == 404


def test_a_cancelled_execution_stays_to_be_read(client: Client, cloud: CloudRun) -> None:
    client.create("sleep", "300", maxRetries=3)
    name = client.run()
    client.jobs.executions().cancel(name=name, body={}).execute()
    assert client.ended(name)["state"] == "CONDITION_FAILED"
    assert client.execution(name)["cancelledCount"] == 1


def test_faults_before_and_after_the_effect(client: Client, cloud: CloudRun) -> None:
    cloud.fail(r"POST .*/jobs$", 429, skip=1)
    cloud.fail(r"POST .*:run$", 503, after=True)
    client.create("true", job_id="first")
    assert status_of(lambda: client.create("true", job_id="second")) == 429
    client.create("true", job_id="second")
    assert status_of(lambda: client.run("second")) == 503
    jobs = client.jobs.list(parent=PARENT).execute()["jobs"]
    assert {j["name"].rpartition("/")[2]: j["executionCount"] for j in jobs} == {"first": 0, "second": 1}


@pytest.mark.parametrize(
    ("task", "complaint"),
    [
        ({"retries": 1}, 'Unknown name "retries"'),
        ({"maxRetries": "many"}, "no number"),
        ({"executionEnvironment": "GEN3"}, "GEN3"),
        ({"timeout": "700000s"}, "168 h"),
        ({"timeout": "10 min"}, "no duration"),
        ({"vpcAccess": {}}, "either a connector or network interfaces"),
        ({"container": {"resources": {"limits": {"cpu": "2", "memory": "16Gi"}}}}, "0.5 to 8 GiB"),
        ({"container": {"resources": {"limits": {"cpu": "3", "memory": "2Gi"}}}}, "none of [1, 2, 4, 6, 8]"),
        ({"container": {"env": [{"name": "A", "value": 1}]}}, "no string"),
        ({"container": {"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]}}, "A stands there twice"),
        ({"container": {"env": [{"name": "CLOUD_RUN_JOB", "value": "1"}]}}, "CLOUD_RUN_JOB is reserved"),
        ({"container": {"image": ""}}, "with an image"),
        ({"job_id": "A_Job"}, "lowercase"),
        ({"job_id": "j" * 64}, "at most 63"),
    ],
)
def test_what_the_service_refuses_is_refused(client: Client, task: dict[str, Any], complaint: str) -> None:
    with pytest.raises(HttpError, match="returned") as caught:
        client.create("true", **task)
    assert caught.value.resp.status == 400
    assert complaint in str(caught.value)


def test_a_secret_that_is_not_there_starts_nothing(client: Client) -> None:
    missing = {"name": "S", "valueSource": {"secretKeyRef": {"secret": "password", "version": "1"}}}
    client.create("true", container={"env": [missing]})
    assert status_of(client.run) == 400


def test_no_other_host_is_reached(cloud: CloudRun) -> None:
    with pytest.raises(OSError, match="403"):
        httplib2.Http(timeout=5).request("https://storage.googleapis.com/")
    assert cloud.refused == ["storage.googleapis.com:443"]


def test_who_does_not_trust_the_authority_gets_no_answer(cloud: CloudRun) -> None:
    with pytest.raises(ssl.SSLError):
        httplib2.Http(timeout=5).request(f"https://run.googleapis.com/v2/{PARENT}/jobs")


def test_a_request_without_its_token_is_refused(cloud: CloudRun) -> None:
    http = httplib2.Http(ca_certs=cloud.env()["HTTPLIB2_CA_CERTS"])
    answer, _ = http.request(f"https://run.googleapis.com/v2/{PARENT}/jobs", headers={"Authorization": "Bearer x"})
    assert answer.status == 401


def test_the_token_is_the_metadata_servers(cloud: CloudRun) -> None:
    credentials, _ = google.auth.default()
    credentials.refresh(Request())  # type: ignore[no-untyped-call]
    http = httplib2.Http(ca_certs=cloud.env()["HTTPLIB2_CA_CERTS"])
    headers = {"Authorization": f"Bearer {credentials.token}"}
    answer, _ = http.request(f"https://run.googleapis.com/v2/{PARENT}/jobs", headers=headers)
    assert answer.status == 200
