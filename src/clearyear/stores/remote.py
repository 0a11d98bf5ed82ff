"""Byte ranges of files that lie elsewhere: one client for gs://, s3:// and https, and what its errors mean.

obstore tries again what may pass (429, 408, 5xx, a connection refused, reset or broken off, silence), waiting longer
each time; what comes out of it here has failed for good or for longer than that.
"""

import os
import re
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache
from typing import Any, Literal
from urllib.parse import quote, unquote

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    NotSupportedError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)
from obstore.store import GCSStore, HTTPStore, S3Store

from clearyear.errors import InputError, ReadError
from clearyear.redact import redact
from clearyear.settings import current_settings
from clearyear.stores.address import expired, shown, split_uri

REQUEST_ERRORS = (BaseError, OSError)
"""What obstore raises for a request that failed; what is not found is a FileNotFoundError."""

_LONGEST_WAIT = timedelta(seconds=8)
_LONGEST_TRYING = timedelta(minutes=5)
_PATH_SAFE = "/-._~!$&'()*+,;=:@"

Retries = tuple[int, float, float, float]
"""How often, the first wait, the longest silence and the longest request, in seconds."""


@dataclass(frozen=True)
class Trouble:
    """What a failed request comes to."""

    words: str
    kind: Literal["absent", "forbidden", "changed", "beyond", "passing", "lasting"]


class BeyondEndError(ReadError):
    """A range that begins behind the end of a file."""


@dataclass(frozen=True)
class RemoteFile:
    """One version of one file elsewhere, read range by range."""

    uri: str
    version: str
    """As the store's Entry has it; bytes of any other are refused."""
    _client: Any = field(repr=False)
    _path: str = field(repr=False)

    @classmethod
    def of(cls, uri: str, version: str) -> "RemoteFile":
        """Asks for nothing yet.

        Raises:
            InputError: the address cannot be used, or there are no credentials.
        """
        return cls(uri, version, *client_of(uri))

    def fetch(self, offset: int, size: int) -> memoryview:
        """The bytes [offset, offset + size); fewer only at the end of the file.

        Raises:
            ReadError: they cannot be had, or are of another version. ``transient`` where trying again may help.
        """
        try:
            answer, data = _get(self._client, self._path, offset, size, self._condition())
        except REQUEST_ERRORS as error:
            found = trouble(error)
            words = found.words + (expired(self.uri) if found.kind == "forbidden" else "")
            kind = BeyondEndError if found.kind == "beyond" else ReadError
            raise kind(words, transient=found.kind == "passing", uri=shown(self.uri)) from error
        if version_of(self.uri, answer.meta) != self.version:
            raise ReadError("has changed since the plan was made", uri=shown(self.uri))
        if answer.range[0] != offset or len(data) != answer.range[1] - offset or len(data) > size:
            raise ReadError(
                f"{len(data)} bytes came for a range of {size}: {answer.range}", transient=True, uri=shown(self.uri)
            )
        return data

    def _condition(self) -> dict[str, str]:
        """How to ask for this version and no other, where the store offers it; the answer is compared in any case."""
        if self.uri.startswith("gs://"):
            return {"version": self.version}
        return {"if_match": self.version} if self.version.startswith('"') else {}


def _get(client: Any, path: str, offset: int, size: int, condition: dict[str, str]) -> tuple[Any, memoryview]:
    options: Any = {"range": (offset, offset + size), **condition}
    answer = obstore.get(client, path, options=options)
    return answer, memoryview(answer.bytes())


def version_of(uri: str, meta: Any) -> str:
    """What tells one version of a file from another: a generation, an ETag, else date and size.

    Args:
        uri: the file's address.
        meta: obstore's ObjectMeta of it.
    """
    if uri.startswith("gs://"):
        return str(meta["version"])
    if meta["e_tag"]:
        return str(meta["e_tag"])
    # obstore gives the epoch where the server tells no date.
    return f"{meta['last_modified'].timestamp():.0f}-{meta['size']}"


def read_whole(uri: str) -> bytes | None:
    """A whole small file, or None where there is none; raises as ``look`` does."""
    client, path = client_of(uri)
    try:
        return bytes(obstore.get(client, path).bytes())
    except FileNotFoundError:
        return None


def look(uri: str) -> Any | None:
    """What obstore tells of one file (its ObjectMeta), or None where there is none.

    The first byte is read: an address signed for reading refuses HEAD, and what gives no ranges is of no use.

    Raises:
        REQUEST_ERRORS: see ``trouble``.
    """
    client, path = client_of(uri)
    try:
        return _get(client, path, 0, 1, {})[0].meta
    except FileNotFoundError:
        return None


