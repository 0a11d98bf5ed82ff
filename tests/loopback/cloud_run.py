"""A loopback stand-in for Cloud Run jobs, so that Prefect's real, unmodified worker can be tested without Google.

The worker speaks only with https://run.googleapis.com. So this is an HTTPS proxy: it answers for that one host with a
certificate of an authority made for the test, and refuses every other, so that no test can reach Google. On the same
port it is the metadata server from which everything on Google Cloud has its identity: no key lies anywhere, here as
there. What a container runs is carried out as a local process (containers.py).

    with CloudRun(folder, image={"PATH": …}) as cloud:
        subprocess.Popen(["prefect", "worker", "start", …], env=os.environ | cloud.env())
"""

import json
import re
import ssl
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qsl

from loopback.cloud_run_api import ApiError, Execution, JsonDict, Region
from loopback.containers import living
from loopback.pki import make_authority

HOST = "run.googleapis.com"
PROJECT = "loopback-project"
ACCOUNT = "worker@loopback-project.iam.gserviceaccount.com"
_TOKEN = "a-token-of-the-loopback"


@dataclass(frozen=True)
class Call:
    """A request to the API and the status of its answer."""

    method: str
    path: str
    status: int
    body: JsonDict


@dataclass
class Fault:
    """A planned misbehaviour; see `CloudRun.fail`."""

    match: str
    status: int
    skip: int
    times: int
    after: bool


