"""The loopback Cloud Storage, driven by the clients it stands in for: google-cloud-storage and GDAL."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import rasterio
import requests
from google.api_core.exceptions import (
    BadRequest,
    Conflict,
    MethodNotImplemented,
    NotFound,
    PreconditionFailed,
)
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from google.cloud.storage.retry import DEFAULT_RETRY
from loopback.gcs import GcsServer
from rasterio.errors import RasterioIOError
from rasterio.io import MemoryFile
from rasterio.windows import Window

BUCKET = "scenes"
BINARY = bytes(range(256)) * 40 + b"\r\n--\n\r\r\n"  # with all that a line-minded parser would harm
PIXELS = np.arange(512 * 512, dtype="uint16").reshape(512, 512)
# The client's own policy, but for its pauses of up to a second.
RETRY = DEFAULT_RETRY.with_delay(initial=0.01).with_timeout(10)


@pytest.fixture
def gcs(monkeypatch: pytest.MonkeyPatch) -> Iterator[GcsServer]:
    """A server with one bucket, to which the environment points."""
    with GcsServer() as server:
        server.create_bucket(BUCKET)
        for name, value in server.env().items():
            monkeypatch.setenv(name, value)
        # Else the client asks for the bucket too, in a thread of its own, whenever that gets to run.
        monkeypatch.setenv("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")
        yield server


@pytest.fixture
def client(gcs: GcsServer) -> Iterator[storage.Client]:
    """The real client; it finds the server through the environment."""
    nobody = AnonymousCredentials()  # type: ignore[no-untyped-call]
    opened = storage.Client(project="test", credentials=nobody)
    yield opened
    opened.close()


@pytest.fixture
def bucket(client: storage.Client) -> storage.Bucket:
    """The server's bucket, as the client sees it."""
    return client.bucket(BUCKET)


def tiled_tiff() -> bytes:
    """A GeoTIFF of 16 tiles, so that a window can be had without the rest."""
    profile = {
        "driver": "GTiff",
        "width": 512,
        "height": 512,
        "count": 1,
        "dtype": "uint16",
        "crs": "EPSG:32632",
    }
    layout = {
        "tiled": True,
        "blockxsize": 128,
        "blockysize": 128,
        "transform": rasterio.Affine(10, 0, 0, 0, -10, 0),
    }
    with MemoryFile() as memory:
        with memory.open(**profile, **layout) as dataset:
            dataset.write(PIXELS, 1)
        return bytes(memory.read())


def test_env_names_the_server_as_each_client_wants_it(gcs: GcsServer) -> None:
    """GDAL appends the bucket to its endpoint and needs the slash; google-cloud-storage must not have it."""
    assert gcs.env() == {
        "STORAGE_EMULATOR_HOST": gcs.url,
        "CPL_GS_ENDPOINT": gcs.url + "/",
        "GS_NO_SIGN_REQUEST": "YES",
    }
    assert storage.Client().bucket(BUCKET).exists()


def test_buckets(client: storage.Client, gcs: GcsServer) -> None:
    """A bucket can be made once, and is found from then on."""
    client.create_bucket("new")
    assert gcs.keys("new") == []
    assert client.get_bucket("new").name == "new"
    with pytest.raises(Conflict):
        client.create_bucket("new")


def test_upload_tells_and_keeps_what_was_sent(bucket: storage.Bucket, gcs: GcsServer) -> None:
    """Data, type and metadata come back; the client itself compares the checksum on both ways."""
    blob = bucket.blob("tiles/a b+c/ü.bin")
    blob.metadata = {"sha256": "abc"}
    blob.upload_from_string(BINARY, content_type="image/tiff", checksum="crc32c")
    assert gcs.get(BUCKET, "tiles/a b+c/ü.bin") == BINARY
    assert blob.download_as_bytes(checksum="md5") == BINARY

    found = bucket.get_blob("tiles/a b+c/ü.bin")
    assert found is not None
    assert (found.size, found.content_type, found.metadata) == (len(BINARY), "image/tiff", {"sha256": "abc"})
    assert (found.generation, found.crc32c, found.md5_hash) == (blob.generation, blob.crc32c, blob.md5_hash)
    assert found.updated is not None

    blob.upload_from_string(b"second")
    assert blob.generation > found.generation


