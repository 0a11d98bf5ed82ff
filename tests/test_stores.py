"""Stores: what lies under a name is whole or not there, and what a store refuses is said in words."""

import dataclasses
import errno
import multiprocessing
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import pytest
from loopback.gcs import GcsServer

from clearyear.errors import ClearyearError, InputError, StoreError
from clearyear.scenes import find_scenes
from clearyear.stores import Store, gdal_path, open_store, parent_of, split_uri, stat_uri
from clearyear.stores.base import scratch_owner
from clearyear.stores.gcs import GcsStore
from clearyear.stores.local import LocalStore

SCRATCH = ".clearyear-tmp"


@pytest.fixture
def bucket(bucket: GcsServer) -> GcsServer:
    bucket.create_bucket("bucket")
    return bucket


@pytest.fixture(params=["file", "gs"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """Either kind, for what must hold of both."""
    if request.param == "file":
        return open_store(str(tmp_path / "out"))
    request.getfixturevalue("bucket")
    return open_store("gs://bucket/out")


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """A folder of someone to whom permissions apply: root becomes nobody for the length of the test."""
    nobody = 65534 if os.geteuid() == 0 else os.geteuid()
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        os.chown(name, nobody, -1)
        os.seteuid(nobody)
        try:
            yield Path(name)
        finally:
            os.seteuid(os.getuid())


# -- addresses -----------------------------------------------------------------------------------------------


def test_addresses(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    assert split_uri("gs://b/x/y.tif") == ("gs", "b", "x/y.tif")
    assert split_uri("gs://b") == ("gs", "b", "")
    assert split_uri("out/x") == ("file", "", f"{tmp_path}/out/x")
    assert split_uri("~/x/../y") == ("file", "", "/home/me/y")
    assert split_uri("file:///x/y") == ("file", "", "/x/y")
    assert gdal_path("gs://b/x/y.tif") == "/vsigs/b/x/y.tif"
    assert gdal_path("out/x.tif") == f"{tmp_path}/out/x.tif"
    assert parent_of("gs://b/x/y.tif") == ("gs://b/x", "y.tif")
    assert parent_of("y.tif") == (str(tmp_path), "y.tif")
    assert (open_store("gs://b/x/").root, open_store("x").root) == ("gs://b/x", f"{tmp_path}/x")
    for uri in ("s4://b/x", "ftp://h/x.tif", "gs://", "gs:///x"):
        with pytest.raises(InputError, match=rf"The address '{uri}' cannot be used\. Wanted: a local path"):
            open_store(uri)


def test_write_read_stat_list_remove(store: Store) -> None:
    assert store.stat("a/b.txt") is None
    store.write("a/b.txt", b"one")
    store.write("a/b.txt", b"three")
    store.write("c.bin", bytes(range(256)))
    assert (store.read("a/b.txt"), store.read("c.bin")) == (b"three", bytes(range(256)))
    entries = store.entries()
    assert [(e.name, e.size, e.uri) for e in entries] == [
        ("a/b.txt", 5, f"{store.root}/a/b.txt"),
        ("c.bin", 256, f"{store.root}/c.bin"),
    ]
    assert store.stat("a/b.txt") == entries[0]
    assert stat_uri(store.uri("a/b.txt")) == dataclasses.replace(entries[0], name="b.txt")
    store.remove("a/b.txt")
    store.remove("a/b.txt")
    assert store.stat("a/b.txt") is None
    assert [e.name for e in store.entries()] == ["c.bin"]


def test_version_changes_with_each_write_and_only_then(store: Store) -> None:
    store.write("a", b"one")
    (first,) = store.entries()
    assert store.stat("a") == first
    store.write("a", b"one")
    assert store.entries()[0].version != first.version


def test_write_file_moves_a_big_file_in(store: Store) -> None:
    source = store.scratch() / "big.tif"
    source.write_bytes(b"x" * 3_000_000)
    store.write_file("deep/er/big.tif", source)
    assert store.read("deep/er/big.tif") == b"x" * 3_000_000
    assert not source.exists()


def test_reading_what_is_not_there(store: Store) -> None:
    store.write("a", b"x")
    with pytest.raises(StoreError, match=r"Cannot read .*/out/none: it is not there") as caught:
        store.read("none")
    assert not caught.value.transient
    assert caught.value.uri == store.uri("none")


# -- a folder ------------------------------------------------------------------------------------------------


def die_before_the_rename(store: LocalStore, call: str) -> None:
    os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    if call == "write":
        store.write("tiles/t.tif", b"new" * 100_000)
    source = store.scratch() / "t.tif"
    source.write_bytes(b"new" * 100_000)
    store.write_file("tiles/t.tif", source)


def in_a_process(work: Callable[..., object], *args: object) -> tuple[int, int | None]:
    """Do the work in a child; its process id and exit code."""
    child = multiprocessing.get_context("fork").Process(target=work, args=args)
    child.start()
    child.join(30)
    assert child.pid is not None
    return child.pid, child.exitcode


@pytest.mark.parametrize("before", [None, b"old"])
@pytest.mark.parametrize("call", ["write", "write_file"])
def test_killed_before_the_rename_nothing_half_written_shows(tmp_path: Path, call: str, before: bytes | None) -> None:
    store = LocalStore(tmp_path)
    if before is not None:
        store.write("tiles/t.tif", before)
    pid, code = in_a_process(die_before_the_rename, store, call)
    assert code == -signal.SIGKILL
    assert [e.name for e in store.entries()] == (["tiles/t.tif"] if before else [])
    assert before is None or store.read("tiles/t.tif") == before
    mine = tmp_path / SCRATCH / f"{scratch_owner()}-{pid}"
    left = [path for path in mine.rglob("*") if path.is_file()]
    assert [path.stat().st_size for path in left] == [300_000]
    store.sweep()
    assert not (tmp_path / SCRATCH).exists()


@pytest.mark.parametrize(
    ("number", "error", "words"),
    [
        (errno.ENOSPC, InputError, r"No space left on device\. Wanted: .*with room\. What to do: .*finished is kept"),
        (errno.EIO, StoreError, "Input/output error"),
    ],
)
def test_failing_write_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, error: type[ClearyearError], words: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    store = LocalStore(tmp_path)
    store.write("t.tif", b"old")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(error, match=rf"Cannot write .*t\.tif: {words}") as caught:
        store.write("t.tif", b"new")
    assert caught.value.transient is (number == errno.EIO)
    assert store.read("t.tif") == b"old"
    assert list(store.scratch().iterdir()) == []


def test_sweep_takes_the_dead_and_leaves_the_living(tmp_path: Path) -> None:
    host = socket.gethostname()
    dead, _ = in_a_process(int)
    space = Path("/proc/self/ns/pid").stat().st_ino
    other = f"{host}+{space + 1}-{dead}"  # a container's of the same name
    living = {
        other,
        f"{host}-{os.getppid()}",
        f"{host}+{space}-{os.getppid()}",
        f"{host}-2-{dead}",
        f"other-{dead}",
        f"{host}-notes",
    }  # host-2 is another host
    for name in (*living, f"{host}-{dead}", f"{host}+{space}-{dead}"):
        (tmp_path / SCRATCH / name).mkdir(parents=True)
        (tmp_path / SCRATCH / name / "part").write_bytes(b"x")
    LocalStore(tmp_path).sweep()
    assert {folder.name for folder in (tmp_path / SCRATCH).iterdir()} == living
    assert LocalStore(tmp_path).entries() == []  # and nobody sees scratch files


def test_sweep_leaves_what_a_thread_of_ours_is_writing(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    (store.scratch() / "part").write_bytes(b"x")
    store.sweep()
    assert (store.scratch() / "part").exists()
    (store.scratch() / "part").unlink()
    store.sweep()
    assert not any(tmp_path.iterdir())


def test_destination_that_may_not_be_written(unprivileged: Path) -> None:
    unprivileged.chmod(0o500)
    with pytest.raises(InputError, match=r"Cannot write .*: Permission denied\. Wanted: a place that can be written"):
        open_store(str(unprivileged / "out")).write("plan.json", b"{}")


def test_file_and_folder_that_may_not_be_read(unprivileged: Path) -> None:
    store = open_store(str(unprivileged))
    store.write("closed/a_20230101.tif", b"x")
    (unprivileged / "closed" / "a_20230101.tif").chmod(0)
    with pytest.raises(InputError, match=r"Cannot read .*a_20230101\.tif: Permission denied"):
        store.read("closed/a_20230101.tif")
    (unprivileged / "closed").chmod(0)
    with pytest.raises(InputError, match=r"Cannot list .*/closed: Permission denied"):
        find_scenes(str(unprivileged))
    with pytest.raises(InputError, match=r"Cannot read .*a_20230101\.tif: Permission denied"):
        store.stat("closed/a_20230101.tif")
    (unprivileged / "closed").chmod(0o700)


def test_destination_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(InputError, match=r"Cannot write .*: (Not a directory|File exists)"):
        open_store(str(tmp_path / "file" / "out")).write("plan.json", b"{}")
    assert open_store(str(tmp_path / "file")).stat("plan.json") is None


# -- a bucket ------------------------------------------------------------------------------------------------


def test_prefix_is_a_folder(bucket: GcsServer) -> None:
    for key in ("out/a", "out/b/c", "out/b/", "outer/d", "e"):
        bucket.put("bucket", key, b"x")
    assert [e.name for e in open_store("gs://bucket/out/").entries()] == ["a", "b/c"]
    assert [e.name for e in open_store("gs://bucket").entries()] == ["e", "out/a", "out/b/c", "outer/d"]
    assert [e.uri for e in open_store("gs://bucket/out").entries("b/")] == ["gs://bucket/out/b/c"]
    assert open_store("gs://bucket/none").entries() == []


def test_missing_bucket_is_the_users_to_correct(bucket: GcsServer) -> None:
    store = open_store("gs://nowhere/out")
    for call in (store.entries, lambda: store.write("a", b"x"), lambda: store.read("a")):
        with pytest.raises(InputError, match=r"The bucket of gs://nowhere/out/.* does not exist.*correct its name"):
            call()


def test_missing_object_is_no_missing_bucket_whatever_they_are_called(bucket: GcsServer) -> None:
    bucket.create_bucket("my-bucket")
    with pytest.raises(StoreError, match="Cannot read gs://my-bucket/bucket: it is not there"):
        open_store("gs://my-bucket").read("bucket")


def test_503_is_tried_again(bucket: GcsServer) -> None:
    store = open_store("gs://bucket/out")
    bucket.fail(r"^POST /upload/", status=503)
    store.write("a", b"data")
    bucket.fail(r"^GET /download/.*/out/a$", status=503)
    assert store.read("a") == b"data"
    assert [r.method for r in bucket.requests if "upload" in r.path] == ["POST", "POST"]
    assert [r.method for r in bucket.requests if "download" in r.path] == ["GET", "GET"]


def test_write_that_was_done_but_not_confirmed_counts(bucket: GcsServer) -> None:
    """The retry meets its own first attempt; that is success, not a conflict."""
    bucket.fail(r"^POST /upload/", truncate=0)
    open_store("gs://bucket/out").write("a", b"mine")
    assert bucket.get("bucket", "out/a") == b"mine"


def test_removing_what_another_has_removed_is_done(bucket: GcsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or our own first attempt, whose answer was lost."""
    store, look = open_store("gs://bucket/out"), GcsStore._generation
    for name in ("a", "b"):
        store.write(name, b"data")
    bucket.fail(r"^DELETE", truncate=0)
    store.remove("a")

    def late(self: GcsStore, name: str) -> int:
        generation = look(self, name)
        monkeypatch.undo()
        store.remove(name)
        return generation

    monkeypatch.setattr(GcsStore, "_generation", late)
    store.remove("b")
    assert store.entries() == []


@pytest.mark.parametrize("theirs", [b"theirs", b"ours!!"])
def test_write_does_not_overwrite_what_came_between(
    bucket: GcsServer, monkeypatch: pytest.MonkeyPatch, theirs: bytes
) -> None:
    """Another writer wins between our look and our upload: told, unless it wrote the same bytes."""
    look = GcsStore._generation

    def slow(self: GcsStore, name: str) -> int:
        generation = look(self, name)
        bucket.put("bucket", "out/a", theirs)
        return generation

    monkeypatch.setattr(GcsStore, "_generation", slow)
    said = pytest.raises(StoreError, match="Cannot write gs://bucket/out/a: 412")
    with nullcontext() if theirs == b"ours!!" else said as caught:
        open_store("gs://bucket/out").write("a", b"ours!!")
    assert caught is None or caught.value.transient
    assert bucket.get("bucket", "out/a") == theirs


def test_forbidden_is_the_users_to_mend(bucket: GcsServer) -> None:
    bucket.fail(r"/storage/v1/b/bucket/o", status=403, times=9)
    with pytest.raises(InputError, match=r"Not allowed to list gs://bucket/out/.*gcloud auth application"):
        open_store("gs://bucket/out").entries()


# -- conditions ----------------------------------------------------------------------------------------------


def test_swap_only_where_nobody_else_has_written(store: Store) -> None:
    first = store.swap("a/ticket", b"one", None)
    assert first is not None
    entry = store.stat("a/ticket")
    assert entry is not None
    assert entry.version == first
    assert store.swap("a/ticket", b"another", None) is None
    assert store.swap("a/other", b"another", first) is None
    second = store.swap("a/ticket", b"two, longer", first)
    assert second not in (None, first)
    assert store.swap("a/ticket", b"late", first) is None
    assert store.read("a/ticket") == b"two, longer"
    store.remove("a/ticket", first)
    assert store.read("a/ticket") == b"two, longer"
    store.remove("a/ticket", second)
    assert store.stat("a/ticket") is None
    store.remove("a/ticket", second)
    assert [entry.name for entry in store.entries()] == []


@pytest.mark.parametrize("there", [False, True])
def test_of_many_who_swap_at_once_one_is_served(store: Store, there: bool) -> None:
    for round_ in range(8):
        name = f"ticket-{round_}"
        expected = store.swap(name, b"before", None) if there else None
        barrier = threading.Barrier(6)

        def swap(who: int, name: str = name, expected: str | None = expected, at: threading.Barrier = barrier) -> bool:
            at.wait()
            return store.swap(name, f"{who} was here".encode(), expected) is not None

        with ThreadPoolExecutor(6) as pool:
            served = list(pool.map(swap, range(6)))
        assert served.count(True) == 1
        assert store.read(name) == f"{served.index(True)} was here".encode()


def test_a_swap_whose_answer_was_lost_is_ours(bucket: GcsServer) -> None:
    store = open_store("gs://bucket/out")
    version = store.swap("ticket", b"mine", None)
    assert store.swap("ticket", b"mine", None) == version  # the client's second attempt looks like this
    assert store.swap("ticket", b"yours", None) is None


def test_another_ones_file_may_be_removed_as_long_as_it_is_that_version(unprivileged: Path) -> None:
    path = unprivileged / "x-raw.csv"
    path.write_bytes(b"a.tif")
    path.chmod(0o444)
    store = open_store(str(unprivileged))
    entry = store.stat("x-raw.csv")
    assert entry is not None
    store.remove("x-raw.csv", "another")
    assert path.exists()
    store.remove("x-raw.csv", entry.version)
    assert not path.exists()
