"""Repair: compute only what of an earlier run is missing, invalid or stale, then mosaic and report again."""

from typing import Any, Literal

from prefect import flow
from prefect.client.schemas.objects import State

from clearyear.prepare import find_plan
from clearyear.settings import Bytes
from flows.naming import name_run
from flows.shards import cancel_shards
from flows.steps import carry_out, refuse_relative


@flow(
    name="repair",
    flow_run_name="repair {out}",
    description=__doc__,
    on_cancellation=[cancel_shards],
    on_crashed=[cancel_shards],
    on_failure=[cancel_shards],
)
def repair(
    out: str,
    workers: int | None = None,
    allow_missing: bool = False,
    memory_limit: Bytes | None = None,
    work_pool: str | None = None,
    windows_per_shard: int = 50,
    runner: Literal["threads", "processes", "dask"] = "threads",
) -> State[Any]:
    """Complete what lies at a destination, by the plan that lies there.

    Args:
        out: The destination of the run to repair, or its product's period folder.
        workers: Windows computed at once in one process. Left out: one a core.
        allow_missing: Publish whatever is there even if windows remain missing.
        memory_limit: Memory of the whole container, such as 2GiB. Left out: the container's own limit.
        work_pool: Compute the windows by flow runs of window-batch on this pool. Left out: in this process.
        windows_per_shard: How many windows such a flow run has at most.
        runner: What computes the windows here: threads, processes or a Dask cluster.

    Returns:
        As median-composite.
    """
    refuse_relative(out)
    plan = find_plan(out, allow_missing=allow_missing)
    name_run(plan, verb="repair")
    return carry_out(
        plan,
        workers=workers,
        memory_limit=memory_limit,
        work_pool=work_pool,
        windows_per_shard=windows_per_shard,
        runner=runner,
    )
