"""What a run is called and tagged by, so that an operator finds it among others."""

from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.runtime import flow_run

from clearyear.plan import Plan


def tags_of(plan: Plan) -> set[str]:
    """``product:…``, ``period:…`` and, where all scenes are of one, ``granule:…``."""
    named = {"product": plan.product.name, "period": plan.period.label, "granule": plan.granule}
    return {f"{name}:{value}" for name, value in named.items() if value}


def name_run(plan: Plan, *, verb: str = "") -> None:
    """Call this run by its plan's product, period and granule: the granule is known from the scenes' names only."""
    with get_client(sync_client=True) as client:
        tags = {*flow_run.tags, *tags_of(plan)}
        client.update_flow_run(UUID(flow_run.id), name=f"{verb} {plan.label}".strip(), tags=tags)
