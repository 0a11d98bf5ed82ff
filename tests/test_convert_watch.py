"""Lists whose names say what becomes of them: killed at every step, looked at by several at once, local and gs://."""

import csv
import io
import json
import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pytest
from conftest import write_scene

from clearyear.convert import image as module
from clearyear.convert.raster import write_cog
from clearyear.convert.record import Options
from clearyear.convert.run import Result, convert_all
from clearyear.convert.tickets import Ticket
from clearyear.convert.watch import Taken, reopen, take_all
from clearyear.errors import InputError, StoreError
from clearyear.stores import Store, open_store

LIST = b"path,bands\r\na.tif,3\r\nbroken.tif,3\r\nb.tif,1"


class KilledError(BaseException):
    """What nothing in the code under test catches."""


class Dying:
    """A store whose process is killed just before its n-th change."""

    def __init__(self, store: Store, after: int) -> None:
        self._store, self._left = store, after

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if name not in ("write", "write_file", "swap", "remove"):
            return found
        self._left -= 1
        if self._left < 0:
            raise KilledError
        return found


@pytest.fixture(params=["file", "gs"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A folder or a prefix to watch, with two images and a broken one in it, and no list yet."""
    if request.param == "gs":
        request.getfixturevalue("bucket")
    root = str(tmp_path / "in") if request.param == "file" else "gs://in/in"
    store = open_store(root)
    pixels = np.arange(3 * 20 * 20, dtype=np.uint8).reshape(3, 20, 20)
    image = write_scene(tmp_path / "image.tif", pixels).read_bytes()
    for name, data in {"a.tif": image, "b.tif": image, "broken.tif": image[:300], "x/a.tif": image}.items():
        store.write(name, data)
    return root


@pytest.fixture
def out(place: str) -> str:
    return f"{place}/../out" if "://" not in place else "gs://in/out"


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often a COG was made of each image, by the name of its file."""
    counts: Counter[str] = Counter()

    def counted(source: Any, *arguments: Any, **options: Any) -> None:
        counts[source.path.name] += 1
        write_cog(source, *arguments, **options)

    monkeypatch.setattr(module, "write_cog", counted)
    return counts


def unknown(_run: str) -> None:
    return None


def over(_run: str) -> bool:
    return True


def work(taken: Taken, out: str) -> list[Result]:
    with taken.lease.held():
        try:
            sheet, rows = taken.rows()
        except InputError as error:
            taken.reject(error)
            return []
        results = convert_all(rows, out, Options(jpeg=False), workers=1)
    taken.conclude(sheet, results)
    return results


def look(store: Any, out: str, *, run: str = "me", is_over: Any = unknown) -> int:
    """What a flow run does, without Prefect; how many lists it has concluded."""
    return sum(1 for taken in take_all(store, run=run, is_over=is_over) if work(taken, out) is not None)


def kinds(store: Store) -> list[str]:
    """The lists' names, each stamp written as #."""
    return sorted(re.sub(r"\d{8}-\d{6}", "#", e.name) for e in store.entries() if not e.name.endswith(".tif"))


def content(store: Store, kind: str) -> bytes:
    [name] = [e.name for e in store.entries() if f"{kind}-" in e.name and not e.name.endswith("-causes.csv")]
    return store.read(name)


def causes(store: Store) -> list[dict[str, str]]:
    [name] = [e.name for e in store.entries() if e.name.endswith("-causes.csv")]
    return list(csv.DictReader(io.StringIO(store.read(name).decode())))


def outputs(out: str) -> set[str]:
    return {entry.name for entry in open_store(out).entries()}


def test_a_list_is_taken_and_says_what_became_of_it(place: str, out: str) -> None:
    store = open_store(place)
    store.write("x-raw.csv", LIST)
    assert look(store, out) == 1
    assert kinds(store) == ["x-failed-#-causes.csv", "x-failed-#.csv", "x-processed-#.csv"]
    assert content(store, "processed") == b"path,bands\r\na.tif,3\r\nb.tif,1\n"
    assert content(store, "failed") == b"path,bands\r\nbroken.tif,3\r\n"
    [why] = causes(store)
    assert (why["row"], why["what to do"], why["run"]) == ("broken.tif,3", "mend or replace the file", "me")
    assert "broken.tif" in why["cause"]
    assert outputs(out) == {f"{n}{e}" for n in "ab" for e in (".tif", ".convert.json")}
    assert look(store, out) == 0


def test_killed_before_any_step_the_next_look_goes_on(place: str, out: str, made: Counter[str]) -> None:
    """Nothing is lost and nothing is done twice, whichever change was the last."""
    store = open_store(place)
    for step in range(100):
        store.write("x-raw.csv", LIST)
        made.clear()
        killed, there = False, f"{out}/{step}"
        try:
            look(Dying(store, step), there)
        except KilledError:
            killed = True
            if step:
                # As long as its run may live it is nobody else's.
                assert look(store, there, run="another", is_over=unknown) == 0
            look(store, there, run="next", is_over=over)
        assert kinds(store) == ["x-failed-#-causes.csv", "x-failed-#.csv", "x-processed-#.csv"], step
        assert content(store, "processed") == b"path,bands\r\na.tif,3\r\nb.tif,1\n"
        assert made["a.tif"] == made["b.tif"] == 1, step
        for entry in store.entries():
            if not entry.name.endswith(".tif"):
                store.remove(entry.name)
        if not killed:
            break
    assert step >= 8


def test_two_watchers_at_once_never_take_the_same_list(place: str, out: str, made: Counter[str]) -> None:
    for name in ("x-raw.csv", "y-raw.csv", "z-raw.csv"):
        open_store(place).write(name, LIST)
    barrier = Barrier(4)

    def watch(who: int) -> list[str]:
        store, taken = open_store(place), []
        barrier.wait()
        for one in take_all(store, run=f"run-{who}", is_over=unknown):
            taken.append(one.name)
            work(one, f"{out}/{who}")
        return taken

    with ThreadPoolExecutor(4) as pool:
        found = [name for names in pool.map(watch, range(4)) for name in names]
    assert len(found) == len(set(found)) == 3
    assert {name[0] for name in found} == {"x", "y", "z"}
    assert made["a.tif"] == 3


def test_equal_base_names_in_different_folders_do_not_collide(place: str, out: str) -> None:
    store = open_store(place)
    store.write("x/l-raw.csv", b"a.tif,1\n")
    store.write("l-raw.csv", b"a.tif,3\nx/a.tif,1\n")
    assert look(store, out) == 2
    assert kinds(store) == ["l-processed-#.csv", "x/l-processed-#.csv"]
    assert {"a.tif", "x/a.tif"} <= outputs(out)
    record = json.loads(open_store(out).read("x/a.convert.json"))
    assert record["source"] == f"{place}/x/a.tif"


def test_a_failed_list_that_is_named_raw_runs_again(place: str, out: str, made: Counter[str]) -> None:
    store = open_store(place)
    store.write("x-raw.csv", LIST)
    look(store, out)
    [failed] = [e.name for e in store.entries() if "failed" in e.name and "causes" not in e.name]
    store.write("broken.tif", store.read("a.tif"))
    store.write(failed.replace(".csv", "-raw.csv"), store.read(failed))
    store.remove(failed)
    assert look(store, out) == 1
    assert made["a.tif"] == made["b.tif"] == 1
    assert "broken.tif" in outputs(out)
    assert kinds(store) == ["x-failed-#-causes.csv", "x-failed-#-processed-#.csv", "x-processed-#.csv"]


def test_a_retry_of_the_run_takes_up_what_it_has_failed(place: str, out: str, made: Counter[str]) -> None:
    store = open_store(place)
    store.write("x-raw.csv", LIST)
    store.write("y-raw.csv", b"nowhere.tif,3\n")
    look(store, out, run="me")
    assert reopen(store, "another") == []
    store.write("broken.tif", store.read("a.tif"))
    assert reopen(store, "me") == ["x-raw.csv", "y-raw.csv"]
    assert look(store, out, run="me") == 2
    assert made["a.tif"] == made["b.tif"] == 1
    assert kinds(store) == ["x-processed-#.csv", "x-processed-#.csv", "y-failed-#-causes.csv", "y-failed-#.csv"]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "it lists no image"),
        (b"a.tif,3\n\xff", "it is not text in UTF-8"),
        (b'"a.tif,3\n', "is no CSV"),
    ],
)
def test_a_malformed_list_is_failed_with_its_cause(data: bytes, said: str, place: str, out: str) -> None:
    store = open_store(place)
    store.write("x-raw.csv", data)
    store.write("y-raw.csv", b"a.tif,3\n")
    assert look(store, out) == 2
    assert kinds(store) == ["x-failed-#-causes.csv", "x-failed-#.csv", "y-processed-#.csv"]
    assert content(store, "x-failed") == data
    assert said in causes(store)[0]["cause"]
    assert look(store, out) == 0


