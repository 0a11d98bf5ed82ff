"""A run killed anywhere goes on from there: benchmarks/kills.py, in short."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "kills"),
    [
        (["--core", "6"], 6),
        (["--child", "1", "--worker", "1", "--api", "1"], 3),
        (["--shard", "1", "--parent", "1"], 2),
    ],
    ids=["without Prefect", "worker and server", "shards"],
)
def test_kills(flags: list[str], kills: int) -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "kills.py"), *flags, "--seed", "5"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{kills} kills, 0 times something was wrong" in done.stdout
