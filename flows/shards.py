"""Windows computed elsewhere: flow runs of window-batch, watched until the destination has an answer for each window.

A state says only that there is something to look at. What a shard did is read at the destination: a window is answered
for when it is done or when a record written since says why it failed. What is not answered for is sent again, alone.
"""

import hashlib
import logging
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any
from uuid import UUID

import httpx
from prefect import get_run_logger
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import TERMINAL_STATES, FlowRun, StateType
from prefect.client.schemas.responses import DeploymentResponse
from prefect.deployments import run_deployment
from prefect.exceptions import PrefectHTTPStatusError
from prefect.runtime import flow_run as this_run
from prefect.states import Cancelling

from clearyear.plan import Plan
from clearyear.progress import report_progress
from clearyear.settings import Settings
from clearyear.stores import Store
from flows.naming import tags_of
from flows.shard_pool import ShardSize
from flows.watch import Ending, Shard, Watch
from tasks.artifacts import EndedShard, Progress, show_shards
from tasks.window_median import batch_name

log = logging.getLogger(__name__)

_PAGE = 200


def send_windows(
    plan: Plan,
    store: Store,
    window_ids: Sequence[str],
    deployment: DeploymentResponse,
    *,
    per_shard: int,
    size: ShardSize,
    progress: Progress,
) -> dict[str, str]:
    """Have windows computed by flow runs of window-batch, ``per_shard`` each at most, and wait for all of them.

    A shard that crashed, was lost, hung or never started does not keep the others: its windows that are not answered
    for are sent again at once, CLEARYEAR_SHARD_TRIES times in all. Shards of an earlier run for this plan that are
    still at work are watched, not doubled.

    Returns:
        Window id → why there is no answer for it. That the others are well is for the destination to show.
    """
    settings, failures = Settings(), dict[str, str]()
    ended: list[EndedShard] = []
    with get_client(sync_client=True) as client, _cancelled_together(client):
        sender = Sender(client, plan, store, deployment, size)
        watch = Watch(client, plan, store, window_ids, settings)
        for shard in sender.adopt(window_ids):
            watch.add(shard)
        held = {window_id for shard in watch.shards for window_id in shard.window_ids}
        for ids in evenly([i for i in window_ids if i not in held], per_shard):
            watch.add(sender.send(ids, tries=1))
        report_progress("windows", 0, len(window_ids))
        while watch.shards:
            time.sleep(settings.shard_poll_seconds)
            for shard, ending in watch.look():
                with watch.patience():
                    left = watch.unanswered(shard)
                    _conclude(sender, watch, shard, ending, left, failures, settings.shard_tries)
                    name = batch_name(shard.window_ids)
                    ended.append(EndedShard(name, shard.run_id, len(left), shard.tries, ending.why, ending.well))
            progress.show(watch.finished)
            report_progress("windows", watch.finished, len(window_ids))
    show_shards(ended)
    return failures


@contextmanager
def _cancelled_together(client: SyncPrefectClient) -> Iterator[None]:
    """A run that is being cancelled takes its shards with it at once; the hook comes after this process has ended.

    Not whenever a signal ends it: a run that is moved elsewhere comes back for its shards.
    """
    try:
        yield
    except BaseException:
        with tolerated():
            state = client.read_flow_run(UUID(this_run.id)).state
            if state is not None and state.is_cancelling():
                cancel_all(client, this_run.id)
        raise


def _conclude(
    sender: "Sender",
    watch: Watch,
    shard: Shard,
    ending: Ending,
    left: Sequence[str],
    failures: dict[str, str],
    most_tries: int,
) -> None:
    """Take a shard out of the watch; what it left is sent again or, if that was the last try, has failed."""
    run_log = get_run_logger()
    if ending.lost:
        sender.cancel(shard.run_id)  # should it live after all, it must not compute what others do now
    if left and ending.again and shard.tries < most_tries:
        run_log.warning("Shard %s %s; its %d unfinished windows are sent again", shard.name, ending.why, len(left))
        # Turned round: should one window bring its process down, those behind it come first now.
        watch.add(sender.send(left[::-1], tries=shard.tries + 1, crashed=ending.crashed))
    elif left:
        times = f", try {shard.tries} of {most_tries}" if ending.again else ""
        run_log.error("Shard %s %s%s; %d windows stay unfinished", shard.name, ending.why, times, len(left))
        failures.update(dict.fromkeys(left, f"its shard {shard.name} {ending.why}{times}"))
    watch.shards.remove(shard)  # last: where the server did not answer, this is done once more


