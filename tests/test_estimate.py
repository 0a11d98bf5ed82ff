"""The dry run: what would be done, what an earlier run has left, and what it takes, by hand."""

from pathlib import Path
from typing import Any

import pytest
from conftest import write_scene
from runs import finished, plan_of

from clearyear.budget import BASE_BYTES, PREFECT_BYTES
from clearyear.errors import InputError, WindowError
from clearyear.estimate import Estimate, estimate
from clearyear.job import Job
from clearyear.memory import peak_bytes
from clearyear.past import PastRun
from clearyear.plan import Plan
from clearyear.prepare import make_plan, prepare
from clearyear.reading.gdal import cache_bytes
from clearyear.reducers.geomedian import Geomedian
from clearyear.stores import open_store
from clearyear.window import compute_window


@pytest.fixture(autouse=True)
def plain_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures that this file's sums are made with, whatever the machine's or tomorrow's defaults."""
    monkeypatch.setenv("CLEARYEAR_WORKERS", "2")
    monkeypatch.setenv("CLEARYEAR_MEMORY_LIMIT", "64GiB")
    monkeypatch.setattr("clearyear.limits.cgroup_limit", lambda root: None)
    monkeypatch.setenv("CLEARYEAR_DECODE_MB_PER_S", "250")
    monkeypatch.setenv("CLEARYEAR_VCPU_SECOND_USD", "0.000018")
    monkeypatch.setenv("CLEARYEAR_GIB_SECOND_USD", "0.000002")


@pytest.fixture
def job(scenes: Path, tmp_path: Path) -> Job:
    return Job(scenes=str(scenes), period="2023", out=str(tmp_path / "out"), tile_size=16)


def actions(found: Estimate) -> dict[str, int]:
    return {"new": found.new, "skip": found.skip, "recompute": found.recompute}


# -- what would be done --------------------------------------------------------------------------------------


def test_of_a_new_run_everything_is_new_and_nothing_is_written(job: Job) -> None:
    found = estimate(make_plan(job))
    assert actions(found) == {"new": 12, "skip": 0, "recompute": 0}
    assert (found.past, found.warnings) == (None, [])
    assert [w.action for w in found.windows] == ["new"] * 12
    assert {w.cause for w in found.windows} == {"not computed yet"}
    assert (found.scenes, found.first_scene[7:15], found.last_scene[7:15]) == (7, "20230115", "20230715")
    assert found.period == "2023--P1Y"
    assert found.destination == f"{job.out}/luminance-median/2023--P1Y"
    assert not Path(job.out).exists()


def test_new_skip_and_recompute_window_by_window(job: Job, scenes: Path) -> None:
    plan = finished(scenes, Path(job.out))
    folder = Path(plan.destination)
    (folder / plan.tile_name(plan.windows[2])).unlink()
    tile = folder / plan.tile_name(plan.windows[5])
    tile.write_bytes(tile.read_bytes() + b"\0")
    found = estimate(make_plan(job))
    assert actions(found) == {"new": 1, "skip": 10, "recompute": 1}
    by_id = {w.id: w for w in found.windows}
    assert (by_id["x00032_y00000"].action, by_id["x00032_y00000"].cause[-7:]) == ("new", "is gone")
    assert by_id["x00016_y00016"].action == "recompute"
    assert by_id["x00016_y00016"].cause.endswith("were written")
    assert (by_id["x00000_y00000"].action, by_id["x00000_y00000"].cause) == ("skip", "")
    assert found.bytes_to_read == by_id["x00032_y00000"].bytes_to_read + by_id["x00016_y00016"].bytes_to_read


def test_a_new_scene_makes_everything_stale_and_a_warning(job: Job, scenes: Path) -> None:
    finished(scenes, Path(job.out))
    first = min(scenes.glob("*.tif"))
    (scenes / "T31TCJ_20231224T104441_TCI.tif").write_bytes(first.read_bytes())
    found = estimate(make_plan(job))
    assert actions(found) == {"new": 0, "skip": 0, "recompute": 12}
    assert found.past is None
    assert found.warnings == ["another plan's run lies at the destination; a run would be refused without --overwrite"]


