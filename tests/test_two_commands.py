"""Two `clearyear run` with Prefect at once: of one plan both end well; of two plans one is refused, or gives way."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import random_pixels, write_scene
from harness import BIN, HEARING_SIGINT, PATIENCE, Prefect, left_over
from runs import finished

pytestmark = pytest.mark.e2e
Command = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two scenes of 112 × 112 px: 49 windows of 16 px."""
    folder, rng = tmp_path_factory.mktemp("two") / "scenes", np.random.default_rng(12)
    for month in (2, 7):
        write_scene(folder / f"T31TCJ_2023{month:02d}15T104441_TCI.tif", random_pixels(rng, (3, 112, 112)))
    return folder


@pytest.fixture(scope="module")
def alone(scenes: Path) -> dict[str, bytes]:
    """What one run leaves."""
    return written(Path(finished(scenes, scenes.parent / "alone").destination))


def written(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.rglob("*.tif"))}


@pytest.fixture
def begin(scenes: Path, tmp_path: Path) -> Iterator[Command]:
    """Starts the command, in one window at a time, and does not wait."""
    begun: list[subprocess.Popen[str]] = []

    def start(environment: dict[str, str], *flags: str, tile_size: int = 16) -> "subprocess.Popen[str]":
        job = {"scenes": scenes, "period": 2023, "out": tmp_path / "out", "tile-size": tile_size, "workers": 1}
        words = [str(part) for key, value in job.items() for part in (f"--{key}", value)]
        command = [sys.executable, "-c", HEARING_SIGINT, str(BIN / "clearyear"), "run", "--json", *words, *flags]
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
        begun.append(subprocess.Popen(command, env=environment, text=True, **pipes))
        return begun[-1]

    yield start
    for process in begun:
        process.kill()
        process.wait()


def wait_for_windows(folder: Path, count: int, process: "subprocess.Popen[str]") -> None:
    end = time.monotonic() + PATIENCE
    while len(list(folder.glob("*/*/tiles/*.json"))) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, f"{count} windows do not come"
        time.sleep(0.01)


def outcome(process: "subprocess.Popen[str]") -> dict[str, Any]:
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, out + err
    document: dict[str, Any] = json.loads(out.splitlines()[-1])
    return document


def halted(process: "subprocess.Popen[str]", folder: Path) -> "subprocess.Popen[str]":
    """Stopped amid its windows, wherever that is, so that another is sure to run at the same time."""
    wait_for_windows(folder, 5, process)
    os.kill(process.pid, signal.SIGSTOP)
    return process


def go_on(process: "subprocess.Popen[str]") -> None:
    os.kill(process.pid, signal.SIGCONT)


def test_of_one_plan_both_end_well(prefect: Prefect, begin: Command, tmp_path: Path, alone: dict[str, bytes]) -> None:
    first = halted(begin(prefect.environment), tmp_path / "out")
    there = len(list((tmp_path / "out").glob("*/*/tiles/*.json")))
    assert there < 40, "too few windows are left to be computed twice"
    second = begin(prefect.environment)
    wait_for_windows(tmp_path / "out", there + 5, second)
    go_on(first)
    assert [outcome(each)["status"] for each in (first, second)] == ["complete", "complete"]
    assert written(tmp_path / "out") == alone
    assert not list((tmp_path / "out").rglob(".clearyear-tmp"))


def test_of_two_plans_the_second_is_refused(
    prefect: Prefect, begin: Command, tmp_path: Path, alone: dict[str, bytes]
) -> None:
    first = halted(begin(prefect.environment), tmp_path / "out")
    second = begin(prefect.environment, tile_size=32)
    _, err = second.communicate(timeout=PATIENCE)
    assert second.returncode == 2, err
    assert "already holds the run of another plan: windows of 16 px there, 32 px now" in err
    go_on(first)
    assert outcome(first)["status"] == "complete"
    assert written(tmp_path / "out") == alone


def test_a_plan_that_is_replaced_gives_way_and_says_so(prefect: Prefect, begin: Command, tmp_path: Path) -> None:
    first = halted(begin(prefect.environment), tmp_path / "out")
    second = begin(prefect.environment, "--overwrite", tile_size=32)
    assert outcome(second)["status"] == "complete"
    after = written(tmp_path / "out")
    go_on(first)
    out, err = first.communicate(timeout=PATIENCE)
    assert first.returncode in (2, 3), out + err
    assert "is no longer the one this run began with" in out + err
    assert "Traceback" not in err
    left = written(tmp_path / "out")
    changed = {name for name, data in after.items() if left.get(name) != data}
    # The one window that was under way when it was halted may still have been written; the proof is by records.
    assert {"_x" in name for name in changed} <= {True}, "the first wrote over what the second has published"
    assert len(changed) <= 1


@pytest.mark.slow
def test_two_commands_with_servers_of_their_own_and_one_database(
    begin: Command, tmp_path: Path, alone: dict[str, bytes]
) -> None:
    """What two terminals without a server come to: both make the database, and both write to it."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "CLEARYEAR_"))}
    environment = {**kept, "PREFECT_HOME": str(tmp_path / "prefect")}
    both = [begin(environment), begin(environment)]
    assert [outcome(each)["status"] for each in both] == ["complete", "complete"]
    assert written(tmp_path / "out") == alone
    assert not list((tmp_path / "out").rglob(".clearyear-tmp"))
    end = time.monotonic() + 30
    while left_over(tmp_path) and time.monotonic() < end:
        time.sleep(0.2)
    assert left_over(tmp_path) == []
    shutil.rmtree(tmp_path / "prefect")
