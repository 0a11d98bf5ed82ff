"""Windows in one call: neighbours of a failed one, what is done already, and the wish to stop."""

import hashlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import copy_context
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from clearyear import batch
from clearyear.batch import compute_windows
from clearyear.completeness import Status, check_plan
from clearyear.errors import BatchError
from clearyear.job import Job
from clearyear.plan import Plan
from clearyear.prepare import make_plan
from clearyear.progress import is_stopped, stopped_by_errors
from clearyear.stores import open_store
from clearyear.window import compute_window

POISONED = "x00016_y00016"


@pytest.fixture
def plan(scenes: Path, tmp_path: Path) -> Plan:
    return make_plan(Job(scenes=str(scenes), period="2023", out=str(tmp_path / "out"), tile_size=16))


def stamps(plan: Plan) -> dict[str, tuple[int, str]]:
    """File → when it was written, and what it holds."""
    files = sorted((Path(plan.destination) / "tiles").glob("*.tif"))
    return {p.name: (p.stat().st_mtime_ns, hashlib.sha256(p.read_bytes()).hexdigest()) for p in files}


def statuses(plan: Plan) -> dict[str, Status]:
    return {s.id: s.status for s in check_plan(plan, open_store(plan.destination))}


def test_a_batch_writes_what_its_windows_write_alone(plan: Plan, tmp_path: Path) -> None:
    results = compute_windows(plan, plan.windows, open_store(plan.destination))
    alone = plan.model_copy(update={"destination": str(tmp_path / "alone")})
    for window in alone.windows:
        compute_window(alone, window, open_store(alone.destination))
    assert [r.id for r in results] == [w.id for w in plan.windows]
    assert {k: v[1] for k, v in stamps(plan).items()} == {k: v[1] for k, v in stamps(alone).items()}


def test_a_failed_window_does_not_keep_its_neighbours(poisoned: Path, plan: Plan) -> None:
    with pytest.raises(BatchError, match=f"1 of 12 windows failed: {POISONED}: 1 of 7 scenes could not be read") as e:
        compute_windows(plan, plan.windows, open_store(plan.destination))
    assert list(e.value.causes) == [POISONED]
    assert poisoned.stem in e.value.causes[POISONED]
    assert not e.value.transient
    assert statuses(plan) == {w.id: Status.MISSING if w.id == POISONED else Status.OK for w in plan.windows}
    record = open_store(plan.destination).read(plan.record_name(plan.grid.window(POISONED, 16)))
    assert b'"failed"' in record


def test_a_second_try_computes_only_what_is_not_done(plan: Plan) -> None:
    store = open_store(plan.destination)
    first = compute_windows(plan, plan.windows, store)
    before = stamps(plan)
    store.remove(plan.tile_name(plan.windows[3]))
    store.write(plan.tile_name(plan.windows[7]), b"cut off")
    assert compute_windows(plan, plan.windows, store)[0] == first[0]
    after = stamps(plan)
    assert {k: v[1] for k, v in after.items()} == {k: v[1] for k, v in before.items()}
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {Path(plan.tile_name(plan.windows[i])).name for i in (3, 7)}


@pytest.mark.parametrize(
    ("error", "transient", "words"),
    [
        (ZeroDivisionError("a bug"), False, "ZeroDivisionError: a bug"),
        (TimeoutError("too long"), True, "TimeoutError: too long"),
        (ConnectionError("reset"), True, "ConnectionError: reset"),
    ],
)
def test_errors_that_are_not_ours_do_not_keep_the_neighbours_either(
    monkeypatch: pytest.MonkeyPatch, plan: Plan, error: Exception, transient: bool, words: str
) -> None:
    def breaks(plan: Plan, window: Any, *rest: Any, **more: Any) -> Any:
        if window.id == "x00000_y00000":
            raise error
        return compute_window(plan, window, *rest, **more)

    monkeypatch.setattr(batch, "compute_window", breaks)
    with pytest.raises(BatchError) as caught:
        compute_windows(plan, plan.windows[:3], open_store(plan.destination))
    assert caught.value.causes == {"x00000_y00000": words}
    assert caught.value.transient is transient
    assert len(stamps(plan)) == 2


def test_the_limit_holds_for_each_window_by_itself(plan: Plan) -> None:
    begun: list[int] = []

    @contextmanager
    def limit() -> Iterator[None]:
        begun.append(1)
        if len(begun) == 2:
            raise TimeoutError("it took too long")
        yield

    with pytest.raises(BatchError) as caught:
        compute_windows(plan, plan.windows[:3], open_store(plan.destination), limit=limit)
    assert caught.value.causes == {plan.windows[1].id: "TimeoutError: it took too long"}
    assert len(begun) == 3


def test_a_batch_that_is_stopped_begins_no_further_window(monkeypatch: pytest.MonkeyPatch, plan: Plan) -> None:
    """As when a person cancels the run while this thread is at the first window."""
    begun: list[str] = []
    goes_on = Event()

    def computes(plan: Plan, window: Any, *rest: Any, **more: Any) -> Any:
        begun.append(window.id)
        assert goes_on.wait(60)
        return compute_window(plan, window, *rest, **more)

    monkeypatch.setattr(batch, "compute_window", computes)
    with ThreadPoolExecutor(1) as pool:
        with suppress(KeyboardInterrupt), stopped_by_errors():
            future = pool.submit(
                copy_context().run, compute_windows, plan, plan.windows[:3], open_store(plan.destination)
            )
            while not begun:
                time.sleep(0.01)
            raise KeyboardInterrupt
        goes_on.set()
        with pytest.raises(BatchError) as caught:
            future.result()
    assert begun == [plan.windows[0].id]
    assert caught.value.causes == {w.id: "the run was stopped before it" for w in plan.windows[1:3]}
    assert len(stamps(plan)) == 1


def test_only_an_error_stops() -> None:
    assert not is_stopped()
    with stopped_by_errors():
        begun = copy_context()
    assert not begun.run(is_stopped)
    with suppress(KeyboardInterrupt), stopped_by_errors():
        begun = copy_context()
        raise KeyboardInterrupt
    assert begun.run(is_stopped)
    assert not is_stopped()