def test_a_plan_that_cannot_be_read_is_another_one(job: Job, scenes: Path) -> None:
    plan = finished(scenes, Path(job.out))
    (Path(plan.destination) / "plan.json").write_text("{")
    found = estimate(make_plan(job))
    assert (found.skip, found.past, len(found.warnings)) == (12, None, 1)


# -- what an earlier run has left ----------------------------------------------------------------------------


def test_past_run_complete(job: Job, scenes: Path) -> None:
    finished(scenes, Path(job.out))
    found = estimate(make_plan(job))
    assert found.past == PastRun(done=12, expected=12, failed=[], ended=True, published=True)
    assert found.past.sentence() == "complete: 12 of 12 windows are there, its mosaic is published"
    assert actions(found) == {"new": 0, "skip": 12, "recompute": 0}
    assert (found.bytes_to_read, found.peak_bytes, found.seconds, found.cloud_run_usd) == (0, 0, 0, 0)
    assert "to do        0 new, 0 recompute, 12 skip\n\nwindow " in found.table()


def test_past_run_stopped(job: Job) -> None:
    plan = prepare(job)
    for window in plan.windows[:5]:
        compute_window(plan, window, open_store(plan.destination))
    found = estimate(make_plan(job))
    assert found.past == PastRun(done=5, expected=12, failed=[], ended=False, published=False)
    assert found.past.sentence() == (
        "incomplete: 5 of 12 windows are there, it was stopped before its report, no mosaic is published"
    )
    assert actions(found) == {"new": 7, "skip": 5, "recompute": 0}
    assert f"past run     {found.past.sentence()}\n" in found.table()


def test_past_run_with_failures(job: Job, scenes: Path) -> None:
    plan = prepare(job)
    path = min(scenes.glob("*.tif"))
    data = path.read_bytes()
    path.unlink()
    with pytest.raises(WindowError):
        compute_window(plan, plan.windows[3], open_store(plan.destination))
    path.write_bytes(data)
    found = estimate(plan)
    assert found.past is not None
    assert (found.past.done, found.past.failed) == (0, ["x00048_y00000"])
    assert "0 of 12 windows are there, 1 failed, it was stopped" in found.past.sentence()
    window = next(w for w in found.windows if w.id == "x00048_y00000")
    assert window.action == "new"
    assert window.cause.startswith(f"1 of 7 scenes could not be read: {path.stem} (")


def test_a_damaged_mosaic_is_not_published(job: Job, scenes: Path) -> None:
    plan = finished(scenes, Path(job.out))
    mosaic = Path(plan.destination) / plan.mosaic_name()
    mosaic.write_bytes(mosaic.read_bytes()[:-1])
    past = estimate(make_plan(job)).past
    assert past == PastRun(done=12, expected=12, failed=[], ended=True, published=False)
    assert past.sentence() == "incomplete: 12 of 12 windows are there, no mosaic is published"


# -- what it takes -------------------------------------------------------------------------------------------


def big(tile_size: int, *, block: tuple[int, int] = (512, 512), **changes: Any) -> Plan:
    """A granule of two scenes of 60 MB."""
    plan = plan_of(10980, 10980, tile_size, destination="/nowhere/luminance-median/2023--P1Y", **changes)
    scenes = tuple(scene.model_copy(update={"size": 60_000_000}) for scene in plan.scenes)
    return plan.model_copy(update={"scenes": scenes, "grid": plan.grid.model_copy(update={"block": block})})


def test_windows_along_the_blocks_read_every_byte_once() -> None:
    found = estimate(big(1024), workers=3)
    assert len(found.windows) == 121
    assert found.bytes_to_read == pytest.approx(120_000_000, abs=121)
    assert found.windows[0].bytes_to_read == round(120_000_000 * 1024**2 / 10980**2)
    assert found.windows[-1].bytes_to_read == round(120_000_000 * 740**2 / 10980**2)
    assert found.warnings == []
    # Two scenes of three bands: 723 MB decoded, at 250 MB/s, three at once.
    assert found.seconds == round(6 * 10980**2 / 250e6 / 3, 1)


