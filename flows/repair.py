"""Repair: compute only what of an earlier run is missing, invalid or stale, then mosaic and report again."""

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from clearyear.prepare import find_plan
from clearyear.settings import Bytes
from flows.steps import carry_out, refuse_relative


@flow(name="repair", flow_run_name="repair {out}", description=__doc__)
def repair(
    out: str, workers: int | None = None, allow_missing: bool = False, memory_limit: Bytes | None = None
) -> State[Any]:
    """Complete what lies at a destination, by the plan that lies there.

    Args:
        out: The destination of the run to repair, or its product's period folder.
        workers: Windows computed at once in one process. Left out: one a core.
        allow_missing: Publish whatever is there even if windows remain missing.
        memory_limit: Memory of the whole container, such as 2GiB. Left out: the container's own limit.

    Returns:
        As median-composite.
    """
    refuse_relative(out)
    return carry_out(find_plan(out, allow_missing=allow_missing), workers=workers, memory_limit=memory_limit)
