"""The watch as a flow and as a deployment: states, artifacts, retries, and a kill in the middle."""

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import write_scene
from harness import PATIENCE, Prefect

from clearyear.convert.image import convert_image
from clearyear.errors import ReadError


def make_images(folder: Path, count: int, broken: int = 0) -> list[str]:
    """Names of images of 64 × 64 px, the last of them cut off."""
    pixels = np.random.default_rng(5).integers(0, 255, (3, 64, 64), dtype=np.uint8)
    names = [f"i{index:02d}.tif" for index in range(count)]
    for name in names:
        write_scene(folder / name, pixels)
    for name in names[count - broken :]:
        (folder / name).write_bytes((folder / name).read_bytes()[:2000])
    return names


def write_list(folder: Path, names: list[str], stem: str = "x") -> None:
    (folder / f"{stem}-raw.csv").write_text("".join(f"{name},3\n" for name in names))


def watch(inbox: Path, out: Path, **parameters: Any) -> Any:
    from flows.convert_watch import convert_watch

    return convert_watch(str(inbox), str(out), workers=2, return_state=True, **parameters)


def kinds(folder: Path) -> list[str]:
    return sorted("-".join(p for p in f.stem.split("-") if not p.isdigit()) for f in folder.glob("*.csv"))


@pytest.mark.usefixtures("prefect_server")
def test_completed_only_if_every_image_is_converted(tmp_path: Path) -> None:
    inbox, out = tmp_path / "in", tmp_path / "out"
    names = make_images(inbox, 4, broken=1)
    write_list(inbox, names[:3], "good")
    state = watch(inbox, out)
    assert state.name == "Completed", state.message
    assert state.message == "3 images of 1 list converted"
    write_list(inbox, names, "bad")
    (inbox / "odd-raw.csv").write_bytes(b"\xff")
    state = watch(inbox, out)
    assert state.name == "Failed"
    assert state.message.startswith(f"1 of 4 images are not converted ({inbox}/i03.tif: i03.tif, band 1: ")
    assert f"{inbox}/odd-raw.csv is not converted (it is not text in UTF-8" in state.message
    written = ["bad-failed", "bad-failed-causes", "bad-processed", "good-processed", "odd-failed", "odd-failed-causes"]
    assert kinds(inbox) == written
    assert len(list(out.glob("*.convert.json"))) == 3
    assert not list(tmp_path.rglob(".clearyear-tmp"))
    state = watch(inbox, out)
    assert (state.name, state.message) == ("Completed", f"No list waits in {inbox}")


@pytest.mark.usefixtures("prefect_server")
def test_only_what_may_pass_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows import convert_watch as module
    from tasks import convert

    tries: list[str] = []

    def flaky(image: Any, *arguments: Any, **options: Any) -> Any:
        tries.append(image.name)
        if image.name == "i00" and tries.count("i00") < 3:
            raise ReadError("the store is busy", transient=True)
        return convert_image(image, *arguments, **options)

    monkeypatch.setattr(convert, "convert_image", flaky)
    monkeypatch.setattr(module, "convert_one", convert.convert_one.with_options(retry_delay_seconds=0))
    write_list(tmp_path / "in", make_images(tmp_path / "in", 3, broken=1))
    state = watch(tmp_path / "in", tmp_path / "out", jpeg=False)
    assert state.message.startswith(f"1 of 3 images are not converted ({tmp_path}/in/i02.tif: ")
    assert {name: tries.count(name) for name in ("i00", "i01", "i02")} == {"i00": 3, "i01": 1, "i02": 1}


@pytest.mark.usefixtures("prefect_server")
def test_who_has_not_said_what_to_watch_is_told(tmp_path: Path) -> None:
    from flows.convert_watch import convert_watch

    state: Any = convert_watch(return_state=True)
    assert state.name == "Cancelled"
    assert state.message.startswith("inbox and out are not set: set CLEARYEAR_CONVERT_INBOX and CLEARYEAR_CONVERT_OUT")


