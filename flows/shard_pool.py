"""The work pool that shards go to: its deployment of window-batch, and how large their jobs are there."""

from dataclasses import dataclass, field

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowFilter, FlowFilterName
from prefect.client.schemas.responses import DeploymentResponse

from clearyear.errors import InputError
from clearyear.plan import Plan
from clearyear.sizing import job_size

FLOW = "window-batch"
_WORKERS = 2
"""Windows at once in a job, where the user does not say: what one costs beside them is shared by two."""


@dataclass(frozen=True)
class ShardSize:
    """What each shard is told about its size, and what its pool is."""

    parameters: dict[str, int | None]
    """``workers`` and ``memory_limit``, as window_batch takes them."""
    job_variables: dict[str, str] = field(default_factory=dict)
    """Of the job; empty where the pool's or the deployment's own hold."""
    after_crash: dict[str, str] = field(default_factory=dict)
    """The same for windows whose job crashed: nothing tells one that lost its machine from one out of memory."""


def deployment_on(work_pool: str) -> DeploymentResponse:
    """The deployment of window-batch on a work pool.

    Raises:
        InputError: there is none, or there are several.
    """
    with get_client(sync_client=True) as client:
        everywhere = client.read_deployments(flow_filter=FlowFilter(name=FlowFilterName(any_=[FLOW])))
    found = [deployment for deployment in everywhere if deployment.work_pool_name == work_pool]
    if len(found) == 1:
        return found[0]
    pools = sorted({str(deployment.work_pool_name) for deployment in everywhere})
    names = ", ".join(sorted(f"{FLOW}/{deployment.name}" for deployment in found))
    raise InputError(
        f"The work pool {work_pool!r} has {len(found) or 'no'} deployments of {FLOW}{f': {names}' if names else ''}",
        f"one; at this server these pools have any: {', '.join(pools) or 'none'}",
        "`prefect deploy` one, or leave work_pool out to compute in this process",
    )


def shard_size(
    plan: Plan, deployment: DeploymentResponse, *, per_shard: int, workers: int | None, memory_limit: int | None
) -> ShardSize:
    """How large the shards' jobs are: computed from the plan where the pool's jobs have a size and nobody gave one.

    Args:
        plan: what is to be computed.
        deployment: of window-batch; ``cpu`` or ``memory`` among its job variables is the user's own word.
        per_shard: windows of a shard at most.
        workers: windows at once, where the user has fixed that.
        memory_limit: bytes of the whole container, where the user has.

    Raises:
        InputError: not one window fits the largest Cloud Run job.
    """
    asked = ShardSize({"workers": workers, "memory_limit": memory_limit})
    with get_client(sync_client=True) as client:
        pool = client.read_work_pool(str(deployment.work_pool_name))
    # Elsewhere variables of the same names mean other things: ECS counts CPU in 1,024ths and memory in MiB.
    on_cloud_run = pool.type.startswith("cloud-run")
    known = pool.base_job_template.get("variables", {}).get("properties", {})
    chosen = {"cpu", "memory"} & (deployment.job_variables or {}).keys()
    if not (on_cloud_run or pool.type == "kubernetes") or not {"cpu", "memory"} <= known.keys() or chosen:
        return asked
    at_once = min(workers or _WORKERS, per_shard)
    try:
        size = job_size(plan, workers=at_once, joins=False, memory_limit=memory_limit)
    except InputError:
        if on_cloud_run:
            raise
        return asked  # a node of a cluster may be larger than any Cloud Run job
    variables, larger = size.job_variables(), size.doubled().job_variables()
    if pool.type in ("cloud-run", "cloud-run:push"):
        for each in (variables, larger):
            each["cpu"] += "000m"  # the first version of the worker knows thousandths only
    # The limit is said in words too: whether a container shows its own to those within is up to whoever runs it.
    limit = min(memory_limit or size.memory_gib << 30, size.memory_gib << 30)
    return ShardSize({"workers": workers and size.workers, "memory_limit": limit}, variables, larger)
