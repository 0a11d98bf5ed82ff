"""Between the work and whoever waits for it: how far it is, and that it is no longer wanted.

Both travel in the context, which thread pools that copy it (Prefect's does) hand on to their threads.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Event

Watcher = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done and how much there is."""

_watcher: ContextVar[Watcher | None] = ContextVar("clearyear_progress", default=None)
_stop: ContextVar[Event | None] = ContextVar("clearyear_stop", default=None)


def report_progress(what: str, done: int, total: int) -> None:
    """Tell the watcher, if there is one."""
    if watcher := _watcher.get():
        watcher(what, done, total)


@contextmanager
def watched_by(watcher: Watcher) -> Iterator[None]:
    """Let ``watcher`` hear of all progress made inside."""
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)


def is_stopped() -> bool:
    """Whether the work going on is no longer wanted; asked between two windows."""
    stop = _stop.get()
    return stop is not None and stop.is_set()


@contextmanager
def stopped_by_errors() -> Iterator[None]:
    """Whatever was begun inside hears ``is_stopped`` once an exception, Ctrl-C and SIGTERM too, leaves the block."""
    stop = Event()
    token = _stop.set(stop)
    try:
        yield
    except BaseException:
        stop.set()
        raise
    finally:
        _stop.reset(token)
