"""Downloads: resumed where they broke off, one version, checked, whole or not there."""

import base64
import hashlib
import json
import threading
from pathlib import Path

import numpy as np
import pytest
from loopback.gcs import GcsServer
from loopback.http import HttpServer
from loopback.s3 import S3Server

from clearyear import download as module
from clearyear.download import download
from clearyear.errors import ReadError, StoreError
from clearyear.scenes.template import DateTemplate, months_of
from clearyear.stores import Entry, stat_uri

CHUNK = 1 << 16
DATA = np.random.default_rng(1).bytes(5 * CHUNK + 123)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEARYEAR_RETRIES", "1")
    monkeypatch.setenv("CLEARYEAR_RETRY_SECONDS", "0.005")
    monkeypatch.setattr(module, "CHUNK", CHUNK)


@pytest.fixture
def web(web: HttpServer) -> HttpServer:
    web.files["/a.tgz"] = DATA
    return web


def entry_of(web: HttpServer, name: str = "/a.tgz") -> Entry:
    found = stat_uri(web.url + name)
    assert found is not None
    return found


def ranges(web: HttpServer) -> list[str]:
    return [
        r.headers["range"] for r in web.requests if r.method == "GET" and r.path == "/a.tgz" and "range" in r.headers
    ]


def test_whole_and_not_fetched_again(web: HttpServer, tmp_path: Path) -> None:
    target = tmp_path / "deep" / "a.tgz"
    found = download(entry_of(web), target)
    assert target.read_bytes() == DATA
    assert (found.sha256, found.verified) == (hashlib.sha256(DATA).hexdigest(), "")
    entry = entry_of(web)
    web.requests.clear()
    assert download(entry, target) == found
    assert not ranges(web)
    assert sorted(p.name for p in target.parent.iterdir()) == ["a.tgz", "a.tgz.json", "a.tgz.part"]


def test_an_interrupted_download_goes_on_where_it_broke_off(web: HttpServer, tmp_path: Path) -> None:
    target, entry = tmp_path / "a.tgz", entry_of(web)
    web.fail(f"bytes={3 * CHUNK}-", 503, times=9)
    with pytest.raises(ReadError) as broken:
        download(entry, target)
    assert broken.value.transient
    assert not target.exists()
    web.calm()
    web.count()
    download(entry, target)
    assert target.read_bytes() == DATA
    assert web.bytes_sent == len(DATA) - 3 * CHUNK
    assert ranges(web)[0].startswith(f"bytes={3 * CHUNK}-")


def test_bytes_after_the_last_note_are_not_trusted(web: HttpServer, tmp_path: Path) -> None:
    """After a power cut the partial file may be longer than what was written down as there."""
    target, entry = tmp_path / "a.tgz", entry_of(web)
    web.fail(f"bytes={2 * CHUNK}-", 503, times=9)
    with pytest.raises(ReadError):
        download(entry, target)
    with (tmp_path / "a.tgz.part").open("ab") as file:
        file.write(bytes(CHUNK))
    web.calm()
    download(entry, target)
    assert target.read_bytes() == DATA


@pytest.mark.parametrize("spoil", ["garbage", '{"done": 999999999}', '{"uri": 1}'])
def test_a_spoiled_note_means_from_the_start(web: HttpServer, tmp_path: Path, spoil: str) -> None:
    target = tmp_path / "a.tgz"
    (tmp_path / "a.tgz.part").write_bytes(bytes(len(DATA) + CHUNK))  # of a version that was longer
    (tmp_path / "a.tgz.part.json").write_text(spoil)
    download(entry_of(web), target)
    assert target.read_bytes() == DATA


@pytest.mark.parametrize("etags", [True, False])
def test_two_versions_are_never_mixed(web: HttpServer, tmp_path: Path, etags: bool) -> None:
    web.etags = etags
    target, entry = tmp_path / "a.tgz", entry_of(web)
    web.fail(f"bytes={2 * CHUNK}-", 503, times=9)
    with pytest.raises(ReadError):
        download(entry, target)
    web.calm()
    newer = DATA[::-1] + b"newer"
    web.files["/a.tgz"] = newer
    with pytest.raises(StoreError, match="was replaced at its source"):
        download(entry, target)
    assert not target.exists()
    download(entry_of(web), target)
    assert target.read_bytes() == newer


def test_a_file_that_was_damaged_here_is_fetched_again(web: HttpServer, tmp_path: Path) -> None:
    target, entry = tmp_path / "a.tgz", entry_of(web)
    download(entry, target)
    target.write_bytes(DATA[:-1] + b"?")
    download(entry, target)
    assert target.read_bytes() == DATA


