"""Jobs and executions: what the Cloud Run Admin API v2 answers, everything but the sockets."""

import re
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from loopback.cloud_run_rules import refusals
from loopback.containers import Container

JsonDict = dict[str, Any]
_TYPES = "type.googleapis.com/google.cloud.run.v2."


class ApiError(Exception):
    """A request that ends in an error status, in the form of Google's APIs."""

    def __init__(self, code: int, status: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.document = {"error": {"code": code, "status": status, "message": message}}


@dataclass
class Execution:
    """One execution of a job: its resource, and the container that it is."""

    resource: JsonDict
    container: Container
    ended: threading.Event = field(default_factory=threading.Event)
    cancelled: bool = False


@dataclass
class Job:
    """A job's resource, its executions by name, and how often it is still to be found not ready."""

    resource: JsonDict
    reconciling: int
    executions: dict[str, Execution] = field(default_factory=dict)


@dataclass
class Region:
    """What a project has in all its regions, and what its containers find when they start."""

    folder: Path
    image: Mapping[str, str]
    """The environment that the image sets and the data centre's network gives."""
    secrets: dict[str, str] = field(default_factory=dict)
    grace: float = 10.0
    not_ready: int = 0
    """How many reads of a new job say that it is being made; the worker waits 5 s after each."""
    jobs: dict[str, Job] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def answer(self, method: str, path: str, query: Mapping[str, str], body: JsonDict) -> JsonDict:
        """The document that answers a request.

        Raises:
            ApiError: as the service would refuse it, or 501 for what is not imitated.
        """
        for pattern, action in _ROUTES:
            if match := re.fullmatch(pattern, f"{method} {path}"):
                with self.lock:
                    return action(self, *match.groups(), query=query, body=body)
        raise ApiError(501, "UNIMPLEMENTED", f"the loopback server knows no {method} {path}")

    def running(self) -> list[Execution]:
        """Executions that have not ended, oldest first."""
        with self.lock:
            return [e for job in self.jobs.values() for e in job.executions.values() if not e.ended.is_set()]

    # -- jobs -------------------------------------------------------------------------------------------

    def create_job(self, parent: str, *, query: Mapping[str, str], body: JsonDict) -> JsonDict:
        """Make a job; it can be run once a read of it says so."""
        job_id, name = query["jobId"], f"{parent}/jobs/{query['jobId']}"
        if name in self.jobs:
            raise ApiError(409, "ALREADY_EXISTS", f"Resource '{job_id}' already exists.")
        if found := refusals(job_id, body):
            raise ApiError(400, "INVALID_ARGUMENT", "; ".join(found))
        now = _now()
        resource = body | {
            "name": name,
            "uid": str(uuid.uuid4()),
            "etag": f'"{uuid.uuid4().hex}"',
            "generation": "1",
            "createTime": now,
            "updateTime": now,
            "executionCount": 0,
            "latestCreatedExecution": {},
            "template": {"taskCount": 1, "parallelism": 1, **body["template"]},
        }
        self.jobs[name] = Job(resource, self.not_ready)
        return _operation(parent, "Job", resource)

    def get_job(self, name: str, *, query: Mapping[str, str], body: JsonDict) -> JsonDict:
        """Describe a job."""
        job = self._job(name)
        state = "CONDITION_RECONCILING" if job.reconciling else "CONDITION_SUCCEEDED"
        job.reconciling = max(0, job.reconciling - 1)
        return job.resource | {"terminalCondition": {"type": "Ready", "state": state}}

    def list_jobs(self, parent: str, *, query: Mapping[str, str], body: JsonDict) -> JsonDict:
        """Describe all jobs of a region, on one page."""
        return {"jobs": [job.resource for name, job in self.jobs.items() if name.startswith(f"{parent}/")]}

    def delete_job(self, name: str, *, query: Mapping[str, str], body: JsonDict) -> JsonDict:
        """Delete a job and its executions."""
        for execution in list(self._job(name).executions):
            self.delete_execution(execution, query=query, body=body)
        return _operation(name.rpartition("/jobs/")[0], "Job", self.jobs.pop(name).resource)

    def run_job(self, name: str, *, query: Mapping[str, str], body: JsonDict) -> JsonDict:
        """Start an execution in a thread of its own."""
        job = self._job(name)
        execution = self._new_execution(job)
        resource = execution.resource
        job.executions[resource["name"]] = execution
        job.resource["executionCount"] += 1
        job.resource["latestCreatedExecution"] = {"name": resource["name"], "createTime": resource["createTime"]}
        threading.Thread(target=self._carry_out, args=(execution,), daemon=True).start()
        return _operation(name.rpartition("/jobs/")[0], "Execution", dict(resource))

    def _job(self, name: str) -> Job:
        if name not in self.jobs:
            raise ApiError(404, "NOT_FOUND", f"Resource '{name.rpartition('/')[2]}' of kind 'JOB' does not exist.")
        return self.jobs[name]

    # -- executions -------------------------------------------------------------------------------------

    def _new_execution(self, job: Job) -> Execution:
        job_id, task = job.resource["name"].rpartition("/")[2], job.resource["template"]["template"]
        short = f"{job_id[:57]}-{uuid.uuid4().hex[:5]}"
        described, folder = task["containers"][0], self.folder / short
        folder.mkdir(parents=True)
        environment = {
            **self.image,
            **{variable["name"]: self._value(variable) for variable in described.get("env") or []},
            "CLOUD_RUN_JOB": job_id,
            "CLOUD_RUN_TASK_INDEX": "0",
            "CLOUD_RUN_TASK_COUNT": "1",
        }
        command = [*(described.get("command") or []), *(described.get("args") or [])]
        now = _now()
        resource = {
            "name": f"{job.resource['name']}/executions/{short}",
            "uid": str(uuid.uuid4()),
            "etag": f'"{uuid.uuid4().hex}"',
            "generation": "1",
            "createTime": now,
            "startTime": now,
            "updateTime": now,
            "labels": job.resource["template"].get("labels", {}),
            "job": job_id,
            "parallelism": 1,
            "taskCount": 1,
            "template": task,
            "reconciling": True,
            "runningCount": 1,
            "conditions": [{"type": "Completed", "state": "CONDITION_RECONCILING"}],
            "logUri": "https://console.cloud.google.com/logs/viewer",
        }
        return Execution(resource, Container(short, command, environment, folder, self.grace))

    def _value(self, variable: JsonDict) -> str:
        if "valueSource" not in variable:
            return str(variable.get("value") or "")
        secret = variable["valueSource"]["secretKeyRef"]["secret"]
        if secret not in self.secrets:
            raise ApiError(400, "FAILED_PRECONDITION", f"Secret {secret} was not found or may not be read")
        return self.secrets[secret]

    def _carry_out(self, execution: Execution) -> None:
        """Run the container, again after a failure where the job asks for that, and write down how it ended."""
        task = execution.resource["template"]
        timeout, retries = float(str(task.get("timeout") or "600s")[:-1]), int(task.get("maxRetries", 3))
        code, message, attempt = 1, "", 0
        for attempt in range(retries + 1):
            code, message = execution.container.run(timeout=timeout, attempt=attempt)
            if code == 0 or execution.cancelled:
                break
        with self.lock:
            state = "CONDITION_SUCCEEDED" if code == 0 else "CONDITION_FAILED"
            execution.resource |= {
                "completionTime": _now(),
                "reconciling": False,
                "runningCount": 0,
                "retriedCount": attempt,
                "succeededCount": int(code == 0),
                "failedCount": int(code != 0 and not execution.cancelled),
                "cancelledCount": int(code != 0 and execution.cancelled),
                "conditions": [{"type": "Completed", "state": state, "message": message}],
            }
        execution.ended.set()

    def get_execution(self, name: str, *, query: Mapping[str, str], body: JsonDict) -> JsonDict:
        """Describe an execution."""
        return dict(self._execution(name).resource)

    def list_executions(self, job: str, *, query: Mapping[str, str], body: JsonDict) -> JsonDict:
        """Describe all executions of a job, on one page."""
        return {"executions": [dict(e.resource) for e in self._job(job).executions.values()]}

    def cancel_execution(self, name: str, *, query: Mapping[str, str], body: JsonDict) -> JsonDict:
        """End an execution; what it was stays to be read."""
        execution = self._execution(name)
        execution.cancelled = True
        threading.Thread(target=execution.container.stop, daemon=True).start()
        return _operation(name.partition("/jobs/")[0], "Execution", dict(execution.resource))

    def delete_execution(self, name: str, *, query: Mapping[str, str], body: JsonDict) -> JsonDict:
        """End an execution, if need be, and forget it."""
        answer = self.cancel_execution(name, query=query, body=body)
        del self._job(name.partition("/executions/")[0]).executions[name]
        return answer

    def _execution(self, name: str) -> Execution:
        executions = self._job(name.partition("/executions/")[0]).executions
        if name not in executions:
            raise ApiError(404, "NOT_FOUND", f"Resource '{name.rpartition('/')[2]}' does not exist.")
        return executions[name]


_PARENT = r"projects/[^/]+/locations/[^/]+"
_JOB = rf"{_PARENT}/jobs/[^/:]+"
_EXECUTION = rf"{_JOB}/executions/[^/:]+"
_ROUTES: tuple[tuple[str, Callable[..., JsonDict]], ...] = (
    (rf"POST /v2/({_PARENT})/jobs", Region.create_job),
    (rf"GET /v2/({_PARENT})/jobs", Region.list_jobs),
    (rf"GET /v2/({_JOB})", Region.get_job),
    (rf"DELETE /v2/({_JOB})", Region.delete_job),
    (rf"POST /v2/({_JOB}):run", Region.run_job),
    (rf"GET /v2/({_JOB})/executions", Region.list_executions),
    (rf"GET /v2/({_EXECUTION})", Region.get_execution),
    (rf"POST /v2/({_EXECUTION}):cancel", Region.cancel_execution),
    (rf"DELETE /v2/({_EXECUTION})", Region.delete_execution),
)


def _operation(parent: str, kind: str, resource: JsonDict) -> JsonDict:
    """A long-running operation; the worker reads only what it is about."""
    return {
        "name": f"{parent}/operations/{uuid.uuid4()}",
        "metadata": {"@type": f"{_TYPES}{kind}", **resource},
        "done": False,
    }


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")
