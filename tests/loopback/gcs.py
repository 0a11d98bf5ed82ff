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

import base64
import email.utils
import hashlib
import itertools
import json
import re
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qsl, unquote
from xml.etree import ElementTree

import google_crc32c

JsonDict = dict[str, Any]

MAX_PAGE = 1000
OCTETS = "application/octet-stream"
# These shape a listing's form, not what is in it; any other one unknown must not be ignored silently.
_HARMLESS = {"projection", "fields", "prettyPrint", "alt"}


class HttpError(Exception):
    """A request that ends in an error status."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status, self.reason, self.message = status, reason, message


def not_imitated(what: object) -> HttpError:
    """The error for what this server cannot do, though the service can."""
    return HttpError(501, "notImplemented", f"the loopback server knows no {what}")


@dataclass(frozen=True)
class Request:
    """One request as it arrived; `path` is percent-decoded and without the query."""

    method: str
    path: str
    query: dict[str, str]
    range: str | None
    raw_path: str = field(repr=False)  # for routing: here an object's key is one segment, slashes and all
    headers: Message = field(repr=False)
    body: bytes = field(repr=False)


@dataclass(frozen=True)
class Reply:
    """What goes back to the client."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json; charset=UTF-8"
    headers: Mapping[str, str] = field(default_factory=dict)
    drip: float = 0
    """Seconds from one byte of the body to the next; 0 sends it at once."""


@dataclass
class Fault:
    """A planned misbehaviour; see `GcsServer.fail`."""

    match: str
    status: int | None
    times: int
    truncate: int | None
    delay: float
    drip: float


@dataclass(frozen=True)
class StoredObject:
    """One generation of an object: its data, and its description in the JSON API."""

    generation: int
    created: datetime
    data: bytes = field(repr=False)
    resource: Mapping[str, Any]


def describe(bucket: str, generation: int, created: datetime, data: bytes) -> dict[str, str]:
    """What the service itself has to say about an object, whatever its writer sent along."""
    stamp = created.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return {
        "kind": "storage#object",
        "bucket": bucket,
        "generation": str(generation),
        "metageneration": "1",
        "size": str(len(data)),
        "md5Hash": base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode(),
        "crc32c": base64.b64encode(google_crc32c.value(data).to_bytes(4, "big")).decode(),
        "etag": base64.b64encode(str(generation).encode()).decode(),
        "timeCreated": stamp,
        "updated": stamp,
    }


