"""A real Prefect server and a real process worker, for a while, and nothing left of them afterwards."""

import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

from clearyear.console import EMBEDDED

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
PATIENCE = 180.0
"""Seconds after which something is taken to hang; far beyond what anything needs."""

# A shell's background job ignores SIGINT, its children inherit that, and a worker then never stops: it turns SIGTERM
# into SIGINT.
HEARING_SIGINT = "import os, signal, sys; signal.signal(2, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"


@dataclass(frozen=True)
class Prefect:
    """A running server: how to speak with it, as a person does and as a program does."""

    folder: Path
    environment: dict[str, str]
    api: httpx.Client

    def command(self, *arguments: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the virtual environment against this server, and wait for it."""
        return subprocess.run(
            [str(BIN / arguments[0]), *arguments[1:]],
            env=self.environment | environment,
            cwd=cwd or self.folder,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """What the server answers; an error status is an error here."""
        return self.api.post(path, json=body).raise_for_status().json()

    def deployment(self, name: str) -> dict[str, Any]:
        """A deployment, by ``flow/name``."""
        found: dict[str, Any] = self.api.get(f"deployments/name/{name}").raise_for_status().json()
        return found

    def submit(
        self, name: str, *, due: datetime | None = None, job_variables: dict[str, str] | None = None, **parameters: Any
    ) -> str:
        """Ask for a run of a deployment, now or as if it had been due then; returns its id."""
        details = {"scheduled_time": due.isoformat()} if due else {}
        state = {"type": "SCHEDULED", "state_details": details}
        body = {"parameters": parameters, "state": state, "job_variables": job_variables or {}}
        run = self.post(f"deployments/{self.deployment(name)['id']}/create_flow_run", body)
        return str(run["id"])

    def retry(self, run_id: str) -> None:
        """What the button Retry does."""
        state = {"type": "SCHEDULED", "name": "AwaitingRetry", "message": "Retry from the UI"}
        answer = self.post(f"flow_runs/{run_id}/set_state", {"state": state, "force": True})
        assert answer["status"] == "ACCEPT", answer

    def wait_for(self, run_id: str) -> dict[str, Any]:
        """The final state of a run."""
        for _ in _until_patience_ends():
            state: dict[str, Any] = self.api.get(f"flow_runs/{run_id}").raise_for_status().json()["state"]
            if state["type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED"):
                return state
        raise TimeoutError(f"flow run {run_id} is {state['name']}; the worker says:\n{self.log('worker')[-3000:]}")

    def log_of(self, run_id: str) -> str:
        """What the UI shows as the log of a run that has ended; it arrives after the state does."""
        body = {"logs": {"flow_run_id": {"any_": [run_id]}}, "sort": "TIMESTAMP_ASC"}
        for _ in _until_patience_ends():
            lines = self.post("logs/filter", body)
            if any(line["name"] == "prefect.flow_runs" and "Finished in state" in line["message"] for line in lines):
                return "\n".join(line["message"] for line in lines)
        raise TimeoutError(f"the log of flow run {run_id} does not end")

    def wait_until_scheduled(self, deployment_id: str) -> datetime:
        """When the next run is due that the scheduler has written down for a deployment."""
        body = {
            "deployments": {"id": {"any_": [deployment_id]}},
            "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}},
            "sort": "EXPECTED_START_TIME_ASC",
        }
        for _ in _until_patience_ends():
            if runs := [run for run in self.post("flow_runs/filter", body) if run["auto_scheduled"]]:
                return datetime.fromisoformat(runs[0]["expected_start_time"])
        raise TimeoutError(f"the scheduler writes no run; the server says:\n{self.log('server')[-3000:]}")

    def log(self, name: str) -> str:
        """What the server or the worker has printed."""
        return (self.folder / f"{name}.log").read_text()


class PatientTransport(httpx.HTTPTransport):
    """Asks again after a 503, which the server answers while SQLite is locked; Prefect's own client does so too."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        for _ in range(20):
            answer = super().handle_request(request)
            if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                break
            answer.close()
            time.sleep(0.5)
        return answer


@contextmanager
def running_prefect(folder: Path, **server_settings: str) -> Iterator[Prefect]:
    """A server on a free port, with its database in ``folder``, and a worker of the pool ``local``."""
    with running_server(folder, **server_settings) as prefect:
        # A worker would make its pool too, but what is deployed to it need not wait for that.
        prefect.post("work_pools/", {"name": "local", "type": "process"})
        with running_worker(prefect, "local", "process"):
            yield prefect
    if left := left_over(folder):
        raise AssertionError(f"processes are left over: {left}")


class Database:
    """What a server makes at its first start takes longer than all else it does then: it is copied for the next."""

    kept: Path | None = None
    """Where the first one's lies; conftest says. None: each makes its own."""

    @classmethod
    def put(cls, database: Path) -> None:
        """Where a server that has not been started yet will look for it, if there is one by now."""
        database.parent.mkdir(parents=True, exist_ok=True)
        if cls.kept and cls.kept.exists():
            shutil.copy(cls.kept, database)

    @classmethod
    def keep(cls, database: Path) -> None:
        """That of a server that has just been started, whole though it runs."""
        if cls.kept is None or cls.kept.exists():
            return
        part = cls.kept.with_name(f"{os.getpid()}.db")
        with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(part)) as target:
            source.backup(target)
        part.replace(cls.kept)


