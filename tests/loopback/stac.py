"""A loopback STAC API: search by GET and POST with paging, collections, faults, and a count of what was asked."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlencode, urlsplit

CORE = "https://api.stacspec.org/v1.0.0/core"
SEARCH = "https://api.stacspec.org/v1.0.0/item-search"
_LISTS = ("bbox", "collections")
_COMPARE = {
    "lt": lambda a, b: a < b,
    "lte": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "gte": lambda a, b: a >= b,
    "eq": lambda a, b: a == b,
    "neq": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    "=": lambda a, b: a == b,
}


@dataclass
class Asked:
    """One request as it arrived."""

    method: str
    path: str
    body: dict[str, Any]
    """The search, whether it came as JSON or in the address."""


@dataclass
class StacApi:
    """The API, listening on a free port of 127.0.0.1 inside a ``with``.

    It does what its ``conforms`` say and no more: without ``#query`` a query is ignored, as many servers do.
    """

    items: list[dict[str, Any]]
    collections: list[str]
    page: int = 2
    posts: bool = True
    conforms: tuple[str, ...] = (CORE, SEARCH, f"{SEARCH}#query", "https://api.stacspec.org/v1.0.0/collections")
    next_href: str | None = None
    """What every page says is the next one, whatever is true."""
    requests: list[Asked] = field(default_factory=list)
    faults: list[int] = field(default_factory=list)
    """Statuses of the next answers to searches."""

    def __enter__(self) -> Self:
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                api._answer(self, "GET", b"")

            def do_POST(self) -> None:
                api._answer(self, "POST", self.rfile.read(int(self.headers["Content-Length"])))

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def searches(self) -> list[dict[str, Any]]:
        """What was searched for, page by page."""
        return [asked.body for asked in self.requests if asked.path.endswith("/search")]

    def _answer(self, handler: BaseHTTPRequestHandler, method: str, raw: bytes) -> None:
        parts = urlsplit(handler.path)
        body = json.loads(raw) if raw else _of_query(parts.query)
        self.requests.append(Asked(method, parts.path, body))
        status, answer = self._document(parts.path.removeprefix("/v1"), method, body)
        data = json.dumps(answer).encode()
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    def _document(self, path: str, method: str, body: dict[str, Any]) -> tuple[int, Any]:
        if path in ("", "/"):
            return 200, self._landing()
        if path == "/collections":
            return 200, {"collections": [self._collection(name) for name in self.collections], "links": []}
        if path.startswith("/collections/"):
            name = path.rpartition("/")[2]
            if name not in self.collections:
                return 404, {"code": "NotFound", "description": f"No collection with id {name}"}
            return 200, self._collection(name)
        if path == "/search":
            if self.faults:
                return self.faults.pop(0), {"code": "Trouble", "description": "injected token=abc123"}
            return 200, self._page(method, body)
        return 404, {"code": "NotFound"}

    def _landing(self) -> dict[str, Any]:
        search = [{"rel": "search", "href": f"{self.url}/search", "type": "application/geo+json", "method": "GET"}]
        if self.posts:
            search.append({**search[0], "method": "POST"})
        return {
            "type": "Catalog",
            "id": "loopback",
            "stac_version": "1.0.0",
            "description": "for tests",
            "conformsTo": list(self.conforms),
            "links": [
                {"rel": "self", "href": self.url},
                {"rel": "root", "href": self.url},
                {"rel": "data", "href": f"{self.url}/collections"},
                *search,
            ],
        }

    def _collection(self, name: str) -> dict[str, Any]:
        return {
            "type": "Collection",
            "id": name,
            "stac_version": "1.0.0",
            "description": name,
            "license": "other",
            "extent": {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [[None, None]]}},
            "links": [],
        }

    def _page(self, method: str, body: dict[str, Any]) -> dict[str, Any]:
        found = [item for item in self.items if self._meant(item, body)]
        # As the real ones do: the newest first.
        found.sort(key=lambda item: item["properties"]["datetime"] or "", reverse=True)
        start = int(body.get("token") or 0)
        size = min(self.page, int(body.get("limit") or self.page))
        answer: dict[str, Any] = {"type": "FeatureCollection", "features": found[start : start + size], "links": []}
        if start + size < len(found) or self.next_href:
            following: dict[str, Any] = {"rel": "next", "href": f"{self.url}/search", "method": method}
            if method == "POST":
                following |= {"body": {"token": str(start + size)}, "merge": True}
            else:
                plain = {k: v if isinstance(v, str) else ",".join(map(str, v)) for k, v in body.items() if k in _LISTS}
                rest = {k: v if isinstance(v, str) else json.dumps(v) for k, v in body.items() if k not in _LISTS}
                following["href"] += "?" + urlencode(plain | rest | {"token": start + size})
            answer["links"] = [following | ({"href": self.next_href} if self.next_href else {})]
        return answer

    def _meant(self, item: dict[str, Any], body: dict[str, Any]) -> bool:
        properties = item["properties"]
        collections = body.get("collections") or []
        if collections and item.get("collection") not in collections:
            return False
        if "bbox" in body:
            west, south, east, north = body["bbox"]
            box = item["bbox"]
            if box[0] > east or box[2] < west or box[1] > north or box[3] < south:
                return False
        if "datetime" in body:
            start, end = (datetime.fromisoformat(part) for part in body["datetime"].split("/"))
            if not start <= datetime.fromisoformat(properties["datetime"]) <= end:
                return False
        if f"{SEARCH}#query" in self.conforms:
            for name, conditions in body.get("query", {}).items():
                if not all(_COMPARE[op](properties[name], value) for op, value in conditions.items()):
                    return False
        if f"{SEARCH}#filter" in self.conforms and "filter" in body:
            for part in body["filter"]["args"]:
                name, value = part["args"][0]["property"], part["args"][1]
                if not _COMPARE[part["op"]](properties[name], value):
                    return False
        return True


def _of_query(text: str) -> dict[str, Any]:
    """A search in an address, as it would be in JSON."""
    body: dict[str, Any] = {name: values[0] for name, values in parse_qs(text).items()}
    if "collections" in body:
        body["collections"] = body["collections"].split(",")
    if "bbox" in body:
        body["bbox"] = [float(number) for number in body["bbox"].split(",")]
    for name in ("query", "filter"):
        if name in body:
            body[name] = json.loads(body[name])
    return body
