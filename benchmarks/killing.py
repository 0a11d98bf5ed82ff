"""How kills.py runs the job and what it kills: without Prefect, by a command, by a worker, split over shards."""

import contextlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

from clearyear.console import EMBEDDED

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
WINDOWS = 16
PATIENCE = 300.0
HEARING_SIGINT = "import os, signal, sys; signal.signal(2, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"
"""A shell's background job ignores SIGINT, and a worker that inherits that never stops."""
_FINAL = {"COMPLETED": 0, "FAILED": 3, "CRASHED": 1, "CANCELLED": 1}


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


class Submitted:
    """A run of a deployment, seen through the server, which may not be there."""

    def __init__(self, place: "Deployed", run_id: str) -> None:
        self.place, self.id = place, run_id

    def poll(self) -> int | None:
        """See Run; what the server does not tell is not over."""
        with contextlib.suppress(OSError):
            return _FINAL.get(self.place.ask(f"flow_runs/{self.id}")["state_type"])
        return None

    def wait(self, timeout: float) -> int:
        """See Run."""
        until(lambda: self.poll() is not None, f"the end of flow run {self.id}", timeout=timeout)
        return self.poll() or 0


class Deployed(Command):
    """The flow under a worker: its child is killed, the worker with or without its child, or the server."""

    WAYS = ("child", "worker", "api")

    def __init__(self, folder: Path, kind: str, rng: random.Random) -> None:
        super().__init__(folder, kind, rng)
        self.port = free_port()
        tuned = {name: value for name, value in EMBEDDED.items() if "EPHEMERAL" not in name}
        self.environment |= tuned | {
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "PREFECT_API_URL": f"http://127.0.0.1:{self.port}/api",
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "CLEARYEAR_SHARD_POLL_SECONDS": "0.5",
        }
        self.server: subprocess.Popen[bytes] | None = None
        self.worker: subprocess.Popen[bytes] | None = None
        self._serve()
        self._deploy()

    def start(self) -> Run:
        """See Place."""
        self._serve()
        path = "deployments/name/median-composite/on-demand"
        run = self.ask(f"deployments/{self.ask(path)['id']}/create_flow_run", {"parameters": {"job": self.job}})
        return Submitted(self, run["id"])

    def kill(self, run: Submitted) -> tuple[bool, str]:
        """See Place."""
        alive, children = run.poll() is None, relatives(f"PREFECT__FLOW_RUN_ID={run.id}")
        how, together = "", self.rng.random() < 0.5
        if self.kind == "child":
            end(*children)
            how = "" if children else "before its child began"
            run.wait(PATIENCE)  # the worker tells
        elif self.kind == "worker":
            end(self._pid(self.worker), *(children if together else ()))
            how = "with its child" if together else "alone"
            self.worker = None
        else:
            end(self._pid(self.server))
            self.server = None
            time.sleep(self.rng.uniform(0, 5))
            self._serve()
        return alive, how + self._come_to_rest(run)

    def _come_to_rest(self, run: Submitted) -> str:
        """Wait until nobody works on a run any more; how the server takes it, where that is not its end.

        A child whose worker or server is gone goes on and ends by itself. If nobody can tell the server so, the run
        stays «running» there; what no worker has begun yet, the next one would begin.
        """
        since = time.monotonic()
        while True:
            if relatives(f"PREFECT__FLOW_RUN_ID={run.id}"):
                since = time.monotonic()
            elif run.poll() is not None:
                return ""
            elif time.monotonic() - since > (3 if self.worker is None else 30):
                return "; its state stays" if not self._withdraw(run) else ""
            time.sleep(0.2)

    def _withdraw(self, run: Submitted) -> bool:
        """Cancel a run that nobody has begun; whether it was one."""
        waiting = self.ask(f"flow_runs/{run.id}")["state_type"] in ("SCHEDULED", "PENDING")
        if waiting:
            self.ask(f"flow_runs/{run.id}/set_state", {"state": {"type": "CANCELLED"}, "force": True})
        return waiting

    def clean(self) -> list[str]:
        """See Place."""
        return self._left(lambda: relatives(f"PREFECT_HOME={self.home}", "PREFECT__FLOW_RUN_ID="))

    def close(self) -> None:
        """See Place."""
        end(*relatives(f"PREFECT_HOME={self.home}"))
        for process in (self.server, self.worker):
            if process is not None:
                process.wait()

    def ask(self, path: str, body: Any = None) -> Any:
        """What the server answers; while SQLite is locked it says 503, and is asked again."""
        data = None if body is None else json.dumps(body).encode()
        url = f"{self.environment['PREFECT_API_URL']}/{path}"
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"})  # noqa: S310  http, ours
        for _ in range(20):
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
                    return json.load(answer)
            except urllib.error.HTTPError as error:
                if error.code != 503:
                    raise
                time.sleep(0.5)
        raise TimeoutError(f"{path}: 503 again and again")

    def _serve(self) -> None:
        """Server and worker, as far as they do not live."""
        if self.server is None or self.server.poll() is not None:
            serve = ["server", "start", "--host", "127.0.0.1", "--port", str(self.port)]
            self.server = self._prefect(serve, "server")

            def answers() -> bool:
                with contextlib.suppress(OSError):
                    return bool(self.ask("health"))
                return False

            until(answers, "the server's answer")
            with contextlib.suppress(urllib.error.HTTPError):  # it is there
                self.ask("work_pools/", {"name": "local", "type": "process"})
        if self.worker is None or self.worker.poll() is not None:
            self.worker = self._prefect(["worker", "start", "--pool", "local", "--type", "process"], "worker")

    def _deploy(self) -> None:
        place = self.home / "deploy"
        place.mkdir()
        shutil.copy(ROOT / "prefect.yaml", place)
        addresses = {"CLEARYEAR_SCENES": self.job["scenes"], "CLEARYEAR_OUT": self.job["out"]}
        command = [str(BIN / "prefect"), "--no-prompt", "deploy", "--all"]
        done = subprocess.run(
            command, cwd=place, env=self.environment | addresses, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"the deployments could not be made:\n{done.stdout}{done.stderr}")

    def _prefect(self, words: Iterable[str], name: str) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-c", HEARING_SIGINT, BIN / "prefect", *words]
        return spawn(command, self.environment, self.folder / f"{self.kind}-{name}.log", cwd=self.home)

    @staticmethod
    def _pid(process: "subprocess.Popen[bytes] | None") -> int:
        assert process is not None
        return process.pid