@pytest.mark.parametrize(
    ("suffix", "algorithm", "form"),
    [(".md5", "md5", "{}"), (".sha256", "sha256", "{} *a.tgz\n"), (".sha256", "sha256", "00 b\n{}  ./a.tgz\n")],
)
def test_checksums_beside_the_file(web: HttpServer, tmp_path: Path, suffix: str, algorithm: str, form: str) -> None:
    web.files[f"/a.tgz{suffix}"] = form.format(hashlib.new(algorithm, DATA).hexdigest()).encode()
    assert download(entry_of(web), tmp_path / "a.tgz").verified == f"{algorithm} ({suffix[1:]} file)"
    web.files[f"/a.tgz{suffix}"] = form.format(hashlib.new(algorithm, b"other").hexdigest()).encode()
    with pytest.raises(ReadError, match=f"came damaged: its {algorithm} is") as refused:
        download(entry_of(web), tmp_path / "b.tgz")
    assert refused.value.transient
    assert not (tmp_path / "b.tgz").exists()


def test_a_page_that_is_no_checksum_is_none(web: HttpServer, tmp_path: Path) -> None:
    """Many a server answers whatever is asked for with a page of its own."""
    web.files |= {"/a.tgz.md5": b"<html>not found</html>", "/a.tgz.sha256": b"\xff\xfe" * 40}
    assert download(entry_of(web), tmp_path / "a.tgz").verified == ""


@pytest.mark.parametrize(
    "form",
    [
        "Content-MD5: {}",
        "x-goog-hash: crc32c=AAAAAA==,md5={}",
        "x-goog-hash: crc32c=AAAAAA==\r\nx-goog-hash: md5={}",
    ],
)
def test_headers_with_checksums(web: HttpServer, tmp_path: Path, form: str) -> None:
    name, _, value = form.partition(": ")
    right, wrong = (base64.b64encode(hashlib.md5(data).digest()).decode() for data in (DATA, b""))
    web.headers["/a.tgz"] = {name: value.format(right)}
    assert download(entry_of(web), tmp_path / "a.tgz").verified == f"md5 ({name})"
    web.headers["/a.tgz"] = {name: value.format(wrong)}
    with pytest.raises(ReadError, match=f"{name} says"):
        download(entry_of(web), tmp_path / "b.tgz")


def test_an_etag_that_is_no_md5_is_outvoted_by_two_equal_downloads(tmp_path: Path, web: HttpServer) -> None:
    """S3's ETag is the MD5, but for objects in parts (told by a dash) and for those encrypted by KMS (not told)."""
    entry = entry_of(web)
    right, wrong = hashlib.md5(DATA).hexdigest(), hashlib.md5(b"").hexdigest()
    for tag, verified in ((right, "md5 (ETag)"), (wrong, "")):
        module_claims = {"ETag": ("md5", tag)}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "claims", lambda _, claims=module_claims: iter(claims.items()))
            web.count()
            assert download(entry, tmp_path / tag).verified == verified
            assert web.bytes_sent == (1 if verified else 2) * len(DATA)
        assert (tmp_path / tag).read_bytes() == DATA


def test_a_bucket_tells_its_checksum(tmp_path: Path, bucket: GcsServer) -> None:
    bucket.put("in", "m/a.tgz", DATA)
    entry = stat_uri("gs://in/m/a.tgz")
    assert entry is not None
    found = download(entry, tmp_path / "a.tgz")
    assert found.verified == "md5 (the store)"
    assert (tmp_path / "a.tgz").read_bytes() == DATA


def test_an_s3_bucket_by_a_glob_with_its_etag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with S3Server() as server:
        for name, value in server.env().items():
            monkeypatch.setenv(name, value)
        server.create_bucket("night")
        server.put("night", "viirs/202301/x_75N060W_v10.tgz", DATA)
        server.put("night", "viirs/202301/deep/x_75N060E_v10.tgz", DATA)
        [month] = months_of("2023-01")
        there, absent = DateTemplate("s3://night/viirs/{yyyymm}/*_{tile}_*.tgz").find(month, ["75N060W", "75N060E"])
        assert absent.absent
        assert there.entry is not None
        found = download(there.entry, tmp_path / "a.tgz")
    assert found.verified == "md5 (ETag)"
    assert (tmp_path / "a.tgz").read_bytes() == DATA


def test_two_runs_do_not_write_one_file(web: HttpServer, tmp_path: Path) -> None:
    target, entry = tmp_path / "a.tgz", entry_of(web)
    web.fail(f"bytes={CHUNK}-", None, times=1, delay=1.0)
    refused: list[Exception] = []

    def second() -> None:
        while not json.loads((tmp_path / "a.tgz.part.json").read_text() if _there(tmp_path) else "{}").get("done"):
            pass
        try:
            download(entry, target)
        except StoreError as error:
            refused.append(error)

    other = threading.Thread(target=second)
    other.start()
    download(entry, target)
    other.join()
    assert target.read_bytes() == DATA
    assert "is being fetched by another run" in str(refused[0])


def _there(folder: Path) -> bool:
    return (folder / "a.tgz.part.json").exists()
