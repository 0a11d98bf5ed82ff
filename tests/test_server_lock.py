"""The server a command starts for itself hears nobody but that command; one with a password tells strangers nothing."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest
from cloud_harness import Cloud
from harness import Database
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Subprotocol

CODE = """
import json, httpx
from clearyear import console
console.set_up(debug=False)
from flows.server import start_server
start_server()
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.server.api.server import SubprocessASGIServer
from prefect.settings import PREFECT_API_AUTH_STRING

@flow
def hello():
    return 5

url = SubprocessASGIServer().api_url
value = hello()
with get_client(sync_client=True) as client:
    runs = len(client.read_flow_runs())
word = PREFECT_API_AUTH_STRING.value()
answers = {}
with httpx.Client(trust_env=False) as stranger:
    for path, headers in (("flow_runs/filter", {}), ("flow_runs/filter", {"Authorization": "Basic YTpi"})):
        answers[f"{path} {headers}"] = stranger.post(f"{url}/{path}", json={}, headers=headers).status_code
    health = stranger.get(f"{url}/health").status_code
print(json.dumps({"value": value, "runs": runs, "answers": answers, "health": health, "url": url, "word": word}))
"""


TAKEN = """
import sys
from prefect.server.api.server import SubprocessASGIServer
drawn = [int(port) for port in sys.argv[1:]]
look = SubprocessASGIServer.find_available_port
SubprocessASGIServer.find_available_port = lambda self: drawn.pop() if drawn else look(self)
"""
"""As if ports had been free when they were drawn, and servers of someone else's answered there by now."""


def without_prefect(home: Path) -> dict[str, str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    return environment | {"PREFECT_HOME": str(home), "PYTHONWARNINGS": "ignore"}


class AnswersAll(BaseHTTPRequestHandler):
    """A server that asks for no word, as Prefect's does unless told to."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"true")

    def log_message(self, *_: Any) -> None:
        """Nobody reads it."""


@pytest.fixture(scope="module")
def unlocked() -> Iterator[str]:
    """The port of such a server."""
    with ThreadingHTTPServer(("127.0.0.1", 0), AnswersAll) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield str(server.server_port)
        server.shutdown()


@pytest.fixture(scope="module")
def embedded(
    cloud: Cloud, unlocked: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], Path, list[str]]:
    """A command with a server of its own: what it said, the folder it was called in, and two other servers' ports."""
    folder = tmp_path_factory.mktemp("embedded")
    for name in ("uvicorn.py", "grp.py"):  # the server's module, and one of Python's own
        (folder / name).write_text("raise SystemExit('a module of the current folder was run')")
    Database.put(folder / "prefect" / "prefect.db")
    locked = cloud.prefect.environment["PREFECT_API_URL"].rpartition(":")[2].removesuffix("/api")
    ports = [locked, unlocked]
    # -P: the command itself is a script, which does not look for modules in the current folder either.
    done = subprocess.run(
        [sys.executable, "-P", "-c", TAKEN + CODE, *ports],
        env=without_prefect(folder / "prefect"),
        capture_output=True,
        text=True,
        timeout=300,
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), folder, ports


@pytest.mark.e2e
def test_strangers_are_not_heard(embedded: tuple[dict[str, Any], Path, list[str]]) -> None:
    said, folder, _ = embedded
    assert (said["value"], said["health"]) == (5, 200)
    assert set(said["answers"].values()) == {401}, said
    assert said["url"].startswith("http://127.0.0.1:")
    assert len(said["word"]) > 30
    for path in folder.rglob("*"):
        assert not path.is_file() or said["word"].encode() not in path.read_bytes(), path


@pytest.mark.e2e
def test_a_port_that_another_server_has_taken_meanwhile_is_left_to_it(
    embedded: tuple[dict[str, Any], Path, list[str]],
) -> None:
    said, _, ports = embedded
    assert said["runs"] == 1
    assert not any(said["url"].endswith(f":{port}/api") for port in ports)


KILLED = """
import os, signal, sys, time
from threading import Thread
from clearyear import console
console.set_up(debug=False)
from flows.server import start_server
from prefect.server.api.server import SubprocessASGIServer
starting = Thread(target=start_server, daemon=True)
starting.start()
while not (server := SubprocessASGIServer._instances.get(None)) or server.server_process is None:
    time.sleep(0.001)
if sys.argv[1] == "ready":
    starting.join()
print(server.server_process.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.e2e
@pytest.mark.parametrize("when", ["starting", "ready"])
def test_the_server_does_not_outlive_a_command_that_is_killed(when: str, tmp_path: Path) -> None:
    environment = without_prefect(tmp_path / "prefect")
    if when == "ready":
        Database.put(tmp_path / "prefect" / "prefect.db")
    with (tmp_path / "pid").open("w") as file:  # a server that lives on would keep a pipe open
        command = [sys.executable, "-c", KILLED, when]
        subprocess.run(command, env=environment, stdout=file, timeout=300, cwd=tmp_path)
    server = int((tmp_path / "pid").read_text())
    if not Path("/proc/self/cmdline").exists():
        pytest.skip("there is no /proc to look in")
    end = time.monotonic() + 60
    while lives(server) and time.monotonic() < end:
        time.sleep(0.2)
    assert not lives(server)


def lives(pid: int) -> bool:
    """Whether that process is there and runs; one that has ended and that nobody has asked about has no command."""
    try:
        return b"uvicorn" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


OPEN = {"/api/health", "/api/ready"}
"""What of the API answers without a password: that it lives. Beside it there are its description and the UI's files."""


@pytest.mark.e2e
def test_a_server_with_a_password_answers_strangers_only_where_nothing_is_told(cloud: Cloud) -> None:
    """Every address the server itself says it has, with every method, as one who has no password asks."""
    url = cloud.prefect.environment["PREFECT_API_URL"].removesuffix("/api")
    with httpx.Client(base_url=url, trust_env=False, timeout=60) as stranger:
        described = stranger.get("/openapi.json").raise_for_status().json()["paths"]
        asked = 0
        for path, methods in described.items():
            target = "/api" + re.sub(r"\{\w+\}", "00000000-0000-0000-0000-000000000000", path.removeprefix("/api"))
            for method in methods:
                answer = stranger.request(method, target, json={})
                assert answer.status_code == 401 or target in OPEN, f"{method} {target}: {answer.status_code}"
                asked += 1
        assert asked > 150
        assert not stranger.get("/ui-settings").json().keys() & {"password", "auth_string"}
    for path in (
        "events/in",
        "events/out",
        "logs/out",
        "task_runs/subscriptions/scheduled",
        "work_pools/x/workers/connect",
    ):
        assert is_hung_up(f"ws{url.removeprefix('http')}/api/{path}"), path


def is_hung_up(address: str) -> bool:
    """Whether a websocket is closed on whoever says a wrong word, before it tells anything."""
    try:
        with connect(address, subprotocols=[Subprotocol("prefect")], proxy=None) as websocket:
            websocket.send(json.dumps({"type": "auth", "token": "wrong"}))
            websocket.recv(timeout=60)
    except (ConnectionClosed, InvalidStatus):
        return True
    return False
