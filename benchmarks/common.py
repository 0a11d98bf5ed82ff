"""What the benchmarks share: medians with their spread, ways in processes of their own, peers in locked environments.

A peer's packages stand, pinned with hashes, in peers/<name>.lock, whose first line may say ``# python 3.13``. They are
installed once into a folder below CLEARYEAR_BENCH_ENVS (default ~/.cache/clearyear-benchmarks); the product needs none.
"""

import hashlib
import importlib.metadata
import json
import os
import platform
import re
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PEERS = HERE / "peers"
RESULTS = HERE / "results"
"""What the tables, the chart and the pages are made from."""


def spread(values: Sequence[float], form: str = ".2f") -> str:
    """``median (least … most)``."""
    return f"{statistics.median(values):{form}} ({min(values):{form}} … {max(values):{form}})"


def child(command: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Run a way in a process of its own; what it says is the JSON of its last line."""
    env = {**os.environ, **(environment or {})}
    done = subprocess.run([str(part) for part in command], env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} failed:\n{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def tell(run: Callable[[], Any]) -> Any:
    """In the child: time one call, print what ``child`` wants to hear, give back what the call gave."""
    started, cpu = time.perf_counter(), time.process_time()
    result = run()
    figures = {"seconds": time.perf_counter() - started, "cpu": time.process_time() - cpu, "peak": peak_bytes()}
    print(json.dumps(figures))
    return result


def peak_bytes() -> int:
    """The most memory this process has held, its libraries with it."""
    status = Path("/proc/self/status")
    if status.exists():
        # getrusage would do, but Linux starts a child's count at what its parent held.
        return int(re.findall(r"VmHWM:\s+(\d+) kB", status.read_text())[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def machine(*packages: str) -> dict[str, Any]:
    """What a figure depends on and a reader will ask for."""
    info = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*: (.+)", info.read_text()) if info.exists() else None
    return {
        "cpu": model[1] if model else platform.processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **{package: importlib.metadata.version(package) for package in packages},
    }


def peer(name: str) -> Path:
    """The Python of a peer's environment, made where it is not there yet."""
    lock = PEERS / f"{name}.lock"
    text = lock.read_text()
    version = re.match(r"# python (\S+)", text)
    python = f"python{version[1]}" if version else sys.executable
    if shutil.which(python) is None:
        raise SystemExit(f"{name} needs {python}: put it on PATH")
    root = Path(os.environ.get("CLEARYEAR_BENCH_ENVS", "~/.cache/clearyear-benchmarks")).expanduser()
    home = root / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:10]}"
    if not (home / "ready").exists():
        shutil.rmtree(home, ignore_errors=True)
        subprocess.run([python, "-m", "venv", home], check=True)
        install = [home / "bin/python", "-m", "pip", "install", "-q", "--no-deps", "--require-hashes", "-r", lock]
        subprocess.run(install, check=True, stdout=sys.stderr)
        (home / "ready").touch()
    return home / "bin/python"