class CloudRun:
    """The stand-in, listening on a free port from its construction to `close`.

    `calls` holds every request to the API so far; `refused` the hosts that somebody tried to reach besides it.
    """

    def __init__(self, folder: Path, image: Mapping[str, str], **region: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.calls: list[Call] = []
        self.refused: list[str] = []
        self._authority, self.tls = make_authority(folder, HOST)
        self._faults: list[Fault] = []
        self._lock = threading.Lock()
        self._http = _Server(self)
        self.address = f"127.0.0.1:{self._http.server_port}"
        self.region = Region(folder, {**image, **self.network(), **self.identity()}, **region)
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop answering, and end whatever still runs."""
        self._http.shutdown()
        self._http.server_close()
        for execution in self.region.running():
            execution.cancelled = True
            execution.container.grace = 0
            execution.container.stop()

    def env(self) -> dict[str, str]:
        """The environment variables with which a worker takes this for Google.

        NO_PROXY names this machine: Prefect's websockets go through an HTTPS proxy even where they are not secured.
        """
        return {"HTTPLIB2_CA_CERTS": str(self._authority), **self.network(), **self.identity()}

    def network(self) -> dict[str, str]:
        """What keeps a process from reaching any host but this one and this machine."""
        return {"HTTPS_PROXY": f"http://{self.address}", "NO_PROXY": "127.0.0.1,localhost"}

    def identity(self) -> dict[str, str]:
        """What makes Google's libraries ask here who they are, as they do on Google's machines."""
        return {"GCE_METADATA_HOST": self.address, "GCE_METADATA_IP": self.address}

    def fail(self, match: str, status: int, *, skip: int = 0, times: int = 1, after: bool = False) -> None:
        """Answer with ``status`` the requests in whose "METHOD /path" the regex is found.

        Args:
            match: the regular expression.
            status: what is answered.
            skip: so many requests that match pass unharmed first.
            times: so many are answered so then.
            after: the request takes effect all the same, but its sender is not told.
        """
        with self._lock:
            self._faults.append(Fault(match, status, skip, times, after))

    def kill(self, match: str = "") -> list[str]:
        """Lose the machines of all running executions in whose name the regex is found; returns their names."""
        found = [e for e in self.running() if re.search(match, e.resource["name"])]
        for execution in found:
            execution.container.kill()
        return [execution.resource["name"] for execution in found]

    def running(self) -> list[Execution]:
        """Executions that have not ended, oldest first."""
        return self.region.running()

    def seen(self, match: str) -> list[Call]:
        """Calls in whose "METHOD /path" the regex is found, in order."""
        return [call for call in list(self.calls) if re.search(match, f"{call.method} {call.path}")]

    def logs(self) -> str:
        """What all containers have printed."""
        return "\n".join(f"-- {log}\n{log.read_text()}" for log in sorted(self.region.folder.glob("*/*.log")))

    def left_over(self) -> list[int]:
        """Processes of any container that still live."""
        return [pid for folder in self.region.folder.iterdir() if folder.is_dir() for pid in living(folder.name)]

    def answer(self, method: str, path: str, query: Mapping[str, str], body: JsonDict, token: str) -> tuple[int, Any]:
        """Record and answer a request to the API."""
        fault = self._due(f"{method} {path}")
        try:
            if fault and not fault.after:
                raise ApiError(fault.status, "UNAVAILABLE", "injected")
            if token != f"Bearer {_TOKEN}":
                raise ApiError(401, "UNAUTHENTICATED", "this token is not of the metadata server")
            status, document = 200, self.region.answer(method, path, query, body)
            if fault:
                raise ApiError(fault.status, "UNAVAILABLE", "injected after the effect")
        except ApiError as error:
            status, document = error.code, error.document
        self.calls.append(Call(method, path, status, body))
        return status, document

    def _due(self, line: str) -> Fault | None:
        with self._lock:
            for fault in self._faults:
                if fault.times and re.search(fault.match, line):
                    if fault.skip:
                        fault.skip -= 1
                        return None
                    fault.times -= 1
                    return fault
        return None


class _Server(ThreadingHTTPServer):
    """The listening socket, with a thread for each connection."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, cloud: CloudRun) -> None:
        self.cloud = cloud
        super().__init__(("127.0.0.1", 0), _Front)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report what went wrong, unless it is only a lost connection."""
        if not isinstance(sys.exception(), (ConnectionError, ssl.SSLError)):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    """What both sides of the proxy share."""

    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet: `CloudRun.calls` is the log."""

    def reply(self, status: int, content: bytes, content_type: str, **headers: str) -> None:
        """Send one answer."""
        self.send_response(status)
        for name, value in {"Content-Type": content_type, "Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


class _Front(_Handler):
    """The proxy's own side: CONNECT, and the metadata server."""

    def do_CONNECT(self) -> None:
        self.close_connection = True
        if self.path != f"{HOST}:443":
            self.server.cloud.refused.append(self.path)
            self.send_error(403, "this proxy leads to the loopback only")
            return
        self.send_response(200)
        self.end_headers()
        with self.server.cloud.tls.wrap_socket(self.connection, server_side=True) as secured:
            _Api(secured, self.client_address, self.server)

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        account = "/computeMetadata/v1/instance/service-accounts/default"
        answers: dict[str, object] = {
            "/": "",
            "/computeMetadata/v1/project/project-id": PROJECT,
            "/computeMetadata/v1/universe/universe-domain": "googleapis.com",
            f"{account}/": {"email": ACCOUNT, "scopes": ["https://www.googleapis.com/auth/cloud-platform"]},
            f"{account}/token": {"access_token": _TOKEN, "expires_in": 3600, "token_type": "Bearer"},
        }
        found = answers.get(path)
        status, kind = (404, "text/plain") if found is None else (200, "application/text")
        if isinstance(found, dict):
            found, kind = json.dumps(found), "application/json"
        self.reply(status, str(found or "").encode(), kind, **{"Metadata-Flavor": "Google"})


class _Api(_Handler):
    """The inside of the tunnel: requests to the API."""

    def serve(self) -> None:
        """Answer one request."""
        path, _, query = self.path.partition("?")
        raw = self.rfile.read(int(self.headers["Content-Length"] or 0))
        body, token = json.loads(raw or b"{}"), self.headers["Authorization"] or ""
        status, document = self.server.cloud.answer(self.command, path, dict(parse_qsl(query)), body, token)
        self.reply(status, json.dumps(document).encode(), "application/json; charset=UTF-8")

    do_GET = do_POST = do_PATCH = do_DELETE = serve
