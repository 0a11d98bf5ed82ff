"""Pieces cover a window exactly once, keep to the limit, and never cut a block that need not be cut."""

import math
import tracemalloc
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from conftest import random_pixels, write_scene
from hypothesis import given
from hypothesis import strategies as st

from clearyear import memory
from clearyear.grid import Grid, Window
from clearyear.job import Job, make_job
from clearyear.memory import least_bytes, peak_bytes, pieces, strip_rows, times_read
from clearyear.periods import parse_period
from clearyear.plan import Plan, Product
from clearyear.prepare import make_plan
from clearyear.scenes.scene import Scene
from clearyear.stores import Store, open_store
from clearyear.window import compute_window


def plan_of(n_scenes: int, *, block: tuple[int, int] = (512, 512)) -> Plan:
    scene = Scene(id="s", datetime=datetime(2023, 1, 1, tzinfo=UTC), assets={"data": "/s.tif"}, version="1", size=1)
    transform = (10.0, 0.0, 300000.0, 0.0, -10.0, 4900020.0)
    product: Any = {
        "name": "p",
        "reducer": "luminance-median",
        "layers": ("composite",),
        "n_bands": 3,
        "dtype": "uint8",
    }
    return Plan(
        product=Product(**product, invalid_values=(0.0, 255.0), nodata=0.0),
        period=parse_period("2023"),
        scenes=tuple(scene.model_copy(update={"id": str(i)}) for i in range(n_scenes)),
        grid=Grid(crs="EPSG:32631", transform=transform, width=10980, height=10980, block=block),
        tile_size=1024,
    )


@given(
    n_scenes=st.integers(1, 2000),
    block=st.sampled_from([(16, 16), (256, 256), (512, 512), (10980, 1), (10980, 64)]),
    spare=st.one_of(st.none(), st.integers(0, 500_000_000)),
    threads=st.integers(1, 4),
    x=st.integers(0, 700),
    y=st.integers(0, 700),
    width=st.integers(1, 300),
    height=st.integers(1, 300),
)
def test_pieces_cover_once_keep_to_the_limit_and_read_no_block_oftener_than_they_must(
    n_scenes: int, block: tuple[int, int], spare: int | None, threads: int, x: int, y: int, width: int, height: int
) -> None:
    plan = plan_of(n_scenes, block=block)
    window = Window(col_off=x, row_off=y, width=width, height=height)
    limit = None if spare is None else least_bytes(plan, window, threads=threads) + spare
    seen = np.zeros((height, width), np.uint8)
    touched: Counter[tuple[int, int]] = Counter()
    for piece in pieces(plan, window, limit, threads=threads):
        top, left = piece.row_off - y, piece.col_off - x
        assert top >= 0
        assert left >= 0
        seen[top : top + piece.height, left : left + piece.width] += 1
        touched.update(blocks_of(piece, block))
    assert (seen == 1).all()
    most = times_read(plan, window, limit, threads=threads)
    assert max(touched.values()) == most
    if limit is not None and spare is not None:
        assert peak_bytes(plan, window, limit, threads=threads) <= limit
        assert math.isinf(times_read(plan, window, limit - spare - 1, threads=threads))
    if limit is None or cell_bytes(plan, window, block, threads) <= limit:
        assert most == 1