@contextmanager
def running_server(folder: Path, *, password: str = "", **server_settings: str) -> Iterator[Prefect]:
    """A server on a free port, with its database in ``folder``; who has no password, if there is one, is refused."""
    port = free_port()
    environment = _environment(folder, port)
    if password:
        environment["PREFECT_API_AUTH_STRING"] = server_settings["PREFECT_SERVER_API_AUTH_STRING"] = password
    serve = [str(BIN / "prefect"), "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    name, _, secret = password.partition(":")
    client = httpx.Client(
        base_url=f"{environment['PREFECT_API_URL']}/",
        auth=(name, secret) if password else None,
        trust_env=False,
        timeout=60,
        transport=PatientTransport(),
    )
    database = folder / "prefect" / "prefect.db"
    Database.put(database)
    with (
        client as api,
        running_process("server", serve, folder, environment | server_settings) as server,
    ):
        wait_until_answers(api, "health", server)
        Database.keep(database)
        yield Prefect(folder=folder, environment=environment, api=api)


@contextmanager
def running_worker(prefect: Prefect, pool: str, kind: str, **settings: str) -> Iterator[None]:
    """A worker of a pool; its output is the log ``worker``."""
    work = [str(BIN / "prefect"), "worker", "start", "--pool", pool, "--type", kind]
    with running_process("worker", work, prefect.folder, prefect.environment | settings):
        yield


def _environment(folder: Path, port: int) -> dict[str, str]:
    """Ours without whatever Prefect, clearyear or a proxy may be set to."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PREFECT_", "CLEARYEAR_")) and not name.lower().endswith("_proxy")
    }
    tuned = {name: value for name, value in EMBEDDED.items() if "EPHEMERAL" not in name}
    return kept | tuned | {
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_WORKER_QUERY_SECONDS": "1",
    }  # fmt: skip


@contextmanager
def running_process(
    name: str, command: list[str], folder: Path, environment: dict[str, str]
) -> Iterator[subprocess.Popen[str]]:
    """A process that has ended, on its own after SIGINT, when the block has."""
    with (folder / f"{name}.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", HEARING_SIGINT, *command],
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            text=True,
        )
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                raise


def wait_until_answers(api: httpx.Client, path: str, process: subprocess.Popen[str]) -> None:
    """Until a server does, or its process has ended, which is an error."""
    for _ in _until_patience_ends():
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} has ended with {process.returncode}")
        try:
            if api.get(path).is_success:
                return
        except httpx.TransportError:
            pass
    raise TimeoutError(f"{api.base_url}{path} does not answer")


def _until_patience_ends() -> Iterator[None]:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        yield
        time.sleep(0.2)


def free_port() -> int:
    """One that nobody listens at now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def left_over(folder: Path) -> list[str]:
    """Whoever still lives in this Prefect's home, by what was put in his environment; where /proc tells."""
    mark = f"PREFECT_HOME={folder / 'prefect'}".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (process / "environ").read_bytes().split(b"\0"):
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:  # gone, or somebody else's
            continue
    return found


def copy_of_prefect_yaml(folder: Path) -> Path:
    """The project's deployments in a folder of their own, as on a machine without the checkout."""
    folder.mkdir()
    return Path(shutil.copy(ROOT / "prefect.yaml", folder))


def processes_of(run_id: str) -> list[int]:
    """Whoever computes a flow run, by what the worker puts in his environment."""
    found, mark = [], f"PREFECT__FLOW_RUN_ID={run_id}".encode()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (process / "environ").read_bytes().split(b"\0"):
                found.append(int(process.name))
        except OSError:  # gone, or somebody else's
            continue
    return found


def kill(run_id: str, number: signal.Signals = signal.SIGKILL) -> None:
    """Send a signal to all of them."""
    for process in processes_of(run_id):
        os.kill(process, number)
