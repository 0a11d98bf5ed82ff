"""A loopback stand-in for Google Cloud Storage, so that the real clients can be tested without Google.

One object store answers the JSON API, as google-cloud-storage speaks it, and the reading half of the XML
API, as GDAL /vsigs/ speaks it. Whatever is not imitated (copy, compose, patch, object versions, XML writes)
is refused with 501, which the clients do not retry: a gap fails a test, it cannot pass one.

The server runs in threads of the testing process, so it can answer only while that process does not hold
the GIL. rasterio lets go of it to open and to read, but not to look for sidecar files or to write them when
a dataset is closed. Hence GDAL must be able to tell from a listing, or from GDAL_DISABLE_READDIR_ON_OPEN=
EMPTY_DIR (but not TRUE), that there are none, and must not write to /vsigs/: else both wait for ever.
"""

from __future__ import annotations

import re
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qsl, unquote

from loopback.gcs_api import GcsApi, Reply, Request, error_reply
from loopback.gcs_store import HttpError, ObjectStore


@dataclass
class Fault:
    """A planned misbehaviour; see `GcsServer.fail`."""

    match: str
    status: int | None
    times: int
    truncate: int | None
    delay: float
    drip: float


class _Handler(BaseHTTPRequestHandler):
    """Reads requests from a socket and writes replies to it."""

    server: _HttpServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else header and body, written apart, wait 40 ms for each other

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet: `GcsServer.requests` is the log."""

    def serve(self) -> None:
        """Answer one request."""
        raw_path, _, query = self.path.partition("?")
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        pairs = dict(parse_qsl(query, keep_blank_values=True))
        wanted = self.headers["Range"]
        request = Request(self.command, unquote(raw_path), pairs, wanted, raw_path, self.headers, body)
        reply, truncate = self.server.answer(request)
        # A body sent in chunks was not read (no client needs that), and must not be taken for a request.
        self.close_connection |= truncate is not None or "Transfer-Encoding" in self.headers
        if truncate == 0:
            return
        self.send_response(reply.status)
        self.send_header("Content-Type", reply.content_type)
        if reply.status != 204:
            self.send_header("Content-Length", str(len(reply.body)))
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            body = reply.body[:truncate]
            for byte in body if reply.drip else ():
                self.wfile.write(bytes([byte]))
                time.sleep(reply.drip)
            self.wfile.write(b"" if reply.drip else body)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = serve


class _HttpServer(ThreadingHTTPServer):
    """The listening socket, with a thread for each connection."""

    daemon_threads = True
    request_queue_size = 128  # with the default of 5, a burst of connections has some wait a second

    def __init__(self, answer: Callable[[Request], tuple[Reply, int | None]]) -> None:
        self.answer = answer
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report what went wrong, unless it is only a lost connection."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class GcsServer:
    """The stand-in, listening on a free port from its construction to `close`.

    `requests` holds every request so far, in order of arrival.
    """

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self._store = ObjectStore()
        self._api = GcsApi(self._store)
        self._faults: list[Fault] = []
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._http = _HttpServer(self._answer)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop answering; `get`, `keys` and `requests` still tell what there was."""
        self._closed.set()
        self._http.shutdown()
        self._http.server_close()

    def env(self) -> dict[str, str]:
        """The environment variables that make google-cloud-storage and GDAL /vsigs/ use this server."""
        return {
            "STORAGE_EMULATOR_HOST": self.url,
            "CPL_GS_ENDPOINT": f"{self.url}/",
            "GS_NO_SIGN_REQUEST": "YES",
        }

    def create_bucket(self, name: str) -> None:
        """Add an empty bucket."""
        self._store.create_bucket(name)

    def put(self, bucket: str, key: str, data: bytes) -> None:
        """Write an object, past the network."""
        self._store.put(bucket, {"name": key}, data, {})

    def get(self, bucket: str, key: str) -> bytes | None:
        """An object's data, or None when there is no such object."""
        found = self._store.objects(bucket).get(key)
        return found.data if found else None

    def keys(self, bucket: str) -> list[str]:
        """The keys in a bucket, in order."""
        return list(self._store.objects(bucket))

    def fail(
        self,
        match: str,
        status: int | None = 503,
        times: int = 1,
        truncate: int | None = None,
        delay: float = 0,
        drip: float = 0,
    ) -> None:
        """Spoil the next `times` requests in whose "METHOD /path" (percent-decoded) the regex is found.

        Such a request waits for `delay` seconds, then fails with `status` and has no effect; with a status of
        None it is only late. With `truncate` the status does not count: the request takes effect, but its
        answer breaks off after so many bytes of body, or with 0 never begins: a write is done, its writer
        is not told. With `drip` the answer is right, but comes byte by byte, so many seconds apart.
        """
        with self._lock:
            self._faults.append(Fault(match, status, times, truncate, delay, drip))

    def mend(self) -> None:
        """Forget all misbehaviour that is still planned."""
        with self._lock:
            self._faults.clear()

    def _answer(self, request: Request) -> tuple[Reply, int | None]:
        """Record and answer a request; says also after how many bytes to break off, if at all."""
        with self._lock:
            self.requests.append(request)
            line = f"{request.method} {request.path}"
            fault = next((each for each in self._faults if each.times and re.search(each.match, line)), None)
            if fault:
                fault.times -= 1
        if fault:
            self._closed.wait(fault.delay)
        if self._closed.is_set():
            # Connections outlive the listening socket, but a closed server must not go on answering them.
            raise ConnectionAbortedError
        if fault and fault.truncate is None and fault.status is not None and not fault.drip:
            return error_reply(request, HttpError(fault.status, "backendError", "injected")), None
        reply = self._api.answer(request)
        return (replace(reply, drip=fault.drip), fault.truncate) if fault else (reply, None)