def test_a_row_is_no_formula_in_the_list_of_causes(place: str, out: str) -> None:
    store = open_store(place)
    store.write("x-raw.csv", b"=cmd|' /C calc'!A0,3\n")
    look(store, out)
    assert causes(store)[0]["row"].startswith("'=cmd")
    assert content(store, "failed") == b"=cmd|' /C calc'!A0,3\n"


def put_ticket(store: Store, **changes: Any) -> Ticket:
    values = {"raw": "x-raw.csv", "version": "1", "stamp": "20260102-030405", "run": "theirs", "owner": "o"}
    ticket = Ticket(**{"renewed": datetime.now(UTC), **values, **changes})
    store.write("x-convert-ticket.json", ticket.model_dump_json().encode())
    return ticket


def test_who_is_dead_is_known_by_the_run_or_by_age(place: str, out: str) -> None:
    store = open_store(place)
    old = datetime.now(UTC) - timedelta(hours=1)
    for changes, is_over, taken in (
        ({}, unknown, 0),
        ({}, lambda run: False, 0),
        ({}, lambda run: run == "theirs", 1),
        ({"renewed": old}, unknown, 1),
        ({"renewed": old}, lambda run: False, 1),  # Running for ever: its process and its worker are gone
        ({"run": "me"}, unknown, 1),  # our own, before its retry
    ):
        store.write("x-processing-20260102-030405.csv", b"a.tif,3\n")
        put_ticket(store, **changes)
        assert look(store, out, run="me", is_over=is_over) == taken
        if taken:
            assert kinds(store) == ["x-processed-#.csv"]
            assert store.stat("x-processed-20260102-030405.csv") is not None
            store.remove("x-processed-20260102-030405.csv")


