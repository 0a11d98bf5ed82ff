"""A Prefect server with a password, a real Cloud Run worker, a loopback Cloud Run and a loopback bucket."""

import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import yaml
from harness import BIN, PATIENCE, ROOT, Prefect, left_over, running_server, running_worker
from loopback.cloud_run import CloudRun
from loopback.cloud_run_api import Execution
from loopback.gcs import GcsServer

FILES = ROOT / "deployments" / "cloud_run"
POOL = "cloud-run"
PASSWORD = "admin:not-to-be-seen"
RUNNER = "clearyear-runner@loopback-project.iam.gserviceaccount.com"
REGION = "europe-west1"
BUCKET = "clearyear"
SAME_BYTES = (".tif", ".jpg")
DEPLOY = {
    "CLEARYEAR_IMAGE": "europe-west1-docker.pkg.dev/loopback-project/clearyear/clearyear:test",
    "CLEARYEAR_RUNNER": RUNNER,
    "CLEARYEAR_REGION": REGION,
    "CLEARYEAR_SCENES": f"gs://{BUCKET}/scenes",
    "CLEARYEAR_OUT": f"gs://{BUCKET}/composites",
}
"""What a user sets before `prefect deploy`."""


@dataclass(frozen=True)
class Cloud:
    """All that a run on Cloud Run takes."""

    prefect: Prefect
    run: CloudRun
    bucket: GcsServer
    alerts: "Alerts"

    def upload(self, paths: list[Path], prefix: str) -> None:
        """Put files below a prefix of the bucket."""
        for path in paths:
            self.bucket.put(BUCKET, f"{prefix}/{path.name}", path.read_bytes())

    def objects(self, prefix: str) -> dict[str, bytes]:
        """Name below the prefix → data."""
        keys = [key for key in self.bucket.keys(BUCKET) if key.startswith(f"{prefix}/")]
        return {key.removeprefix(f"{prefix}/"): self.bucket.get(BUCKET, key) or b"" for key in keys}

    def running(self, flow_run_id: str) -> Execution | None:
        """The execution that carries a flow run now, if one does."""
        for execution in self.run.running():
            labels = execution.resource["labels"]
            if labels.get("prefect-io-flow-run-id") == flow_run_id:
                return execution
        return None

    def generations(self, prefix: str) -> dict[str, int]:
        """Name below the prefix → which write of it lies there."""
        objects = self.bucket._store.objects(BUCKET)
        return {k.removeprefix(f"{prefix}/"): o.generation for k, o in objects.items() if k.startswith(f"{prefix}/")}

    def ask(self, job: dict[str, Any]) -> str:
        """`prefect deployment run` of a composite, as a user types it; the id of the run."""
        name = "median-composite/on-demand-cloud-run"
        parameter = f"job={json.dumps(job)}"
        done = self.prefect.command("prefect", "deployment", "run", name, "-p", parameter)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.split("UUID: ")[1].split()[0]

    def pixels(self, prefix: str) -> dict[str, bytes]:
        """Tiles, layers, mosaic and preview below a prefix, which follow from the scenes alone."""
        return {name: data for name, data in self.objects(prefix).items() if name.endswith(SAME_BYTES)}

    def windows(self, prefix: str) -> set[str]:
        """Windows with a record, which is written last, by their tiles' names."""
        names = self.objects(f"{prefix}/tiles")
        return {name.removesuffix(".json") for name in names if name.endswith(".json")}

    def local(self, job: dict[str, Any], folder: Path) -> dict[str, bytes]:
        """What `clearyear run` makes on this machine of the scenes in the bucket: name → data."""
        values = {key: ",".join(v) if isinstance(v, list) else v for key, v in job.items()}
        flags = [f"--{key.replace('_', '-')}={value}" for key, value in values.items()]
        done = self.prefect.command("clearyear", "run", f"--out={folder}", *flags)
        assert done.returncode == 0, done.stderr
        [plan] = folder.rglob("plan.json")
        paths = [path for path in plan.parent.rglob("*") if path.name.endswith(SAME_BYTES)]
        return {str(path.relative_to(plan.parent)): path.read_bytes() for path in paths}

    def told(self) -> str:
        """What worker and containers have printed last, for an assertion's message."""
        return f"{self.prefect.log('worker')[-4000:]}\n{self.run.logs()[-4000:]}"


