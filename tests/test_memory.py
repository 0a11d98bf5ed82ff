"""Pieces cover a window exactly once, keep to the limit, and never cut a block that need not be cut."""

import tracemalloc
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
from clearyear.job import Job
from clearyear.memory import COMFORTABLE_BYTES, peak_bytes, pieces, strip_rows
from clearyear.periods import parse_period
from clearyear.plan import Plan, Product
from clearyear.prepare import make_plan
from clearyear.scenes.scene import Scene
from clearyear.stores import open_store
from clearyear.window import compute_window


def plan_of(n_scenes: int, *, block: tuple[int, int] = (512, 512), window_bytes: int | None = None) -> Plan:
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
        window_bytes=window_bytes,
    )


@given(
    n_scenes=st.integers(1, 2000),
    block=st.sampled_from([(16, 16), (256, 256), (512, 512), (10980, 1), (10980, 64)]),
    limit=st.one_of(st.none(), st.integers(2_000_000, 500_000_000)),
    x=st.integers(0, 700),
    y=st.integers(0, 700),
    width=st.integers(1, 300),
    height=st.integers(1, 300),
)
def test_pieces_cover_once_and_keep_to_the_limit(
    n_scenes: int, block: tuple[int, int], limit: int | None, x: int, y: int, width: int, height: int
) -> None:
    plan = plan_of(n_scenes, block=block, window_bytes=limit)
    window = Window(col_off=x, row_off=y, width=width, height=height)
    seen = np.zeros((height, width), np.uint8)
    for piece in pieces(plan, window):
        top, left = piece.row_off - y, piece.col_off - x
        assert top >= 0
        assert left >= 0
        seen[top : top + piece.height, left : left + piece.width] += 1
        one_row_of_a_block = plan.sample_bytes * min(block[0], width)
        assert plan.sample_bytes * piece.n_pixels <= max(limit or COMFORTABLE_BYTES * 64, one_row_of_a_block)
    assert (seen == 1).all()


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
    window = Window(col_off=0, row_off=0, width=1024, height=1024)
    cut = pieces(plan_of(600, window_bytes=100_000_000), window)
    assert {p.width for p in cut} == {512}
    assert all(plan_of(600).sample_bytes * p.n_pixels <= 100_000_000 for p in cut)


def test_strips_are_at_least_one_row() -> None:
    assert strip_rows(plan_of(2000), 10980, 50) == 1
    assert strip_rows(plan_of(1), 16, 50) == 50


@pytest.mark.parametrize("strips", [1, 8])
@pytest.mark.parametrize(
    ("reducer", "dtype", "bands"),
    [
        *(("luminance-median", "uint8", 3), ("band-median", "uint8", 1), ("band-median", "uint16", 4)),
        *(("band-median", "int16", 1), ("band-median", "float32", 1), ("band-median", "float32", 3)),
    ],
)
def test_peak_memory_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reducer: Any, dtype: str, bands: int, strips: int
) -> None:
    """What Python and NumPy really allocate for a window stays within what was computed before, and near it."""
    pixels = random_pixels(np.random.default_rng(1), (bands, 256, 256)).astype(dtype)
    paths = [write_scene(tmp_path / "s" / f"a_202301{d:02d}.tif", pixels, blockxsize=256) for d in range(1, 25)]
    job = Job(scenes=[str(p) for p in paths], period="2023", out=str(tmp_path / "o"), reducer=reducer, tile_size=256)
    plan = make_plan(job)
    window = plan.windows[0]
    monkeypatch.setattr(memory, "STRIP_SAMPLES", 24 * bands * 256 * 256 // strips)
    store = open_store(plan.destination)
    compute_window(plan, window, store)  # kernels compiled, modules imported
    peaks = []

    def measured() -> None:
        tracemalloc.start()
        compute_window(plan, window, store)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()

    thread = Thread(target=measured)  # a thread keeps its stack's memory; a new one has to take it
    thread.start()
    thread.join()
    assert strip_rows(plan, 256, 256) == 256 // strips
    assert plan.stack_bytes(window) < peaks[0] <= peak_bytes(plan, window) + 300_000
    assert peak_bytes(plan, window) < 3 * peaks[0]