class Sharded(Deployed):
    """`clearyear run` with a work pool of processes: one of its shards is killed, or it is."""

    WAYS = ("shard", "parent")

    def __init__(self, folder: Path, kind: str, rng: random.Random) -> None:
        super().__init__(folder, kind, rng)
        self.job_file.write_text(json.dumps({**self.job, "work_pool": "local", "windows_per_shard": 4}))

    def start(self) -> "subprocess.Popen[bytes]":
        """See Place."""
        self._serve()
        command = [BIN / "clearyear", "run", self.job_file, "--workers", "1"]
        return spawn(command, self.environment, self.folder / f"{self.kind}.log")

    def kill(self, run: Any) -> tuple[bool, str]:
        """See Place; the shards of a parent that is killed go on, and the next one finds them at work."""
        if self.kind == "parent":
            alive = run.poll() is None
            end(run.pid)
            run.wait(PATIENCE)
            return alive, ""
        found: dict[str, list[int]] = {}
        until(lambda: run.poll() is not None or found.update(self._shards()) or found, "a shard", pause=0.02)
        if found:
            end(*found[self.rng.choice(sorted(found))])
        run.wait(PATIENCE)
        return bool(found), ""

    def _shards(self) -> dict[str, list[int]]:
        """Flow run → its processes."""
        found: dict[str, list[int]] = {}
        for pid in relatives(f"PREFECT_HOME={self.home}", "PREFECT__FLOW_RUN_ID="):
            with contextlib.suppress(OSError):
                for word in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                    if word.startswith(b"PREFECT__FLOW_RUN_ID="):
                        found.setdefault(word.decode(), []).append(pid)
        return found


def place_of(kind: str) -> type[Place]:
    """Who runs and kills in this way."""
    return next(each for each in (Place, Command, Deployed, Sharded) if kind in each.WAYS)


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
