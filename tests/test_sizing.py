"""The size of a Cloud Run job follows from the plan, and what a run takes stays below it."""

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from conftest import write_scene
from loopback.cloud_run_rules import MEMORY_OF_CPU, refusals
from runs import plan_of

from clearyear.errors import InputError
from clearyear.job import Job
from clearyear.memory import peak_bytes
from clearyear.plan import Plan
from clearyear.prepare import prepare
from clearyear.publish import join_windows
from clearyear.sizing import BESIDE_GIB, MOST_GIB, JobSize, job_size, scratch_bytes
from clearyear.stores import gcs, open_store
from clearyear.window import compute_window

ROOT = Path(__file__).resolve().parents[1]
GIB = 1 << 30


def year(width: int, tile_size: int) -> Plan:
    """73 scenes of a Sentinel-2 tile, blocks of 512 px."""
    plan = plan_of(width, width, tile_size)
    scenes = tuple(plan.scenes[0].model_copy(update={"id": f"s{n}"}) for n in range(73))
    grid = plan.grid.model_copy(update={"block": (512, 512)})
    return plan.model_copy(update={"scenes": scenes, "grid": grid})


def test_the_table_is_googles() -> None:
    assert {cpu: most for cpu, (_, most) in MEMORY_OF_CPU.items()} == MOST_GIB


@pytest.mark.parametrize("workers", [1, 2, 4, 8, 64])
@pytest.mark.parametrize("joins", [True, False])
@pytest.mark.parametrize("plan", [plan_of(), year(10980, 1024), year(10980, 4096)], ids=["tiny", "year", "large"])
def test_a_job_has_room_and_google_would_make_it(plan: Plan, workers: int, joins: bool) -> None:
    size = job_size(plan, workers=workers, joins=joins)
    free = (size.memory_gib - BESIDE_GIB) * GIB
    assert size.workers * max(peak_bytes(plan, w) for w in plan.windows) <= free
    assert not joins or scratch_bytes(plan) <= free
    assert 1 <= size.workers <= min(workers, size.cpu)
    limits = {"cpu": str(size.cpu), "memory": size.job_variables()["memory"]}
    job = {"template": {"template": {"containers": [{"image": "i", "resources": {"limits": limits}}]}}}
    assert refusals("job", job) == []


def test_windows_alone_need_no_room_for_the_mosaic() -> None:
    plan = year(20000, 512)
    assert job_size(plan, joins=False).memory_gib < job_size(plan).memory_gib


def test_a_job_is_no_larger_than_the_limit_that_its_windows_keep_to() -> None:
    plan = year(10980, 8192)
    free = job_size(plan, joins=False)
    assert free.memory_gib > 4
    limited = job_size(plan, joins=False, memory_limit=3 * GIB - 1)
    assert (limited.memory_gib, limited.workers) == (3, free.workers)
    assert job_size(plan, joins=False, memory_limit=100 * GIB) == free
    # The mosaic's scratch files are as large as ever.
    assert job_size(year(20000, 512), memory_limit=GIB).memory_gib >= scratch_bytes(year(20000, 512)) / GIB


def test_what_no_job_can_carry_is_refused() -> None:
    with pytest.raises(InputError, match="mosaic's scratch files"):
        job_size(year(60000, 1024))
    assert job_size(year(60000, 1024), joins=False).memory_gib < 8


@pytest.mark.usefixtures("bucket")
def test_scratch_files_of_a_mosaic_stay_below_what_was_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise does not compress, so that this comes near the bound."""
    rng = np.random.default_rng(3)
    for month in (1, 2, 3):
        pixels = rng.integers(1, 255, (3, 700, 600), dtype=np.uint8)
        write_scene(tmp_path / f"a_2023{month:02d}01.tif", pixels, blockxsize=64, blockysize=64)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(gcs.GcsStore, "scratch", lambda self: scratch)
    job = {"scenes": str(tmp_path), "period": "2023", "out": "gs://out/o", "layers": ["count", "source"]}
    plan = prepare(Job.model_validate({**job, "tile_size": 256}))
    store = open_store(plan.destination)
    for window in plan.windows:
        compute_window(plan, window, store)
    most = most_while(scratch, lambda: join_windows(plan))
    assert scratch_bytes(plan) / 3 < most <= scratch_bytes(plan)


def most_while(folder: Path, work: Any) -> int:
    """Most bytes that the folder's files have while ``work`` is done, looked at all the time."""
    done, most = threading.Event(), 0

    def look() -> None:
        nonlocal most
        while not done.wait(0.002):
            sizes = []
            for path in folder.iterdir():
                try:
                    sizes.append(path.stat().st_size)
                except FileNotFoundError:
                    continue
            most = max(most, sum(sizes))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        work()
    finally:
        done.set()
        watcher.join()
    return most


def test_the_script_prints_flags(scenes: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "deployments" / "cloud_run" / "size.py")]
    flags = ["--scenes", str(scenes), "--period", "2023", "--out", str(tmp_path), "--workers", "4"]
    wrong = subprocess.run([*command, "--scenes", str(tmp_path)], capture_output=True, text=True)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "Traceback" not in wrong.stderr
    done = subprocess.run([*command, *flags], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [
        "--job-variable", 'cpu="1"', "--job-variable", "memory=2Gi", "--job-variable", 'env.CLEARYEAR_WORKERS="1"'
    ]  # fmt: skip


def test_the_script_leaves_the_mosaic_out_of_a_shard(tmp_path: Path) -> None:
    profile = {"driver": "GTiff", "width": 16384, "height": 16384, "count": 3, "dtype": "uint8", "crs": "EPSG:32631"}
    profile |= {"tiled": True, "compress": "deflate", "nodata": 0, "SPARSE_OK": True}
    with rasterio.open(
        tmp_path / "T31TCJ_20230115T104441_TCI.tif", "w", transform=Affine(10, 0, 0, 0, -10, 0), **profile
    ):
        pass
    command = [sys.executable, str(ROOT / "deployments" / "cloud_run" / "size.py")]
    flags = ["--scenes", str(tmp_path), "--period", "2023", "--out", str(tmp_path / "out")]
    whole, shard = (
        subprocess.run([*command, *flags, *more], capture_output=True, text=True, check=True).stdout
        for more in ([], ["--shards"])
    )
    assert "memory=3Gi" in whole
    assert "memory=2Gi" in shard


@pytest.mark.parametrize(
    ("size", "larger"), [((1, 2), (1, 4)), ((1, 4), (2, 8)), ((2, 6), (4, 12)), ((8, 20), (8, 32)), ((8, 32), (8, 32))]
)
def test_twice_the_memory_is_a_size_that_there_is(size: tuple[int, int], larger: tuple[int, int]) -> None:
    found = JobSize(cpu=size[0], memory_gib=size[1], workers=1).doubled()
    assert (found.cpu, found.memory_gib, found.workers) == (*larger, 1)
