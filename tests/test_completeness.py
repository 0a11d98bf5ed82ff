"""The plan against what lies there: every status, by what causes it, and what it says of the cause."""

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import rasterio
from conftest import write_scene
from runs import finished

from clearyear.completeness import Status, check_plan, check_window
from clearyear.errors import WindowError
from clearyear.job import Job
from clearyear.plan import Plan
from clearyear.prepare import make_plan
from clearyear.published import published
from clearyear.reducers import REDUCERS
from clearyear.report import is_allowed
from clearyear.stores import Store, open_store
from clearyear.stores.local import LocalStore
from clearyear.window import WindowResult, compute_window


@pytest.fixture
def plan(scenes: Path, tmp_path: Path) -> Plan:
    """12 windows; the scenes have no valid sample in the first."""
    for path in scenes.glob("*.tif"):
        with rasterio.open(path) as dataset:
            pixels = dataset.read()
        pixels[:, :16, :16] = 0
        write_scene(path, pixels)
    job = Job(scenes=str(scenes), period="2023", out=str(tmp_path / "out"), tile_size=16, layers=["count", "source"])
    return make_plan(job)


@pytest.fixture
def store(plan: Plan) -> Store:
    """Everything is computed."""
    store = open_store(plan.destination)
    for window in plan.windows:
        compute_window(plan, window, store)
    return store


def says(plan: Plan, store: Store, index: int = 5) -> tuple[Status, str]:
    status = check_window(plan, plan.windows[index], store)
    assert status.id == plan.windows[index].id
    assert status.is_done == (status.status in (Status.OK, Status.EMPTY)) == (status.cause == "")
    return status.status, status.cause


def test_all_is_well(plan: Plan, store: Store) -> None:
    statuses = check_plan(plan, store)
    assert [s.id for s in statuses] == [w.id for w in plan.windows]
    assert [s.status for s in statuses] == [Status.EMPTY] + [Status.OK] * 11
    assert all(s.result is not None and s.result.id == s.id and s.cause == "" for s in statuses)
    assert all(s.is_done for s in statuses)


def test_nothing_is_there(plan: Plan) -> None:
    statuses = check_plan(plan, open_store(plan.destination))
    assert {(s.status, s.cause, s.result) for s in statuses} == {(Status.MISSING, "not computed yet", None)}
    assert len(statuses) == 12


def test_some_windows_only(plan: Plan, store: Store) -> None:
    assert [s.id for s in check_plan(plan, store, plan.windows[3:5])] == [w.id for w in plan.windows[3:5]]
    assert check_plan(plan, store, []) == []


# -- missing -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", ["composite", "count", "source"])
def test_missing_a_tile_is_gone(plan: Plan, store: Store, layer: str) -> None:
    name = plan.tile_name(plan.windows[5], layer)
    store.remove(name)
    assert says(plan, store) == (Status.MISSING, f"{name} is gone")


def test_missing_the_record_is_gone(plan: Plan, store: Store) -> None:
    store.remove(plan.record_name(plan.windows[5]))
    assert says(plan, store) == (Status.MISSING, "a tile lies there without its record: it was not finished")
    store.remove(plan.tile_name(plan.windows[5]))
    assert says(plan, store) == (Status.MISSING, "not computed yet")


@pytest.mark.parametrize("record", [b"", b"{}", b"{]", b"\xff", b"[]"])
def test_missing_the_record_is_damaged(plan: Plan, store: Store, record: bytes) -> None:
    name = plan.record_name(plan.windows[5])
    store.write(name, record)
    assert says(plan, store) == (Status.MISSING, f"its record {name} cannot be read")


def test_missing_a_layer_was_never_written(plan: Plan, store: Store) -> None:
    window = plan.windows[5]
    record = WindowResult.model_validate_json(store.read(plan.record_name(window)))
    layers = {k: v for k, v in record.layers.items() if k != "count"}
    store.write(plan.record_name(window), record.model_copy(update={"layers": layers}).model_dump_json().encode())
    assert says(plan, store) == (Status.MISSING, "no count layer was written")


def test_missing_the_window_failed(plan: Plan, store: Store) -> None:
    """Its earlier tiles may still lie there; without their record they are nothing."""
    store.remove(plan.record_name(plan.windows[5]))
    gone = Path(plan.scenes[2].uri)
    gone.rename(gone.with_suffix(".away"))
    with pytest.raises(WindowError):
        compute_window(plan, plan.windows[5], store)
    status = check_window(plan, plan.windows[5], store)
    assert status.status is Status.MISSING
    assert re.match(rf"1 of 7 scenes could not be read: {gone.stem} \(.*No such file", status.cause)
    assert status.result is not None
    assert [f.scene for f in status.result.failed_reads] == [gone.stem]
    gone.with_suffix(".away").rename(gone)
    compute_window(plan, plan.windows[5], store)
    assert says(plan, store) == (Status.OK, "")


