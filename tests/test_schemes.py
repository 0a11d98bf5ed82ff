"""Whole jobs over https and s3://, and which addresses are refused and what of them is never shown."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pytest
import rasterio
from loopback.http import HttpServer
from loopback.s3 import S3Server

from clearyear.completeness import check_plan
from clearyear.errors import ClearyearError, InputError, StoreError, WindowError
from clearyear.job import Job
from clearyear.plan import Plan
from clearyear.prepare import check_scenes, prepare
from clearyear.publish import conclude, publish
from clearyear.report import Report
from clearyear.scenes import find_scenes
from clearyear.stores import Store, gdal_path, open_store, parent_of, s3, shown, split_uri, stat_uri
from clearyear.stores.s3 import S3Store
from clearyear.window import compute_window

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture(scope="module")
def moto() -> Iterator[S3Server]:
    with S3Server() as running:
        yield running


@pytest.fixture
def s3_server(moto: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    for name, value in moto.env().items():
        monkeypatch.setenv(name, value)
    for bucket in ("in", "out"):
        moto.create_bucket(f"{bucket}-bucket")
    return moto


def job(**changes: Any) -> Job:
    return Job.model_validate({"period": "2023", "tile_size": 32, "layers": ["count", "source"]} | changes)


def run(plan: Plan) -> Report:
    """What the flow does, without Prefect."""
    store = open_store(plan.destination)
    for status, window in zip(check_plan(plan, store), plan.windows, strict=True):
        if not status.is_done:
            compute_window(plan, window, store)
    statuses = check_plan(plan, store)
    return conclude(plan, store, statuses, publish(plan, store, statuses))


# -- the web -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["list", "local manifest", "manifest on the web", "signed"])
def test_whole_job_from_the_web(web: HttpServer, scenes: Path, tmp_path: Path, form: str) -> None:
    paths = sorted(scenes.glob("*.tif"))
    for path in paths:
        web.files[f"/in/{path.name}"] = path.read_bytes()
    uris = [f"{web.url}/in/{path.name}" + ("?sig=s3cret%2F&se=1" if form == "signed" else "") for path in paths]
    source: Any = uris
    if form == "local manifest":
        source = str(tmp_path / "scenes.csv")
        Path(source).write_text("\n".join(["uri", *uris]))
    elif form == "manifest on the web":
        web.files["/in/scenes.csv"] = "\n".join(["uri", *(path.name for path in paths)]).encode()
        source = f"{web.url}/in/scenes.csv?sig=1"
    plan = prepare(job(scenes=source, out=str(tmp_path / "out")))
    assert [scene.uri for scene in plan.scenes] == uris
    check_scenes(plan)
    report = run(plan)
    assert (report.status, report.failed_reads) == ("complete", 0)
    composite, _, _ = oracle.luminance_median(oracle.read_all(paths))
    with rasterio.open(report.mosaic) as dataset:
        assert np.array_equal(dataset.read(), composite)
    for path in Path(plan.destination).rglob("*"):
        if path.is_file() and path.name != "plan.json":  # the workers need it
            assert b"s3cret" not in path.read_bytes(), path


def test_a_new_signature_makes_nothing_stale(web: HttpServer, scenes: Path, tmp_path: Path) -> None:
    for path in scenes.glob("*.tif"):
        web.files[f"/in/{path.name}"] = path.read_bytes()
    names = sorted(path.name for path in scenes.glob("*.tif"))
    first, again = (
        prepare(job(scenes=[f"{web.url}/in/{name}?sig={sig}" for name in names], out=str(tmp_path / "out")))
        for sig in ("one", "two")
    )
    assert first.id == again.id
    assert first.fingerprint(first.windows[0]) == again.fingerprint(again.windows[0])
    assert again.scenes[0].uri.endswith("?sig=two")


@pytest.mark.parametrize("reader", ["auto", "gdal"])
def test_a_signature_is_never_shown(
    web: HttpServer,
    scenes: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    reader: str,
) -> None:
    """Wherever it fails: at the look, at the header, at a block."""
    caplog.set_level("DEBUG", "clearyear")
    monkeypatch.setenv("CLEARYEAR_READER", reader)
    path = sorted(scenes.glob("*.tif"))[0]
    content = path.read_bytes()
    web.files["/a_20230101.tif"] = content
    values = {"scenes": [f"{web.url}/a_20230101.tif?sig=s3cret&x=1"], "out": str(tmp_path / "out")}
    said = []
    for status in (403, 404, 500):
        web.fail("a_20230101", status=status, times=99)
        with pytest.raises(ClearyearError) as caught:
            prepare(job(**values))
        said += [str(caught.value), repr(vars(caught.value))]
        web.calm()
    plan = prepare(job(**values))
    for status in (403, 404, 500):
        web.fail("a_20230101", status=status, times=99)
        with pytest.raises(WindowError) as caught:
            compute_window(plan, plan.windows[0], open_store(plan.destination))
        said += [str(caught.value), open_store(plan.destination).read(plan.record_name(plan.windows[0])).decode()]
        web.calm()
    web.files["/a_20230101.tif"] = content[:-20] + b"x" * 20
    with pytest.raises(InputError, match="a_20230101 has changed") as changed:
        check_scenes(plan)
    said += [str(changed.value), caplog.text.replace("rasterio", "")]
    assert not [words for words in said if "s3cret" in words]
    assert f"{web.url}/a_20230101.tif?…" in said[0]


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("https://me:s3cret@host/a.tif", "holds a user or a password"),
        ("https://s3cret@host/a.tif", "holds a user or a password"),
        ("s3://me:s3cret@bucket/a.tif", "holds a user or a password"),
        ("http://example.org/a.tif?s3cret", "is plain http"),
        ("http://127.0.0.1.example.org/a.tif", "is plain http"),
        ("http://[::2]/a.tif", "is plain http"),
        ("ftp://host/a.tif", "cannot be used"),
        ("https:///a.tif", "cannot be used"),
        ("/vsicurl/https://host/a.tif", "cannot be used"),
        ("s3://", "cannot be used"),
    ],
)
def test_addresses_that_are_refused(uri: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        stat_uri(uri)
    assert "s3cret" not in repr(vars(caught.value)) + str(caught.value)


def test_addresses_that_are_not() -> None:
    assert split_uri("https://h:8443/a/b.tif?x=1") == ("https", "h:8443", "a/b.tif?x=1")
    for host in ("localhost:80", "127.0.0.1", "127.8.8.8:1", "[::1]:80"):
        assert split_uri(f"http://{host}/a.tif") == ("http", host, "a.tif")
    assert split_uri("s3://b/x/y.tif") == ("s3", "b", "x/y.tif")
    assert gdal_path("s3://b/x/y.tif") == "/vsis3/b/x/y.tif"
    assert gdal_path("https://h/a.tif?x=1") == "/vsicurl/https://h/a.tif?x=1"
    assert parent_of("https://h/a/b.tif?x=a/b") == ("https://h/a", "b.tif?x=a/b")
    assert shown("https://u:p@h/a/b.tif?x=1") == "https://…@h/a/b.tif?…"
    assert shown("gs://b/a?b.tif") == "gs://b/a?b.tif"


def test_the_web_is_no_destination_and_has_no_listing(web: HttpServer, scenes: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"The destination .*/out is a web address, which can only be read.*s3://"):
        prepare(job(scenes=str(scenes), out=f"{web.url}/out"))
    with pytest.raises(InputError, match=r"/in is a web address, and these cannot be listed\. Wanted: a manifest"):
        prepare(job(scenes=f"{web.url}/in", out=str(tmp_path)))
    store = open_store(f"{web.url}/out")
    for call in (lambda: store.write("a", b""), lambda: store.remove("a"), store.scratch):
        with pytest.raises(InputError, match="can only be read"):
            call()
    assert web.requests == []


@pytest.mark.parametrize(("status", "words"), [(401, "401"), (403, "403"), (200, "whole files only")])
def test_scenes_on_the_web_that_cannot_be_read(web: HttpServer, tmp_path: Path, status: int, words: str) -> None:
    web.files["/a_20230101.tif"] = bytes(1000)
    web.fail("GET", status=status, times=9, whole=status == 200)
    with pytest.raises(InputError, match=rf"Cannot read .*a_20230101\.tif.*{words}"):
        find_scenes([f"{web.url}/a_20230101.tif"])
    web.calm()
    with pytest.raises(InputError, match="1 of 1 scenes of the list are not there"):
        find_scenes([f"{web.url}/b_20230101.tif"])
    web.fail("GET", status=503, times=9)
    with pytest.raises(StoreError, match="503") as caught:
        find_scenes([f"{web.url}/a_20230101.tif"])
    assert caught.value.transient


@pytest.mark.parametrize("address", ["/etc/passwd_20230101.tif", "file:///data/a_20230101.tif", "~/a_20230101.tif"])
@pytest.mark.parametrize("form", ["csv", "json", "payload"])
def test_a_manifest_from_elsewhere_names_no_file_of_ours(web: HttpServer, address: str, form: str) -> None:
    from clearyear.scenes.manifest import read_payload

    documents = {
        "csv": f"uri\n{address}\n",
        "json": json.dumps([address]),
        "payload": json.dumps({"datasets": ["a.tif"], "window": [0, 0, 1, 1], "destination": address}),
    }
    name = "m.csv" if form == "csv" else "m.json"
    web.files[f"/{name}"] = documents[form].encode()
    with pytest.raises(
        InputError, match=rf"The manifest .*/{name} names .*, a file of this machine or out of its folder"
    ):
        (read_payload if form == "payload" else find_scenes)(f"{web.url}/{name}")


# -- S3 ------------------------------------------------------------------------------------------------------


@pytest.fixture
def store(s3_server: S3Server) -> Store:
    return open_store("s3://out-bucket/out/")


def test_write_read_stat_list_remove(store: Store, s3_server: S3Server) -> None:
    assert store.root == "s3://out-bucket/out"
    assert store.stat("a/b.txt") is None
    assert store.entries() == []
    store.write("a/b.txt", b"one")
    store.write("a/b.txt", b"three")
    store.write("c.bin", bytes(range(256)))
    s3_server.put("out-bucket", "outer/d", b"x")
    assert (store.read("a/b.txt"), store.read("c.bin")) == (b"three", bytes(range(256)))
    entries = store.entries()
    assert [(e.name, e.size, e.uri) for e in entries] == [
        ("a/b.txt", 5, "s3://out-bucket/out/a/b.txt"),
        ("c.bin", 256, "s3://out-bucket/out/c.bin"),
    ]
    assert [e.name for e in store.entries("a/")] == ["a/b.txt"]
    assert store.stat("a/b.txt") == entries[0]
    found = stat_uri("s3://out-bucket/out/a/b.txt")
    assert found
    assert found.version == entries[0].version
    store.write("a/b.txt", b"other")
    assert store.entries()[0].version != entries[0].version
    store.remove("a/b.txt")
    store.remove("a/b.txt")
    assert [e.name for e in store.entries()] == ["c.bin"]


@pytest.mark.parametrize("in_parts", [False, True])
def test_write_file_moves_a_big_file_in(store: Store, monkeypatch: pytest.MonkeyPatch, in_parts: bool) -> None:
    monkeypatch.setattr(s3, "_CONDITIONAL_BYTES", 1_000_000 if in_parts else 64_000_000)
    source = store.scratch() / "big.tif"
    data = np.random.default_rng(1).bytes(11_000_000)
    source.write_bytes(data)
    store.write_file("deep/er/big.tif", source)
    assert store.read("deep/er/big.tif") == data
    assert not source.exists()


@pytest.mark.parametrize("theirs", [b"theirs", b"ours!!"])
@pytest.mark.parametrize("before", [None, b"before"])
def test_write_does_not_overwrite_what_came_between(
    store: Store, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch, theirs: bytes, before: bytes | None
) -> None:
    """Another writer wins between our look and our upload: told, unless it wrote the same bytes."""
    if before:
        s3_server.put("out-bucket", "out/a", before)
    look = S3Store._meta
    looks: list[str] = []

    def slow(self: S3Store, name: str) -> Any:
        meta = look(self, name)
        if not looks:
            s3_server.put("out-bucket", "out/a", theirs)
        looks.append(name)
        return meta

    monkeypatch.setattr(S3Store, "_meta", slow)
    if theirs == b"ours!!":
        store.write("a", b"ours!!")
    else:
        with pytest.raises(
            StoreError, match="Cannot write s3://out-bucket/out/a: another has written it meanwhile"
        ) as caught:
            store.write("a", b"ours!!")
        assert caught.value.transient
    assert s3_server.get("out-bucket", "out/a") == theirs


def test_swap_and_remove_on_condition(store: Store) -> None:
    first = store.swap("ticket", b"one", None)
    assert first is not None
    assert store.swap("ticket", b"another", None) is None
    second = store.swap("ticket", b"two", first)
    assert second is not None
    assert store.swap("ticket", b"late", first) is None
    assert store.swap("ticket", b"two", first) == second  # a second attempt whose first went through
    store.remove("ticket", first)
    assert store.read("ticket") == b"two"
    store.remove("ticket", second)
    assert store.stat("ticket") is None
    assert store.swap("ticket", b"x", second) is None


def test_what_is_wrong_with_a_bucket_is_said(
    store: Store, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StoreError, match="Cannot read s3://out-bucket/out/none: it is not there"):
        store.read("none")
    nowhere = open_store("s3://no-such-bucket/out")
    for call in (nowhere.entries, lambda: nowhere.write("a", b"x"), lambda: nowhere.read("a")):
        with pytest.raises(InputError, match=r"The bucket of s3://no-such-bucket/out/.* does not exist"):
            call()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(StoreError, match="Cannot list s3://out-bucket/out/") as caught:
        store.entries()
    assert caught.value.transient


def test_forbidden_is_the_users_to_mend(web: HttpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", web.url)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    web.fail("GET|HEAD", status=403, times=9)
    with pytest.raises(InputError, match=r"Not allowed to read s3://closed/a.*403.*AWS_ACCESS_KEY_ID"):
        open_store("s3://closed").read("a")


@pytest.mark.parametrize("reader", ["auto", "gdal"])
def test_whole_job_in_s3(
    s3_server: S3Server, scenes: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, reader: str
) -> None:
    monkeypatch.setenv("CLEARYEAR_READER", reader)
    paths = sorted(scenes.glob("*.tif"))
    for path in paths:
        s3_server.put("in-bucket", f"t31tcj/{path.name}", path.read_bytes())
    plan = prepare(job(scenes="s3://in-bucket/t31tcj", out="s3://out-bucket/composites"))
    assert [scene.uri for scene in plan.scenes] == [f"s3://in-bucket/t31tcj/{path.name}" for path in paths]
    report = run(plan)
    assert (report.status, report.failed_reads) == ("complete", 0)
    composite, _, _ = oracle.luminance_median(oracle.read_all(paths))
    key = f"composites/luminance-median/2023--P1Y/{plan.mosaic_name('composite')}"
    with rasterio.io.MemoryFile(s3_server.get("out-bucket", key)) as memory, memory.open() as dataset:
        assert np.array_equal(dataset.read(), composite)
    s3_server.put("in-bucket", f"t31tcj/{paths[1].name}", paths[0].read_bytes())
    with pytest.raises(WindowError, match=rf"{paths[1].stem} \(has changed since the plan was made\)"):
        compute_window(plan, plan.windows[0], open_store(plan.destination))


def test_names_that_s3_has_and_nobody_can_read(store: Store, s3_server: S3Server) -> None:
    for name in ("../other", "a/./b", "a//b"):
        for act in (store.stat, store.read, store.remove):
            with pytest.raises(InputError, match="The name"):
                act(name)
    s3_server.put("out-bucket", "out/a//b", b"1")
    with pytest.raises(InputError, match=r"Cannot list .*out/a//b") as caught:
        store.entries()
    assert "rename that object" in caught.value.do