def test_resumable_upload_survives_a_failing_and_a_lost_piece(bucket: storage.Bucket, gcs: GcsServer) -> None:
    """A piece refused is sent again; one whose answer was lost is not written twice, nor is the last one."""
    data = BINARY * 80  # four pieces of the smallest size there is
    gcs.fail("PUT /upload/", status=503)
    gcs.fail("PUT /upload/", truncate=0)
    blob = bucket.blob("big.bin", chunk_size=256 * 1024)
    blob.metadata = {"tile": "T32"}
    # Told the size, the client would send this little in one request, whatever the chunk size.
    blob.upload_from_file(io.BytesIO(data), content_type="image/tiff", if_generation_match=0, retry=RETRY)
    assert [request.method for request in gcs.requests] == ["POST"] + ["PUT"] * 6
    assert gcs.get(BUCKET, "big.bin") == data
    blob.reload()
    assert (blob.content_type, blob.metadata) == ("image/tiff", {"tile": "T32"})

    gcs.fail("PUT /upload/", truncate=0)
    blob.upload_from_file(io.BytesIO(BINARY), if_generation_match=blob.generation, retry=RETRY)
    assert gcs.get(BUCKET, "big.bin") == BINARY
    gcs.requests.clear()
    with pytest.raises(PreconditionFailed):
        blob.upload_from_file(io.BytesIO(data), if_generation_match=0)
    assert len(gcs.requests) == 1


def test_stream_of_unknown_length(bucket: storage.Bucket, gcs: GcsServer) -> None:
    """A blob opened as a file is uploaded without its size being known before its end."""
    with bucket.blob("log.txt", chunk_size=256 * 1024).open("wb") as stream:
        stream.write(BINARY * 60)
    assert gcs.get(BUCKET, "log.txt") == BINARY * 60
    with bucket.blob("log.txt").open("rb", chunk_size=100_000) as stream:
        assert stream.read() == BINARY * 60


def test_uploads_without_metadata(gcs: GcsServer) -> None:
    """The plainest uploads there are, which the Python client never makes."""
    url = f"{gcs.url}/upload/storage/v1/b/{BUCKET}/o"
    query = {"uploadType": "media", "name": "a/plain"}
    headers = {"Content-Type": "text/x-plain"}
    simple = requests.post(url, params=query, data=BINARY, headers=headers, timeout=5)

    query = {"uploadType": "resumable", "name": "a/resumable"}
    headers = {"X-Upload-Content-Type": "text/x-plain"}
    begun = requests.post(url, params=query, headers=headers, timeout=5)
    ended = requests.put(begun.headers["Location"], data=BINARY, timeout=5)

    for reply, key in ((simple, "a/plain"), (ended, "a/resumable")):
        assert (reply.json()["name"], reply.json()["contentType"]) == (key, "text/x-plain")
        assert gcs.get(BUCKET, key) == BINARY


@pytest.mark.parametrize("size", [0, 1, 256 * 1024, 300_000])
@pytest.mark.parametrize("told", [True, False], ids=["multipart", "resumable"])
def test_sizes(bucket: storage.Bucket, gcs: GcsServer, size: int, told: bool) -> None:
    """Nothing is lost or added at the edges, the empty object included."""
    data = b"\n" * size
    blob = bucket.blob("key", chunk_size=256 * 1024)
    blob.upload_from_file(io.BytesIO(data), size=size if told else None)
    assert gcs.get(BUCKET, "key") == data
    assert blob.download_as_bytes() == data
    assert bucket.blob("key").download_as_bytes() == data


def test_ranges(bucket: storage.Bucket, gcs: GcsServer) -> None:
    """Ranges count from the start, inclusive of both ends, and are clipped at the end of the object."""
    gcs.put(BUCKET, "digits", b"0123456789")
    blob = bucket.blob("digits")
    assert blob.download_as_bytes(start=2, end=4) == b"234"
    assert blob.download_as_bytes(start=7) == b"789"
    assert blob.download_as_bytes(start=7, end=99) == b"789"
    assert [request.range for request in gcs.requests] == ["bytes=2-4", "bytes=7-", "bytes=7-99"]

    url = f"{gcs.url}/{BUCKET}/digits"
    last = requests.get(url, headers={"Range": "bytes=-3"}, timeout=5)
    assert (last.status_code, last.content, last.headers["Content-Range"]) == (206, b"789", "bytes 7-9/10")
    beyond = requests.get(url, headers={"Range": "bytes=10-"}, timeout=5)
    assert (beyond.status_code, beyond.headers["Content-Range"]) == (416, "bytes */10")
    head = requests.head(url, timeout=5)
    assert (head.status_code, head.headers["Content-Length"], head.content) == (200, "10", b"")


def test_listing_in_pages(client: storage.Client, gcs: GcsServer) -> None:
    """Pages join into the whole, in order, whatever their size; max_results cuts it short."""
    keys = [f"p/{number:02d}" for number in range(25)]
    for key in (*reversed(keys), "other"):
        gcs.put(BUCKET, key, b"")
    for size, calls in ((1, 25), (10, 3), (25, 1), (None, 1)):
        gcs.requests.clear()
        assert [blob.name for blob in client.list_blobs(BUCKET, prefix="p/", page_size=size)] == keys
        assert len(gcs.requests) == calls
    first = client.list_blobs(BUCKET, prefix="p/", max_results=12, page_size=5)
    assert [blob.name for blob in first] == keys[:12]
    assert list(client.list_blobs(BUCKET, prefix="none/")) == []


