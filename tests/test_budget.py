"""Windows at once, threads, bytes a window, files kept open: the way that reads least often within the limit."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import random_pixels, write_scene
from hypothesis import given
from hypothesis import strategies as st
from test_memory import plan_of

from clearyear.budget import Budget, budget, engine_budget, process_budget
from clearyear.errors import InputError
from clearyear.job import Job
from clearyear.limits import Limit
from clearyear.memory import least_bytes, peak_bytes, times_read
from clearyear.prepare import make_plan
from clearyear.reading import gdal
from clearyear.reading.stack import read_stack

OWN = 700_000_000


def decided(
    n_scenes: int, limit: int | None, *, workers: int | None = None, cores: int = 4, by_gdal: int = 0
) -> Budget:
    plan = plan_of(n_scenes)
    bound = None if limit is None else Limit(limit, "memory_limit")
    return budget(plan, plan.windows, workers=workers, cores=cores, limit=bound, by_gdal=by_gdal, own_bytes=OWN)


def reads(n_scenes: int, found: Budget) -> float:
    plan = plan_of(n_scenes)
    return times_read(plan, plan.windows[0], found.window_bytes, threads=found.threads)


def test_without_a_limit_a_window_a_core() -> None:
    found = decided(216, None)
    assert (found.workers, found.threads, found.window_bytes, found.limit) == (4, 1, None, None)
    assert found.peak_bytes - found.beside_bytes == 4 * peak_bytes(plan_of(216), plan_of(216).windows[0])


def test_a_wide_limit_changes_nothing() -> None:
    wide, free = decided(216, 16 << 30), decided(216, None)
    assert (wide.workers, wide.threads, wide.peak_bytes) == (free.workers, free.threads, free.peak_bytes)


def test_fewer_windows_at_once_come_before_reading_blocks_twice() -> None:
    found = decided(600, 2 << 30)
    assert (found.workers, found.threads) == (2, 2)
    assert reads(600, found) == 1
    one = decided(600, 3 << 29)
    assert (one.workers, one.threads) == (1, 4)
    assert reads(600, one) == 1


def test_workers_the_user_has_fixed_stay_and_pieces_shrink() -> None:
    found = decided(600, 2 << 30, workers=4)
    assert (found.workers, found.threads) == (4, 1)
    assert reads(600, found) == 2
    assert found.peak_bytes <= 2 << 30


def test_fewer_threads_come_before_reading_blocks_oftener() -> None:
    """64 cores, as a container may see of its host: what each thread keeps would take what a block needs."""
    found = decided(600, 5 << 28, cores=64)
    assert found.workers == 1
    assert 1 < found.threads < 64
    assert reads(600, found) == 1


def test_open_files_get_what_is_left_and_no_more_than_is_of_use() -> None:
    assert decided(216, None, by_gdal=216, cores=1).open_files == 216
    assert decided(216, None, by_gdal=216).open_files == gdal.MOST_IDLE
    assert decided(216, 8 << 30, by_gdal=3).open_files == 12
    tight = decided(216, 1_100_000_000, by_gdal=216, cores=1)
    assert 0 < tight.open_files < 216
    assert tight.peak_bytes <= 1_100_000_000
    assert decided(216, 8 << 30, by_gdal=0).open_files == 0
    # Beside those that wait, one is in use: each with a block, its stored bytes and the blocks' index.
    counted = decided(216, None, by_gdal=216, cores=1).beside_bytes - decided(216, None, cores=1).beside_bytes
    assert counted == (216 + 1) * (2 * 3 * 512 * 512 + 16 * 22 * 22 + 100_000)


@given(
    n_scenes=st.integers(1, 1500),
    limit=st.integers(1, 8 << 30),
    workers=st.one_of(st.none(), st.integers(1, 16)),
    cores=st.integers(1, 16),
    by_gdal=st.sampled_from([0, 1]),
)
def test_the_limit_is_kept_or_refused(n_scenes: int, limit: int, workers: int | None, cores: int, by_gdal: int) -> None:
    def ask(size: int) -> Budget:
        return decided(n_scenes, size, workers=workers, cores=cores, by_gdal=by_gdal * n_scenes)

    plan, at_once = plan_of(n_scenes), min(workers or 1, 121)
    dataset = 2 * 3 * 512 * 512 + 16 * 22 * 22 + 100_000 if by_gdal else 0
    if limit < OWN + 16 * n_scenes * 22 * 22 + at_once * (least_bytes(plan, plan.windows[0]) + dataset):
        with pytest.raises(InputError, match="cannot hold one row"):
            ask(limit)
        return
    found = ask(limit)
    assert found.peak_bytes <= limit
    assert found.workers == workers or workers is None
    assert found.workers <= (workers or cores)
    assert found.workers * (found.window_bytes or 0) + OWN <= limit


def test_the_least_that_is_named_is_enough_and_a_byte_less_is_not() -> None:
    plan = plan_of(216)
    for workers in (None, 3):
        with pytest.raises(InputError) as refused:
            decided(216, 1, workers=workers)
        least = OWN + 16 * 216 * 22 * 22 + (workers or 1) * least_bytes(plan, plan.windows[0])
        assert refused.value.wanted == f"at least {least / 1e6:.0f} MB"
        assert decided(216, least, workers=workers).peak_bytes <= least
        with pytest.raises(InputError):
            decided(216, least - (workers or 1), workers=workers)


def test_gdals_cache_counts_as_gdal_counts_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for text, size in (("64", 64 << 20), ("200000000", 200_000_000), (" 8 ", 8 << 20)):
        monkeypatch.setenv("GDAL_CACHEMAX", text)
        assert gdal.cache_bytes() == size
    monkeypatch.setenv("GDAL_CACHEMAX", "100%")
    assert gdal.cache_bytes() > 1 << 28


@pytest.mark.parametrize("reader", ["auto", "gdal"])
def test_of_real_scenes_it_is_known_who_reads_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reader: str
) -> None:
    """A scene in LZW is GDAL's in any case, and only as many datasets stay open as the budget says."""
    import numpy as np

    monkeypatch.setenv("CLEARYEAR_READER", reader)
    for day in range(1, 7):
        pixels = random_pixels(np.random.default_rng(day), (3, 40, 50))
        write_scene(tmp_path / "s" / f"a_2023010{day}.tif", pixels, compress="lzw" if day < 3 else "deflate")
    plan = make_plan(Job(scenes=str(tmp_path / "s"), period="2023", out=str(tmp_path / "o"), tile_size=64))
    found = process_budget(plan, plan.windows, workers=1)
    assert found.open_files == (2 if reader == "auto" else 6)
    found.model_copy(update={"open_files": 1}).apply()
    try:
        for _ in range(2):
            read_stack(plan.scenes, plan.grid, plan.windows[0], n_bands=3, dtype="uint8")
        assert sum(map(len, gdal._idle.values())) == 1
    finally:
        gdal.keep_open(gdal.MOST_IDLE)
    assert not gdal._idle


def test_a_mosaic_too_wide_for_the_limit_is_refused_before_the_first_window(tmp_path: Path) -> None:
    """What the mosaic needs is known from the plan, and it is made last, when all windows are paid for."""
    path = write_scene(tmp_path / "s_20230103.tif", random_pixels(np.random.default_rng(1), (3, 32, 32)))
    plan = make_plan(Job(scenes=str(path.parent), period="2023", out=str(tmp_path / "out"), tile_size=1024))
    wide = plan.model_copy(update={"grid": plan.grid.model_copy(update={"width": 900_000, "height": 1024})})
    limits: dict[str, Any] = {"runner": "threads", "workers": 1, "memory_limit": 3 << 30}
    with pytest.raises(InputError, match=r"cannot hold a row of the mosaic's windows, 900,000 px wide") as caught:
        engine_budget(wide, wide.windows, **limits)
    assert "at least 4.0 GB" in str(caught.value)
    assert engine_budget(wide, wide.windows, **limits, joins=False).peak_bytes < 3 << 30  # as a shard has it
    found = engine_budget(wide, wide.windows, **limits | {"memory_limit": 8 << 30})
    assert found.peak_bytes > 3 << 30
