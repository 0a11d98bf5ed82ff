"""Containers as plain processes: what Cloud Run promises one, and how it ends one.

A container here is a process with an environment of its own and whatever that starts. It is told from others by its
variable CLOUD_RUN_EXECUTION, which its children inherit: Prefect puts the process of a flow into a process group of its
own, so that the group would not tell.
"""

import os
import signal
import subprocess
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

MARK = "CLOUD_RUN_EXECUTION"
_POLL = 0.05


@dataclass
class Container:
    """One execution's container: command, environment, and where its output goes."""

    name: str
    command: list[str]
    environment: dict[str, str]
    folder: Path
    grace: float
    """Seconds between SIGTERM and SIGKILL; the service gives ten."""
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _process: subprocess.Popen[bytes] | None = None
    _dead: bool = False

    def run(self, *, timeout: float, attempt: int) -> tuple[int, str]:
        """Start it, wait for its end, and let nothing it has started outlive it.

        Returns:
            Exit code and, where that is not 0, the sentence the service gives for it.
        """
        environment = self.environment | {MARK: self.name, "CLOUD_RUN_TASK_ATTEMPT": str(attempt)}
        with self.log(attempt).open("wb") as log:
            with self._lock:
                if self._dead:
                    return 137, f"Task {self.name} was ended before it began."
                try:
                    process = self._process = subprocess.Popen(
                        self.command,
                        env=environment,
                        cwd=self.folder,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                        start_new_session=True,
                    )
                except OSError as error:
                    return 127, f"The container could not be started: {error}"
            try:
                code = process.wait(timeout)
            except subprocess.TimeoutExpired:
                self.stop()
                process.wait()
                return 143, f"Task {self.name} failed with message: The configured timeout was reached."
            finally:
                _kill_marked(self.name)
        # The shell's way of saying it, and the service's: a signal's number and 128.
        code = 128 - code if code < 0 else code
        said = f"Task {self.name} failed with message: The container exited with an error. Exit code {code}."
        return code, said if code else ""

    def stop(self) -> None:
        """SIGTERM to PID 1 alone, a while later SIGKILL to all: how the service cancels or times out."""
        with self._lock:
            self._dead, process = True, self._process
        if process is None:
            return
        _send(process.pid, signal.SIGTERM)
        end = time.monotonic() + self.grace
        while process.poll() is None and time.monotonic() < end:
            time.sleep(_POLL)
        _kill_marked(self.name)

    def kill(self) -> None:
        """SIGKILL to all at once: the machine is lost. A retry, where the job asks for one, starts anew."""
        _kill_marked(self.name)

    def log(self, attempt: int = 0) -> Path:
        """Where an attempt's output is kept."""
        return self.folder / f"attempt-{attempt}.log"


def _kill_marked(name: str) -> None:
    """Kill until nobody is left: who is forked while the list is read stands in the next one."""
    while found := living(name):
        for pid in found:
            _send(pid, signal.SIGKILL)
        time.sleep(_POLL)


def living(name: str) -> list[int]:
    """Processes of a container; those that have ended and only wait for their parent do not count."""
    mark, found = f"{MARK}={name}".encode(), []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (process / "environ").read_bytes().split(b"\0"):
                found.append(int(process.name))
        except OSError:  # gone, or somebody else's
            continue
    return found


def _send(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
