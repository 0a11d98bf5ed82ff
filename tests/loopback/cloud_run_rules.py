"""What Cloud Run refuses when a job is created, as far as it can be known without asking it.

Sources: Google's description of the API (discovery.py), and its pages on memory limits, CPU limits and task timeouts
(cloud.google.com/run/docs/configuring/services/memory-limits, …/services/cpu, …/task-timeout).
"""

import re
from typing import Any

from loopback.discovery import complaints

_UNITS = {"M": 10**6, "Mi": 2**20, "G": 10**9, "Gi": 2**30}
_GIB = 2**30
_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_LONGEST_NAME = 63
_LONGEST_TIMEOUT = 168 * 3600
_RESERVED = {"CLOUD_RUN_JOB", "CLOUD_RUN_EXECUTION", "CLOUD_RUN_TASK_INDEX", "CLOUD_RUN_TASK_ATTEMPT"}

MEMORY_OF_CPU = {1: (0.5, 4), 2: (0.5, 8), 4: (2, 16), 6: (4, 24), 8: (4, 32)}
"""vCPU → least and most GiB."""


def refusals(job_id: str, job: dict[str, Any]) -> list[str]:
    """Why the service would answer 400; nothing where it would create the job."""
    found = complaints("GoogleCloudRunV2Job", job)
    if not _NAME.fullmatch(job_id) or len(job_id) > _LONGEST_NAME:
        found.append(f"job_id {job_id!r}: only lowercase letters, digits and hyphens, at most {_LONGEST_NAME}")
    if found:
        return found
    task = job.get("template", {}).get("template", {})
    containers = task.get("containers") or []
    if len(containers) != 1 or not containers[0].get("image"):
        return ["template.template.containers: this server wants exactly one, with an image"]
    found += _about_time(task)
    found += _about_size(containers[0])
    found += _about_environment(containers[0])
    vpc = task.get("vpcAccess")
    if vpc is not None and bool(vpc.get("connector")) == bool(vpc.get("networkInterfaces")):
        found.append("template.template.vpcAccess: either a connector or network interfaces")
    return found


def memory_bytes(text: str) -> int:
    """Bytes of a quantity such as 2Gi."""
    number, unit = re.fullmatch(r"(\d+)([A-Za-z]+)", text).groups()  # type: ignore[union-attr]
    return int(number) * _UNITS[unit]


def _about_time(task: dict[str, Any]) -> list[str]:
    text = str(task.get("timeout") or "600s")
    if not re.fullmatch(r"\d+(\.\d+)?s", text):
        return [f"template.template.timeout: {text!r} is no duration"]
    if not 0 < float(text[:-1]) <= _LONGEST_TIMEOUT:
        return [f"template.template.timeout: {text} is not within 1 s and 168 h"]
    return []


def _about_size(container: dict[str, Any]) -> list[str]:
    limits = container.get("resources", {}).get("limits", {})
    cpu_text, memory_text = limits.get("cpu") or "1", limits.get("memory") or "512Mi"
    cpu = int(cpu_text[:-1]) / 1000 if cpu_text.endswith("m") else float(cpu_text)
    if cpu not in MEMORY_OF_CPU:
        return [f"resources.limits.cpu: {cpu_text} is none of {sorted(MEMORY_OF_CPU)}"]
    least, most = MEMORY_OF_CPU[int(cpu)]
    if not least * _GIB <= memory_bytes(memory_text) <= most * _GIB:
        return [f"resources.limits.memory: {memory_text} with {cpu_text} CPU; {least} to {most} GiB are allowed"]
    return []


def _about_environment(container: dict[str, Any]) -> list[str]:
    names = [variable["name"] for variable in container.get("env") or []]
    twice = sorted({name for name in names if names.count(name) > 1})
    reserved = sorted(_RESERVED & set(names))
    return [f"env: {name} stands there twice" for name in twice] + [f"env: {name} is reserved" for name in reserved]
