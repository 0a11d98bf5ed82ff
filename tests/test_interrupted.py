"""A window that is interrupted by its task's time-out leaves nobody behind who writes into the next one's memory."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pytest
from conftest import write_scene
from loopback.http import HttpServer
from prefect.utilities.timeout import timeout

from clearyear.grid import Grid, Window
from clearyear.job import Job
from clearyear.prepare import make_plan
from clearyear.reading import sources
from clearyear.reading.stack import read_stack, requests
from clearyear.reducers.base import Layers, Stack
from clearyear.reducers.luminance_median import LuminanceMedian
from clearyear.scenes import Scene, find_scenes
from clearyear.settings import current_settings
from clearyear.window import reduce_window

GRID = Grid(crs="EPSG:32631", transform=(10, 0, 0, 0, -10, 0), width=128, height=128, block=(64, 64))
FIRST, OTHER = (Window(col_off=x, row_off=x, width=64, height=64) for x in (0, 64))
MARK = 7


@pytest.fixture(params=["auto", "gdal"])
def served(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[list[Scene], HttpServer]]:
    """Three scenes without the value MARK, whose headers have been read, and who serves them."""
    monkeypatch.setenv("CLEARYEAR_READER", request.param)
    sources._source_of.cache_clear()
    with HttpServer() as server:
        for day in (1, 2, 3):
            pixels = np.full((3, 128, 128), 100 + day, np.uint8)
            path = write_scene(tmp_path / f"a_2023010{day}.tif", pixels, compress=None, blockxsize=64, blockysize=64)
            server.files[f"/s/{path.name}"] = path.read_bytes()
        scenes = find_scenes([f"{server.url}{name}" for name in sorted(server.files)])
        assert read_stack(scenes, GRID, FIRST, n_bands=3, dtype="uint8")[2] == []
        yield scenes, server


def test_nobody_writes_to_the_stack_once_a_time_out_has_struck(served: tuple[list[Scene], HttpServer]) -> None:
    """It strikes in the window's own thread when the first scene has come; the others come later."""
    scenes, server = served
    buffer = np.zeros(3 * 3 * 64 * 64, np.uint8)
    server.fail(r"GET .*a_20230101", status=None, times=99, delay=0.3)
    server.fail(r"GET .*a_2023010[23]", status=None, times=99, delay=1)

    def interrupted() -> None:
        with timeout(0.05):
            read_stack(scenes, GRID, OTHER, n_bands=3, dtype="uint8", buffer=buffer)

    with ThreadPoolExecutor(1) as pool:
        task = pool.submit(interrupted)
        error = task.exception()
        buffer[:] = MARK  # the next window's samples
    assert isinstance(error, TimeoutError), error
    everyone_is_idle()
    assert set(np.unique(buffer)) == {MARK}


def everyone_is_idle() -> None:
    """Wait until each thread that asks servers has done what it was at."""
    barrier = Barrier(current_settings().requests)
    waiting = [requests().submit(barrier.wait, 60) for _ in range(barrier.parties)]
    for each in waiting:
        each.result()


def test_an_interrupted_window_keeps_its_memory_to_itself(
    scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it is struck nobody can tell who still writes; the next window of the thread gets other memory."""
    plan = make_plan(Job.model_validate({"scenes": str(scenes), "period": "2023", "out": str(tmp_path / "out")}))
    reduce, seen = LuminanceMedian.reduce, []

    def struck(self: LuminanceMedian, stack: Stack, **rest: Any) -> Layers:
        seen.append(stack.samples)
        if len(seen) == 1:
            raise asyncio.CancelledError  # what Prefect raises in the thread
        return reduce(self, stack, **rest)

    monkeypatch.setattr(LuminanceMedian, "reduce", struck)
    with pytest.raises(asyncio.CancelledError):
        reduce_window(plan, plan.windows[0])
    reduce_window(plan, plan.windows[0])
    reduce_window(plan, plan.windows[0])
    assert not np.shares_memory(seen[0], seen[1])
    assert np.shares_memory(seen[1], seen[2])
