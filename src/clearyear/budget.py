"""What one process may do at once with the memory it has: windows, threads, bytes a window, files kept open.

The budget belongs to a process and not to the plan: no pixel depends on it, and a repair, a retry or a shard of the
same plan may run in a container of another size.
"""

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from pydantic import BaseModel, ConfigDict

from clearyear import limits
from clearyear.errors import InputError, ReadError
from clearyear.grid import Window
from clearyear.limits import Limit, bytes_text
from clearyear.memory import in_flight_bytes, least_bytes, peak_bytes, times_read
from clearyear.plan import Plan
from clearyear.reading import gdal
from clearyear.reading.sources import GdalSource, source_of
from clearyear.scenes.scene import Scene
from clearyear.scenes.signing import address_of
from clearyear.settings import Settings
from clearyear.sizing import mosaic_bytes

BASE_BYTES = 450_000_000
"""Python, its libraries, compiled kernels and Prefect's client in the process that computes, before any window.

``python benchmarks/memory.py --base`` measures this and the next; a margin is in both.
"""

PREFECT_BYTES = 300_000_000
"""Prefect's second process in the same container: its server for the length of one command, or the flow's runner."""

_DATASET_BYTES = 100_000
"""What an open GDAL dataset holds beside a block, the block's bytes as stored, and the index."""


class Budget(BaseModel):
    """What a process may do at once."""

    model_config = ConfigDict(frozen=True)

    limit: int | None
    """Bytes of the whole container; None where nobody sets a limit."""
    limit_origin: str
    """Who set it."""
    workers: int
    """Windows at once."""
    threads: int
    """That read and reduce one window."""
    window_bytes: int | None
    """Most that one window may take; None leaves it to what is comfortable."""
    open_files: int
    """Datasets GDAL keeps open between reads."""
    beside_bytes: int
    """What stands beside the windows: Python, Prefect, GDAL and its open files."""
    peak_bytes: int
    """All together, at most."""

    def apply(self) -> None:
        """Make this process keep to its number of open files; the rest is for whoever starts the windows."""
        gdal.keep_open(self.open_files)


def process_budget(
    plan: Plan,
    windows: Sequence[Window],
    *,
    workers: int | None = None,
    memory_limit: int | None = None,
    prefect: bool = True,
    separate: bool = False,
) -> Budget:
    """The budget of this process, here and now.

    Args:
        plan: what is to be computed.
        windows: those of its windows that are to be computed.
        workers: windows at once, where the user has fixed that.
        memory_limit: the job's, in bytes; None for what the environment or the container says.
        prefect: whether it runs under Prefect.
        separate: whether each window at once has a process of its own.

    Raises:
        InputError: not even one row of one block of every scene fits; the least that would is named.
    """
    masks = {mask.asset for mask in plan.product.masks}
    with ThreadPoolExecutor(16) as pool:
        files = [(scene, asset) for scene in plan.scenes for asset in (*plan.product.assets, *masks)]
        by_gdal = sum(pool.map(_is_by_gdal, files))
    reading = gdal.cache_bytes() + in_flight_bytes(plan)
    return budget(
        plan,
        windows,
        workers=workers,
        cores=Settings().workers,
        limit=limits.memory_limit(memory_limit),
        by_gdal=by_gdal,
        own_bytes=BASE_BYTES + (PREFECT_BYTES if prefect else 0) + reading,
        each_bytes=BASE_BYTES + reading if separate else 0,
    )


def engine_budget(
    plan: Plan,
    windows: Sequence[Window],
    *,
    runner: str,
    workers: int | None,
    memory_limit: int | None,
    joins: bool = True,
    prefect: bool = True,
) -> Budget:
    """The budget of this process and of those a job's ``runner`` starts for it.

    Of a Dask cluster that is somewhere already neither the number of workers nor their memory is known: the budget is
    one worker's, and ``memory_limit`` what that has.

    With ``joins`` the mosaic is made here as well, when the windows are done; the other arguments are as for
    process_budget.

    Raises:
        InputError: as process_budget; or the mosaic takes more than the limit.
    """
    found = _engine_budget(plan, windows, runner, workers=workers, memory_limit=memory_limit, prefect=prefect)
    if not joins:
        return found
    peak = BASE_BYTES + (PREFECT_BYTES if prefect else 0) + mosaic_bytes(plan)
    if found.limit is not None and peak > found.limit:
        raise InputError(
            f"{bytes_text(found.limit)} of memory ({found.limit_origin}) cannot hold a row of the mosaic's windows, "
            f"{plan.grid.width:,} px wide",
            f"at least {bytes_text(peak)}",
            "give it more memory, or take lower windows (tile_size)",
        )
    return found.model_copy(update={"peak_bytes": max(found.peak_bytes, peak)})