def test_windows_across_the_blocks_read_more_and_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEARYEAR_WORKERS", "1")
    found = estimate(big(1000))
    # Columns 1000..1999 touch the blocks from 512 to 2047.
    assert found.windows[1].bytes_to_read == pytest.approx(120_000_000 * 1024 * 1536 / 10980**2, abs=2)
    assert found.bytes_to_read > 1.5 * 120_000_000
    assert found.seconds > 1.5 * 6 * 10980**2 / 250e6
    assert found.warnings == [
        "windows of 1000 px cut the scenes' blocks of 512×512 px, which are then read more than once; 1024 px would not"
    ]


def test_strips_are_cut_by_any_window_and_no_size_is_advised() -> None:
    found = estimate(big(1024, block=(10980, 1)), workers=1)
    assert found.warnings == []
    assert found.windows[0].bytes_to_read == pytest.approx(120_000_000 * 1024 / 10980, abs=2)


def test_peak_memory_is_that_of_the_largest_window_for_each_that_runs() -> None:
    plan = big(1024)
    one = peak_bytes(plan, plan.windows[0])
    assert one > plan.stack_bytes(plan.windows[0]) == 2 * 3 * 1024**2
    found = [estimate(plan, workers=n) for n in (2, 4)]
    assert [f.peak_bytes - f.memory.beside_bytes for f in found] == [2 * one, 4 * one]
    assert {w.peak_bytes for w in found[0].windows} == {
        peak_bytes(plan, w) for w in (plan.windows[0], plan.windows[10], plan.windows[-1])
    }


