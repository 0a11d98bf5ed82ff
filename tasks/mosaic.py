"""The task that joins the windows."""

from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.tasks import exponential_backoff

from clearyear.completeness import check_plan
from clearyear.prepare import known_plan
from clearyear.publish import publish
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
def mosaic(destination: str, plan_digest: str) -> dict[str, Any]:
    """Join the windows lying at ``destination`` and publish the mosaic; returns what was written."""
    plan, store = known_plan(destination, plan_digest), open_store(destination)
    return publish(plan, store, check_plan(plan, store)).model_dump(mode="json")