class Alerts:
    """Where the automations tell of what went wrong: a web hook's other end."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        texts = self.texts

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *args: object) -> None:
                """Keep quiet."""

            def do_POST(self) -> None:
                assert self.headers["Content-Type"] == "application/json"
                texts.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["text"])
                self.send_response(204)
                self.end_headers()

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}/hook"
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    def about(self, run_name: str) -> list[str]:
        """What was said of a run."""
        return [text for text in list(self.texts) if run_name in text]


def assert_same(made: dict[str, bytes], wanted: dict[str, bytes]) -> None:
    """Fails by the names of what differs."""
    assert made.keys() == wanted.keys()
    assert [name for name in wanted if made[name] != wanted[name]] == []


def until(holds: Callable[[], Any], what: str) -> Any:
    """The first value that is true of what ``holds`` returns, asked again and again."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if found := holds():
            return found
        time.sleep(0.1)
    raise TimeoutError(what)


@contextmanager
def running_cloud(folder: Path, **server_settings: str) -> Iterator[Cloud]:
    """Everything started, the pool made and the deployments deployed, by the commands of docs/how-to/cloud-run.md."""
    with (
        GcsServer() as bucket,
        Alerts() as alerts,
        CloudRun(folder / "run", image=_image(folder, bucket)) as run,
        running_server(folder, password=PASSWORD, **server_settings) as server,
    ):
        bucket.create_bucket(BUCKET)
        run.region.secrets["clearyear-prefect-auth"] = PASSWORD
        ours = server.environment | run.identity() | bucket.env() | {"CLOUDSDK_CONFIG": str(folder / "no-gcloud")}
        prefect = replace(server, environment=ours)
        set_up(prefect, alerts.url)
        with running_worker(prefect, POOL, "cloud-run-v2", **run.env(), **worker_settings()):
            yield Cloud(prefect=prefect, run=run, bucket=bucket, alerts=alerts)
        assert run.left_over() == []
    if left := left_over(folder):
        raise AssertionError(f"processes are left over: {left}")


def set_up(prefect: Prefect, hook: str) -> None:
    """Pool, blocks, deployments and automations."""
    template = str(FILES / "base-job-template.json")
    commands = [
        ("prefect", "work-pool", "create", POOL, "--type", "cloud-run-v2", "--base-job-template", template),
        ("python", str(FILES / "blocks.py"), f"gs://{BUCKET}/prefect-results"),
        ("python", str(FILES.parent / "automations.py"), hook),
        ("prefect", "--no-prompt", "deploy", "--all", "--prefect-file", "prefect.yaml"),
    ]
    place = prefect.folder / "deploy"
    place.mkdir()
    shutil.copy(FILES / "prefect.yaml", place)
    for command in commands:
        done = prefect.command(*command, cwd=place, **DEPLOY)
        assert done.returncode == 0, done.stdout + done.stderr


def worker_settings() -> dict[str, str]:
    """deployments/cloud_run/worker.env, as a shell reads it."""
    lines = (FILES / "worker.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def deployments() -> list[dict[str, Any]]:
    """What prefect.yaml lists."""
    document = yaml.safe_load((FILES / "prefect.yaml").read_text())
    found: list[dict[str, Any]] = document["deployments"]
    return found


def _image(folder: Path, bucket: GcsServer) -> dict[str, str]:
    """What a container finds: the Dockerfile's environment, as far as it can be had here, and the loopback bucket."""
    home = folder / "image"
    home.mkdir(parents=True)
    kept = {name: os.environ[name] for name in ("NUMBA_CACHE_DIR",) if name in os.environ}
    return {
        **kept,
        **bucket.env(),
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(home),
        "PREFECT_HOME": str(home / "prefect"),
        "DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA": "true",
        "DO_NOT_TRACK": "1",
    }