def blocks_of(piece: Window, block: tuple[int, int]) -> list[tuple[int, int]]:
    columns = range(piece.col_off // block[0], (piece.col_off + piece.width - 1) // block[0] + 1)
    rows = range(piece.row_off // block[1], (piece.row_off + piece.height - 1) // block[1] + 1)
    return [(column, row) for column in columns for row in rows]


def cell_bytes(plan: Plan, window: Window, block: tuple[int, int], threads: int) -> int:
    """What the window takes with pieces of one block's part in it: found by asking for every limit's pieces."""
    cells: Counter[tuple[int, int]] = Counter()
    for y in range(window.row_off, window.row_off + window.height):
        for x in {max(window.col_off, c * block[0]) for c, _ in blocks_of(window, block)}:
            right = min(window.col_off + window.width, (x // block[0] + 1) * block[0])
            cells[x // block[0], y // block[1]] += right - x
    return memory._bytes(plan, window, max(cells.values()), threads)


@pytest.mark.parametrize(("n_scenes", "n_pieces"), [(30, 1), (72, 2), (216, 4), (600, 4)])
def test_a_full_window_is_cut_along_its_blocks(n_scenes: int, n_pieces: int) -> None:
    window = Window(col_off=1024, row_off=2048, width=1024, height=1024)
    cut = pieces(plan_of(n_scenes), window)
    assert len(cut) == n_pieces
    assert all(p.col_off % 512 == 0 and p.row_off % 512 == 0 for p in cut)


def test_the_course_and_its_double_fit_two_gib() -> None:
    window = Window(col_off=0, row_off=0, width=1024, height=1024)
    for n_scenes in (216, 600):
        assert peak_bytes(plan_of(n_scenes), window) < 0.75 * 2**30


def test_a_block_is_cut_only_when_one_of_every_scene_is_too_much() -> None:
    plan = plan_of(600)
    window = Window(col_off=0, row_off=0, width=1024, height=1024)
    block = 600 * 3 * 512 * 512
    assert times_read(plan, window, block + 80_000_000) == 1
    cut = pieces(plan, window, 200_000_000)
    assert times_read(plan, window, 200_000_000) == 3
    assert {p.width for p in cut} == {512}
    assert peak_bytes(plan, window, 200_000_000) <= 200_000_000


def test_what_must_be_cut_is_cut_at_the_blocks_edges_first() -> None:
    """A window that has 112 and 188 rows of two blocks: pieces of 200 rows from its top would read the second twice."""
    plan = plan_of(100, block=(512, 512))
    window = Window(col_off=0, row_off=400, width=512, height=300)
    limit = peak_bytes(plan, Window(col_off=0, row_off=0, width=512, height=200)) + 3 * 11 * 512 * 100
    cut = pieces(plan, window, limit)
    assert [(p.row_off, p.height) for p in cut] == [(400, 112), (512, 188)]
    assert times_read(plan, window, limit) == 1


def test_strips_are_at_least_one_row() -> None:
    assert strip_rows(plan_of(2000), 10980, 50) == 1
    assert strip_rows(plan_of(1), 16, 50) == 50


@pytest.mark.parametrize(("strips", "threads", "spare"), [(1, 1, 1.0), (8, 1, 1.0), (8, 1, 0.2), (8, 3, 0.5)])
@pytest.mark.parametrize(
    ("reducer", "dtype", "bands"),
    [
        *(("luminance-median", "uint8", 3), ("band-median", "uint8", 1), ("band-median", "uint16", 4)),
        *(("band-median", "int16", 1), ("band-median", "float32", 1), ("band-median", "float32", 3)),
        *(("geomedian", "uint16", 4), ("geomedian", "float32", 1), ("percentiles", "uint16", 4)),
        ("clear-count", "uint8", 3),
    ],
)
def test_peak_memory_is_kept(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    reducer: Any,
    dtype: str,
    bands: int,
    strips: int,
    threads: int,
    spare: float,
) -> None:
    """What Python and NumPy really allocate for a window stays within what was computed before, and near it.

    ``spare``: the window's memory, between the least (0) and what it likes (1).
    """
    pixels = random_pixels(np.random.default_rng(1), (bands, 256, 256)).astype(dtype)
    paths = [write_scene(tmp_path / "s" / f"a_202301{d:02d}.tif", pixels, blockxsize=256) for d in range(1, 25)]
    layers = ["smad", "emad", "bcmad"] if reducer == "geomedian" else []
    job = {"scenes": [str(p) for p in paths], "period": "2023", "out": str(tmp_path / "o"), "reducer": reducer}
    plan = make_plan(Job(**job, tile_size=256, layers=layers))
    window = plan.windows[0]
    monkeypatch.setattr(memory, "STRIP_SAMPLES", 24 * bands * 256 * 256 // strips)
    store = open_store(plan.destination)
    least, whole = least_bytes(plan, window, threads=threads), peak_bytes(plan, window, threads=threads)
    limit = least + int(spare * (whole - least))
    peak = peak_bytes(plan, window, limit, threads=threads)
    found = measured_peak(plan, window, store, threads=threads, window_bytes=limit)
    assert strip_rows(plan, 256, 256) == 256 // strips
    assert max(p.n_pixels for p in pieces(plan, window, limit, threads=threads)) * plan.sample_bytes < found
    assert found <= peak + 300_000
    assert peak <= limit
    assert peak < 3 * found + (1 << 20) or threads > 1  # a kernel's rows count as a megabyte at least


def measured_peak(plan: Plan, window: Window, store: Store, *, threads: int, window_bytes: int | None = None) -> int:
    """Bytes that computing a window takes at most, once everything is imported and compiled."""

    def compute() -> None:
        compute_window(plan, window, store, threads=threads, window_bytes=window_bytes)

    compute()  # cut and shared out as below: kernels are loaded by the layout of what they are given
    peaks = []

    def measured() -> None:
        tracemalloc.start()
        compute()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()

    thread = Thread(target=measured)  # a thread keeps its stack's memory; a new one has to take it
    thread.start()
    thread.join()
    return peaks[0]


@pytest.mark.parametrize("threads", [1, 3])
def test_blocks_are_unpacked_with_the_bands_that_nobody_chose(tmp_path: Path, threads: int) -> None:
    """One band of sixty: what stands beside the stack is larger than it."""
    pixels = np.random.default_rng(1).integers(1, 9999, (60, 256, 256), dtype=np.uint16)
    for day in (1, 2, 3):
        write_scene(tmp_path / "s" / f"a_202301{day:02d}.tif", pixels, blockxsize=256, blockysize=256)
    job = {"scenes": str(tmp_path / "s"), "period": "2023", "out": str(tmp_path / "o"), "bands": ["7"]}
    plan = make_plan(make_job({**job, "reducer": "band-median", "tile_size": 256}))
    found = measured_peak(plan, plan.windows[0], open_store(plan.destination), threads=threads)
    assert plan.sample_bytes * 256 * 256 < found
    assert found <= peak_bytes(plan, plan.windows[0], threads=threads) + 300_000
