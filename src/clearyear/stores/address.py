"""Addresses: which schemes there are, how they are taken apart, and what of them may be shown."""

import ipaddress
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from clearyear.errors import InputError

_WANTED = "a local path, file://, gs://bucket/prefix, s3://bucket/prefix or https://host/file"
WEB = ("https", "http")
"""Schemes that are read file by file: nothing lists them, nothing is written there."""


def split_uri(uri: str) -> tuple[str, str, str]:
    """(scheme, bucket or host, path) of an address; the scheme of a local path is ``file``.

    The path of a web address keeps its query: a signature is part of what must be asked for.

    Raises:
        InputError: another scheme, a bucket without a name, credentials inside the address, or plain http to another
            machine, whose answers anyone on the way could change.
    """
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return "file", "", os.path.abspath(os.path.expanduser(uri))
    if scheme == "file":
        return "file", "", os.path.abspath(rest)
    place, _, path = rest.partition("/")
    if scheme not in ("gs", "s3", *WEB) or not place:
        raise InputError(f"The address {shown(uri)!r} cannot be used", _WANTED, "correct it", uri=shown(uri))
    if "@" in place:
        raise InputError(
            f"The address {shown(uri)!r} holds a user or a password",
            "an address without; credentials come from the environment",
            "take them out, and change that password if the address was kept anywhere",
            uri=shown(uri),
        )
    if scheme == "http" and not _is_loopback(place):
        raise InputError(
            f"The address {shown(uri)!r} is plain http", "https; http only to this machine", "use https", uri=shown(uri)
        )
    return scheme, place, path


def shown(uri: str) -> str:
    """The address as it may stand in an error, a log or a report: without a query, which may be a signature.

    What stands before an @ in the host goes too.
    """
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return uri
    place, slash, path = rest.partition("/")
    user, at, host = place.rpartition("@")
    if scheme in WEB:
        path, query, _ = path.partition("?")
        path += "?…" if query else ""
    return f"{scheme}://{'…@' if user or at else ''}{host}{slash}{path}"


def without_query(uri: str) -> str:
    """What a web address names, whatever signature it carries; any other address as it is."""
    return uri.partition("?")[0] if uri.startswith(("https://", "http://")) else uri


def gdal_path(uri: str) -> str:
    """How GDAL calls ``uri``."""
    scheme, bucket, path = split_uri(uri)
    if scheme in WEB:
        return f"/vsicurl/{uri}"
    return {"gs": f"/vsigs/{bucket}/{path}", "s3": f"/vsis3/{bucket}/{path}"}.get(scheme, path)


def parent_of(uri: str) -> tuple[str, str]:
    """(folder, name) of a file's address; a query stays with the name."""
    scheme, _, path = split_uri(uri)
    if scheme == "file":
        return str(Path(path).parent), Path(path).name
    base = without_query(uri)
    folder, _, name = base.rpartition("/")
    return folder, name + uri[len(base) :]


def is_remote(uri: str) -> bool:
    """Whether reading ``uri`` takes requests."""
    return "://" in uri and not uri.startswith("file://")


def is_web(uri: str) -> bool:
    """Whether ``uri`` is an https address (or http of this machine)."""
    return split_uri(uri)[0] in WEB


def check_destination(uri: str) -> None:
    """Refuse a destination nothing can be written to.

    Raises:
        InputError: a web address, or none at all.
    """
    if is_web(uri):
        raise InputError(
            f"The destination {shown(uri)} is a web address, which can only be read",
            "a local folder, gs://bucket/prefix or s3://bucket/prefix",
            "choose another --out",
            uri=shown(uri),
        )


def _is_loopback(place: str) -> bool:
    try:
        host = urlsplit(f"//{place}").hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def expired(uri: str) -> str:
    """In words, to be put after an error: when an address's signature ended; empty if it has not, or does not say.

    Azure says it by ``se``, AWS and Google by a date and seconds, CloudFront by ``Expires``.
    """
    query = dict(parse_qsl(urlsplit(uri).query)) if uri.startswith(("https://", "http://")) else {}
    words = {name.lower(): value for name, value in query.items()}
    try:
        if "se" in words:
            ends = datetime.fromisoformat(words["se"])
        elif words.get("expires", "").isdigit():
            ends = datetime.fromtimestamp(int(words["expires"]), UTC)
        else:
            owner = "x-amz" if "x-amz-date" in words else "x-goog"
            began = datetime.strptime(words[f"{owner}-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
            ends = began + timedelta(seconds=int(words[f"{owner}-expires"]))
        ends = ends if ends.tzinfo else ends.replace(tzinfo=UTC)
    except (KeyError, ValueError, OverflowError):
        return ""
    return f"; its signature expired at {ends:%Y-%m-%d %H:%M} UTC" if ends < datetime.now(UTC) else ""
