"""Progress for whoever watches: the work says how far it is, the command line draws a bar, others ignore it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Watcher = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done and how much there is."""

_watcher: ContextVar[Watcher | None] = ContextVar("clearyear_progress", default=None)


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