def test_a_list_left_without_a_ticket_is_gone_on_with(place: str, out: str) -> None:
    store = open_store(place)
    store.write("x-processing-20260102-030405.csv", b"a.tif,3\n")
    store.write("x-raw.csv", b"b.tif,3\n")
    assert look(store, out) == 1
    assert look(store, out) == 1
    assert kinds(store) == ["x-processed-#.csv", "x-processed-#.csv"]
    assert store.read("x-processed-20260102-030405.csv") == b"a.tif,3\n"


def test_a_list_that_is_replaced_before_it_is_taken_counts_as_it_is_then(place: str, out: str) -> None:
    store = open_store(place)
    store.write("x-raw.csv", b"a.tif,3\n")
    put_ticket(store, version="of before")  # and its run was killed right then
    assert look(store, out, is_over=over) == 1
    assert content(store, "processed") == b"a.tif,3\n"
    assert kinds(store) == ["x-processed-#.csv"]


def test_a_ticket_that_cannot_be_read_is_nobodys(place: str, out: str) -> None:
    store = open_store(place)
    store.write("x-raw.csv", b"a.tif,3\n")
    store.write("x-convert-ticket.json", b"{")
    assert look(store, out) == 1
    assert kinds(store) == ["x-processed-#.csv"]


def test_who_was_taken_for_dead_does_not_conclude(place: str, out: str) -> None:
    store = open_store(place)
    store.write("x-raw.csv", b"a.tif,3\n")
    [slow] = take_all(store, run="slow", is_over=unknown)
    sheet, rows = slow.rows()
    results = convert_all(rows, out, Options(jpeg=False), workers=1)
    [quick] = take_all(open_store(place), run="quick", is_over=over)
    with pytest.raises(StoreError, match="is another's by now: this run was taken for dead"):
        slow.conclude(sheet, results)
    assert kinds(store) == ["x-convert-ticket.json", "x-processing-#.csv"]
    work(quick, out)
    assert kinds(store) == ["x-processed-#.csv"]


def test_a_ticket_is_renewed_while_images_are_converted(place: str, out: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEARYEAR_TICKET_RENEW_SECONDS", "0.05")
    store = open_store(place)
    store.write("x-raw.csv", b"a.tif,3\n")
    [taken] = take_all(store, run="me", is_over=unknown)
    before = Ticket.model_validate_json(store.read("x-convert-ticket.json"))
    with taken.lease.held():
        while (now := Ticket.model_validate_json(store.read("x-convert-ticket.json"))).renewed == before.renewed:
            pass
    assert now.owner == before.owner
    sheet, rows = taken.rows()
    taken.conclude(sheet, convert_all(rows, out, Options(jpeg=False), workers=1))
    assert kinds(store) == ["x-processed-#.csv"]


def test_names_that_are_no_lists_are_left_alone(place: str, out: str) -> None:
    store = open_store(place)
    names = ["x.csv", "raw.csv.bak", "x-raw.CSV", "x-processed-20260102-030405.csv", "x-failed-20260102-030405.csv"]
    for name in names:
        store.write(name, b"a.tif,3\n")
    assert look(store, out) == 0
    assert {e.name for e in store.entries() if not e.name.endswith(".tif")} == set(names)
    store.write("raw.csv", b"a.tif,3\n")
    assert look(store, out) == 1
    assert any(e.name.startswith("processed-") for e in store.entries())