def test_a_limit_changes_what_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit that windows of two scenes keep to only one at a time and in smaller pieces."""
    plan = big(8192)
    free = estimate(plan)
    tight = estimate(plan, memory_limit=free.memory.beside_bytes + free.windows[0].peak_bytes - 150_000_000)
    assert (free.workers, free.memory.threads, free.windows[0].pieces) == (2, 1, 3)
    assert (tight.workers, tight.memory.threads) == (1, 2)
    assert tight.windows[0].pieces > 3
    assert tight.peak_bytes <= (tight.memory.limit or 0)
    assert f"({tight.memory.limit_origin})" in tight.table()
    assert tight.memory.limit_origin == "memory_limit"
    assert tight.bytes_to_read == free.bytes_to_read
    monkeypatch.delenv("CLEARYEAR_MEMORY_LIMIT")
    assert "limit        none (--memory-limit sets one)\n" in estimate(plan).table()


def test_a_limit_that_cannot_be_kept_says_what_could() -> None:
    with pytest.raises(InputError, match="cannot hold one row of one block of all 2 scenes") as refused:
        estimate(big(1024), memory_limit=10_000_000)
    assert "at least 8" in refused.value.wanted


def test_no_more_workers_than_windows(job: Job) -> None:
    found = estimate(make_plan(job), workers=64)
    assert found.workers == 12
    assert estimate(make_plan(job), workers=5).workers == 5


def test_cost_by_hand_and_its_assumptions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEARYEAR_DECODE_MB_PER_S", "100")
    monkeypatch.setenv("CLEARYEAR_VCPU_SECOND_USD", "0.00003")
    monkeypatch.setenv("CLEARYEAR_GIB_SECOND_USD", "0.000004")
    monkeypatch.setenv("CLEARYEAR_WORKERS", "2")
    plan = big(1024)
    found = estimate(plan)
    seconds = 6 * 10980**2 / 100e6
    assert found.workers == 2
    assert found.seconds == round(seconds / 2, 1)
    # A job of 2 vCPU needs half the core seconds, and pays for both cores and its memory meanwhile. The mosaic's
    # scratch files are 1.6 GB: 362 MB raw, with overviews in work, and COGs of all layers; 1 GiB is for what runs.
    assert found.cloud_run_usd == pytest.approx(seconds / 2 * (2 * 0.00003 + 3 * 0.000004), abs=1e-6)
    assert found.assumptions == [
        "100 MB of pixels a second and core (CLEARYEAR_DECODE_MB_PER_S)",
        "Cloud Run jobs of 2 vCPU and 3 GiB, windows at once: 2, at 0.00003 USD a vCPU-second and 0.000004 USD a "
        "GiB-second",
        "windows only: no start-up, no mosaic, no run that waits, no requests, no network, no free tier",
    ]


# -- for people ----------------------------------------------------------------------------------------------


def test_table() -> None:
    plan = big(1024)
    lines = estimate(plan, workers=2).table().splitlines()
    assert lines[0] == "121 windows from 2 scenes, s20230115 … s20230815"
    assert lines[1] == "destination  /nowhere/luminance-median/2023--P1Y"
    assert lines[2] == "past run     none of this plan"
    assert lines[3] == "to do        121 new, 0 recompute, 0 skip"
    assert lines[4] == "to read      about 120 MB"
    peak = 2 * peak_bytes(plan, plan.windows[0]) / 1e6
    beside = BASE_BYTES + PREFECT_BYTES + cache_bytes() + 16 * 2 * 22 * 22
    assert lines[5] == (
        f"peak memory  {peak + beside / 1e6:.0f} MB: {peak:.1f} MB for 2 windows at once, "
        f"{beside / 1e6:.0f} MB beside for Python, Prefect and GDAL"
    )
    assert lines[6] == "limit        68.7 GB (CLEARYEAR_MEMORY_LIMIT)"
    assert lines[7] == "time         about 1 s here"
    assert lines[8].startswith("Cloud Run    about 0.0001 USD")
    assert lines[9] == "assuming     250 MB of pixels a second and core (CLEARYEAR_DECODE_MB_PER_S)"
    table = [line.split() for line in lines[lines.index("") + 1 :]]
    assert table[0] == ["window", "size", "action", "to", "read", "memory", "pieces"]
    assert table[1][:3] == ["x00000_y00000", "1024×1024", "new"]
    assert table[-1][:3] == ["x10240_y10240", "740×740", "new"]
    assert len(table) == 122


@pytest.mark.parametrize(
    ("scenes", "rate", "words"),
    [
        (2, 250, "about 1 s here"),
        (100, 250, "about 72 s here"),
        (200, 250, "about 2 min here"),
        (20, 1, "about 60 min here"),
        (20, 0.1, "10 h 3 min"),
    ],
)
def test_times_are_written_as_one_would_say_them(
    monkeypatch: pytest.MonkeyPatch, scenes: int, rate: float, words: str
) -> None:
    monkeypatch.setenv("CLEARYEAR_DECODE_MB_PER_S", str(rate))
    plan = big(1024)
    many = tuple(plan.scenes[0].model_copy(update={"id": f"s{n:03d}"}) for n in range(scenes))
    text = estimate(plan.model_copy(update={"scenes": many}), workers=2).table()
    assert words in text


def test_json_survives(job: Job) -> None:
    found = estimate(make_plan(job))
    assert Estimate.model_validate_json(found.model_dump_json()) == found


def test_block_sizes_come_from_the_scenes(tmp_path: Path) -> None:
    import numpy as np

    write_scene(tmp_path / "s" / "a_20230101.tif", np.ones((3, 96, 96), np.uint8), blockxsize=32, blockysize=32)
    job = Job(scenes=str(tmp_path / "s"), period="2023", out=str(tmp_path / "o"), tile_size=48)
    assert estimate(make_plan(job)).warnings == [
        "windows of 48 px cut the scenes' blocks of 32×32 px, which are then read more than once; 64 px would not"
    ]


def test_a_slow_reducer_takes_its_time(job: Job) -> None:
    seconds = {}
    for layers in ((), ("smad",)):
        plan = make_plan(job.model_copy(update={"reducer": "geomedian", "layers": list(layers)}))
        seconds[layers] = plan.reduce_seconds(plan.windows)
    reading = make_plan(job)
    assert reading.reduce_seconds(reading.windows) == 0
    assert 0 < seconds[()] < seconds["smad",]
    # 24 scenes of 4 bands, 10,980 px square: minutes of one core, neither seconds nor days.
    sizes = {"n_scenes": 24, "n_bands": 4, "n_pixels": 10980**2}
    assert 60 < Geomedian().core_seconds(**sizes, wanted=["smad"]) < 1800
    assert "of one core for geomedian itself" in estimate(plan).table()
