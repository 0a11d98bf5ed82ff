"""Whole runs by the command line, with Prefect: what is printed, and with which exit code."""

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
import yaml
from oracle import luminance_median, read_all
from runs import finished
from verbs_run import CONTRACT, clearyear, damage, last_json

from clearyear.demo import make_scenes
from clearyear.job import Job
from clearyear.prepare import prepare

# -- with Prefect --------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("prefect_server")
def test_run_then_damage_then_repair(flags: tuple[str, ...], scenes: Path, tmp_path: Path) -> None:
    result = clearyear("run", *flags, "--layers", "count, source", "--workers", "2", "--json")
    found = last_json(result)
    assert (result.exit_code, result.stderr) == (0, "")
    assert found.keys() >= CONTRACT
    assert (found["status"], found["expected"], found["ok"], found["failed_reads"]) == ("complete", 12, 12, 0)
    composite, count, source = luminance_median(read_all(sorted(scenes.glob("*.tif"))))
    for uri, wanted in (
        (found["mosaic"], composite),
        (found["layers"]["count"], count[None]),
        (found["layers"]["source"], source[None]),
    ):
        with rasterio.open(uri) as dataset:
            assert np.array_equal(dataset.read(), wanted)
    plan = prepare(
        Job(scenes=str(scenes), period="2023", out=str(tmp_path / "out"), tile_size=16, layers=["count", "source"])
    )
    damage(plan)
    stamps = {p: p.stat().st_mtime_ns for p in Path(plan.destination, "tiles").glob("*.tif")}
    repaired = clearyear("repair", tmp_path / "out", "--json")
    assert (repaired.exit_code, repaired.stderr) == (0, "")
    assert last_json(repaired) == found
    touched = {p for p in Path(plan.destination, "tiles").glob("*.tif") if stamps.get(p) != p.stat().st_mtime_ns}
    again = {plan.windows[n].id for n in (1, 5, 7)}
    assert {next(i for i in (w.id for w in plan.windows) if i in p.name) for p in touched} == again


@pytest.mark.usefixtures("prefect_server")
def test_run_that_is_incomplete_exits_3_unless_allowed(flags: tuple[str, ...], poisoned: Path, tmp_path: Path) -> None:
    result = clearyear("run", *flags)
    assert (result.exit_code, result.stderr) == (3, "")
    lines = result.stdout.splitlines()
    assert lines[:2] == [
        "incomplete: 11 of 12 windows are there",
        "  missing  1 window where scenes could not be read: x00016_y00016",
    ]
    assert lines[2].startswith(f"  unread   {poisoned.stem}  in 1 window: block 1,1")
    assert lines[-3].startswith(f"mend     replace {poisoned.stem}, and run the same job again with --overwrite ")
    allowed = clearyear("run", *flags, "--allow-missing", "--json")
    found = last_json(allowed)
    assert (allowed.exit_code, found["status"], found["missing"]) == (0, "incomplete", ["x00016_y00016"])
    assert Path(found["mosaic"]).exists()
    assert clearyear("repair", tmp_path / "out", "--json").exit_code == 0, "its plan still allows it"


@pytest.mark.usefixtures("prefect_server")
def test_what_a_damaged_scene_is_said_to_need_helps(flags: tuple[str, ...], poisoned: Path) -> None:
    replace, allow, _ = last_json(clearyear("run", *flags, "--json"))["mend"]
    assert "--max-failed-reads 1 " in allow
    assert clearyear("run", *flags, "--max-failed-reads", "1").exit_code == 0
    assert "--overwrite " in replace
    poisoned.write_bytes(min(poisoned.parent.glob("*.tif")).read_bytes())
    assert clearyear("run", *flags).exit_code == 2, "as it says: with --overwrite"
    assert clearyear("run", *flags, "--overwrite").exit_code == 0


@pytest.mark.usefixtures("prefect_server")
def test_run_of_a_job_file_with_debug_still_ends_in_json(scenes: Path, tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    keys = {
        "scenes": str(scenes),
        "period": "2023",
        "out": str(tmp_path / "out"),
        "tile_size": 64,
        "reducer": "band-median",
    }
    path.write_text(yaml.safe_dump(keys))
    result = clearyear("run", path, "--product", "bands", "--json", "--debug")
    assert result.exit_code == 0
    found = json.loads(result.stdout.splitlines()[-1])
    assert found["mosaic"] == str(tmp_path / "out" / "bands" / "2023--P1Y" / "bands_2023--P1Y.tif")


@pytest.mark.usefixtures("prefect_server")
def test_demo_ends_by_naming_the_picture_to_open(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    # The demo leaves scenes that are there as they are: these are its own year at an eighth of the side.
    small = make_scenes(out / "scenes", count=24, size=128)
    before = {p: p.read_bytes() for p in small}
    result = clearyear("demo", "--out", out)
    folder = out / "luminance-median" / "2023--P1Y"
    assert result.exit_code == 0
    assert result.stderr.splitlines()[-2:] == [
        f"The picture to open: {folder}/luminance-median_2023--P1Y_preview.jpg",
        f"What became of every window: {folder}/report.md",
    ]
    assert (folder / "luminance-median_2023--P1Y_preview.jpg").exists()
    assert result.stdout.startswith("complete: 1 of 1 windows are there\n")
    assert {p: p.read_bytes() for p in small} == before
    found = last_json(clearyear("demo", "--out", out, "--json"))
    assert (found["status"], set(found["layers"])) == ("complete", {"count", "source"})


def test_demo_does_not_replace_a_run_that_is_not_its_own(tmp_path: Path) -> None:
    make_scenes(tmp_path / "scenes", count=24, size=64)
    plan = finished(tmp_path / "scenes", tmp_path, tile_size=32)
    before = {p: p.read_bytes() for p in Path(plan.destination).rglob("*") if p.is_file()}
    result = clearyear("demo", "--out", tmp_path)
    assert result.exit_code == 2
    assert "already holds the run of another plan: windows of 32 px there, 256 px now" in result.stderr
    assert {p: p.read_bytes() for p in Path(plan.destination).rglob("*") if p.is_file()} == before