# -- invalid -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", ["composite", "count", "source"])
@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda data: data[:100], r"is truncated: 100 of \d+ bytes"),
        (lambda data: data[:-1], r"is truncated: \d+ of \d+ bytes"),
        (lambda _: b"", r"is truncated: 0 of \d+ bytes"),
        (lambda data: data + b"x", r"has \d+ bytes, \d+ were written"),
        (lambda data: data[:-1] + bytes([data[-1] ^ 1]), r"is damaged: its SHA-256 is \w{12}…, \w{12}… was written"),
    ],
    ids=["truncated", "one byte less", "emptied", "grown", "one bit"],
)
def test_invalid(plan: Plan, store: Store, layer: str, harm: Callable[[bytes], bytes], words: str) -> None:
    name = plan.tile_name(plan.windows[5], layer)
    store.write(name, harm(store.read(name)))
    status, cause = says(plan, store)
    assert status is Status.INVALID
    assert re.fullmatch(f"{re.escape(name)} {words}", cause)


def test_rewritten_with_the_same_bytes_is_well(plan: Plan, store: Store) -> None:
    name = plan.tile_name(plan.windows[5])
    store.write(name, store.read(name))
    assert says(plan, store) == (Status.OK, "")


# -- stale ---------------------------------------------------------------------------------------------------

OTHER = (Status.STALE, "computed from other scenes, another product or another version of the algorithm")


def test_stale_after_a_new_version_of_a_scene(plan: Plan, store: Store) -> None:
    scene = plan.scenes[3].model_copy(update={"version": "another"})
    changed = plan.model_copy(update={"scenes": (*plan.scenes[:3], scene, *plan.scenes[4:])})
    assert {(s.status, s.cause) for s in check_plan(changed, store)} == {OTHER}


def test_stale_after_a_new_version_of_the_algorithm(plan: Plan, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(REDUCERS["luminance-median"], "version", 99)
    assert says(plan.model_copy(), store) == OTHER


def test_stale_after_another_product(plan: Plan, store: Store) -> None:
    product = plan.product.model_copy(update={"invalid_values": (0.0,)})
    assert says(plan.model_copy(update={"product": product}), store) == OTHER


def test_stale_and_damaged_is_stale(plan: Plan, store: Store) -> None:
    """Whatever lies there is not wanted anyway."""
    store.write(plan.tile_name(plan.windows[5]), b"")
    product = plan.product.model_copy(update={"invalid_values": (0.0,)})
    assert says(plan.model_copy(update={"product": product}), store) == OTHER


def test_stale_when_fewer_failures_are_allowed_than_there_were(plan: Plan) -> None:
    tolerant = plan.model_copy(update={"max_failed_reads": 2})
    store = open_store(plan.destination)
    Path(plan.scenes[2].uri).unlink()
    compute_window(tolerant, plan.windows[5], store)
    assert says(tolerant, store) == (Status.OK, "")
    assert says(plan.model_copy(update={"max_failed_reads": 1}), store) == (Status.OK, "")
    assert says(plan, store) == (Status.STALE, "computed without 1 scenes; the plan now allows 0")


# -- taken together --------------------------------------------------------------------------------------------


def test_another_tile_size_keeps_what_still_agrees(plan: Plan, store: Store) -> None:
    """Only the window at the lower right is the same rectangle in both."""
    other = plan.model_copy(update={"tile_size": 32})
    statuses = check_plan(other, store)
    assert {s.id: s.status.value for s in statuses} == {
        "x00000_y00000": "stale",
        "x00032_y00000": "stale",
        "x00000_y00032": "stale",
        "x00032_y00032": "stale",
    }
    assert Counter(s.status for s in check_plan(plan, store))[Status.OK] == 11


@pytest.mark.parametrize(
    ("least", "done", "allowed"),
    [(1.0, 12, True), (1.0, 11, False), (0.5, 6, True), (0.5, 5, False), (0.0, 1, True), (0.0, 0, False)],
)
def test_how_many_windows_are_enough(plan: Plan, store: Store, least: float, done: int, allowed: bool) -> None:
    for window in plan.windows[done:]:
        store.remove(plan.record_name(window))
    tolerant = plan.model_copy(update={"min_completeness": least})
    assert is_allowed(tolerant, check_plan(tolerant, store)) is allowed


def test_a_mosaic_is_looked_at_in_pieces(scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be larger than the memory there is."""
    plan = finished(scenes, tmp_path / "out")
    store = open_store(plan.destination)
    read = LocalStore.read

    def small(self: LocalStore, name: str) -> bytes:
        assert name != plan.mosaic_name("composite")
        return read(self, name)

    monkeypatch.setattr(LocalStore, "read", small)
    assert published(plan, store, check_plan(plan, store))[1] == ""
    path = Path(store.uri(plan.mosaic_name("composite")))
    path.write_bytes(path.read_bytes()[:-1])
    assert published(plan, store, check_plan(plan, store))[1].startswith("the published")
    path.unlink()
    assert published(plan, store, check_plan(plan, store))[1].endswith("is gone")