# -- the deployment ----------------------------------------------------------------------------------------------

DEPLOYMENT = "convert-watch/every-15-minutes"


@pytest.fixture(scope="module")
def quiet(prefect: Prefect) -> Prefect:
    """Its schedule rests until somebody has lists to watch for, so that no look is due while ours is under way."""
    deployment = prefect.deployment(DEPLOYMENT)
    [schedule] = deployment["schedules"]
    assert not schedule["active"]
    assert schedule["schedule"]["cron"] == "*/15 * * * *"
    assert deployment["global_concurrency_limit"]["limit"] == 1
    return prefect


def kill(run: str) -> None:
    """Kill -9 whatever process executes a flow run."""
    mark, killed = f"PREFECT__FLOW_RUN_ID={run}".encode(), 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (process / "environ").read_bytes().split(b"\0"):
                os.kill(int(process.name), signal.SIGKILL)
                killed += 1
        except OSError:
            continue
    assert killed


@pytest.mark.e2e
def test_fifty_images_five_broken_and_a_kill_in_the_middle(quiet: Prefect, tmp_path: Path) -> None:
    inbox, out = tmp_path / "in", tmp_path / "out"
    names = make_images(inbox, 50, broken=5)
    write_list(inbox, names)
    first = quiet.submit(DEPLOYMENT, inbox=str(inbox), out=str(out), workers=1)
    end = time.monotonic() + PATIENCE
    while len(list(out.glob("*.convert.json"))) < 8:
        assert time.monotonic() < end, quiet.log("worker")[-3000:]
        time.sleep(0.05)
    kill(first)
    assert quiet.wait_for(first)["name"] == "Crashed"
    assert kinds(inbox) == ["x-processing"]
    done = {path.name: path.stat().st_ino for path in out.glob("*.convert.json")}
    assert 8 <= len(done) < 45, "the kill was not in the middle"

    second = quiet.submit(DEPLOYMENT, inbox=str(inbox), out=str(out))
    state = quiet.wait_for(second)
    assert state["name"] == "Failed"
    assert state["message"].startswith(f"5 of 50 images are not converted ({inbox}/i45.tif: ")
    assert kinds(inbox) == ["x-failed", "x-failed-causes", "x-processed"]
    [failed], [processed] = inbox.glob("x-failed-*[0-9].csv"), inbox.glob("x-processed-*.csv")
    assert failed.read_text() == "".join(f"{name},3\n" for name in names[45:])
    assert processed.read_text() == "".join(f"{name},3\n" for name in names[:45])
    assert {p.name for p in out.glob("*.tif")} == set(names[:45])
    # What the killed run had finished was not done again.
    assert {name: (out / name).stat().st_ino for name in done} == done
    assert not list(tmp_path.rglob("*ticket*"))

    shown = quiet.post("artifacts/filter", {"flow_runs": {"id": {"any_": [second]}}})
    artifacts = {artifact["key"]: artifact["data"] for artifact in shown}
    rows = json.loads(artifacts["failed-images"])
    assert [row["image"] for row in rows] == [Path(name).stem for name in names[45:]]
    # The list is called as it was found, though by now another run had renamed it.
    assert {row["list"] for row in rows} == {str(inbox / "x-raw.csv")}
    assert all(row["cause"] and row["what to do"] == "mend or replace the file" for row in rows)
    assert "| 50 | " in artifacts["convert-summary"]

    # An operator puts the images right and presses Retry.
    make_images(inbox / "again", 50)
    for name in names[45:]:
        (inbox / "again" / name).rename(inbox / name)
    quiet.retry(second)
    state = quiet.wait_for(second)
    assert (state["name"], state["message"]) == ("Completed", "5 images of 1 list converted")
    assert len(list(out.glob("*.convert.json"))) == 50
    assert kinds(inbox) == ["x-processed", "x-processed"]
    assert {name: (out / name).stat().st_ino for name in done} == done
