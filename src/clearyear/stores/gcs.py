"""A Google Cloud Storage bucket as a store."""

import base64
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from clearyear.errors import InputError, StoreError
from clearyear.settings import Settings
from clearyear.stores.base import Entry, inside, scratch_folder

if TYPE_CHECKING:
    from google.cloud.storage import Blob, Client


class GcsStore:
    """A bucket and prefix. An upload appears under its name only when it is whole; that is GCS's own promise."""

    def __init__(self, bucket: str, prefix: str) -> None:
        self.bucket = bucket
        self.prefix = prefix.strip("/") + "/" if prefix.strip("/") else ""
        self.root = f"gs://{bucket}/{self.prefix}".rstrip("/")

    def entries(self, prefix: str = "", *, lenient: bool = False) -> list[Entry]:
        """See Store."""
        with self._errors("list", prefix):
            blobs = _gcs_client().list_blobs(self.bucket, prefix=self.prefix + prefix)
            return sorted((self._entry(b) for b in blobs if not b.name.endswith("/")), key=lambda e: e.name)

    def stat(self, name: str) -> Entry | None:
        """See Store."""
        with self._errors("read", name):
            blob = _gcs_client().bucket(self.bucket).get_blob(self.prefix + inside(name))
            return self._entry(blob) if blob else None

    def read(self, name: str) -> bytes:
        """See Store."""
        with self._errors("read", name):
            data: bytes = self._blob(name).download_as_bytes(checksum="crc32c")
            return data

    def write(self, name: str, data: bytes) -> None:
        """See Store."""
        self._upload(name, io.BytesIO(data), len(data))

    def write_file(self, name: str, source: Path) -> None:
        """See Store."""
        with source.open("rb") as file:
            self._upload(name, file, source.stat().st_size)
        source.unlink()

    def swap(self, name: str, data: bytes, expected: str | None) -> str | None:
        """See Store."""
        from google.api_core.exceptions import PreconditionFailed

        with self._errors("write", name):
            blob = self._blob(name)
            try:
                blob.upload_from_string(data, checksum="crc32c", if_generation_match=int(expected or 0))
            except PreconditionFailed:
                # The client tries again by itself: our first attempt may have gone through, its answer lost.
                there = _gcs_client().bucket(self.bucket).get_blob(self.prefix + inside(name))
                return str(there.generation) if there and there.crc32c == _crc32c(io.BytesIO(data)) else None
            return str(blob.generation)

    def remove(self, name: str, version: str | None = None) -> None:
        """See Store."""
        from google.api_core.exceptions import NotFound, PreconditionFailed

        # NotFound: somebody else was faster, or our own first attempt went through and only its answer was lost.
        with self._errors("remove", name), suppress(NotFound):
            generation = int(version) if version else self._generation(name)
            try:
                if generation:
                    self._blob(name).delete(if_generation_match=generation)
            except PreconditionFailed:
                if version is None:
                    raise

    def uri(self, name: str) -> str:
        """See Store."""
        return f"gs://{self.bucket}/{self.prefix}{name}"

    def scratch(self) -> Path:
        """See Store."""
        return scratch_folder()

    def sweep(self) -> None:
        """See Store; nothing half-written can lie in a bucket."""

    def _upload(self, name: str, source: IO[bytes], size: int) -> None:
        """Upload on the condition that nobody has written since; that makes the client's own retries safe."""
        from google.api_core.exceptions import PreconditionFailed

        with self._errors("write", name):
            condition = {"if_generation_match": self._generation(name)}
            try:
                self._blob(name).upload_from_file(source, size=size, rewind=True, checksum="crc32c", **condition)
            except PreconditionFailed:
                # Either another run of the same plan wrote the same bytes, or our own first attempt went through
                # and only its answer was lost.
                there = _gcs_client().bucket(self.bucket).get_blob(self.prefix + inside(name))
                if there is None or there.crc32c != _crc32c(source):
                    raise

    def _blob(self, name: str) -> "Blob":
        return _gcs_client().bucket(self.bucket).blob(self.prefix + inside(name))

    def _generation(self, name: str) -> int:
        blob = _gcs_client().bucket(self.bucket).get_blob(self.prefix + inside(name))
        return int(blob.generation) if blob else 0

    def _entry(self, blob: "Blob") -> Entry:
        return Entry(
            name=blob.name.removeprefix(self.prefix),
            uri=f"gs://{self.bucket}/{blob.name}",
            size=int(blob.size or 0),
            version=str(blob.generation),
            checksum=f"md5:{base64.b64decode(blob.md5_hash).hex()}" if blob.md5_hash else "",
        )

    @contextmanager
    def _errors(self, verb: str, name: str) -> Iterator[None]:
        from google.api_core.exceptions import Forbidden, GoogleAPICallError, NotFound, RetryError, Unauthorized
        from requests.exceptions import ConnectionError as RequestsConnectionError
        from requests.exceptions import Timeout

        uri = self.uri(name)
        try:
            yield
        except NotFound as error:
            if verb == "list" or "specified bucket does not exist" in str(error):
                raise InputError(
                    f"The bucket of {uri} does not exist", "a bucket that can be reached", "correct its name", uri=uri
                ) from error
            raise StoreError(f"Cannot {verb} {uri}: it is not there", uri=uri) from error
        except (Forbidden, Unauthorized) as error:
            raise InputError(
                f"Not allowed to {verb} {uri}: {error.message}",
                "an account with that right",
                "run `gcloud auth application-default login`, or give the service account the role",
                uri=uri,
            ) from error
        except (GoogleAPICallError, RetryError, RequestsConnectionError, Timeout) as error:
            raise StoreError(f"Cannot {verb} {uri}: {error}", transient=True, uri=uri) from error


def _crc32c(source: IO[bytes]) -> str:
    """The checksum of a whole file, as GCS writes it."""
    import google_crc32c

    source.seek(0)
    checksum: Any = google_crc32c.Checksum()  # type: ignore[no-untyped-call]
    while chunk := source.read(1 << 20):
        checksum.update(chunk)
    digest: bytes = checksum.digest()
    return base64.b64encode(digest).decode()


@lru_cache(maxsize=1)
def _gcs_client() -> "Client":
    """One client for the process; its connection pool is safe between threads."""
    from google.auth.exceptions import DefaultCredentialsError
    from google.cloud import storage

    account: dict[str, Any] = {}
    if os.environ.get("STORAGE_EMULATOR_HOST") or Settings().gs_anonymous:
        from google.auth.credentials import AnonymousCredentials

        account = {
            "credentials": AnonymousCredentials(),  # type: ignore[no-untyped-call]
            "project": "anonymous",
        }
    from clearyear.stores.deadline import Adapter

    try:
        client = storage.Client(**account)
        client._http.mount("https://", Adapter())  # noqa: SLF001  Google's own documents have sessions tuned so
        client._http.mount("http://", Adapter())  # noqa: SLF001
        return client
    except DefaultCredentialsError as error:
        raise InputError(
            "No Google credentials were found for a gs:// address",
            "application-default credentials, or CLEARYEAR_GS_ANONYMOUS=1 for public buckets",
            "run `gcloud auth application-default login`",
        ) from error
