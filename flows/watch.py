"""Watching shards: which of them have ended, in whatever way, and what they left."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

import httpx
from prefect import get_run_logger
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.events.filters import EventFilter, EventNameFilter, EventResourceFilter
from prefect.exceptions import PrefectHTTPStatusError

from clearyear.completeness import check_plan
from clearyear.errors import ClearyearError
from clearyear.plan import Plan
from clearyear.settings import Settings
from clearyear.stores import Store

_PAGE = 200
_LISTING = 6
"""Polls from one listing of the tiles to the next: a bucket's listing costs a request for every 1,000 files."""
HEARTBEAT = "prefect.flow-run.heartbeat"


@dataclass(eq=False)
class Shard:
    """One flow run of window-batch and what was last seen of it; times are of the monotonic clock."""

    window_ids: tuple[str, ...]
    run_id: UUID
    name: str
    tries: int
    state: StateType = StateType.SCHEDULED
    since: float = field(default_factory=time.monotonic)
    """When it was first seen in this state."""
    heard: float = 0.0
    """When it was last heard of."""
    finished: int = 0
    """Its windows of which something new lies at the destination."""


@dataclass(frozen=True)
class Ending:
    """How a shard ended."""

    why: str
    """What stands after «shard x …»."""
    again: bool = True
    """Whether its unfinished windows may be sent again; not if a person cancelled it."""
    lost: bool = False
    """It has not ended, but is taken to be lost."""
    well: bool = False
    """It says that it did all it was asked to."""
    crashed: bool = False
    """Its job ended before it did, perhaps for want of memory."""


class Watch:
    """All shards of one run."""

    def __init__(
        self, client: SyncPrefectClient, plan: Plan, store: Store, window_ids: Sequence[str], settings: Settings
    ) -> None:
        self.client, self.plan, self.store, self.settings = client, plan, store, settings
        self.shards: list[Shard] = []
        self.records = {i: plan.record_name(plan.grid.window(i, plan.tile_size)) for i in window_ids}
        self.before = self._versions()
        """Record → its version when the run began: another one has been written since."""
        self.finished = 0
        """Windows of which something new lies at the destination."""
        self.served = time.monotonic()
        """When a shard of ours was last seen to run or to change its state: the pool works for us."""
        self.deaf: float | None = None
        """Since when the server, or the destination, has not answered."""
        self.looks = 0

    def add(self, shard: Shard) -> None:
        """Watch this one too."""
        self.shards.append(shard)
        self.served = time.monotonic()

    def look(self) -> list[tuple[Shard, Ending]]:
        """Look once; those that have ended since, or are given up."""
        ended: list[tuple[Shard, Ending]] = []
        with self.patience():
            runs = self._runs()
            self.looks += 1
            if self.looks % _LISTING == 0:
                self._count()
            for shard in self.shards:
                self._see(shard, runs.get(shard.run_id))
            for shard in self.shards:
                run = runs.get(shard.run_id)
                ending = self._ending(shard, run.state) if run and run.state else Ending("was deleted")
                if ending is not None:
                    ended.append((shard, ending))
        return ended

    def unanswered(self, shard: Shard) -> list[str]:
        """Its windows that are neither done nor have a record, written since we began, that says why they failed."""
        windows = [self.plan.grid.window(window_id, self.plan.tile_size) for window_id in shard.window_ids]
        left = []
        for status in check_plan(self.plan, self.store, windows):
            if status.is_done:
                continue
            failed = status.result is not None and status.result.status == "failed"
            if not (failed and self._is_new(status.id)):
                left.append(status.id)
        return left

    @contextmanager
    def patience(self) -> Iterator[None]:
        """A server or a bucket that does not answer is asked again at the next look, for as long as a silent shard."""
        try:
            yield
        except (httpx.HTTPError, PrefectHTTPStatusError, ClearyearError) as error:
            if isinstance(error, ClearyearError) and not error.transient:
                raise
            now = time.monotonic()
            self.deaf = self.deaf or now
            if now - self.deaf > self.settings.shard_silence_seconds:
                raise
            get_run_logger().warning("No answer; asking again: %s", error)
            # What could not be heard is no silence.
            self.served = now
            for shard in self.shards:
                shard.heard = now
        else:
            self.deaf = None

    def _runs(self) -> dict[UUID, FlowRun]:
        ids = [shard.run_id for shard in self.shards]
        found: dict[UUID, FlowRun] = {}
        for start in range(0, len(ids), _PAGE):
            wanted = FlowRunFilter(id=FlowRunFilterId(any_=ids[start : start + _PAGE]))
            found |= {run.id: run for run in self.client.read_flow_runs(flow_run_filter=wanted, limit=_PAGE)}
        return found

    def _see(self, shard: Shard, run: FlowRun | None) -> None:
        now, state = time.monotonic(), run.state.type if run and run.state else shard.state
        if state is not shard.state:
            shard.state, shard.since, shard.heard, self.served = state, now, now, now
        if state is StateType.RUNNING:
            self.served = now

    def _ending(self, shard: Shard, state: State) -> Ending | None:
        """How a shard in this state has ended, or None while there is reason to wait."""
        said = f": {state.message}" if state.message else ""
        if state.is_crashed():
            return Ending(f"crashed{said}", crashed=True)
        if state.is_cancelled() or state.is_cancelling():
            return Ending("was cancelled", again=False)
        if state.is_final():
            return Ending(f"ended as {state.name}{said}", well=state.is_completed())
        now, limits = time.monotonic(), self.settings
        if shard.state is StateType.RUNNING:
            if now - shard.since > limits.shard_stall_seconds:
                return Ending(f"finished no window in {limits.shard_stall_seconds:.0f} s", lost=True)
            if now - shard.heard > limits.shard_silence_seconds and not self._beats(shard):
                return Ending(f"was not heard of for {limits.shard_silence_seconds:.0f} s", lost=True)
        waited = now - (shard.since if shard.state is StateType.PENDING else self.served)
        if shard.state in (StateType.PENDING, StateType.SCHEDULED) and waited > limits.shard_start_seconds:
            return Ending(f"was not started in {limits.shard_start_seconds:.0f} s ({state.name})", lost=True)
        return None

    def _beats(self, shard: Shard) -> bool:
        """Whether its heart beats, as its events tell. One that never did has none: only a stall can tell then."""
        now = time.monotonic()
        wanted = EventFilter(
            event=EventNameFilter(name=[HEARTBEAT]),
            resource=EventResourceFilter(id=[f"prefect.flow-run.{shard.run_id}"]),
        )
        newest = self.client.read_events(wanted, limit=1).events
        if not newest:
            shard.heard = now
            return True
        age = max(0.0, (datetime.now(UTC) - newest[0].occurred).total_seconds())
        shard.heard = max(shard.heard, now - age)
        return age <= self.settings.shard_silence_seconds

    def _count(self) -> None:
        """See at the destination how far the shards are."""
        versions, now = self._versions(), time.monotonic()
        new = {i for i, name in self.records.items() if versions.get(name, "") != self.before.get(name, "")}
        self.finished = len(new)
        for shard in self.shards:
            done = sum(window_id in new for window_id in shard.window_ids)
            if done > shard.finished:
                shard.finished, shard.since, shard.heard = done, now, now

    def _versions(self) -> dict[str, str]:
        names = set(self.records.values())
        return {entry.name: entry.version for entry in self.store.entries("tiles/") if entry.name in names}

    def _is_new(self, window_id: str) -> bool:
        name = self.records[window_id]
        entry = self.store.stat(name)
        return entry is not None and entry.version != self.before.get(name)
