"""The tasks that are mapped over all windows: one window each or, where there are thousands, a batch each."""

import hashlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

from prefect import task
from prefect.cache_policies import CachePolicy
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import TaskRunContext
from prefect.runtime import task_run
from prefect.tasks import Task, exponential_backoff
from prefect.utilities.timeout import timeout

from clearyear.batch import compute_windows
from clearyear.errors import ClearyearError
from clearyear.prepare import known_plan
from clearyear.stores import open_store
from clearyear.window import compute_window

RETRIES = 3
TIMEOUT_SECONDS = 3600.0
"""For one window, alone or in a batch."""
WINDOW_TAG = "clearyear-window"
"""Limit how many windows run at once, anywhere: `prefect concurrency-limit create clearyear-window 50`."""


class ByFingerprint(CachePolicy):
    """The cache key is the window's fingerprint and its destination, or those of a batch.

    The fingerprint holds all the pixels depend on, so a scene's new version or a new version of the algorithm
    makes a new key. Prefect's own policies see neither. The record in the cache is never taken for the tile: the
    flow sends only windows whose tiles are not there, valid and current, and sends them past the cache.
    """

    def compute_key(
        self, task_ctx: TaskRunContext, inputs: dict[str, Any], flow_parameters: dict[str, Any], **kwargs: Any
    ) -> str | None:
        """See CachePolicy."""
        place = hashlib.sha256(inputs["destination"].encode()).hexdigest()[:12]
        name = inputs["window_id"] if "window_id" in inputs else batch_name(inputs["window_ids"], "-")
        return f"window-median-{name}-{inputs['fingerprint'][:32]}-{place}"


def is_transient(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Whether another try may help: a time-out or an error that says so; never wrong input or a bug."""
    try:
        state.result()
    except ClearyearError as error:
        return error.transient
    except (TimeoutError, ConnectionError):
        return True
    except Exception:  # noqa: BLE001  whatever else it is, trying again would hide it
        return False
    return False


def batch_name(window_ids: Sequence[str], plus: str = " +") -> str:
    """The first window and how many follow it: ``x00000_y00000 +16``."""
    return f"{window_ids[0]}{plus}{len(window_ids) - 1}" if len(window_ids) > 1 else window_ids[0]


def batch_fingerprint(fingerprints: Sequence[str]) -> str:
    """One fingerprint of many windows, in their order."""
    return hashlib.sha256("".join(fingerprints).encode()).hexdigest()


def _name() -> str:
    return str(task_run.parameters["window_id"])


def _batch_name() -> str:
    return batch_name(task_run.parameters["window_ids"])


def _limit() -> AbstractContextManager[None]:
    return timeout(TIMEOUT_SECONDS)


@task(
    name="window-median",
    task_run_name=_name,
    tags=[WINDOW_TAG],
    retries=RETRIES,
    retry_delay_seconds=exponential_backoff(2),
    retry_jitter_factor=0.5,
    retry_condition_fn=is_transient,
    timeout_seconds=TIMEOUT_SECONDS,
    cache_policy=ByFingerprint(),
    persist_result=True,
    result_serializer="json",
)
def window_median(
    destination: str,
    plan_digest: str,
    window_id: str,
    fingerprint: str,
    threads: int = 1,
    window_bytes: int | None = None,
) -> dict[str, Any]:
    """Compute one window of the plan lying at ``destination``; its tiles go there too."""
    del fingerprint  # the cache key is made of it; the plan knows it too
    plan = known_plan(destination, plan_digest)
    window = plan.grid.window(window_id, plan.tile_size)
    store = open_store(destination)
    return compute_window(plan, window, store, threads=threads, window_bytes=window_bytes).model_dump(mode="json")


@task(
    name="window-medians",
    task_run_name=_batch_name,
    tags=[WINDOW_TAG],  # its windows are computed one after the other, so a batch takes one slot, as a window does
    retries=RETRIES,
    retry_delay_seconds=exponential_backoff(2),
    retry_jitter_factor=0.5,
    retry_condition_fn=is_transient,
    # No time-out of its own: each window has one, so that one that hangs does not take its neighbours with it.
    cache_policy=ByFingerprint(),
    persist_result=True,
    result_serializer="json",
)
def window_medians(
    destination: str,
    plan_digest: str,
    window_ids: list[str],
    fingerprint: str,
    threads: int = 1,
    window_bytes: int | None = None,
) -> list[dict[str, Any]]:
    """Compute a batch of windows, one after the other; of a batch that is tried again only what is not done."""
    del fingerprint
    plan = known_plan(destination, plan_digest)
    windows = [plan.grid.window(window_id, plan.tile_size) for window_id in window_ids]
    store = open_store(destination)
    results = compute_windows(plan, windows, store, threads=threads, window_bytes=window_bytes, limit=_limit)
    return [result.model_dump(mode="json") for result in results]
