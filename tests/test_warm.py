"""What an image has compiled is all a run needs: after warming, no kernel is compiled again."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from conftest import write_scene
from numba.core import event
from unlike import day, plan_of, scene_of, whole

from clearyear.cog.overviews import Overview, halved
from clearyear.job import Job
from clearyear.masks import Mask
from clearyear.prepare import make_plan
from clearyear.reducers import REDUCERS
from clearyear.reducers.base import Stack
from clearyear.reducers.geomedian import Geomedian
from clearyear.reducers.ranks import BandPercentiles
from clearyear.warm import warm
from clearyear.window import reduce_window


@pytest.mark.parametrize("reducer", list(REDUCERS))
def test_a_run_compiles_nothing_more(scenes: Path, reducer: Any) -> None:
    assert warm() > 0
    layers = [layer for layer in REDUCERS[reducer].layers if layer != "composite"]
    job = Job(scenes=str(scenes), period="2023", out="/nowhere", reducer=reducer, tile_size=16, layers=layers)
    plan = make_plan(job)
    with event.install_recorder("numba:compile") as compiled:
        for window in plan.windows:
            assert reduce_window(plan, window)[0] is not None
    assert compiled.buffer == []


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
@pytest.mark.parametrize("reducer", [BandPercentiles(), Geomedian()], ids=lambda r: r.name)
def test_reducers_compile_nothing_more(reducer: Any, dtype: str) -> None:
    """However the stack lies in memory, with a mask or without, read-only or not, few scenes or many."""
    warm()
    stack = np.ones((300, 2, 6, 8), dtype)
    frozen = stack.copy()
    frozen.flags.writeable = False
    with event.install_recorder("numba:compile") as compiled:
        for part in (stack, stack[:2, :, 1:3], stack[:, :, :, ::2], frozen):
            reducer.reduce(Stack(part, (0.0,), 0.0))
            reducer.reduce(Stack(part, (0.0,), 0.0, valid=part[:, :1] > 0))
    assert compiled.buffer == []


def test_scenes_of_another_grid_compile_nothing_more(tmp_path: Path) -> None:
    """Masked, resampled, shifted, harmonised, fused."""
    warm()
    rng = np.random.default_rng(3)
    scenes = []
    for n, x in enumerate((300000, 300000, 300100, 300003)):
        place = Affine(10, 0, x, 0, -10, 4900020)
        bands = write_scene(tmp_path / f"{n}.tif", rng.integers(1, 9, (3, 20, 20), np.uint16), transform=place)
        scl = write_scene(tmp_path / f"{n}_scl.tif", rng.integers(0, 9, (1, 20, 20), np.uint8), transform=place)
        files = {"data": bands, "scl": scl}
        scenes.append(scene_of(f"s{n}", day(n), files, group="a" if n < 2 else "", add={"data": 2 * n}))
    mask = Mask(asset="scl", classes=(3,), opening=1, dilation=1)
    jobs: tuple[dict[str, Any], ...] = (
        {"resolution": 10, "resampling": "cubic"},
        {"crs": "EPSG:32630", "resolution": 10},
    )
    for job in jobs:
        plan = plan_of(scenes, [mask], tile_size=16, **job)
        with event.install_recorder("numba:compile") as compiled:
            whole(plan)
        assert compiled.buffer == []


@pytest.mark.slow
def test_a_new_process_finds_everything_on_disk(tmp_path: Path) -> None:
    """Nothing of what one process compiled is compiled by the next."""
    code = (
        "from numba.core import event\n"
        "from clearyear.warm import warm\n"
        "with event.install_recorder('numba:compile') as compiled: warm()\n"
        "print(len(compiled.buffer))"
    )
    run = [sys.executable, "-c", code]
    env = {"NUMBA_CACHE_DIR": str(tmp_path), "PATH": "/usr/bin:/bin"}
    counts = [int(subprocess.run(run, env=env, check=True, capture_output=True).stdout) for _ in range(2)]
    assert counts[0] > 0
    assert counts[1] == 0


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
@pytest.mark.parametrize("nodata", [None, 0.0])
def test_overviews_compile_nothing_more(dtype: str, nodata: float | None) -> None:
    warm()
    pixels = np.ones((3, 8, 8), dtype)
    with event.install_recorder("numba:compile") as compiled:
        halved(pixels, nodata=nodata, resampling="average")
        level = Overview((5, 8), (2, 4), dtype=dtype, nodata=nodata, resampling="average")
        for rows in (pixels[:, :3, :5], pixels[:, 3:, :5]):
            level.push(rows)
    assert compiled.buffer == []