def test_listing_always_pages(client: storage.Client, gcs: GcsServer) -> None:
    """The service never sends more than a thousand at once."""
    for number in range(1001):
        gcs.put(BUCKET, f"{number:04d}", b"")
    for size in (None, 5000):
        gcs.requests.clear()
        assert sum(1 for _ in client.list_blobs(BUCKET, page_size=size)) == 1001
        assert len(gcs.requests) == 2


@pytest.mark.parametrize("page_size", [1, 2, None])
def test_listing_like_a_directory(client: storage.Client, gcs: GcsServer, page_size: int | None) -> None:
    """With a delimiter, what lies deeper shows once, as a prefix, across pages too."""
    for key in ("a/1", "a/b/2", "a/b/3", "a/c/4", "a/d", "z"):
        gcs.put(BUCKET, key, b"")
    listing = client.list_blobs(BUCKET, prefix="a/", delimiter="/", page_size=page_size)
    assert [blob.name for blob in listing] == ["a/1", "a/d"]
    assert listing.prefixes == {"a/b/", "a/c/"}


def test_generation_preconditions(bucket: storage.Bucket, gcs: GcsServer) -> None:
    """Only he who knows the present generation may read, write or delete on that condition."""
    blob = bucket.blob("claim")
    blob.upload_from_string(b"first", if_generation_match=0)
    with pytest.raises(PreconditionFailed):
        bucket.blob("claim").upload_from_string(b"second", if_generation_match=0)
    assert gcs.get(BUCKET, "claim") == b"first"

    old = blob.generation
    blob.upload_from_string(b"third", if_generation_match=old)
    with pytest.raises(PreconditionFailed):
        bucket.blob("claim").download_as_bytes(if_generation_match=old)
    with pytest.raises(PreconditionFailed):
        bucket.blob("claim").delete(if_generation_match=old)
    with pytest.raises(NotFound):
        bucket.blob("claim", generation=old).download_as_bytes()
    with pytest.raises(PreconditionFailed):
        bucket.blob("none").upload_from_string(b"", if_generation_match=old)
    bucket.blob("claim").delete(if_generation_match=blob.generation)
    assert gcs.keys(BUCKET) == []


def test_only_one_of_many_writers_wins(bucket: storage.Bucket, gcs: GcsServer) -> None:
    """The check and the write are one step."""

    def claim(number: int) -> bool:
        try:
            bucket.blob("claim").upload_from_string(str(number), if_generation_match=0)
        except PreconditionFailed:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        wins = list(pool.map(claim, range(8)))
    assert wins.count(True) == 1
    assert gcs.get(BUCKET, "claim") == str(wins.index(True)).encode()


def test_what_is_missing_is_not_found(client: storage.Client, bucket: storage.Bucket) -> None:
    """Missing buckets and objects are told apart from failures."""
    nowhere = client.bucket("nowhere")
    assert not nowhere.exists()
    assert bucket.get_blob("none") is None
    for call in (
        lambda: client.get_bucket("nowhere"),
        lambda: list(client.list_blobs("nowhere")),
        lambda: nowhere.blob("x").upload_from_string(b""),
        lambda: nowhere.blob("x").upload_from_file(io.BytesIO(b"")),
        lambda: bucket.blob("none").download_as_bytes(),
        lambda: bucket.blob("none").delete(),
    ):
        with pytest.raises(NotFound):
            call()
    with pytest.raises(NotFound, match="The specified bucket does not exist"):
        client.get_bucket("nowhere")


def test_delete(bucket: storage.Bucket, gcs: GcsServer) -> None:
    """What is deleted is gone, and its neighbours are not."""
    gcs.put(BUCKET, "a/1", b"")
    gcs.put(BUCKET, "a/2", b"")
    bucket.blob("a/1").delete()
    assert gcs.keys(BUCKET) == ["a/2"]
    assert gcs.get(BUCKET, "a/1") is None


def test_gaps_are_loud(client: storage.Client, bucket: storage.Bucket, gcs: GcsServer) -> None:
    """What is not imitated fails at once: it neither passes for done nor is tried again."""
    gcs.put(BUCKET, "a", b"")
    with pytest.raises(MethodNotImplemented):
        bucket.copy_blob(bucket.blob("a"), bucket, "b")
    with pytest.raises(MethodNotImplemented):
        list(client.list_blobs(BUCKET, match_glob="*"))
    with pytest.raises(MethodNotImplemented):
        bucket.blob("a").reload(if_generation_not_match=1)
    assert len(gcs.requests) == 3
    with pytest.raises(BadRequest):
        list(client.list_blobs(BUCKET, page_size="many"))


