"""The command line: what each verb prints, where, and with which exit code."""

import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from harness import Database
from verbs_run import CONTRACT, clearyear, damage, last_json

from clearyear import console
from clearyear.cli import main
from clearyear.demo import make_scenes
from clearyear.plan import Plan
from clearyear.progress import report_progress

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

    monkeypatch.setattr("clearyear.runs.find_runs", broken)
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
