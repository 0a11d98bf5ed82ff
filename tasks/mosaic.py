"""The task that joins the windows."""

from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.tasks import exponential_backoff

from clearyear.completeness import check_plan
from clearyear.errors import StoreError
from clearyear.prepare import known_plan
from clearyear.publish import publish
from clearyear.published import tiles_digest
from clearyear.stores import open_store
from tasks.window_median import is_transient


@task(
    name="mosaic",
    retries=2,
    retry_delay_seconds=exponential_backoff(5),
    retry_jitter_factor=0.5,
    retry_condition_fn=is_transient,
    cache_policy=NO_CACHE,
)
def mosaic(destination: str, plan_digest: str, tiles: str) -> dict[str, Any]:
    """Join the windows lying at ``destination`` and publish the mosaic; returns what was written.

    ``tiles``: the ``tiles_digest`` of what the run has found to be done; its report speaks of no others.
    """
    plan, store = known_plan(destination, plan_digest), open_store(destination)
    statuses = check_plan(plan, store)
    if tiles_digest(statuses) != tiles:
        raise StoreError(
            f"The tiles at {store.root} are not those that the run has checked",
            "tiles that stay as they are while they are joined",
            "run it again: no window is computed twice",
            transient=True,
        )
    return publish(plan, store, statuses).model_dump(mode="json")
