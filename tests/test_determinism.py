"""Same inputs, same bytes, however the work is cut up."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from clearyear.job import Job

ROOT = Path(__file__).resolve().parents[1]
SAME = {".tif", ".jpg", ".png", ".csv", ".sha256", ".geojson"}


@pytest.mark.slow
def test_the_way_changes_no_byte() -> None:
    """More windows at once, more threads, another order, one processor, stopped and gone on: all of it at once."""
    ways = ["one window at a time, one thread", "all of the below together", "seven shards, batches of 2"]
    command = [sys.executable, str(ROOT / "benchmarks" / "determinism.py"), "--ways", *ways]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(re.findall(r"2\d\d files: all the same", done.stdout)) == 3


@pytest.mark.usefixtures("prefect_server")
def test_how_many_task_runs_there_are_changes_no_byte(
    scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twelve windows as twelve tasks, as three batches and as one."""
    from flows.median_composite import median_composite

    found = []
    for tasks in (600, 3, 1):
        monkeypatch.setattr("flows.steps.MOST_TASKS", tasks)
        job = Job(scenes=str(scenes), period="2023", out=str(tmp_path / "out"), tile_size=16, layers=["count"])
        assert median_composite(job, return_state=True).is_completed()
        found.append({p.name: p.read_bytes() for p in (tmp_path / "out").rglob("*.*") if p.suffix in SAME})
        shutil.rmtree(tmp_path / "out")
    assert len(found[0]) > 2 * 12
    assert found[0] == found[1] == found[2]
