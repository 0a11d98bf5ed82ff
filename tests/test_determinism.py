"""Same inputs, same bytes, however the work is cut up."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_the_way_changes_no_byte() -> None:
    """More windows at once, more threads, another order, one processor, stopped and gone on: all of it at once."""
    command = [sys.executable, str(ROOT / "benchmarks" / "determinism.py"), "--ways", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("137 files: all the same") == 2