class ObjectStore:
    """Buckets of objects. Every method is atomic, as it is in the service."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._buckets: dict[str, dict[str, StoredObject]] = {}
        self._generations = itertools.count(time.time_ns() // 1000)

    def create_bucket(self, name: str) -> None:
        """Add an empty bucket; 409 when there is one of that name."""
        with self._lock:
            if name in self._buckets:
                raise HttpError(409, "conflict", f"The bucket {name} exists already.")
            self._buckets[name] = {}

    def objects(self, bucket: str) -> dict[str, StoredObject]:
        """A snapshot of a bucket in key order; 404 when there is no such bucket."""
        with self._lock:
            if bucket not in self._buckets:
                raise HttpError(404, "notFound", f"The specified bucket does not exist: {bucket}")
            return dict(sorted(self._buckets[bucket].items()))

    def get(self, bucket: str, key: str, query: Mapping[str, str]) -> StoredObject:
        """The object; 404 when there is none, or not of the generation asked for."""
        found = self.objects(bucket).get(key)
        if found is None or int(query.get("generation", found.generation)) != found.generation:
            raise HttpError(404, "notFound", f"No such object: {bucket}/{key}")
        check_preconditions(found, query)
        return found

    def put(self, bucket: str, fields: JsonDict, data: bytes, query: Mapping[str, str]) -> StoredObject:
        """Write a new generation of the object called `fields["name"]`, if the preconditions hold."""
        with self._lock:
            key = fields["name"]
            check_preconditions(self.objects(bucket).get(key), query)
            generation, created = next(self._generations), datetime.now(UTC)
            resource = {**fields, **describe(bucket, generation, created, data)}
            new = StoredObject(generation, created, data, resource)
            self._buckets[bucket][key] = new
            return new

    def delete(self, bucket: str, key: str, query: Mapping[str, str]) -> None:
        """Remove the object, found as `get` finds it."""
        with self._lock:
            self.get(bucket, key, query)
            del self._buckets[bucket][key]


def check_preconditions(current: StoredObject | None, query: Mapping[str, str]) -> None:
    """412 unless the object is of the generation the client takes it to be of; 0 says there is none yet."""
    if unknown := {name for name in query if name.startswith("if")} - {"ifGenerationMatch"}:
        raise not_imitated(unknown)
    actual = current.generation if current else 0
    if int(query.get("ifGenerationMatch", actual)) != actual:
        raise HttpError(412, "conditionNotMet", "At least one of the pre-conditions did not hold.")


def list_page(
    keys: Iterable[str],
    prefix: str,
    delimiter: str,
    after: str,
    limit: int,
) -> tuple[list[str], list[str], str]:
    """One page of a listing: its keys, its common prefixes, and the token of the next page or ""."""
    entries: dict[str, bool] = {}  # name -> is it a common prefix? In the order of the keys.
    for key in keys:
        if key.startswith(prefix):
            cut = key.find(delimiter, len(prefix)) if delimiter else -1
            entries[key if cut < 0 else key[: cut + len(delimiter)]] = cut >= 0
    rest = [name for name in entries if name > after]
    page = rest[: min(limit, MAX_PAGE)]
    token = page[-1] if len(rest) > len(page) > 0 else ""
    return [name for name in page if not entries[name]], [name for name in page if entries[name]], token


def json_reply(document: Mapping[str, Any], status: int = 200) -> Reply:
    """A document of the JSON API."""
    return Reply(status, json.dumps(document).encode())


def add_children(parent: ElementTree.Element, texts: Mapping[str, str]) -> None:
    """Append an element to `parent` for each name and text."""
    for name, text in texts.items():
        ElementTree.SubElement(parent, name).text = text


def xml_reply(root: ElementTree.Element, status: int = 200) -> Reply:
    """A document of the XML API."""
    return Reply(status, ElementTree.tostring(root, "utf-8", xml_declaration=True), "application/xml")


def error_reply(request: Request, error: HttpError) -> Reply:
    """The error in the words of the API that was asked."""
    if not request.raw_path.startswith(("/storage/", "/upload/", "/download/")):
        root = ElementTree.Element("Error")
        add_children(root, {"Code": error.reason, "Message": error.message})
        return xml_reply(root, error.status)
    details = [{"domain": "global", "reason": error.reason, "message": error.message}]
    document = {"error": {"code": error.status, "message": error.message, "errors": details}}
    return json_reply(document, error.status)


def media_reply(found: StoredObject, wanted: str | None) -> Reply:
    """The data, or the one range of it that is wanted."""
    size = len(found.data)
    about = found.resource
    content_type = about.get("contentType", OCTETS)
    headers = {
        "Accept-Ranges": "bytes",
        "ETag": f'"{found.generation}"',
        "Last-Modified": email.utils.format_datetime(found.created, usegmt=True),
        "x-goog-generation": str(found.generation),
        "x-goog-hash": f"crc32c={about['crc32c']},md5={about['md5Hash']}",
        "x-goog-stored-content-length": str(size),
    }
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", wanted or "")
    if match is None:
        return Reply(200, found.data, content_type, headers)
    first, last = match.groups()
    start = int(first) if first else max(0, size - int(last))
    stop = min(size, int(last) + 1) if first and last else size
    if start >= stop:
        return Reply(416, headers={"Content-Range": f"bytes */{size}"})
    headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    return Reply(206, found.data[start:stop], content_type, headers)


def split_related(request: Request) -> tuple[JsonDict, bytes]:
    """The metadata and the data of a multipart/related upload.

    Cut by hand, because the standard library's parser takes mail apart by lines and so harms binary data.
    """
    boundary = request.headers.get_boundary("").encode()
    _, described, content, _ = (b"\r\n" + request.body).split(b"\r\n--" + boundary)
    head, _, data = content.partition(b"\r\n\r\n")
    content_type = head.decode().partition(":")[2].strip()
    return {"contentType": content_type, **json.loads(described.partition(b"\r\n\r\n")[2])}, data


@dataclass
class Upload:
    """A resumable upload under way; once complete, `result` is what it became."""

    bucket: str
    fields: JsonDict
    query: Mapping[str, str]
    buffer: bytearray = field(default_factory=bytearray)
    result: StoredObject | None = None


class GcsApi:
    """What the service answers to a request: everything but the sockets."""

    def __init__(self, store: ObjectStore) -> None:
        self.store = store
        self._uploads: dict[str, Upload] = {}

    def answer(self, request: Request) -> Reply:
        """The reply to a request, be it an error."""
        line = f"{request.method} {request.raw_path}"
        try:
            for pattern, action in _ROUTES:
                if match := re.fullmatch(pattern, line):
                    return action(self, request, *map(unquote, match.groups()))
        except HttpError as error:
            return error_reply(request, error)
        except (KeyError, ValueError) as error:
            return error_reply(request, HttpError(400, "invalid", repr(error)))
        return error_reply(request, not_imitated(line))

    def post_bucket(self, request: Request) -> Reply:
        """Create a bucket."""
        name = json.loads(request.body)["name"]
        self.store.create_bucket(name)
        return self.get_bucket(request, name)

    def get_bucket(self, _request: Request, bucket: str) -> Reply:
        """Describe a bucket."""
        self.store.objects(bucket)
        return json_reply({"kind": "storage#bucket", "id": bucket, "name": bucket, "metageneration": "1"})

    def list_objects(self, request: Request, bucket: str) -> Reply:
        """List objects, page by page."""
        query = {name: value for name, value in request.query.items() if name not in _HARMLESS}
        prefix, delimiter = query.pop("prefix", ""), query.pop("delimiter", "")
        after = base64.urlsafe_b64decode(query.pop("pageToken", "")).decode()
        limit = int(query.pop("maxResults", MAX_PAGE))
        if query:
            raise not_imitated(query)
        objects = self.store.objects(bucket)
        keys, prefixes, token = list_page(objects, prefix, delimiter, after, limit)
        document: JsonDict = {
            "kind": "storage#objects",
            "items": [objects[key].resource for key in keys],
            "prefixes": prefixes,
            "nextPageToken": base64.urlsafe_b64encode(token.encode()).decode(),
        }
        # The service leaves out what is empty.
        return json_reply({name: value for name, value in document.items() if value})

    def get_object(self, request: Request, bucket: str, key: str) -> Reply:
        """Describe an object, or send its data."""
        found = self.store.get(bucket, key, request.query)
        if request.query.get("alt") == "media":
            return media_reply(found, request.range)
        return json_reply(found.resource)

    def delete_object(self, request: Request, bucket: str, key: str) -> Reply:
        """Delete an object."""
        self.store.delete(bucket, key, request.query)
        return Reply(204)

    def post_upload(self, request: Request, bucket: str) -> Reply:
        """Take an upload of one request, or begin a resumable one."""
        query, headers, kind = request.query, request.headers, request.query["uploadType"]
        fields: JsonDict = {"contentType": headers["Content-Type"] or OCTETS}
        data = request.body
        if kind == "multipart":
            fields, data = split_related(request)
        elif kind == "resumable":
            fields = {"contentType": headers["X-Upload-Content-Type"] or OCTETS, **json.loads(data or b"{}")}
        if "name" not in fields:
            fields["name"] = query["name"]
        if kind != "resumable":
            return json_reply(self.store.put(bucket, fields, data, query).resource)
        # A hopeless upload is refused here, as by the service, not after all its data has been sent.
        check_preconditions(self.store.objects(bucket).get(fields["name"]), query)
        upload_id = uuid.uuid4().hex
        self._uploads[upload_id] = Upload(bucket, fields, query)
        url = f"http://{headers['Host']}{request.raw_path}?uploadType=resumable&upload_id={upload_id}"
        return Reply(headers={"Location": url})

    def put_upload(self, request: Request, _bucket: str) -> Reply:
        """Take one more piece of a resumable upload; a request without a piece asks how far it has come."""
        upload = self._uploads[request.query["upload_id"]]
        match = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", request.headers["Content-Range"] or "")
        start, total = match.groups() if match else ("0", str(len(request.body)))
        if upload.result is None:
            if start is not None:
                if int(start) > len(upload.buffer):
                    raise ValueError("this piece leaves a gap")
                # A piece sent again, because its answer was lost, takes the place of its first copy.
                upload.buffer[int(start) :] = request.body
            size = len(upload.buffer)
            if total != str(size):
                return Reply(308, headers={"Range": f"bytes=0-{size - 1}"} if size else {})
            upload.result = self.store.put(upload.bucket, upload.fields, bytes(upload.buffer), upload.query)
        return json_reply(upload.result.resource)

    def get_xml(self, request: Request, bucket: str, key: str) -> Reply:
        """Send an object's data, as the XML API does."""
        return media_reply(self.store.get(bucket, key, {}), request.range)

    def list_xml(self, request: Request, bucket: str) -> Reply:
        """List objects, as the XML API does: GDAL looks there which sidecar files there are."""
        objects, query = self.store.objects(bucket), request.query
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        after, limit = query.get("marker", ""), int(query.get("max-keys", MAX_PAGE))
        keys, prefixes, token = list_page(objects, prefix, delimiter, after, limit)
        root = ElementTree.Element("ListBucketResult", xmlns="http://doc.s3.amazonaws.com/2006-03-01")
        more = {"IsTruncated": "true", "NextMarker": token} if token else {"IsTruncated": "false"}
        add_children(root, {"Name": bucket, "Prefix": prefix, **more})
        for key in keys:
            about = objects[key].resource
            entry = {"Key": key, "LastModified": about["updated"], "Size": about["size"]}
            add_children(ElementTree.SubElement(root, "Contents"), entry)
        for common in prefixes:
            add_children(ElementTree.SubElement(root, "CommonPrefixes"), {"Prefix": common})
        return xml_reply(root)


# Tried in this order on "METHOD /raw/path"; a group is one percent-encoded name.
_ROUTES: tuple[tuple[str, Callable[..., Reply]], ...] = (
    (r"POST /storage/v1/b", GcsApi.post_bucket),
    (r"GET /storage/v1/b/([^/]+)", GcsApi.get_bucket),
    (r"GET /storage/v1/b/([^/]+)/o", GcsApi.list_objects),
    (r"GET /(?:download/)?storage/v1/b/([^/]+)/o/([^/]+)", GcsApi.get_object),
    (r"DELETE /storage/v1/b/([^/]+)/o/([^/]+)", GcsApi.delete_object),
    (r"POST /upload/storage/v1/b/([^/]+)/o", GcsApi.post_upload),
    (r"PUT /upload/storage/v1/b/([^/]+)/o", GcsApi.put_upload),
    (r"(?:GET|HEAD) /(?!storage/|upload/|download/)([^/]+)/(.+)", GcsApi.get_xml),
    (r"GET /([^/]+)/?", GcsApi.list_xml),
)


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
