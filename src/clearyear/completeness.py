"""The plan against what is really there: ok | empty | missing | invalid | stale, window by window."""

import hashlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from clearyear.errors import StoreError
from clearyear.grid import Window
from clearyear.plan import Plan
from clearyear.stores import Store
from clearyear.window import LayerFile, WindowResult

_THREADS = 8


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

    Returns:
        One status a window, in the plan's order: a partition of the plan.
    """
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(lambda w: check_window(plan, w, store), plan.windows if windows is None else windows))


def check_window(plan: Plan, window: Window, store: Store) -> WindowStatus:
    """Check one window: record, fingerprint, then size and checksum of each of its tiles."""
    result, problem = _record(plan, window, store)
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
    for layer in plan.product.layers:
        file = result.layers.get(layer)
        if file is None:
            status, cause = Status.MISSING, f"no {layer} layer was written"
        elif file.name != plan.tile_name(window, layer):
            status, cause = Status.INVALID, f"its record names {file.name!r} as its {layer}, another window's or none"
        else:
            status, cause = _check_file(file, store)
        if status is not Status.OK:
            return WindowStatus(id=window.id, status=status, cause=cause, result=result)
    status = Status.EMPTY if result.status == "empty" else Status.OK
    return WindowStatus(id=window.id, status=status, result=result)


def _record(plan: Plan, window: Window, store: Store) -> tuple[WindowResult | None, str]:
    name = plan.record_name(window)
    if store.stat(name) is None:
        if store.stat(plan.tile_name(window)) is not None:
            return None, "a tile lies there without its record: it was not finished"
        return None, "not computed yet"
    try:
        return WindowResult.model_validate_json(store.read(name)), ""
    except ValueError:
        return None, f"its record {name} cannot be read"


def _check_file(file: LayerFile, store: Store) -> tuple[Status, str]:
    entry = store.stat(file.name)
    if entry is None:
        return Status.MISSING, f"{file.name} is gone"
    if entry.size < file.size:
        return Status.INVALID, f"{file.name} is truncated: {entry.size} of {file.size} bytes"
    if entry.size > file.size:
        return Status.INVALID, f"{file.name} has {entry.size} bytes, {file.size} were written"
    try:
        digest = hashlib.sha256(store.read(file.name)).hexdigest()
    except StoreError as error:
        return Status.MISSING, error.found
    if digest != file.sha256:
        return Status.INVALID, f"{file.name} is damaged: its SHA-256 is {digest[:12]}…, {file.sha256[:12]}… was written"
    return Status.OK, ""
