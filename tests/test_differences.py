"""What is said of another plan at the destination: as a user would, with names, and only what is so."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import write_scene

from clearyear.errors import InputError
from clearyear.job import Job
from clearyear.prepare import check_scenes, prepare

Said = Callable[..., InputError]


@pytest.fixture
def said(scenes: Path, tmp_path: Path) -> Said:
    """What the same job, with these keys changed, is refused with; a first one has put its plan down."""
    keys: dict[str, Any] = {"scenes": str(scenes), "period": "2023", "out": str(tmp_path / "out"), "tile_size": 16}
    prepare(Job(**keys))

    def refused(**changes: Any) -> InputError:
        with pytest.raises(InputError, match="already holds the run of another plan: ") as caught:
            prepare(Job(**{**keys, **changes}))
        return caught.value

    return refused


def after(error: InputError) -> str:
    return error.found.partition("another plan: ")[2]


def name(month: int) -> str:
    return f"T31TCJ_2023{month:02d}15T104441_TCI"


def test_a_mask_beside_the_scenes_changes_none_of_them(said: Said, scenes: Path, tmp_path: Path) -> None:
    for path in scenes.glob("*.tif"):
        classes = np.full((1, 40, 50), 4, np.uint8)
        write_scene(tmp_path / "scl" / path.name.replace("TCI", "SCL"), classes, nodata=None)
    masks = [{"asset": "scl", "from": str(tmp_path / "scl")}]
    assert after(said(masks=masks)) == "masks: none there, scl now"
    assert after(said(masks=masks, layers=["count"])).startswith("layers: composite there, composite and count now; ")


def test_nan_is_no_other_nodata(tmp_path: Path) -> None:
    for month in (1, 2):
        pixels = np.full((3, 20, 20), month, np.float32)
        path = write_scene(tmp_path / "in" / f"{name(month)}.tif", pixels, nodata=float("nan"))
    job = {"scenes": str(path.parent), "period": "2023", "out": str(tmp_path / "out"), "reducer": "band-median"}
    prepare(Job.model_validate(job))
    os.utime(path, (1, 1))
    with pytest.raises(InputError, match="already holds the run of another plan: ") as caught:
        prepare(Job.model_validate(job))
    assert after(caught.value) == f"1 scene changed in nothing but the files' time ({name(2)})"
    assert "cp -p" in caught.value.do


def test_the_scenes_that_are_others_are_named(said: Said, scenes: Path) -> None:
    for month in (1, 2, 3, 4):
        (scenes / f"{name(month)}.tif").unlink()
    shutil.copy(scenes / f"{name(5)}.tif", scenes / f"{name(9)}.tif")
    path = scenes / f"{name(6)}.tif"
    path.write_bytes(path.read_bytes() + b"\0")
    error = said()
    gone = f"4 scenes gone ({name(1)}, {name(2)}, {name(3)} and 1 more)"
    assert after(error) == f"1 scene new ({name(9)}); {gone}; 1 scene changed ({name(6)})"
    assert "cp -p" not in error.do


def test_files_that_have_lost_nothing_but_their_time(said: Said, scenes: Path, tmp_path: Path) -> None:
    from clearyear.prepare import find_plan

    path, stat = scenes / f"{name(2)}.tif", (scenes / f"{name(2)}.tif").stat()
    os.utime(path)
    error = said()
    assert after(error) == f"1 scene changed in nothing but the files' time ({name(2)})"
    assert error.do.endswith("; or copy the same files with their times: rsync -t, cp -p")
    plan = find_plan(str(tmp_path / "out"))
    with pytest.raises(InputError, match=r"1 of 7 scenes is not what .* has changed in nothing but its time"):
        check_scenes(plan)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    check_scenes(plan)


def test_scenes_that_were_moved_with_their_times(said: Said, scenes: Path, tmp_path: Path) -> None:
    shutil.copytree(scenes, tmp_path / "moved")
    assert after(said(scenes=str(tmp_path / "moved"))).startswith(f"7 scenes lying elsewhere ({name(1)}, ")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"reducer": "percentiles", "product": "luminance-median"}, "reducer: luminance-median there, percentiles now"),
        ({"nodata": []}, "nodata and saturated values: 0 and 255 there, 255 now"),
        ({"compress": "zstd", "outputs": "per-band"}, "compress: deflate there, zstd now; outputs: stacked there, per"),
        (
            {"display": {"bands": ["red", "green", "blue"], "min": 0, "max": 9}},
            "display: none there, {bands: [red, green",
        ),
        ({"crs": "EPSG:32630", "resolution": 10}, "a grid of 50×40 px there, "),
    ],
)
def test_values_are_said_as_a_job_has_them(said: Said, changes: dict[str, Any], says: str) -> None:
    assert after(said(**changes)).startswith(says)
