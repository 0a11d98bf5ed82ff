"""What an image has compiled is all a run needs: after warming, no kernel is compiled again."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clearyear.direct import put_block
from clearyear.job import Job
from clearyear.masks import _mark_valid
from clearyear.overviews import Overview, halved, mean_by_share, mean_of_four
from clearyear.prepare import make_plan
from clearyear.reducers.kernels import luminance_kernel, rank_pair_kernel
from clearyear.warm import warm
from clearyear.window import reduce_window


def compiled() -> list[Any]:
    kernels = [
        put_block,
        _mark_valid,
        mean_of_four,
        mean_by_share,
        luminance_kernel,
        rank_pair_kernel("uint8", "uint8"),
    ]
    return [len(kernel.signatures) for kernel in kernels]


@pytest.mark.parametrize("reducer", ["luminance-median", "band-median"])
def test_a_run_compiles_nothing_more(scenes: Path, reducer: Any) -> None:
    assert warm() > 0
    before = compiled()
    plan = make_plan(Job(scenes=str(scenes), period="2023", out="/nowhere", reducer=reducer, tile_size=16))
    for window in plan.windows:
        assert reduce_window(plan, window)[0] is not None
    assert compiled() == before


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
@pytest.mark.parametrize("nodata", [None, 0.0])
def test_overviews_compile_nothing_more(dtype: str, nodata: float | None) -> None:
    warm()
    before = compiled()
    pixels = np.ones((3, 8, 8), dtype)
    halved(pixels, nodata=nodata, resampling="average")
    level = Overview((5, 8), (2, 4), dtype=dtype, nodata=nodata, resampling="average")
    for rows in (pixels[:, :3, :5], pixels[:, 3:, :5]):
        level.push(rows)
    assert compiled() == before