def trouble(error: Exception) -> Trouble:
    """What a failed request comes to."""
    said = redact(str(error).partition("\n")[0])
    match = re.search(r"status code: (\d{3})", str(error))
    status = int(match[1]) if match else 0
    if isinstance(error, FileNotFoundError):
        return Trouble("is not there (HTTP response code: 404)", "absent")
    if "169.254.169.254" in said or "169.254.170" in said:
        return Trouble("no AWS credentials were found in the environment", "forbidden")
    if isinstance(error, PreconditionError | AlreadyExistsError):
        return Trouble("has changed since the plan was made", "changed")
    if isinstance(error, PermissionDeniedError | UnauthenticatedError):
        return Trouble(f"may not be read (HTTP response code: {status})", "forbidden")
    if isinstance(error, NotSupportedError):
        return Trouble("its server gives whole files only, no byte ranges", "lasting")
    if status == 416:
        return Trouble("is cut off: the range asked for lies behind its end (HTTP response code: 416)", "beyond")
    if 400 <= status < 500 and status not in (408, 429):
        return Trouble(f"its server refuses the request (HTTP response code: {status})", "lasting")
    return Trouble(f"HTTP response code: {status}" if status else said, "passing")


def client_of(uri: str) -> tuple[Any, str]:
    """(obstore's client, path to ask it for) of a remote address; a client serves a bucket or a host."""
    scheme, place, path = split_uri(uri)
    settings = current_settings()
    retries = (settings.retries, settings.retry_seconds, settings.silence_seconds, settings.request_seconds)
    if scheme == "gs":
        return _gs_client(place, os.environ.get("STORAGE_EMULATOR_HOST", ""), settings.gs_anonymous, retries), path
    if scheme == "s3":
        account = tuple((n, v) for n, v in sorted(os.environ.items()) if n.startswith("AWS_"))
        return _s3_client(place, account, settings.s3_anonymous, retries), path
    # One client, hence one pool of connections, for a host. Only what obstore would write in another way than the
    # address has it, a query above all, gets a client of its own.
    plain = unquote(path)
    if "?" in path or "#" in path or "//" in path or quote(plain, safe=_PATH_SAFE) != path:
        return _web_client(uri, retries), ""
    return _web_client(f"{scheme}://{place}", retries), plain


@lru_cache(maxsize=4096)
def _web_client(url: str, retries: Retries) -> Any:
    return HTTPStore(url, **_options(retries, allow_http=url.startswith("http://")))


@lru_cache(maxsize=64)
def _gs_client(bucket: str, emulator: str, anonymous: bool, retries: Retries) -> Any:
    from google.auth.exceptions import DefaultCredentialsError

    options = _options(retries, allow_http=bool(emulator))
    if emulator:
        return GCSStore(bucket, base_url=emulator, skip_signature=True, **options)
    if anonymous:
        return GCSStore(bucket, skip_signature=True, **options)
    from obstore.auth.google import GoogleCredentialProvider

    try:
        # Google's own library, because it knows every kind of application-default credentials.
        import google.auth

        account, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/devstorage.read_only"])
        return GCSStore(bucket, credential_provider=GoogleCredentialProvider(account), **options)
    except DefaultCredentialsError as error:
        raise InputError(
            "No Google credentials were found for a gs:// address",
            "application-default credentials, or CLEARYEAR_GS_ANONYMOUS=1 for public buckets",
            "run `gcloud auth application-default login`",
        ) from error


@lru_cache(maxsize=64)
def _s3_client(bucket: str, account: tuple[tuple[str, str], ...], anonymous: bool, retries: Retries) -> Any:
    """Obstore reads the account from the environment itself; here it tells one client from another."""
    endpoint = next((v for n, v in account if n in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")), "")
    config: Any = {"skip_signature": True} if anonymous else {}
    return S3Store(bucket, config=config, **_options(retries, allow_http=endpoint.startswith("http://")))


def _options(retries: Retries, *, allow_http: bool) -> dict[str, Any]:
    most, first, silence, longest = retries
    return {
        "client_options": {
            "allow_http": allow_http,
            "connect_timeout": timedelta(seconds=silence),
            "read_timeout": timedelta(seconds=silence),
            "timeout": timedelta(seconds=longest),
            "pool_max_idle_per_host": "64",
        },
        "retry_config": {
            "max_retries": most,
            "backoff": {"init_backoff": timedelta(seconds=first), "max_backoff": _LONGEST_WAIT, "base": 2},
            "retry_timeout": _LONGEST_TRYING,
        },
    }
