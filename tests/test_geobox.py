"""Grids in degrees where degrees end, and pixels of one size that do not coincide."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from conftest import write_scene

from clearyear.errors import InputError
from clearyear.job import Job
from clearyear.plan import Plan
from clearyear.prepare import make_plan

PIXELS = np.ones((3, 32, 32), np.uint8)
ROUND_THE_POLE = {"crs": "EPSG:3413", "transform": Affine(6000, 0, -96000, 0, -6000, 96000)}


def plan_of(folder: Path, **job: Any) -> Plan:
    return make_plan(Job(scenes=str(folder), period="2023", out=str(folder / "out"), tile_size=512, **job))


def test_a_scene_round_the_pole_meets_what_lies_near_it(tmp_path: Path) -> None:
    write_scene(tmp_path / "N_20230102.tif", PIXELS, **ROUND_THE_POLE)
    beside = {**ROUND_THE_POLE, "transform": Affine(6000, 0, 0, 0, -6000, 0)}
    write_scene(tmp_path / "N_20230103.tif", PIXELS, **beside)
    plan = plan_of(tmp_path, crs="EPSG:4326", resolution=0.05, area="-60,89.3,30,89.9")
    assert [scene.id for scene in plan.scenes] == ["N_20230102", "N_20230103"]


def test_a_grid_of_a_scene_round_the_pole_ends_there(tmp_path: Path) -> None:
    write_scene(tmp_path / "N_20230102.tif", PIXELS, **ROUND_THE_POLE)
    grid = plan_of(tmp_path, crs="EPSG:4326", resolution=0.5).grid
    assert (grid.transform[2], grid.transform[5], grid.width) == (-180, 90, 720)


def test_in_degrees_scenes_across_180_are_refused(tmp_path: Path) -> None:
    across = {"crs": "EPSG:32601", "transform": Affine(100, 0, 166021 - 1600, 0, -100, 100000)}
    path = write_scene(tmp_path / "T01_20230102.tif", PIXELS, **across)
    with pytest.raises(InputError, match="1 of 1 files lie across 180°: in degrees they would reach round the Earth"):
        plan_of(tmp_path, crs="EPSG:4326", resolution=0.001)
    assert plan_of(tmp_path, crs="EPSG:4326", resolution=0.001, area="179.98,0.88,179.999,0.9").scenes
    path.unlink()
    world = {"crs": "EPSG:3857", "transform": Affine(1252344, 0, -20037508, 0, -1252344, 20037508)}
    write_scene(path, PIXELS, **world)
    assert plan_of(tmp_path, crs="EPSG:4326", resolution=1.0).grid.width == 360


def test_pixels_of_one_size_need_no_resolution(tmp_path: Path) -> None:
    write_scene(tmp_path / "T31TCJ_20230102.tif", PIXELS)
    write_scene(tmp_path / "T31TDJ_20230102.tif", PIXELS, transform=Affine(10, 0, 300320, 0, -10, 4900020))
    grid = plan_of(tmp_path, crs="EPSG:32631").grid
    assert (grid.width, grid.height, grid.transform[:3]) == (64, 32, (10, 0, 300000))
