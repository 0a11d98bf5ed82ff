"""What is taken for the end of a shard and what is not, against a real server; and what it has left to do."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from clearyear.batch import leave_causes
from clearyear.job import Job
from clearyear.plan import Plan
from clearyear.prepare import prepare
from clearyear.settings import Settings
from clearyear.stores import open_store
from clearyear.window import compute_window

pytestmark = pytest.mark.usefixtures("prefect_server")

PATIENT = {
    "shard_start_seconds": 1e6,
    "shard_silence_seconds": 1e6,
    "shard_stall_seconds": 1e6,
}
FIRST = "x00000_y00000"


@pytest.fixture
def plan(scenes: Path, tmp_path: Path) -> Plan:
    return prepare(Job(scenes=str(scenes), period="2023", out=str(tmp_path / "out"), tile_size=16))


@pytest.fixture
def client() -> Iterator[Any]:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as found:
        yield found


@pytest.fixture
def watching(plan: Plan, client: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Makes a watch of all windows with these limits, those not named being out of reach."""
    import logging

    from flows import watch as module

    # Outside of a run there is no run's log.
    monkeypatch.setattr(module, "get_run_logger", lambda: logging.getLogger("test"))

    def make(**limits: float) -> Any:
        settings = Settings(**{**PATIENT, **limits})
        return module.Watch(client, plan, open_store(plan.destination), [w.id for w in plan.windows], settings)

    return make


def shard_in(client: Any, watch: Any, state: Any, windows: tuple[str, ...] = (FIRST,)) -> Any:
    """A shard whose flow run is in this state, as the server has it, and has been seen so once."""
    from prefect import flow

    from flows.watch import Shard

    run = client.create_flow_run(flow(name="window-batch")(lambda: None))
    client.set_flow_run_state(run.id, state, force=True)
    shard = Shard(window_ids=windows, run_id=run.id, name=run.name, tries=1)
    watch.add(shard)
    return shard


def beat(client: Any, run_id: UUID, *, ago: float) -> None:
    """A heartbeat of a run, so many seconds ago; the server knows of it when this returns."""
    from prefect.events import emit_event
    from prefect.events.filters import EventFilter, EventResourceFilter

    from flows.watch import HEARTBEAT

    resource = f"prefect.flow-run.{run_id}"
    when: Any = datetime.now(UTC) - timedelta(seconds=ago)
    emit_event(HEARTBEAT, {"prefect.resource.id": resource}, occurred=when)
    wanted = EventFilter(resource=EventResourceFilter(id=[resource]))
    for _ in range(1200):
        if any(event.event == HEARTBEAT for event in client.read_events(wanted, limit=50).events):
            return
        time.sleep(0.05)
    raise TimeoutError("the server does not learn of the heartbeat")


def endings(watch: Any) -> list[tuple[str, bool, bool]]:
    """Why each has ended, whether what it left is sent again, and whether it is given up."""
    watch.look()  # sees the states; a limit counts from here
    time.sleep(0.05)
    return [(ending.why, ending.again, ending.lost) for _, ending in watch.look()]


def test_one_that_crashed_is_sent_again(client: Any, watching: Any) -> None:
    from prefect.states import Crashed

    watch = watching()
    shard_in(client, watch, Crashed(message="code 137"))
    assert endings(watch) == [("crashed: code 137", True, False)]


def test_one_that_a_person_cancelled_is_not(client: Any, watching: Any) -> None:
    from prefect.states import Cancelled, Cancelling

    state: Any
    for state in (Cancelled(), Cancelling()):
        watch = watching()
        shard_in(client, watch, state)
        assert endings(watch) == [("was cancelled", False, False)]


@pytest.mark.parametrize("name", ["Completed", "Failed"])
def test_one_that_ended_is_asked_what_it_left(client: Any, watching: Any, name: str) -> None:
    import prefect.states

    watch = watching()
    shard_in(client, watch, getattr(prefect.states, name)())
    assert endings(watch) == [(f"ended as {name}", True, False)]


def test_one_that_was_deleted_is_sent_again(client: Any, watching: Any) -> None:
    from prefect.states import Running

    watch = watching()
    client.delete_flow_run(shard_in(client, watch, Running()).run_id)
    assert endings(watch) == [("was deleted", True, False)]


def test_one_at_work_is_waited_for(client: Any, watching: Any) -> None:
    from prefect.states import AwaitingRetry, Pending, Running, Scheduled

    state: Any
    watch = watching()
    for state in (Running(), Pending(), Scheduled(), AwaitingRetry()):
        shard_in(client, watch, state)
    assert endings(watch) == []


def test_one_whose_heart_stopped_is_lost(client: Any, watching: Any) -> None:
    from prefect.states import Running

    watch = watching(shard_silence_seconds=0.01)
    beat(client, shard_in(client, watch, Running()).run_id, ago=3600)
    assert endings(watch) == [("was not heard of for 0 s", True, True)]


def test_one_whose_heart_beats_is_not(client: Any, watching: Any) -> None:
    from prefect.states import Running

    watch = watching(shard_silence_seconds=600)
    shard = shard_in(client, watch, Running())
    beat(client, shard.run_id, ago=1)
    watch.look()
    shard.heard -= 1000  # nothing was seen of it for longer than it may be silent
    assert watch.look() == []
    assert time.monotonic() - shard.heard < 600


