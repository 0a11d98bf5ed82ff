"""A loopback web server with byte ranges, versions, latency and faults, and a count of what was asked of it.

    python tests/loopback/http.py FOLDER [--latency 0.03]

serves a folder from a process of its own: it prints its address, and for each line on stdin the requests and bytes
since the last. In a test `HttpServer` runs on a thread of the testing process, like `GcsServer`.
"""

from __future__ import annotations

import argparse
import asyncio
import email.utils
import hashlib
import json
import re
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import unquote

_REASONS = {
    200: "OK",
    206: "Partial Content",
    404: "Not Found",
    412: "Precondition Failed",
    416: "Range Not Satisfiable",
}
_MODIFIED = email.utils.formatdate(1_672_531_200, usegmt=True)


@dataclass(frozen=True)
class Request:
    """One request as it arrived."""

    method: str
    target: str
    """Path and query, as sent."""
    headers: dict[str, str]
    """Names in lower case."""

    @property
    def path(self) -> str:
        """Percent-decoded, without the query."""
        return unquote(self.target.partition("?")[0])


@dataclass
class Fault:
    """A planned misbehaviour; see `HttpServer.fail`."""

    match: str
    status: int | None
    times: int
    truncate: int | None
    delay: float
    whole: bool
    longer: int
    drip: float


