"""Several runs at once: of one plan, they all end well with the same bytes; of two, the second is refused."""

import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from loopback.gcs import GcsServer

from clearyear import pictures
from clearyear.completeness import check_plan
from clearyear.errors import InputError
from clearyear.job import Job
from clearyear.plan import Plan
from clearyear.prepare import prepare
from clearyear.publish import conclude, publish
from clearyear.report import Report
from clearyear.stores import open_store
from clearyear.window import compute_window

Runner = Callable[[Plan], Report]


def run(plan: Plan) -> Report:
    """What the flow does, without Prefect."""
    store = open_store(plan.destination)
    for status, window in zip(check_plan(plan, store), plan.windows, strict=True):
        if not status.is_done:
            compute_window(plan, window, store)
    statuses = check_plan(plan, store)
    return conclude(plan, store, statuses, publish(plan, store, statuses))


def all_at_once(*works: Callable[[], Any]) -> list[Any]:
    """Each in a thread of its own; what they return, or raise."""
    answers: list[Any] = [None] * len(works)

    def do(index: int) -> None:
        try:
            answers[index] = works[index]()
        except BaseException as error:
            answers[index] = error

    threads = [threading.Thread(target=do, args=(index,)) for index in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not any(thread.is_alive() for thread in threads)
    return answers


def rasters(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.rglob("*.tif"))}


@pytest.fixture
def in_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both runs make their mosaics in their scratch folders, and only then does either publish: the worst chance."""
    both = threading.Barrier(2)
    preview = pictures.preview

    def wait_first(*arguments: Any, **more: Any) -> bytes:
        both.wait(30)
        return preview(*arguments, **more)

    monkeypatch.setattr("clearyear.mosaic.preview", wait_first)


@pytest.mark.usefixtures("in_step")
def test_two_runs_of_one_plan_in_one_process(scenes: Path, tmp_path: Path) -> None:
    def job(out: str) -> Job:
        return Job(scenes=str(scenes), period="2023", out=str(tmp_path / out), tile_size=32)

    plan, other = prepare(job("both")), prepare(job("other"))
    # The fixture wants two at a time; what they make apart from each other is what they must make together.
    apart = all_at_once(lambda: run(other), lambda: run(prepare(job("alone"))))
    together = all_at_once(lambda: run(plan), lambda: run(plan))
    assert [report.status for report in (*apart, *together)] == ["complete"] * 4, (apart, together)
    assert rasters(tmp_path / "both") == rasters(tmp_path / "alone")
    assert not list((tmp_path / "both").rglob(".clearyear-tmp"))


CODE = """
import sys
from clearyear.prepare import prepare
from clearyear.job import Job
from test_together import run
sys.stdin.readline()
print(run(prepare(Job(scenes=sys.argv[1], period="2023", out=sys.argv[2], tile_size=16))).status)
"""


def test_three_processes_run_one_plan(scenes: Path, tmp_path: Path) -> None:
    """Started at the same moment; nothing is torn, and nothing is left."""
    out = [str(scenes), str(tmp_path / "both")]
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    runs = [
        subprocess.Popen([sys.executable, "-c", CODE, *out], env={**os.environ, "PYTHONPATH": path}, text=True, **pipes)
        for _ in range(3)
    ]
    for each in runs:
        each.stdin.write("go\n")  # type: ignore[union-attr]
        each.stdin.flush()  # type: ignore[union-attr]
    said = [each.communicate(timeout=300) for each in runs]
    assert [stdout for stdout, _ in said] == ["complete\n"] * 3, said
    alone = prepare(Job(scenes=str(scenes), period="2023", out=str(tmp_path / "alone"), tile_size=16))
    assert run(alone).status == "complete"
    assert rasters(tmp_path / "both") == rasters(tmp_path / "alone")
    assert not list((tmp_path / "both").rglob(".clearyear-tmp"))


@pytest.mark.usefixtures("in_step")
def test_two_products_of_one_name_in_one_process(bucket: GcsServer, scenes: Path, tmp_path: Path) -> None:
    """To two places, and each gets its own pixels."""
    few = sorted(map(str, scenes.glob("*.tif")))[:3]

    def plan(chosen: str | list[str], out: str) -> Plan:
        return prepare(Job(scenes=chosen, period="2023", out=out, tile_size=32))

    works = [(str(scenes), "all"), (few, "few")]
    there = all_at_once(*(lambda c=c, o=o: run(plan(c, f"gs://out/{o}")) for c, o in works))
    here = all_at_once(*(lambda c=c, o=o: run(plan(c, str(tmp_path / o))) for c, o in works))
    assert [report.status for report in (*there, *here)] == ["complete"] * 4, (there, here)
    for name in ("all", "few"):
        key = f"{name}/luminance-median/2023--P1Y/luminance-median_2023--P1Y.tif"
        found = bucket.get("out", key)
        assert found is not None
        assert hashlib.sha256(found).hexdigest() == rasters(tmp_path / name)[Path(key).name], name


def test_another_plan_is_refused_while_one_is_under_way(scenes: Path, tmp_path: Path) -> None:
    plan = prepare(Job(scenes=str(scenes), period="2023", out=str(tmp_path / "out"), tile_size=32))
    store = open_store(plan.destination)
    compute_window(plan, plan.windows[0], store)
    before = rasters(tmp_path / "out")
    with pytest.raises(InputError, match=r"already holds the run of another plan: windows of 32 px there, 16 px now"):
        prepare(Job(scenes=str(scenes), period="2023", out=str(tmp_path / "out"), tile_size=16))
    assert rasters(tmp_path / "out") == before
    assert run(plan).status == "complete"
