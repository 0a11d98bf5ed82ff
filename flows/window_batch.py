"""One shard of a composite: some windows of a plan that lies at its destination, computed in this process."""

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from clearyear.batch import leave_causes
from clearyear.completeness import check_plan
from clearyear.errors import BatchError
from clearyear.prepare import known_plan
from clearyear.settings import Bytes
from clearyear.stores import open_store
from flows.steps import budget_of, map_windows
from tasks.artifacts import Progress


# No name of its own: whoever starts it calls it by product, period, granule and windows.
@flow(name="window-batch", description=__doc__)
def window_batch(
    destination: str,
    plan_digest: str,
    window_ids: list[str],
    workers: int | None = None,
    memory_limit: Bytes | None = None,
) -> State[Any]:
    """Compute those of the windows that are not done yet; started by median-composite when it names a work pool.

    Args:
        destination: Where the plan lies and the tiles go.
        plan_digest: The plan's digest; another plan lying there by now is refused.
        window_ids: The windows, in the order they are computed in.
        workers: Windows computed at once. Left out: one a core.
        memory_limit: Memory of the whole container, such as 2GiB. Left out: the container's own limit.

    Returns:
        Completed, or Failed if a window failed. Whoever started it looks at the destination and not at this.
    """
    plan, store = known_plan(destination, plan_digest), open_store(destination)
    windows = [plan.grid.window(window_id, plan.tile_size) for window_id in window_ids]
    # A container that is started a second time finds what the first one did.
    pending = [status.id for status in check_plan(plan, store, windows) if not status.is_done]
    failures: dict[str, str] = {}
    if pending:
        budget = budget_of(plan, pending, workers=workers, memory_limit=memory_limit, joins=False)
        progress = Progress(len(pending))
        failures = map_windows(plan, pending, budget, progress=progress)
        progress.end(len(pending) - len(failures))
    known_plan(destination, plan_digest)  # another one's records are not ours to write over
    leave_causes(plan, store, failures)
    store.sweep()
    if not failures:
        computed, there = len(pending), len(window_ids) - len(pending)
        return Completed(message=f"{computed} windows computed, {there} were there already", data={"failed": {}})
    first, cause = next(iter(failures.items()))
    sentence = f"{len(failures)} of {len(window_ids)} windows failed ({first}: {cause})"
    return Failed(message=sentence, data=BatchError(sentence, causes=failures))
