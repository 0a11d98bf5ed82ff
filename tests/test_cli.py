"""The command line: what each verb prints, where, and with which exit code."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import yaml
from click.testing import CliRunner, Result
from conftest import write_scene
from harness import Database
from oracle import luminance_median, read_all
from PIL import Image
from runs import finished

from clearyear import console, window
from clearyear.cli import main
from clearyear.demo import make_scenes
from clearyear.job import Job
from clearyear.plan import Plan
from clearyear.prepare import prepare
from clearyear.progress import report_progress

CONTRACT = {
    *("status", "mosaic", "expected", "ok", "missing", "invalid", "stale", "empty", "failed_reads", "report"),
    *("stac_item", "layers"),
}
VERBS = [
    "backfill",
    "catalog",
    "convert",
    "demo",
    "lights",
    "mosaic",
    "plan",
    "preview",
    "repair",
    "report",
    "run",
    "validate",
    "window",
    "zonal",
]
CLEARYEAR = Path(sys.executable).parent / "clearyear"


def clearyear(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def last_json(result: Result) -> dict[str, Any]:
    """The last thing on stdout is one JSON object on a line of its own; here it is all there is."""
    assert result.stdout.endswith("}\n")
    assert result.stdout.count("\n") == 1
    document: dict[str, Any] = json.loads(result.stdout)
    return document


@pytest.fixture
def flags(scenes: Path, tmp_path: Path) -> tuple[str, ...]:
    return ("--scenes", str(scenes), "--period", "2023", "--out", str(tmp_path / "out"), "--tile-size", "16")


@pytest.fixture
def done(scenes: Path, tmp_path: Path) -> Plan:
    """A run of 12 windows, complete and published."""
    return finished(scenes, tmp_path / "out", layers=["count", "source"])


def damage(plan: Plan) -> None:
    """Window 1 deleted, window 5 damaged in one byte, window 7 cut short."""
    tiles = [Path(plan.destination) / plan.tile_name(w) for w in plan.windows]
    tiles[1].unlink()
    data = bytearray(tiles[5].read_bytes())
    data[len(data) // 2] ^= 255
    tiles[5].write_bytes(data)
    tiles[7].write_bytes(tiles[7].read_bytes()[:100])


# -- help ----------------------------------------------------------------------------------------------------


def test_help_is_light_for_every_verb() -> None:
    code = """
import sys
from clearyear.cli import main
for arguments in (["--help"], *([verb, "--help"] for verb in main.commands)):
    main(arguments, standalone_mode=False)
