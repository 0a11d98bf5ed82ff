"""Windows one after the other, in one call: what a task computes where a task for each window would cost too much."""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

from clearyear.completeness import check_window
from clearyear.errors import BatchError, ClearyearError
from clearyear.grid import Window
from clearyear.plan import Plan
from clearyear.progress import is_stopped
from clearyear.stores import Store
from clearyear.window import WindowResult, compute_window

log = logging.getLogger(__name__)

_NAMED = 3
"""Failed windows that the error's message names."""


def compute_windows(
    plan: Plan,
    windows: Sequence[Window],
    store: Store,
    *,
    threads: int = 1,
    window_bytes: int | None = None,
    limit: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> list[WindowResult]:
    """Compute those of the windows that are not done yet; one that fails does not keep the others.

    Args:
        plan: what to do.
        windows: windows of the plan, in the order they are computed in.
        store: the plan's destination.
        threads: how many read and reduce one window.
        window_bytes: all that computing one may take; see ``memory.pieces``.
        limit: made anew around each window; may raise TimeoutError inside.

    Returns:
        One result a window, in order.

    Raises:
        BatchError: some windows failed, or the work was stopped before them; ``transient`` where trying again may
            help one of them. The others are done.
    """
    results: list[WindowResult] = []
    causes: dict[str, str] = {}
    transient = False
    for window in windows:
        if is_stopped():
            causes[window.id] = "the run was stopped before it"
            continue
        try:
            # Of a batch that is tried again, or that was sent a second time, most is there.
            status = check_window(plan, window, store)
            if status.is_done and status.result is not None:
                results.append(status.result)
                continue
            with limit():
                results.append(compute_window(plan, window, store, threads=threads, window_bytes=window_bytes))
        except Exception as error:
            transient |= _is_transient(error)
            causes[window.id] = error.found if isinstance(error, ClearyearError) else f"{type(error).__name__}: {error}"
            log.warning("Window %s failed: %s", window.id, causes[window.id], exc_info=_foreign(error))
    if causes:
        raise _failed(causes, len(windows), transient=transient)
    return results


def leave_causes(plan: Plan, store: Store, causes: Mapping[str, str]) -> None:
    """Write down at the destination why windows failed, for a process elsewhere to read: it sees only what lies there.

    Args:
        plan: what was to be done.
        store: the plan's destination.
        causes: window id → why it failed. One that is done all the same keeps its record.
    """
    for window_id, cause in causes.items():
        window = plan.grid.window(window_id, plan.tile_size)
        try:
            status = check_window(plan, window, store)
            if not status.is_done:
                before = status.result if status.result is not None and status.result.status == "failed" else None
                record = WindowResult(
                    id=window_id,
                    status="failed",
                    fingerprint=plan.fingerprint(window),
                    failed_reads=before.failed_reads if before else (),
                    cause=cause,
                )
                store.write(plan.record_name(window), record.model_dump_json(indent=1).encode())
        except ClearyearError as error:
            log.warning("Why window %s failed could not be written down: %s", window_id, error)


def _is_transient(error: Exception) -> bool:
    return error.transient if isinstance(error, ClearyearError) else isinstance(error, TimeoutError | ConnectionError)


def _foreign(error: Exception) -> Exception | None:
    """An error that is not ours is shown with its traceback: it is a bug, or a broken environment."""
    return None if isinstance(error, ClearyearError | TimeoutError) else error


def _failed(causes: dict[str, str], expected: int, *, transient: bool) -> BatchError:
    named = "; ".join(f"{window_id}: {cause}" for window_id, cause in list(causes.items())[:_NAMED])
    more = f" … and {len(causes) - _NAMED} more" if len(causes) > _NAMED else ""
    return BatchError(
        f"{len(causes)} of {expected} windows failed: {named}{more}",
        "every window",
        "mend what is named; only these are computed again",
        causes=causes,
        transient=transient,
    )
