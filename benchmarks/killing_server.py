"""Jobs that a worker carries out, here and by shards, and what else of that is killed: worker, server, shards."""

import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from killing import (
    BIN,
    HEARING_SIGINT,
    PATIENCE,
    ROOT,
    Command,
    Place,
    Run,
    end,
    free_port,
    relatives,
    spawn,
    until,
)

from clearyear.console import EMBEDDED

_FINAL = {"COMPLETED": 0, "FAILED": 3, "CRASHED": 1, "CANCELLED": 1}


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