print(*sorted({name.split(".")[0] for name in sys.modules}), file=sys.stderr)
"""
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert not {"prefect", "numba", "rasterio", "xarray", "numpy", "pydantic", "google"} & set(found.stderr.split())
    assert found.stdout.count("Usage:") == 1 + len(VERBS)
    for option in ("--scenes", "--period", "--out", "--tile-size", "--reducer", "--layers", "--workers", "--id"):
        assert option in found.stdout


def test_every_verb_has_one_line_that_is_not_cut() -> None:
    result = clearyear("--help")
    assert result.exit_code == 0
    lines = [line.split(maxsplit=1) for line in result.stdout.partition("Commands:\n")[2].splitlines() if line]
    assert [verb for verb, _ in lines[: len(VERBS)]] == VERBS
    assert all(not text.endswith("...") for _, text in lines)
    assert "Exit codes: 0 complete; 3 incomplete" in " ".join(result.stdout.split())


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_takes_json_and_debug(verb: str) -> None:
    options = {name for parameter in main.commands[verb].params for name in parameter.opts}
    assert {"--json", "--debug"} <= options


def test_version() -> None:
    from clearyear import __version__

    assert clearyear("--version").stdout == f"clearyear, version {__version__}\n"


# -- plan ----------------------------------------------------------------------------------------------------


def test_plan_writes_nothing_and_says_what_it_would_do(flags: tuple[str, ...], tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    found = last_json(result := clearyear("plan", *flags, "--json"))
    assert (result.exit_code, result.stderr) == (0, "")
    assert (found["new"], found["skip"], found["recompute"], found["scenes"], found["past"]) == (12, 0, 0, 7, None)
    assert len(found["windows"]) == 12
    keys = {*("id", "width", "height", "action", "cause", "bytes_to_read", "peak_bytes", "pieces")}
    assert found["windows"][3].keys() == keys
    assert found["memory"]["workers"] == found["workers"]
    assert found["bytes_to_read"] > 0 < found["peak_bytes"]
    assert len(found["assumptions"]) == 3
    human = clearyear("plan", *flags)
    assert human.stdout.startswith("12 windows from 7 scenes, T31TCJ_20230115T104441_TCI … ")
    assert "\nto do        12 new, 0 recompute, 0 skip\n" in human.stdout
    assert sorted(tmp_path.rglob("*")) == before


def test_plan_tells_of_the_past_run(flags: tuple[str, ...], done: Plan, tmp_path: Path) -> None:
    damage(done)
    arguments = ("plan", *flags, "--layers", "count,source")
    found = last_json(clearyear(*arguments, "--json"))
    assert {w["id"]: w["action"] for w in found["windows"] if w["action"] != "skip"} == {
        done.windows[1].id: "new",
        done.windows[5].id: "recompute",
        done.windows[7].id: "recompute",
    }
    assert found["past"] == {"done": 9, "expected": 12, "failed": [], "ended": True, "published": True}
    assert (
        "\npast run     incomplete: 9 of 12 windows are there, its mosaic is published\n"
        in clearyear(*arguments).stdout
    )


def test_flags_win_over_the_job_file(scenes: Path, tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump({"scenes": str(scenes), "period": "2023", "out": "o", "tile_size": 32}))
    sizes = [
        last_json(clearyear("plan", path, *more, "--json"))["windows"][0]["width"]
        for more in ((), ("--tile-size", "16"))
    ]
    assert sizes == [32, 16]


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


# -- progress ------------------------------------------------------------------------------------------------


def read_to_the_end(descriptor: int) -> str:
    """What a terminal was sent until nobody has it open any more."""
    parts = []
    with suppress(OSError):
        while part := os.read(descriptor, 4096):
            parts.append(part)
    return b"".join(parts).decode()


def test_the_bar_shows_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    with console.progress_bar():
        report_progress("windows", 3, 4)
    assert capfd.readouterr() == ("", "")
    controller, terminal = os.openpty()
    with ThreadPoolExecutor(1) as pool:  # someone must read meanwhile: a terminal takes in 4 kB, then its writer waits
        reader = pool.submit(read_to_the_end, controller)
        with open(terminal, "w") as stderr:  # noqa: PTH123  a file descriptor, not a path
            monkeypatch.setattr(sys, "stderr", stderr)
            monkeypatch.setenv("TERM", "xterm")
            with console.progress_bar():
                report_progress("windows", 3, 4)
        shown = reader.result()
    os.close(controller)
    assert "starting Prefect" in shown
    assert "windows" in shown
    assert "3/4" in shown
    assert capfd.readouterr().out == ""


# -- what is nobody's fault ----------------------------------------------------------------------------------


def test_an_error_of_ours_is_a_paragraph_and_exit_1(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(out: str) -> None:
        raise ZeroDivisionError("division\nby zero")

    monkeypatch.setattr("clearyear.prepare.find_plan", broken)
    result = clearyear("report", "out", "--json")
    assert result.exit_code == 1
    assert result.stderr == (
        "Error: ZeroDivisionError: division by zero. Wanted: no error of this kind: it is clearyear's fault or its "
        "environment's. What to do: run the same command with --debug to see where it comes from.\n"
    )
    found = last_json(result)
    assert found.keys() >= CONTRACT
    assert (found["status"], found["mosaic"], found["missing"]) == ("failed", None, [])
    assert isinstance(clearyear("report", "out", "--debug").exception, ZeroDivisionError)


def test_a_server_that_does_not_answer(flags: tuple[str, ...], tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/api"
        environment = {**os.environ, "PREFECT_API_URL": url, "PREFECT_HOME": str(tmp_path / "home")}
        found = subprocess.run([CLEARYEAR, "run", *flags], env=environment, capture_output=True, text=True)
    assert (found.returncode, found.stdout) == (1, "")
    assert found.stderr.startswith(f"Error: Prefect does not answer (Failed to reach API at {url}/). Wanted: a server")
    assert found.stderr.count("\n") == 1


def test_ctrl_c_keeps_what_is_finished_and_says_so(tmp_path: Path) -> None:
    """As a terminal does it: the signal goes to the whole group, Prefect's own server with it."""
    make_scenes(tmp_path / "scenes", count=3, size=480)
    flags = ("--scenes", str(tmp_path / "scenes"), "--period", "2023", "--out", str(tmp_path / "out"))
    Database.put(tmp_path / "home" / "prefect.db")
    process = subprocess.Popen(
        [CLEARYEAR, "run", *flags, "--tile-size", "16", "--workers", "1"],
        env={**{k: v for k, v in os.environ.items() if k != "PREFECT_API_URL"}, "PREFECT_HOME": str(tmp_path / "home")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # Tests started in the background inherit a SIGINT that is ignored; a terminal's commands do not.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    folder = tmp_path / "out" / "luminance-median" / "2023--P1Y"
    try:
        while process.poll() is None and len(list(folder.glob("tiles/*.json"))) < 3:
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
    records = {p.stem for p in folder.glob("tiles/*.json")}
    assert process.returncode == 130
    assert stdout == ""
    assert 3 <= len(records) < 900
    assert stderr == (
        f"Stopped. {len(records)} of 900 windows are finished and kept in {folder}; "
        "the same command goes on from there.\n"
    )
    assert records == {p.stem for p in folder.glob("tiles/*.tif")}
    found = last_json(clearyear("plan", *flags, "--tile-size", "16", "--json"))
    assert (found["skip"], found["past"]["ended"]) == (len(records), False)


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
    assert lines[0] == "incomplete: 11 of 12 windows are there"
    assert lines[1].startswith(f"  missing  x00016_y00016  1 of 7 scenes could not be read: {poisoned.stem} (")
    assert lines[-1].startswith("mend     clearyear repair ")
    allowed = clearyear("run", *flags, "--allow-missing", "--json")
    found = last_json(allowed)
    assert (allowed.exit_code, found["status"], found["missing"]) == (0, "incomplete", ["x00016_y00016"])
    assert Path(found["mosaic"]).exists()
    assert clearyear("repair", tmp_path / "out", "--json").exit_code == 0, "its plan still allows it"


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
