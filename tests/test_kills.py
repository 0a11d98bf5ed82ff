"""A run killed anywhere goes on from there: benchmarks/kills.py, in short."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_six_kills() -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "kills.py"), "--kills", "6", "--seed", "5"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 kills, 0 times something was wrong" in done.stdout