def test_one_that_never_had_a_heartbeat_is_not_judged_by_it(client: Any, watching: Any) -> None:
    from prefect.states import Running

    watch = watching(shard_silence_seconds=0.01)
    shard_in(client, watch, Running())
    assert endings(watch) == []


def test_one_that_finishes_no_window_hangs(client: Any, watching: Any) -> None:
    from prefect.states import Running

    watch = watching(shard_stall_seconds=0.01)
    shard_in(client, watch, Running())
    assert endings(watch) == [("finished no window in 0 s", True, True)]


def test_one_that_finishes_windows_does_not_hang(client: Any, watching: Any, plan: Plan) -> None:
    from prefect.states import Running

    watch = watching(shard_stall_seconds=600)
    shard = shard_in(client, watch, Running())
    watch.look()
    shard.since -= 1000
    compute_window(plan, plan.windows[0], open_store(plan.destination))
    watch.looks = 5  # the next look lists the tiles
    assert watch.look() == []
    assert (watch.finished, shard.finished) == (1, 1)


def test_one_that_nobody_begins_is_given_up(client: Any, watching: Any) -> None:
    from prefect.states import Pending, Scheduled

    state: Any
    for state in (Scheduled(), Pending()):
        watch = watching(shard_start_seconds=0.01)
        shard_in(client, watch, state)
        assert endings(watch) == [(f"was not started in 0 s ({state.name})", True, True)]


def test_one_that_waits_for_its_turn_is_not(client: Any, watching: Any) -> None:
    """The pool has a limit: what waits, waits for those that run."""
    from prefect.states import Running, Scheduled

    watch = watching(shard_start_seconds=0.5)
    shard_in(client, watch, Running())
    shard_in(client, watch, Scheduled())
    time.sleep(0.6)
    assert endings(watch) == []


def test_a_server_that_does_not_answer_is_asked_again_for_a_while(watching: Any) -> None:
    import httpx
    from prefect.client.orchestration import SyncPrefectClient

    from flows.watch import Shard

    watch = watching(shard_silence_seconds=0.2, shard_start_seconds=0.01)
    watch.add(Shard(window_ids=(FIRST,), run_id=uuid4(), name="any", tries=1))
    with SyncPrefectClient(api="http://127.0.0.1:9/api") as deaf:
        watch.client = deaf
        assert watch.look() == []
        time.sleep(0.3)
        with pytest.raises(httpx.HTTPError):
            watch.look()


def test_left_is_what_is_neither_done_nor_answered_for(client: Any, watching: Any, plan: Plan) -> None:
    """A record of yesterday's failure is no answer; neither is one that says ok where a tile is cut off."""
    from prefect.states import Failed

    store, ids = open_store(plan.destination), [w.id for w in plan.windows]
    leave_causes(plan, store, {ids[0]: "yesterday", ids[1]: "yesterday"})
    watch = watching()
    shard = shard_in(client, watch, Failed(), windows=tuple(ids[:5]))
    leave_causes(plan, store, {ids[1]: "today", ids[2]: "today"})
    for number in (3, 4):
        compute_window(plan, plan.windows[number], store)
    store.write(plan.tile_name(plan.windows[4]), b"cut off")
    assert watch.unanswered(shard) == [ids[0], ids[4]]


def test_a_cause_does_not_replace_the_record_of_a_window_that_is_done(plan: Plan) -> None:
    store, name = open_store(plan.destination), plan.record_name(plan.windows[0])
    compute_window(plan, plan.windows[0], store)
    before = store.read(name)
    leave_causes(plan, store, {plan.windows[0].id: "it timed out, and then it was there"})
    assert store.read(name) == before


def test_parts_are_as_few_and_as_equal_as_can_be() -> None:
    from flows.shards import evenly

    ids = [str(number) for number in range(121)]
    assert [len(part) for part in evenly(ids, 50)] == [40, 40, 41]
    assert [i for part in evenly(ids, 50) for i in part] == ids
    assert evenly(ids[:50], 50) == [ids[:50]]
    assert evenly([], 50) == []


def test_a_shard_asked_for_twice_is_one_until_it_has_ended(client: Any, plan: Plan) -> None:
    from prefect import flow
    from prefect.states import Failed

    from flows.shard_pool import ShardSize
    from flows.shards import Sender
    from flows.window_batch import window_batch

    deployment = client.read_deployment(client.create_deployment(client.create_flow(window_batch), name="twice"))

    @flow
    def parent() -> list[UUID]:
        sender = Sender(client, plan, open_store(plan.destination), deployment, ShardSize({"workers": None}))
        found = [sender.send([FIRST], tries=1).run_id, sender.send([FIRST], tries=1).run_id]
        assert [shard.run_id for shard in sender.adopt([FIRST])] == found[:1]
        client.set_flow_run_state(found[0], Failed(), force=True)
        assert sender.adopt([FIRST]) == []
        return [*found, sender.send([FIRST], tries=1).run_id]

    first, same, other = parent()
    assert first == same != other
