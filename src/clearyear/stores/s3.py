"""An S3 bucket, of Amazon's or of anyone who speaks its protocol, as a store."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import obstore
from obstore.exceptions import InvalidPathError

from clearyear.errors import InputError, StoreError
from clearyear.stores.base import Entry, inside, scratch_folder
from clearyear.stores.remote import REQUEST_ERRORS, client_of, trouble

_CONDITIONAL_BYTES = 64_000_000
"""Larger files go up in parts, each held in memory for a while; S3 takes no condition for these from this client."""


class S3Store:
    """A bucket and prefix. An upload appears under its name only when it is whole; that is S3's own promise."""

    def __init__(self, bucket: str, prefix: str) -> None:
        self.bucket = bucket
        self.prefix = prefix.strip("/") + "/" if prefix.strip("/") else ""
        self.root = f"s3://{bucket}/{self.prefix}".rstrip("/")

    def entries(self, prefix: str = "", *, lenient: bool = False) -> list[Entry]:
        """See Store."""
        with self._errors("list", prefix):
            pages = obstore.list(self._client(), prefix=self.prefix + prefix)
            found = [self._entry(meta) for page in pages for meta in page]
        # obstore takes a prefix for a folder; whoever asks for «tiles/» means just that.
        return sorted((e for e in found if e.name.startswith(prefix)), key=lambda e: e.name)

    def stat(self, name: str) -> Entry | None:
        """See Store."""
        with self._errors("read", name):
            meta = self._meta(name)
            return self._entry(meta) if meta else None

    def read(self, name: str) -> bytes:
        """See Store."""
        with self._errors("read", name):
            return bytes(obstore.get(self._client(), self._key(name)).bytes())

    def write(self, name: str, data: bytes) -> None:
        """See Store."""
        with self._errors("write", name):
            self._put(name, data)

    def write_file(self, name: str, source: Path) -> None:
        """See Store; beyond 64 MB the last of two writers at once wins."""
        with self._errors("write", name):
            if source.stat().st_size <= _CONDITIONAL_BYTES:
                self._put(name, source.read_bytes())
            else:
                obstore.put(self._client(), self._key(name), source, max_concurrency=4)
        source.unlink()

    def swap(self, name: str, data: bytes, expected: str | None) -> str | None:
        """See Store."""
        mode: Any = {"e_tag": expected} if expected else "create"
        with self._errors("write", name):
            try:
                return str(obstore.put(self._client(), self._key(name), data, mode=mode)["e_tag"])
            except REQUEST_ERRORS as error:
                if trouble(error).kind not in ("changed", "absent"):
                    raise
                # Our own first attempt may have gone through and only its answer been lost.
                meta = self._meta(name)
                return str(meta["e_tag"]) if meta and self.read(name) == data else None

    def remove(self, name: str, version: str | None = None) -> None:
        """See Store; S3 knows no condition here, so one who writes in the same moment may lose."""
        with self._errors("remove", name):
            meta = self._meta(name) if version else None
            if version is None or (meta and meta["e_tag"] == version):
                # Not all who speak S3's protocol say of what is gone already that it was removed.
                with suppress(FileNotFoundError):
                    obstore.delete(self._client(), self._key(name))

    def uri(self, name: str) -> str:
        """See Store."""
        return f"s3://{self.bucket}/{self.prefix}{name}"

    def scratch(self) -> Path:
        """See Store."""
        return scratch_folder()

    def sweep(self) -> None:
        """See Store; nothing half-written can lie in a bucket."""

    def _put(self, name: str, data: bytes) -> None:
        """Upload on the condition that nobody has written since we looked."""
        meta = self._meta(name)
        mode: Any = {"e_tag": meta["e_tag"]} if meta else "create"
        try:
            obstore.put(self._client(), self._key(name), data, mode=mode)
        except REQUEST_ERRORS as error:
            # Another run of the same plan may have written the same bytes, or our own attempt went through and only
            # its answer was lost.
            doubtful = trouble(error).kind in ("changed", "passing")
            if not doubtful or self._meta(name) is None or self.read(name) != data:
                raise

    def _meta(self, name: str) -> Any | None:
        """What obstore tells of one object, or None."""
        try:
            return obstore.head(self._client(), self._key(name))
        except FileNotFoundError:
            return None

    def _key(self, name: str) -> str:
        if inside(name) and not {"", "."}.isdisjoint(name.split("/")):
            raise InputError(f"The name {name!r} is none for S3", "parts with a / between them", "correct it")
        return self.prefix + name

    def _client(self) -> Any:
        return client_of(self.root)[0]

    def _entry(self, meta: Any) -> Entry:
        name = meta["path"].removeprefix(self.prefix)
        return Entry(name=name, uri=self.uri(name), size=int(meta["size"]), version=str(meta["e_tag"]))

    @contextmanager
    def _errors(self, verb: str, name: str) -> Iterator[None]:
        uri = self.uri(name)
        try:
            yield
        except REQUEST_ERRORS as error:
            found = trouble(error)
            if "NoSuchBucket" in str(error):
                raise InputError(
                    f"The bucket of {uri} does not exist", "a bucket that can be reached", "correct its name", uri=uri
                ) from error
            if found.kind == "absent":
                raise StoreError(f"Cannot {verb} {uri}: it is not there", uri=uri) from error
            if isinstance(error, InvalidPathError):
                raise InputError(
                    f"Cannot {verb} {uri}: {found.words}",
                    "names without // in them, and without . or .. as a part",
                    "rename that object or remove it (aws s3 mv, aws s3 rm)",
                    uri=uri,
                ) from error
            if found.kind == "forbidden":
                raise InputError(
                    f"Not allowed to {verb} {uri}: {found.words}",
                    "an account with that right, named in the environment, or CLEARYEAR_S3_ANONYMOUS=1 for public "
                    "buckets",
                    "set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION, or give the role that right",
                    uri=uri,
                ) from error
            if found.kind == "lasting":
                raise InputError(
                    f"Cannot {verb} {uri}: {found.words}",
                    "a bucket in the region and at the endpoint of the environment",
                    "check AWS_REGION and AWS_ENDPOINT_URL",
                    uri=uri,
                ) from error
            words = "another has written it meanwhile" if found.kind == "changed" else found.words
            raise StoreError(f"Cannot {verb} {uri}: {words}", transient=True, uri=uri) from error