class Sender:
    """Starts and cancels the shards of one plan."""

    def __init__(
        self,
        client: SyncPrefectClient,
        plan: Plan,
        store: Store,
        deployment: DeploymentResponse,
        size: ShardSize,
    ) -> None:
        self.client, self.deployment, self.label = client, deployment, plan.label
        # Elsewhere a relative path means another folder.
        self.parameters = {"destination": store.root, "plan_digest": plan.digest, **size.parameters}
        self.size = size
        self.tag = f"clearyear-plan:{_hash(store.root, plan.digest)}"
        self.tags = [self.tag, parent_tag(this_run.id), *sorted(tags_of(plan))]

    def send(self, window_ids: Sequence[str], *, tries: int, crashed: bool = False) -> Shard:
        """Ask for one flow run; asked twice by one run it is still one, unless the first has ended.

        After a crash it gets more memory, though it plans with no more.
        """
        name, number = f"{self.label} {batch_name(window_ids)}", 0
        while True:
            run = run_deployment(
                self.deployment.id,
                parameters={**self.parameters, "window_ids": list(window_ids)},
                timeout=0,
                flow_run_name=name,
                tags=self.tags,
                job_variables=self.size.after_crash if crashed else self.size.job_variables,
                # Prefect returns the run it knows by this key even if that has failed.
                idempotency_key=f"{this_run.id}-{_hash(*window_ids)}-{tries}-{number}",
            )
            assert isinstance(run, FlowRun)  # and not its coroutine: no event loop runs here
            if run.state is None or not (run.state.is_final() or run.state.is_cancelling()):
                return Shard(window_ids=tuple(window_ids), run_id=run.id, name=name, tries=tries)
            number += 1

    def adopt(self, window_ids: Sequence[str]) -> list[Shard]:
        """The shards for this plan that are still at work, ours from now on."""
        wanted, found = set(window_ids), []
        for run in _unfinished(self.client, self.tag):
            mine = [i for i in run.parameters.get("window_ids", ()) if i in wanted]
            if mine and run.state is not None and not run.state.is_cancelling():
                self.client.update_flow_run(run.id, tags={*run.tags, parent_tag(this_run.id)})
                found.append(Shard(window_ids=tuple(mine), run_id=run.id, name=run.name, tries=1))
        return found

    def cancel(self, run_id: UUID) -> None:
        """Ask for a run to end; whether it does is not waited for."""
        with tolerated():
            self.client.set_flow_run_state(run_id, Cancelling())


def cancel_shards(flow: Any, flow_run: FlowRun, state: Any) -> None:
    """State hook of a run that ends before its time: its shards end with it."""
    del flow, state
    job = flow_run.parameters.get("job", flow_run.parameters)
    if not (job.get("work_pool") if isinstance(job, dict) else getattr(job, "work_pool", None)):
        return
    with get_client(sync_client=True) as client:
        cancel_all(client, flow_run.id)


def cancel_all(client: SyncPrefectClient, parent: UUID | str) -> None:
    """Ask all shards of a run to end."""
    for run in _unfinished(client, parent_tag(parent)):
        with tolerated():
            client.set_flow_run_state(run.id, Cancelling())


@contextmanager
def tolerated() -> Iterator[None]:
    """The server may not answer, or may know better: the run has ended by itself."""
    try:
        yield
    except (httpx.HTTPError, PrefectHTTPStatusError) as error:
        log.warning("A shard could not be cancelled: %s", error)


def parent_tag(run_id: UUID | str) -> str:
    """By this tag a run's shards are known."""
    return f"clearyear-parent:{run_id}"


def evenly(window_ids: Sequence[str], most: int) -> list[list[str]]:
    """As few parts as there may be with ``most`` each, as equal as can be, in order."""
    count = math.ceil(len(window_ids) / most)
    edges = [len(window_ids) * n // count for n in range(count + 1)] if count else []
    return [list(window_ids[a:b]) for a, b in pairwise(edges)]


def _unfinished(client: SyncPrefectClient, tag: str) -> list[FlowRun]:
    """All runs with a tag that have not ended."""
    states = [state for state in StateType if state not in TERMINAL_STATES]
    wanted = FlowRunFilter(
        tags=FlowRunFilterTags(all_=[tag]), state=FlowRunFilterState(type=FlowRunFilterStateType(any_=states))
    )
    found: list[FlowRun] = []
    while True:
        page = client.read_flow_runs(flow_run_filter=wanted, limit=_PAGE, offset=len(found))
        found += page
        if len(page) < _PAGE:
            return found


def _hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
