"""What a source says of a file's content: digests from the store, from headers, from files beside."""

import base64
import hashlib
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from email.message import Message
from pathlib import Path

from clearyear.errors import InputError
from clearyear.settings import current_settings
from clearyear.stores import Entry, stat_uri, without_query
from clearyear.stores.address import is_web
from clearyear.stores.remote import read_whole

_SIDECARS = {".sha256": "sha256", ".md5": "md5"}
_DIGITS = {"md5": 32, "sha256": 64}
_LONGEST_SIDECAR = 1 << 16


def claims(entry: Entry) -> Iterator[tuple[str, tuple[str, str]]]:
    """Who says which checksum: (who, (algorithm, hexadecimal digest)), each as far as the source offers it."""
    algorithm, _, digest = entry.checksum.partition(":")
    if digest:
        yield "the store", (algorithm, digest)
    if entry.uri.startswith("s3://") and re.fullmatch(r'"[0-9a-f]{32}"', entry.version):
        yield "ETag", ("md5", entry.version.strip('"'))
    if is_web(entry.uri):
        yield from _header_claims(entry.uri)
    for suffix, algorithm in _SIDECARS.items():
        base = without_query(entry.uri)
        if digest := _sidecar(base + suffix + entry.uri[len(base) :], algorithm, base.rpartition("/")[2]):
            yield f"{suffix[1:]} file", (algorithm, digest)


def _header_claims(uri: str) -> Iterator[tuple[str, tuple[str, str]]]:
    """Content-MD5 (RFC 1864) and Google's x-goog-hash, which obstore does not hand on: one request for headers."""
    request = urllib.request.Request(uri, method="HEAD")  # noqa: S310  is_web has seen to the scheme
    try:
        with urllib.request.urlopen(request, timeout=current_settings().silence_seconds) as answer:  # noqa: S310
            headers: Message = answer.headers
            said = [("Content-MD5", headers.get("Content-MD5") or "")]
            hashes = ",".join(headers.get_all("x-goog-hash") or [])  # Google sends one for each
    except (urllib.error.URLError, OSError):
        return  # a server that refuses HEAD offers none
    said += [("x-goog-hash", value.strip()[4:]) for value in hashes.split(",") if value.strip().startswith("md5=")]
    for who, text in said:
        with suppress(ValueError):
            digest = base64.b64decode(text, validate=True).hex()
            if len(digest) == _DIGITS["md5"]:
                yield who, ("md5", digest)


def _sidecar(uri: str, algorithm: str, name: str) -> str:
    """The digest in a file beside, as md5sum and sha256sum write it; empty where there is none."""
    try:
        entry = stat_uri(uri)
        text = (read_whole(uri) or b"").decode() if entry and entry.size <= _LONGEST_SIDECAR else ""
    except InputError:
        return ""  # many a server answers 403 for what is not there
    except ValueError:
        return ""  # not text
    for line in text.splitlines():
        match = re.fullmatch(rf"([0-9a-fA-F]{{{_DIGITS[algorithm]}}})(?:\s+\*?(.+?))?\s*", line)
        if match and (match[2] is None or match[2].rpartition("/")[2] == name):
            return match[1].lower()
    return ""


def digests(path: Path, algorithms: set[str]) -> dict[str, str]:
    """Hexadecimal digests of a file, read once."""
    sums = {name: hashlib.new(name, usedforsecurity=False) for name in algorithms}
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            for each in sums.values():
                each.update(chunk)
    return {name: each.hexdigest() for name, each in sums.items()}
