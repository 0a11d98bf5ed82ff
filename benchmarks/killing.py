"""How kills.py runs the job and what it kills: without Prefect, by a command, by a worker, split over shards."""

import contextlib
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
WINDOWS = 16
PATIENCE = 300.0
HEARING_SIGINT = "import os, signal, sys; signal.signal(2, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"
"""A shell's background job ignores SIGINT, and a worker that inherits that never stops."""


def core_run(scenes: str, out: str) -> None:
    """What the flow does, without Prefect; in a process forked for it, so that its imports cost nothing."""
    from clearyear.completeness import check_plan
    from clearyear.job import Job
    from clearyear.prepare import prepare
    from clearyear.publish import conclude, publish, published
    from clearyear.stores import open_store
    from clearyear.window import compute_window

    plan = prepare(Job.model_validate(job(scenes, out)))
    store = open_store(plan.destination)
    statuses = check_plan(plan, store)
    pending = [w for s, w in zip(statuses, plan.windows, strict=True) if not s.is_done]
    if pending:
        store.remove(plan.item_name)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda window: compute_window(plan, window, store), pending))
    statuses = check_plan(plan, store)
    mosaic, _ = published(plan, store, statuses)
    conclude(plan, store, statuses, mosaic or publish(plan, store, statuses))


def job(scenes: str, out: str) -> dict[str, Any]:
    """The job's keys."""
    return {"scenes": scenes, "period": "2023", "out": out, "tile_size": 128, "layers": ["count", "source"]}


class Run(Protocol):
    """A run under way."""

    def poll(self) -> int | None:
        """Its exit code, or None while it runs."""

    def wait(self, timeout: float) -> int:
        """Its exit code, once it has ended."""


class Forked:
    """The core's run in a process of its own."""

    def __init__(self, *arguments: str) -> None:
        self.process = multiprocessing.get_context("fork").Process(target=core_run, args=arguments)
        self.process.start()
        self.pid = self.process.pid or 0

    def poll(self) -> int | None:
        """See Run."""
        return self.process.exitcode

    def wait(self, timeout: float) -> int:
        """See Run."""
        self.process.join(timeout)
        return -1 if self.process.exitcode is None else self.process.exitcode


class Place:
    """Scenes, destination and Prefect's home of one way of running; this one runs the core alone."""

    WAYS: tuple[str, ...] = ("core",)

    def __init__(self, folder: Path, kind: str, rng: random.Random) -> None:
        self.folder, self.kind, self.rng = folder, kind, rng
        self.out = folder / "out"
        self.destination = self.out / "luminance-median" / "2023--P1Y"
        self.job = job(str(folder / "scenes"), str(self.out))
        self.home = folder / f"prefect-{kind}"
        self.home.mkdir()
        self.job_file = folder / f"{kind}.json"
        self.job_file.write_text(json.dumps(self.job))
        kept = ("PREFECT_", "CLEARYEAR_", "PYTHONDONT")
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(kept)},
            "PREFECT_HOME": str(self.home),
            "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
        }
        self.seconds = 1.0
        """About how long an undisturbed run takes."""
        self.delay = 0.03
        """A kill comes at most so long after the window it waits for."""

    def start(self) -> Run:
        """Begin the job."""
        return Forked(str(self.folder / "scenes"), str(self.out))

    def kill(self, run: Any) -> tuple[bool, str]:
        """Kill what is to be killed and wait until nothing of that run works on; whether it lived, and how it died."""
        alive = run.poll() is None
        end(run.pid)
        run.wait(PATIENCE)
        return alive, ""

    def records(self) -> int:
        """Windows whose record is there."""
        return sum(1 for _ in (self.destination / "tiles").glob("*.json")) if self.destination.exists() else 0

    def wait_for_the_moment(self, run: Run) -> None:
        """Somewhere between start and end, at random: by time, or by how many windows are there."""
        if self.records() == WINDOWS or self.rng.random() < 0.2:
            time.sleep(self.rng.uniform(0, self.seconds * (0.5 if self.kind == "core" else 1)))
            return
        wanted = self.rng.randint(min(self.records() + 1, WINDOWS), WINDOWS)
        until(lambda: run.poll() is not None or self.records() >= wanted, "the moment", pause=0.002)
        time.sleep(self.rng.uniform(0, self.delay))

    def clean(self) -> list[str]:
        """End what a run has left alive; who that was."""
        return []

    def close(self) -> None:
        """End what serves all runs."""

    def log(self) -> str:
        """The end of what was last said."""
        paths = sorted(self.folder.glob(f"{self.kind}*.log"))
        return "\n".join(f"{path.name}: {path.read_text()[-3000:]}" for path in paths)


class Command(Place):
    """`clearyear run` with a server of its own: all its processes are killed, or only one kind of them."""

    WAYS = ("job", "flow", "server")

    def __init__(self, folder: Path, kind: str, rng: random.Random) -> None:
        super().__init__(folder, kind, rng)
        self.delay = 0.4

    def start(self) -> "subprocess.Popen[bytes]":
        """See Place."""
        command = [BIN / "clearyear", "run", self.job_file, "--workers", "2"]
        return spawn(command, self.environment, self.folder / f"{self.kind}.log")

    def kill(self, run: "subprocess.Popen[bytes]") -> tuple[bool, str]:
        """See Place."""
        alive = run.poll() is None
        family = relatives(f"PREFECT_HOME={self.home}")
        if self.kind == "server":
            end(*(pid for pid in family if pid != run.pid))
        else:
            end(run.pid, *(family if self.kind == "job" else ()))
        run.wait(PATIENCE)
        return alive, ""

    def clean(self) -> list[str]:
        """See Place; what ends within half a minute is not left alive."""
        return self._left(lambda: relatives(f"PREFECT_HOME={self.home}"))

    def _left(self, who: Callable[[], list[int]]) -> list[str]:
        deadline = time.monotonic() + 30
        while (left := who()) and time.monotonic() < deadline:
            time.sleep(0.2)
        end(*left)
        return [str(pid) for pid in left]


def spawn(
    command: Iterable[str | Path], environment: dict[str, str], log: Path, cwd: Path | None = None
) -> "subprocess.Popen[bytes]":
    """A process in a session of its own that writes to a log."""
    with log.open("a" if cwd else "w") as file:
        return subprocess.Popen(
            [str(part) for part in command],
            env=environment,
            cwd=cwd,
            stdout=file,
            stderr=file,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )


def relatives(*marks: str) -> list[int]:
    """Processes in whose environment each mark is found: a whole variable, or its name if it ends with ``=``."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (process / "environ").read_bytes().decode("utf-8", "replace").split("\0")
            if all(any(w == mark or (mark.endswith("=") and w.startswith(mark)) for w in words) for mark in marks):
                found.append(int(process.name))
    return found


def end(*pids: int) -> None:
    """SIGKILL."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def until(holds: Callable[[], Any], what: str, *, timeout: float = PATIENCE, pause: float = 0.1) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + timeout
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout:.0f} s for {what}")
        time.sleep(pause)


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
