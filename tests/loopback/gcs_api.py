"""What a request to the loopback Cloud Storage is answered: the JSON API, and the reading half of the XML API."""

from __future__ import annotations

import base64
import email.utils
import json
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.message import Message
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

from loopback.gcs_store import (
    MAX_PAGE,
    OCTETS,
    HttpError,
    JsonDict,
    ObjectStore,
    StoredObject,
    check_preconditions,
    list_page,
    not_imitated,
)

# These shape a listing's form, not what is in it; any other one unknown must not be ignored silently.
_HARMLESS = {"projection", "fields", "prettyPrint", "alt"}


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
