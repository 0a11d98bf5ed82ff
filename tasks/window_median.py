"""The task that is mapped over all windows."""

import hashlib
from typing import Any

from prefect import task
from prefect.cache_policies import CachePolicy
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import TaskRunContext
from prefect.runtime import task_run
from prefect.tasks import Task, exponential_backoff

from clearyear.errors import ClearyearError
from clearyear.prepare import known_plan
from clearyear.stores import open_store
from clearyear.window import compute_window

RETRIES = 3
TIMEOUT_SECONDS = 3600
WINDOW_TAG = "clearyear-window"
"""Limit how many windows run at once, anywhere: `prefect concurrency-limit create clearyear-window 50`."""


class ByFingerprint(CachePolicy):
    """The cache key is the window's fingerprint and its destination.

    The fingerprint holds all the pixels depend on, so a scene's new version or a new version of the algorithm
    makes a new key. Prefect's own policies see neither. The record in the cache is never taken for the tile: the
    flow sends only windows whose tiles are not there, valid and current, and sends them past the cache.
    """

    def compute_key(
        self, task_ctx: TaskRunContext, inputs: dict[str, Any], flow_parameters: dict[str, Any], **kwargs: Any
    ) -> str | None:
        """See CachePolicy."""
        place = hashlib.sha256(inputs["destination"].encode()).hexdigest()[:12]
        return f"window-median-{inputs['window_id']}-{inputs['fingerprint'][:32]}-{place}"


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


def _name() -> str:
    return str(task_run.parameters["window_id"])


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
