"""The verbs that look at a run, or make a part of it: what each prints, where, and with which exit code."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from conftest import write_scene
from oracle import luminance_median, read_all
from PIL import Image
from runs import finished
from verbs_run import CONTRACT, clearyear, damage, last_json

from clearyear import window
from clearyear.job import Job
from clearyear.plan import Plan
from clearyear.prepare import prepare

# -- window, mosaic ------------------------------------------------------------------------------------------


def test_window_computes_one_and_only_one(flags: tuple[str, ...], scenes: Path, tmp_path: Path) -> None:
    found = last_json(result := clearyear("window", *flags, "--id", "x00032_y00016", "--json"))
    assert (result.exit_code, result.stderr) == (0, "")
    assert (found["id"], found["status"], found["scenes_used"]) == ("x00032_y00016", "ok", 7)
    folder = tmp_path / "out" / "luminance-median" / "2023--P1Y"
    (tile,) = (folder / "tiles").glob("*.tif")
    with rasterio.open(tile) as dataset:
        wanted = luminance_median(read_all(sorted(scenes.glob("*.tif")))[:, :, 16:32, 32:48])[0]
        assert np.array_equal(dataset.read(), wanted)
    assert sorted(p.name for p in folder.iterdir()) == ["plan.json", "tiles", "windows.csv", "windows.geojson"]
    human = clearyear("window", *flags, "--id", "x00032_y00016")
    assert human.stdout == f"x00032_y00016: ok, {found['valid_share']:.1%} of its pixels seen\n"


def test_window_takes_all_cores_and_keeps_to_the_limit(
    flags: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = []
    genuine = window.compute_window

    def watched(*arguments: Any, **share: Any) -> Any:
        given.append(share)
        return genuine(*arguments, **share)

    monkeypatch.setattr(window, "compute_window", watched)
    monkeypatch.setenv("CLEARYEAR_WORKERS", "3")
    assert clearyear("window", *flags, "--id", "x00016_y00032", "--memory-limit", "1GiB").exit_code == 0
    assert given[0]["threads"] == 3
    assert 0 < given[0]["window_bytes"] < 1 << 30


def test_window_takes_a_payload(scenes: Path, tmp_path: Path) -> None:
    path = tmp_path / "payload.json"
    datasets = [str(p) for p in scenes.glob("*.tif")]
    path.write_text(json.dumps({"window": [3, 4, 5, 6], "destination": str(tmp_path / "a.tif"), "datasets": datasets}))
    assert "[JOB.yaml|PAYLOAD.json]" in clearyear("window", "--help").stdout
    found = last_json(clearyear("window", path, "--json"))
    assert (found["id"], found["status"], found["uri"]) == ("x00003_y00004", "ok", str(tmp_path / "a.tif"))
    assert (tmp_path / "a.tif").exists()


def test_mosaic_joins_only_what_is_complete_unless_told(flags: tuple[str, ...], tmp_path: Path) -> None:
    clearyear("window", *flags, "--id", "x00000_y00000")
    found = last_json(result := clearyear("mosaic", tmp_path / "out", "--json"))
    assert (result.exit_code, found["status"], found["ok"], found["mosaic"]) == (3, "incomplete", 1, None)
    assert found["problem"].startswith("1 of 12 windows are done, 100% are asked for")
    human = clearyear("mosaic", tmp_path / "out")
    assert human.exit_code == 3
    assert "\nmosaic   none: 1 of 12 windows are done, 100% are asked for;" in human.stdout
    found = last_json(result := clearyear("mosaic", tmp_path / "out", "--allow-missing", "--json"))
    assert (result.exit_code, found["status"], len(found["missing"])) == (0, "incomplete", 11)
    with rasterio.open(found["mosaic"]) as dataset:
        assert dataset.tags()["CLEARYEAR_COMPLETE"] == "NO"


def test_mosaic_of_nothing_is_not_published_even_if_allowed(scenes: Path, tmp_path: Path) -> None:
    prepare(Job(scenes=str(scenes), period="2023", out=str(tmp_path / "out"), tile_size=16))
    found = last_json(result := clearyear("mosaic", tmp_path / "out", "--allow-missing", "--json"))
    assert (result.exit_code, found["ok"], found["mosaic"]) == (3, 0, None)


# -- report --------------------------------------------------------------------------------------------------


def test_report_of_a_complete_run(done: Plan, tmp_path: Path) -> None:
    found = last_json(result := clearyear("report", tmp_path / "out", "--json"))
    assert (result.exit_code, result.stderr) == (0, "")
    assert found.keys() >= CONTRACT
    assert (found["status"], found["expected"], found["ok"]) == ("complete", 12, 12)
    assert set(found["layers"]) == {"count", "source"}
    for uri in (found["mosaic"], found["report"], found["stac_item"], *found["layers"].values()):
        assert Path(uri).is_file()
    human = clearyear("report", done.destination)
    assert human.stdout.splitlines() == [
        "complete: 12 of 12 windows are there",
        f"mosaic   {found['mosaic']}",
        f"count    {found['layers']['count']}",
        f"source   {found['layers']['source']}",
        f"report   {done.destination}/report.md",
    ]


def test_report_names_what_is_wrong_and_exits_3(done: Plan, tmp_path: Path) -> None:
    damage(done)
    ids = [w.id for w in done.windows]
    found = last_json(result := clearyear("report", tmp_path / "out", "--json"))
    assert (result.exit_code, found["status"], found["ok"]) == (3, "incomplete", 9)
    assert (found["missing"], found["invalid"], found["stale"]) == ([ids[1]], [ids[5], ids[7]], [])
    assert found["causes"][ids[1]].endswith("is gone")
    assert "damaged: its SHA-256 is" in found["causes"][ids[5]]
    assert "truncated: 100 of " in found["causes"][ids[7]]
    human = clearyear("report", tmp_path / "out")
    assert human.exit_code == 3
    lines = human.stdout.splitlines()
    assert lines[0] == "incomplete: 9 of 12 windows are there"
    assert lines[1] == f"  missing  {ids[1]}  {found['causes'][ids[1]]}"
    assert [line.split()[:2] for line in lines[2:4]] == [["invalid", ids[5]], ["invalid", ids[7]]]
    assert lines[-1] == f"mend     clearyear repair {done.destination}"
    allowed = clearyear("report", tmp_path / "out", "--allow-missing", "--json")
    assert (allowed.exit_code, last_json(allowed)) == (0, found)


def test_what_a_run_was_allowed_does_not_make_its_report_complete(scenes: Path, tmp_path: Path) -> None:
    plan = finished(scenes, tmp_path / "out", allow_missing=True)
    (Path(plan.destination) / plan.tile_name(plan.windows[0])).unlink()
    assert clearyear("report", tmp_path / "out").exit_code == 3
    assert clearyear("report", tmp_path / "out", "--allow-missing").exit_code == 0


def test_report_of_many_windows_stays_readable(tmp_path: Path) -> None:
    write_scene(tmp_path / "scenes" / "a_20230101.tif", np.ones((3, 96, 160), np.uint8))
    prepare(Job(scenes=str(tmp_path / "scenes"), period="2023", out=str(tmp_path / "my out"), tile_size=16))
    lines = clearyear("report", tmp_path / "my out").stdout.splitlines()
    folder = tmp_path / "my out" / "luminance-median" / "2023--P1Y"
    assert sum(line.startswith("  missing  x") for line in lines) == 20
    assert lines[21] == f"  missing  … and 40 more in {folder}/missing.csv"
    assert lines[-1] == f"mend     clearyear repair '{folder}'"
    assert len(last_json(clearyear("report", tmp_path / "my out", "--json"))["missing"]) == 60


# -- preview, validate ---------------------------------------------------------------------------------------


def test_preview_of_a_result_of_a_file_and_to_a_place(done: Plan, scenes: Path, tmp_path: Path) -> None:
    standard = f"{done.destination}/luminance-median_2023--P1Y_preview.jpg"
    Path(standard).unlink()
    assert last_json(clearyear("preview", tmp_path / "out", "--json")) == {"preview": standard}
    scene = min(scenes.glob("*.tif"))
    assert clearyear("preview", scene).stdout == f"{scene.with_suffix('')}_preview.jpg\n"
    target = tmp_path / "pictures" / "small.jpg"
    assert clearyear("preview", tmp_path / "out", target, "--size", "25").stdout == f"{target}\n"
    with Image.open(target) as picture:
        assert (picture.format, picture.size) == ("JPEG", (25, 20))
    assert [p.name for p in target.parent.iterdir()] == ["small.jpg"]


def test_validate(done: Plan, scenes: Path, tmp_path: Path) -> None:
    mosaic = Path(done.destination) / done.mosaic_name()
    assert last_json(clearyear("validate", tmp_path / "out", "--json")) == {"valid": True, "problems": []}
    assert clearyear("validate", mosaic).stdout == f"{mosaic} is valid\n"
    striped = write_scene(tmp_path / "striped.tif", np.ones((1, 600, 600), np.uint8), tiled=False, blockysize=1)
    found = last_json(result := clearyear("validate", striped, "--json"))
    assert (result.exit_code, found["valid"]) == (1, False)
    assert any("tiled" in problem for problem in found["problems"])
    damage(done)
    mosaic.write_bytes(mosaic.read_bytes()[:-1])
    result = clearyear("validate", tmp_path / "out")
    assert result.exit_code == 1
    assert [line.split(":")[0] for line in result.stdout.splitlines()] == [
        *(done.windows[n].id for n in (1, 5, 7)),
        "the published luminance-median_2023--P1Y.tif is damaged",
    ]