@dataclass
class Reply:
    """Status, headers and the whole body; HEAD and faults cut it when it is sent."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    drip: float = 0
    """Seconds from one byte of the body to the next; 0 sends it at once."""


class HttpServer:
    """The server, listening on a free port of 127.0.0.1 from its construction to `close`.

    Args:
        folder: what lies below / unless `files` has it.
        latency: seconds every answer is late.
        etags: whether answers carry an ETag; without one a version is a date and a size.
        honours_if_match: whether If-Match is obeyed; many servers ignore it.
    """

    def __init__(
        self, folder: Path | None = None, *, latency: float = 0, etags: bool = True, honours_if_match: bool = True
    ) -> None:
        self.folder, self.latency, self.etags, self.honours_if_match = folder, latency, etags, honours_if_match
        self.dates = True
        """Whether answers carry a Last-Modified."""
        self.files: dict[str, bytes] = {}
        """Path with its leading slash → content."""
        self.headers: dict[str, dict[str, str]] = {}
        """Path → further headers of its answers."""
        self.requests: list[Request] = []
        self.bytes_sent = 0
        self.most_at_once = 0
        self._at_once = 0
        self._faults: list[Fault] = []
        self._tags: dict[tuple[str, int, int], str] = {}
        self._loop = asyncio.new_event_loop()
        self._server = self._loop.run_until_complete(
            asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1 << 20, backlog=512)
        )
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop answering; `requests` still tells what there was."""
        self._loop.call_soon_threadsafe(self._end)
        self._thread.join()
        self._loop.close()

    def _end(self) -> None:
        self._server.close()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        asyncio.gather(*tasks, return_exceptions=True).add_done_callback(lambda _: self._loop.stop())

    def fail(
        self,
        match: str,
        status: int | None = 503,
        *,
        times: int = 1,
        truncate: int | None = None,
        delay: float = 0,
        whole: bool = False,
        longer: int = 0,
        drip: float = 0,
    ) -> None:
        """Spoil the next `times` requests in whose "METHOD /target bytes=0-9" the regex is found.

        Such a request waits for `delay` seconds, then fails with `status`. With `truncate` its answer breaks off after
        so many bytes of body, or with 0 never begins. With `whole` the range is ignored and all is sent with 200. With
        `longer` the body has so many bytes more than the range. With `drip` it comes byte by byte, so many seconds
        apart. With a status of None and none of these it is only late.
        """
        self._faults.append(Fault(match, status, times, truncate, delay, whole, longer, drip))

    def calm(self) -> None:
        """Forget all planned faults."""
        self._faults.clear()

    def count(self) -> dict[str, int]:
        """Requests by method and bytes of body since the last call."""
        counted = {"bytes": self.bytes_sent, "most_at_once": self.most_at_once}
        for request in self.requests:
            counted[request.method] = counted.get(request.method, 0) + 1
        self.requests.clear()
        self.bytes_sent = self.most_at_once = 0
        return counted

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._answer_one(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _answer_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; False when the connection must not be used again."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, _ = head[0].split(" ", 2)
        request = Request(method, target, {n.lower(): v.strip() for n, _, v in (h.partition(":") for h in head[1:])})
        self.requests.append(request)
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            line = f"{method} {target} {request.headers.get('range', '')}"
            fault = next((f for f in self._faults if f.times and re.search(f.match, line)), None)
            if fault:
                fault.times -= 1
            if wait := self.latency + (fault.delay if fault else 0):
                await asyncio.sleep(wait)
            answered = fault is None or fault.status is None or fault.whole or fault.longer or fault.drip
            if fault and fault.truncate is None and not answered:
                reply = Reply(fault.status or 0, body=b"injected")
            else:
                reply = self._reply(request, whole=bool(fault and fault.whole))
                reply.body += bytes(fault.longer if fault else 0)
                reply.drip = fault.drip if fault else 0
            return await self._send(writer, request, reply, fault.truncate if fault else None)
        finally:
            self._at_once -= 1

    async def _send(self, writer: asyncio.StreamWriter, request: Request, reply: Reply, truncate: int | None) -> bool:
        if truncate == 0:
            return False
        headers = {"Content-Length": str(len(reply.body)), **reply.headers}
        lines = [f"HTTP/1.1 {reply.status} {_REASONS.get(reply.status, 'Injected')}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
        if request.method == "GET":
            body = reply.body[:truncate]
            self.bytes_sent += len(body)
            for byte in range(len(body) if reply.drip else 0):
                writer.write(body[byte : byte + 1])
                await writer.drain()
                await asyncio.sleep(reply.drip)
            writer.write(b"" if reply.drip else body)
        await writer.drain()
        return truncate is None

    def _reply(self, request: Request, *, whole: bool) -> Reply:
        content = self._content(request.path)
        if request.method not in ("GET", "HEAD") or content is None:
            return Reply(404)
        headers = {"Accept-Ranges": "bytes", "Content-Type": "image/tiff", **self.headers.get(request.path, {})}
        if self.dates:
            headers["Last-Modified"] = _MODIFIED
        if self.etags:
            headers["ETag"] = self.etag(request.path)
            wanted = request.headers.get("if-match")
            if self.honours_if_match and wanted not in (None, headers["ETag"]):
                return Reply(412)
        match = re.fullmatch(r"bytes=(\d*)-(\d*)", request.headers.get("range", ""))
        if match is None or whole:
            return Reply(200, headers, content)
        size, (first, last) = len(content), match.groups()
        start = int(first) if first else max(0, size - int(last))
        stop = min(size, int(last) + 1) if first and last else size
        if start >= stop:
            return Reply(416, {"Content-Range": f"bytes */{size}"})
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
        return Reply(206, headers, content[start:stop])

    def _content(self, path: str) -> bytes | None:
        if path not in self.files and self.folder and ".." not in path and (self.folder / path[1:]).is_file():
            self.files[path] = (self.folder / path[1:]).read_bytes()
        return self.files.get(path)

    def etag(self, path: str) -> str:
        """What tells this content of a path from another."""
        content = self.files[path]
        key = (path, id(content), len(content))
        if key not in self._tags:
            self._tags[key] = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
        return self._tags[key]

    def pretend(self, path: str, tag: str) -> None:
        """Give what lies at a path now the ETag of something else."""
        content = self.files[path]
        self._tags[path, id(content), len(content)] = tag


def main() -> None:
    """Serve a folder until stdin ends."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--latency", type=float, default=0)
    arguments = parser.parse_args()
    with HttpServer(arguments.folder, latency=arguments.latency) as server:
        print(server.url, flush=True)  # noqa: T201  the address is what it is started for
        for _ in sys.stdin:
            print(json.dumps(server.count()), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
