"""What must hold of every job: hypothesis looks for the one where it does not."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pytest
import rasterio
from conftest import random_pixels, write_scene
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from clearyear.completeness import Status, check_plan
from clearyear.grid import Grid
from clearyear.job import Job
from clearyear.memory import least_bytes, peak_bytes
from clearyear.mosaic import build_mosaic
from clearyear.periods import parse_period
from clearyear.plan import Plan
from clearyear.prepare import make_plan
from clearyear.report import make_report
from clearyear.scenes.names import NamePattern
from clearyear.stores import Store, open_store
from clearyear.window import compute_window, reduce_window

SIDES = st.integers(1, 40)
SEEDS = st.integers(0, 2**32 - 1)
few = settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow])


@contextmanager
def folder_of(stack: NDArray[Any], **profile: Any) -> Iterator[Path]:
    """A folder with a scene for each day of 2023, and room for what is made of them."""
    with tempfile.TemporaryDirectory() as name:
        for day, pixels in enumerate(stack):
            moment = date(2023, 1, 1) + timedelta(days=day)
            write_scene(Path(name) / "scenes" / f"a_{moment:%Y%m%d}.tif", pixels, **profile)
        yield Path(name)


def plan_of(folder: Path, tile_size: int = 1024, **job: Any) -> Plan:
    """A plan with any tile size, smaller ones too than a job may have."""
    values: dict[str, Any] = {"scenes": str(folder / "scenes"), "period": "2023", "out": str(folder / "out")}
    return make_plan(Job.model_validate(values | job)).model_copy(update={"tile_size": tile_size})


def reduced(plan: Plan, memory: float = 1.0) -> dict[str, NDArray[Any]]:
    """All windows put together, each with a share of its memory between the least (0) and what it likes (1)."""
    whole: dict[str, NDArray[Any]] = {}
    for window in plan.windows:
        least = least_bytes(plan, window)
        window_bytes = least + round(memory * (peak_bytes(plan, window) - least))
        assert peak_bytes(plan, window, window_bytes) <= window_bytes
        layers, _, failed = reduce_window(plan, window, window_bytes=window_bytes)
        assert layers is not None
        assert failed == []
        for name, array in layers.items():
            target = whole.setdefault(name, np.zeros((array.shape[0], plan.grid.height, plan.grid.width), array.dtype))
            rows = slice(window.row_off, window.row_off + window.height)
            target[:, rows, window.col_off : window.col_off + window.width] = array
    return whole


def same(one: dict[str, NDArray[Any]], other: dict[str, NDArray[Any]]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[k], other[k], equal_nan=True) for k in one)


# -- the grid ------------------------------------------------------------------------------------------------


@given(width=SIDES, height=SIDES, tile_size=st.integers(1, 50))
def test_windows_cover_the_grid_exactly_once(width: int, height: int, tile_size: int) -> None:
    grid = Grid(crs="EPSG:32631", transform=(10, 0, 0, 0, -10, 0), width=width, height=height, block=(16, 16))
    times = np.zeros((height, width), int)
    for window in grid.windows(tile_size):
        times[window.row_off : window.row_off + window.height, window.col_off : window.col_off + window.width] += 1
        assert grid.check_inside(window) == window == grid.window(window.id, tile_size)
    assert (times == 1).all()
    assert len({w.id for w in grid.windows(tile_size)}) == -(-width // tile_size) * -(-height // tile_size)


# -- the pixels ----------------------------------------------------------------------------------------------


@few
@given(seed=SEEDS, n=st.integers(1, 6), width=SIDES, height=SIDES, tile_size=st.integers(7, 45), memory=st.floats(0, 1))
def test_luminance_equals_the_oracle_whatever_the_windows(
    seed: int, n: int, width: int, height: int, tile_size: int, memory: float
) -> None:
    stack = random_pixels(np.random.default_rng(seed), (n, 3, height, width))
    with folder_of(stack) as folder:
        plan = plan_of(folder, tile_size, layers=["count", "source"])
        layers = reduced(plan, memory)
    composite, count, source = oracle.luminance_median(stack)
    assert same(layers, {"composite": composite, "count": count[None], "source": source[None]})


@few
@given(
    seed=SEEDS,
    dtype=st.sampled_from(["uint8", "uint16", "int16", "float32"]),
    shape=st.tuples(st.integers(1, 6), st.integers(1, 5), SIDES, SIDES),
    tile_size=st.integers(7, 45),
    memory=st.floats(0, 1),
)
def test_band_median_equals_the_oracle_whatever_bands_and_windows(
    seed: int, dtype: str, shape: tuple[int, ...], tile_size: int, memory: float
) -> None:
    low = -4 if dtype in ("int16", "float32") else 0
    stack = np.random.default_rng(seed).integers(low, 9, shape).astype(dtype)
    with folder_of(stack, nodata=3) as folder:
        layers = reduced(plan_of(folder, tile_size, reducer="band-median"), memory)
    valid = stack != 3
    expected = {"composite": oracle.band_median(stack, valid, 3), "count": valid.sum(axis=0).astype(np.uint16)}
    assert same(layers, expected)


@few
@given(seed=SEEDS, data=st.data())
def test_scene_order_changes_nothing(seed: int, data: st.DataObject) -> None:
    """However a list is shuffled, it is the same plan and the same picture."""
    stack = random_pixels(np.random.default_rng(seed), (5, 3, 9, 11))
    with folder_of(stack) as folder:
        files = sorted(str(path) for path in (folder / "scenes").iterdir())
        plan = plan_of(folder, 8)
        shuffled = plan_of(folder, 8, scenes=data.draw(st.permutations(files)))
        assert (shuffled.id, shuffled.scenes) == (plan.id, plan.scenes)
        assert same(reduced(shuffled), reduced(plan))


@few
@given(seed=SEEDS, order=st.permutations(range(5)))
def test_band_median_does_not_ask_what_came_first(seed: int, order: list[int]) -> None:
    stack = np.random.default_rng(seed).integers(0, 6, (5, 2, 9, 11)).astype("int16")
    with folder_of(stack) as one, folder_of(stack[order]) as other:
        assert same(reduced(plan_of(one, reducer="band-median")), reduced(plan_of(other, reducer="band-median")))


@few
@given(
    seed=SEEDS,
    reducer=st.sampled_from(["luminance-median", "band-median"]),
    place=st.integers(0, 4),
    bad=st.sampled_from([0, 255]),
)
def test_scene_without_a_valid_sample_changes_no_pixel(seed: int, reducer: str, place: int, bad: int) -> None:
    stack = random_pixels(np.random.default_rng(seed), (4, 3, 9, 11))
    more = np.insert(stack, place, bad, axis=0)
    job = {"reducer": reducer, "saturated": [255]}
    with folder_of(stack) as without, folder_of(more) as including:
        before, after = reduced(plan_of(without, 8, **job)), reduced(plan_of(including, 8, **job))
    assert np.array_equal(after["composite"], before["composite"])
    assert np.array_equal(after["count"], before["count"])
    if "source" in before:
        # The same scenes are chosen; those after the new one have moved up by one.
        assert np.array_equal(after["source"], before["source"] + (before["source"] >= place))


@settings(parent=few, max_examples=8)
@given(seed=SEEDS, width=SIDES, height=SIDES, tile_size=st.integers(9, 45))
def test_mosaic_of_windows_equals_the_whole(seed: int, width: int, height: int, tile_size: int) -> None:
    stack = random_pixels(np.random.default_rng(seed), (3, 3, height, width))
    with folder_of(stack) as folder:
        plan = plan_of(folder, tile_size, layers=["count", "source"])
        store = open_store(plan.destination)
        for window in plan.windows:
            compute_window(plan, window, store)
        build_mosaic(plan, store, check_plan(plan, store))
        found = {}
        for layer in plan.product.layers:
            with rasterio.open(store.uri(plan.mosaic_name(layer))) as dataset:
                found[layer] = dataset.read()
    composite, count, source = oracle.luminance_median(stack)
    assert same(found, {"composite": composite, "count": count[None], "source": source[None]})


# -- the report ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """12 windows; those of the left column are empty."""
    folder = tmp_path_factory.mktemp("finished")
    stack = random_pixels(np.random.default_rng(5), (3, 3, 40, 50))
    stack[:, :, :, :16] = 0
    with folder_of(stack) as made:
        shutil.copytree(made, folder, dirs_exist_ok=True)
        plan = plan_of(folder, 16, layers=["count"])
    for window in plan.windows:
        compute_window(plan, window, open_store(plan.destination))
    return plan


HARM: dict[str, tuple[Status, Callable[[Store, str, str], None]]] = {
    "lose the tile": (Status.MISSING, lambda store, tile, _: store.remove(tile)),
    "lose the record": (Status.MISSING, lambda store, _, record: store.remove(record)),
    "spoil the record": (Status.MISSING, lambda store, _, record: store.write(record, b"{")),
    "cut the tile": (Status.INVALID, lambda store, tile, _: store.write(tile, store.read(tile)[:-7])),
    "flip a bit": (Status.INVALID, lambda store, tile, _: store.write(tile, store.read(tile)[:-1] + b"\x55")),
    "of another plan": (
        Status.STALE,
        lambda store, _, record: store.write(
            record, store.read(record).replace(b'"fingerprint": "', b'"fingerprint": "0')
        ),
    ),
}


@few
@given(harms=st.lists(st.sampled_from([None, *HARM]), min_size=12, max_size=12))
def test_report_partitions_the_plan(finished: Plan, harms: list[str | None]) -> None:
    """Every window stands in exactly one list, the one its harm calls for."""
    with tempfile.TemporaryDirectory() as name:
        shutil.copytree(finished.destination, f"{name}/copy")
        plan, store = finished.model_copy(update={"destination": f"{name}/copy"}), open_store(f"{name}/copy")
        expected: dict[str, Status] = {}
        for window, harm in zip(plan.windows, harms, strict=True):
            expected[window.id] = Status.EMPTY if window.col_off == 0 else Status.OK
            if harm is not None:
                expected[window.id], do = HARM[harm]
                do(store, plan.tile_name(window), plan.record_name(window))
        statuses = check_plan(plan, store)
        report = make_report(plan, store, statuses, None)
    assert {s.id: s.status for s in statuses} == expected
    for status in (Status.MISSING, Status.INVALID, Status.STALE, Status.EMPTY):
        assert getattr(report, status.value) == [i for i, s in expected.items() if s is status]
    assert report.ok == sum(s is Status.OK for s in expected.values())
    parts = report.missing + report.invalid + report.stale + report.empty
    assert len(parts) + report.ok == report.expected == 12
    assert set(report.causes) == {i for i, s in expected.items() if s not in (Status.OK, Status.EMPTY)}
    assert all(report.causes.values())
    done = [
        (w.n_pixels, s.result.valid_share)
        for w, s in zip(plan.windows, statuses, strict=True)
        if s.is_done and s.result
    ]
    share = sum(n * share for n, share in done) / max(sum(n for n, _ in done), 1)
    assert report.valid_share == pytest.approx(share, abs=1e-6)


# -- dates ---------------------------------------------------------------------------------------------------


@given(
    moment=st.datetimes(datetime(1900, 1, 1), datetime(2099, 12, 31)),
    style=st.sampled_from(["%Y%m%d", "%Y-%m-%d", "%Y%m%dT%H%M%S"]),
)
def test_every_date_in_a_name_is_found(moment: datetime, style: str) -> None:
    written = f"T31TCJ_{moment:{style}}_TCI.tif"
    expected = datetime.strptime(moment.strftime(style), style).replace(tzinfo=UTC)
    assert NamePattern().datetime_of(written) == expected
    assert NamePattern(f"*_{style}_*.tif").datetime_of(written) == expected


@given(start=st.dates(date(1990, 1, 1), date(2090, 1, 1)), days=st.integers(1, 4000))
def test_every_period_is_found_by_its_label(start: date, days: int) -> None:
    period = parse_period(f"{start}/{start + timedelta(days=days)}")
    assert parse_period(period.label) == period
    assert (period.end - period.start).days == days