def _engine_budget(
    plan: Plan, windows: Sequence[Window], runner: str, *, workers: int | None, memory_limit: int | None, prefect: bool
) -> Budget:
    settings = Settings()
    if runner == "dask" and (settings.dask_address or settings.dask_cluster):
        return process_budget(plan, windows, workers=1, memory_limit=memory_limit, prefect=False)
    apart = runner != "threads"
    return process_budget(plan, windows, workers=workers, memory_limit=memory_limit, prefect=prefect, separate=apart)


def budget(
    plan: Plan,
    windows: Sequence[Window],
    *,
    workers: int | None,
    cores: int,
    limit: Limit | None,
    by_gdal: int,
    own_bytes: int,
    each_bytes: int = 0,
) -> Budget:
    """The first of the ways below that reads blocks least often and keeps to the limit.

    As many windows at once as there are workers, then, unless the user has fixed them, fewer, each with the cores
    that are left; then fewer threads. Only where no way spares it, blocks are read more than once.

    Args:
        plan: what is to be computed.
        windows: those to be computed.
        workers: windows at once, where the user has fixed that.
        cores: to be shared out.
        limit: of the whole container.
        by_gdal: how many of the scenes' files GDAL reads.
        own_bytes: what the container holds before the first window.
        each_bytes: what a window's own process holds before it; 0 where all share one.

    Raises:
        InputError: no way keeps to the limit.
    """
    shapes = _shapes(plan, windows)
    ways = _ways(max(1, min(workers or cores, len(windows))), cores, fixed=workers is not None)
    files = len(plan.product.assets) + len(plan.product.masks)
    index = 16 * len(plan.scenes) * files * math.prod(_blocks(plan))
    dataset = _dataset_bytes(plan) if by_gdal else 0
    each = each_bytes + index if each_bytes else 0

    def around(at_once: int, threads: int) -> int:
        return own_bytes + index + at_once * (threads * dataset + each)

    def share(at_once: int, threads: int) -> int | None:
        return None if limit is None else (limit.size - around(at_once, threads)) // at_once

    def reads(way: tuple[int, int]) -> float:
        return max((times_read(plan, w, share(*way), threads=way[1]) for w in shapes), default=1)

    at_once, threads = min(ways, key=reads)
    if limit is not None and math.isinf(reads((at_once, threads))):
        at_once, threads = ways[-1]
        least = max(least_bytes(plan, w, threads=threads) for w in shapes)
        raise _too_little(plan, limit, at_once, around(at_once, threads) + at_once * least)
    window_bytes = share(at_once, threads)
    windows_peak = at_once * max((peak_bytes(plan, w, window_bytes, threads=threads) for w in shapes), default=0)
    beside = around(at_once, threads)
    useful = min(gdal.MOST_IDLE, by_gdal * at_once)
    room = useful if limit is None or not dataset else (limit.size - beside - windows_peak) // dataset
    kept = min(useful, max(0, room))
    beside += kept * dataset
    return Budget(
        limit=limit.size if limit else None,
        limit_origin=limit.origin if limit else "",
        workers=at_once,
        threads=threads,
        window_bytes=window_bytes,
        open_files=kept,
        beside_bytes=beside,
        peak_bytes=beside + windows_peak,
    )


def _ways(most: int, cores: int, *, fixed: bool) -> list[tuple[int, int]]:
    """(windows at once, threads for each), the best first."""
    ways = [(n, max(1, cores // n)) for n in ([most] if fixed else range(most, 0, -1))]
    at_once, threads = ways[-1]
    return [*ways, *((at_once, t) for t in range(threads - 1, 0, -1))]


def _shapes(plan: Plan, windows: Sequence[Window]) -> list[Window]:
    """One window of each size and place within the blocks: the others need the same."""
    width, height = plan.grid.block
    return list({(w.width, w.height, w.col_off % width, w.row_off % height): w for w in windows}.values())


def _blocks(plan: Plan) -> tuple[int, int]:
    return -(-plan.grid.width // plan.grid.block[0]), -(-plan.grid.height // plan.grid.block[1])


def _dataset_bytes(plan: Plan) -> int:
    """What a GTiff dataset holds as long as it is open: a block, its stored bytes, the blocks' index."""
    block = math.prod(plan.grid.block) * plan.product.stored_bands * plan.itemsize
    return 2 * block + 16 * math.prod(_blocks(plan)) + _DATASET_BYTES


def _is_by_gdal(file: tuple[Scene, str]) -> bool:
    scene, asset = file
    if asset in scene.hides:
        return True  # the mask, at least
    try:
        return isinstance(source_of(address_of(scene, asset), scene.version_of(asset)), GdalSource)
    except ReadError:
        return False  # whoever reads it will say so


def _too_little(plan: Plan, limit: Limit, at_once: int, least: int) -> InputError:
    fewer = "fewer workers, " if at_once > 1 else ""
    return InputError(
        f"{bytes_text(limit.size)} of memory ({limit.origin}) cannot hold one row of one block of all "
        f"{len(plan.scenes)} scenes, {at_once} window{'s' if at_once > 1 else ''} at once",
        f"at least {bytes_text(least)}",
        f"give it more memory, or take {fewer}smaller windows or a shorter period",
    )
