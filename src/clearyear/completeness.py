"""The plan against what is really there: ok | empty | missing | invalid | stale, window by window."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from clearyear.errors import StoreError
from clearyear.grid import Window
from clearyear.plan import Plan
from clearyear.stores import Store
from clearyear.window import LayerFile, WindowResult

_THREADS = 8

_Look = Callable[[str], int | None]
"""A file's bytes by its name below the store, None where there is none."""


class Status(StrEnum):
    """What a window is, seen from the plan."""

    OK = "ok"
    EMPTY = "empty"
    """There, valid and current, but no pixel has a valid sample. Not missing."""
    MISSING = "missing"
    """Never computed, failed, or its file is gone."""
    INVALID = "invalid"
    """A file is there, but it is not the one that was written: wrong size or checksum."""
    STALE = "stale"
    """Computed from other scenes, another product or another version of the algorithm than the plan's."""


class WindowStatus(BaseModel):
    """One window's state and, where it is not well, why."""

    model_config = ConfigDict(frozen=True)

    id: str
    status: Status
    cause: str = ""
    result: WindowResult | None = None

    @property
    def is_done(self) -> bool:
        """There, valid and current."""
        return self.status in (Status.OK, Status.EMPTY)


def check_plan(plan: Plan, store: Store, windows: Iterable[Window] | None = None) -> list[WindowStatus]:
    """Check every window of the plan (or those given), reading every byte of every tile.

    For the whole plan one listing says what need not be looked for: in a bucket, asking for each file by itself would
    cost as many requests as there are files. What is missing still follows from the plan.

    Returns:
        One status a window, in the plan's order: a partition of the plan.
    """
    look = None
    if windows is None:
        look = {entry.name: entry.size for entry in store.entries("tiles/")}.get
    with ThreadPoolExecutor(_THREADS) as pool:
        chosen = plan.windows if windows is None else windows
        return list(pool.map(lambda w: check_window(plan, w, store, size_of=look), chosen))


def check_window(plan: Plan, window: Window, store: Store, *, size_of: _Look | None = None) -> WindowStatus:
    """Check one window: record, fingerprint, then size and checksum of each of its tiles.

    Args:
        plan: what must be there.
        window: one of its windows.
        store: where it must be.
        size_of: a file's bytes by its name, None where there is none; left out, the store is asked.
    """

    def ask(name: str) -> int | None:
        entry = store.stat(name)
        return None if entry is None else entry.size

    look = size_of or ask
    result, problem = _record(plan, window, store, look)
    if result is None:
        return WindowStatus(id=window.id, status=Status.MISSING, cause=problem)
    if result.status == "failed":
        return WindowStatus(id=window.id, status=Status.MISSING, cause=result.cause, result=result)
    if result.fingerprint != plan.fingerprint(window):
        cause = "computed from other scenes, another product or another version of the algorithm"
        return WindowStatus(id=window.id, status=Status.STALE, cause=cause, result=result)
    if len(result.failed_reads) > plan.max_failed_reads:
        cause = f"computed without {len(result.failed_reads)} scenes; the plan now allows {plan.max_failed_reads}"
        return WindowStatus(id=window.id, status=Status.STALE, cause=cause, result=result)
    for layer in plan.files:
        file = result.layers.get(layer)
        if file is None:
            status, cause = Status.MISSING, f"no {layer} layer was written"
        elif file.name != plan.tile_name(window, layer):
            status, cause = Status.INVALID, f"its record names {file.name!r} as its {layer}, another window's or none"
        else:
            status, cause = _check_file(file, store, look)
        if status is not Status.OK:
            return WindowStatus(id=window.id, status=status, cause=cause, result=result)
    status = Status.EMPTY if result.status == "empty" else Status.OK
    return WindowStatus(id=window.id, status=status, result=result)


def with_cause(status: WindowStatus, failures: Mapping[str, str]) -> WindowStatus:
    """A window that is missing because its task failed says so."""
    if status.status is Status.MISSING and status.id in failures:
        return status.model_copy(update={"cause": failures[status.id]})
    return status


def left_out(status: WindowStatus, selected: int) -> WindowStatus:
    """A window that was never computed because it was not selected says so."""
    cause = f"not among the {selected} windows of this run's selection"
    return status if status.result else with_cause(status, {status.id: cause})


def _record(plan: Plan, window: Window, store: Store, look: _Look) -> tuple[WindowResult | None, str]:
    name = plan.record_name(window)
    if look(name) is None:
        if look(plan.tile_name(window, next(iter(plan.files)))) is not None:
            return None, "a tile lies there without its record: it was not finished"
        return None, "not computed yet"
    try:
        return WindowResult.model_validate_json(store.read(name)), ""
    except StoreError as error:
        if error.transient:
            raise
        return None, error.found  # it has gone since it was listed
    except ValueError:
        return None, f"its record {name} cannot be read"


def _check_file(file: LayerFile, store: Store, look: _Look) -> tuple[Status, str]:
    size = look(file.name)
    if size is None:
        return Status.MISSING, f"{file.name} is gone"
    if size < file.size:
        return Status.INVALID, f"{file.name} is truncated: {size} of {file.size} bytes"
    if size > file.size:
        return Status.INVALID, f"{file.name} has {size} bytes, {file.size} were written"
    try:
        digest = hashlib.sha256(store.read(file.name)).hexdigest()
    except StoreError as error:
        if error.transient:
            raise
        return Status.MISSING, error.found
    if digest != file.sha256:
        return Status.INVALID, f"{file.name} is damaged: its SHA-256 is {digest[:12]}…, {file.sha256[:12]}… was written"
    return Status.OK, ""
