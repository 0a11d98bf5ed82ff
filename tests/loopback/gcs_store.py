"""Buckets in memory: objects with generations and checksums, preconditions, pages of a listing."""

from __future__ import annotations

import base64
import hashlib
import itertools
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import google_crc32c

JsonDict = dict[str, Any]

MAX_PAGE = 1000
OCTETS = "application/octet-stream"


class HttpError(Exception):
    """A request that ends in an error status."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status, self.reason, self.message = status, reason, message


def not_imitated(what: object) -> HttpError:
    """The error for what this server cannot do, though the service can."""
    return HttpError(501, "notImplemented", f"the loopback server knows no {what}")


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