def test_a_fault_is_retried(client: storage.Client, bucket: storage.Bucket, gcs: GcsServer) -> None:
    """A fault hits what it matches, as often as it is told to; the client's retries get past it."""
    gcs.fail(r"^POST /upload/.*/o$", status=503, times=2)
    gcs.fail(rf"^GET /storage/v1/b/{BUCKET}/o$", status=429)
    gcs.fail(r"^GET /download/.*/a/b$", status=500)
    bucket.blob("a/b").upload_from_string(b"data", retry=RETRY)
    assert [blob.name for blob in client.list_blobs(BUCKET, retry=RETRY)] == ["a/b"]
    assert bucket.blob("a/b").download_as_bytes(retry=RETRY) == b"data"
    assert [request.method for request in gcs.requests] == ["POST"] * 3 + ["GET"] * 4


def test_a_download_broken_off_is_completed(bucket: storage.Bucket, gcs: GcsServer) -> None:
    """The client notices the missing end."""
    gcs.put(BUCKET, "data", BINARY)
    gcs.fail("GET /download/", truncate=1000)
    gcs.fail("GET /download/", truncate=0)
    assert bucket.blob("data").download_as_bytes(retry=RETRY) == BINARY
    assert len(gcs.requests) == 3


def test_a_write_done_but_never_confirmed(bucket: storage.Bucket, gcs: GcsServer) -> None:
    """The trap of conditional writes: the retry meets the client's own first write."""
    gcs.fail("POST /upload/", truncate=0)
    with pytest.raises(PreconditionFailed):
        bucket.blob("claim").upload_from_string(b"mine", if_generation_match=0, retry=RETRY)
    assert gcs.get(BUCKET, "claim") == b"mine"


def test_delay_and_close(gcs: GcsServer) -> None:
    """A late answer is a right one; a closed server gives none, even on a connection still open."""
    gcs.put(BUCKET, "data", b"data")
    gcs.fail("GET /scenes/data", status=None, delay=0.1)
    with requests.Session() as session:
        begin = time.monotonic()
        assert session.get(f"{gcs.url}/{BUCKET}/data", timeout=5).content == b"data"
        assert time.monotonic() - begin >= 0.1
        gcs.close()
        with pytest.raises(requests.ConnectionError):
            session.get(f"{gcs.url}/{BUCKET}/data", timeout=5)


@pytest.mark.parametrize("scheme", ["gs://", "/vsigs/"])
def test_gdal_reads_a_window_by_ranges(gcs: GcsServer, monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    """One tile is wanted, and far less than the whole file is fetched."""
    monkeypatch.setenv("GDAL_DISABLE_READDIR_ON_OPEN", "EMPTY_DIR")
    data = tiled_tiff()
    gcs.put(BUCKET, "t/x.tif", data)
    with rasterio.open(f"{scheme}{BUCKET}/t/x.tif") as dataset:
        window = dataset.read(1, window=Window(256, 256, 64, 64))
    assert np.array_equal(window, PIXELS[256:320, 256:320])
    assert {(request.method, request.path) for request in gcs.requests} == {("GET", f"/{BUCKET}/t/x.tif")}
    bounds = [str(request.range).removeprefix("bytes=").split("-") for request in gcs.requests]
    assert sum(int(last) - int(first) + 1 for first, last in bounds) < len(data) / 4


def test_listing_in_xml(gcs: GcsServer) -> None:
    """What GDAL asks for where it may list a folder; the product never lets it."""
    gcs.put(BUCKET, "d/x.tif", tiled_tiff())
    gcs.put(BUCKET, "d/deeper/x.tif", b"")
    query = {"delimiter": "/", "prefix": "d/", "max-keys": "1"}
    page = requests.get(f"{gcs.url}/{BUCKET}", params=query, timeout=5)
    assert "<Prefix>d/deeper/</Prefix>" in page.text
    assert "<NextMarker>d/deeper/</NextMarker>" in page.text
    assert "<Key>" not in page.text


def test_gdal_retries_and_reports(gcs: GcsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """GDAL gets past a fault if told to retry, and says 404 of what is not there."""
    monkeypatch.setenv("GDAL_DISABLE_READDIR_ON_OPEN", "EMPTY_DIR")
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "2")
    monkeypatch.setenv("GDAL_HTTP_RETRY_DELAY", "0.01")
    gcs.put(BUCKET, "t/y.tif", tiled_tiff())
    gcs.fail(r"GET /scenes/t/y\.tif", status=503, times=2)
    with rasterio.open(f"gs://{BUCKET}/t/y.tif") as dataset:
        assert dataset.shape == (512, 512)
    with pytest.raises(RasterioIOError, match="404"):
        rasterio.open(f"gs://{BUCKET}/t/none.tif")
    with pytest.raises(RasterioIOError, match="404"):
        rasterio.open("gs://nowhere/x.tif")
