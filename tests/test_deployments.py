"""What lies in deployments/ agrees with the programs it is for."""

import importlib.util
import itertools
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cloud_harness import FILES, deployments, worker_settings
from harness import BIN, ROOT
from loopback.cloud_run_rules import refusals
from prefect_gcp.settings import CloudRunV2WorkerSettings
from prefect_gcp.workers.cloud_run_v2 import CloudRunWorkerV2

TEMPLATE = json.loads((FILES / "base-job-template.json").read_text())
PROPERTIES: dict[str, Any] = TEMPLATE["variables"]["properties"]
LEFT_OUT = {
    "credentials": "who a worker is follows from where it runs; there is no key",
    "args": "Prefect's command needs none",
    "cloudsql_instances": "nothing here speaks with a database",
    "vpc_connector_name": "vpc_access takes a connector too, and Direct VPC besides",
}
NETWORK = {"networkInterfaces": [{"network": "default", "subnetwork": "default"}], "egress": "PRIVATE_RANGES_ONLY"}


def placeholders(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for item in value.values():
            yield from placeholders(item)
    elif isinstance(value, list):
        for item in value:
            yield from placeholders(item)
    elif isinstance(value, str):
        yield from re.findall(r"\{\{ (\w+) \}\}", value)


def test_every_variable_is_used_and_every_place_filled() -> None:
    assert set(placeholders(TEMPLATE["job_configuration"])) == set(PROPERTIES)


def test_the_workers_own_variables_are_there_or_left_out_for_a_reason() -> None:
    known = CloudRunWorkerV2.get_default_base_job_template()["variables"]["properties"]
    assert set(known) - set(PROPERTIES) == set(LEFT_OUT)
    assert set(PROPERTIES) - set(known) == {"vpc_access"}
    assert PROPERTIES["memory"]["pattern"] == known["memory"]["pattern"]
    assert PROPERTIES["timeout"]["maximum"] == known["timeout"]["maximum"]


def test_every_field_of_the_form_is_explained() -> None:
    for name, described in PROPERTIES.items():
        assert described["title"], name
        assert described["description"].endswith("."), name


def job_body(**variables: Any) -> dict[str, Any]:
    """The job that the worker would ask Google for, by the worker's own code."""
    defaults = {name: p["default"] for name, p in PROPERTIES.items() if p.get("default") is not None}
    values = defaults | {"image": "i:1", "service_account_name": "a@b.iam.gserviceaccount.com"} | variables
    from prefect.utilities.templating import apply_values

    body = apply_values(TEMPLATE["job_configuration"]["job_body"], {"vpc_access": None, "command": None} | values)
    assert isinstance(body, dict)
    body["template"]["template"]["timeout"] = f"{values['timeout']}s"
    return {name: value for name, value in body.items() if value is not None}


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"cpu": "8", "memory": "32Gi"},
        {"vpc_access": NETWORK},
        {"vpc_access": {"connector": "projects/p/locations/l/connectors/c"}},
        {"timeout": 604800, "max_retries": 3, "launch_stage": "BETA"},
    ],
    ids=str,
)
def test_google_would_make_this_job(variables: dict[str, Any]) -> None:
    body = job_body(**variables)
    assert refusals("job", body) == []
    assert body["template"]["template"]["vpcAccess"] == variables.get("vpc_access")


def test_deployments_name_flows_that_are_there() -> None:
    found = {}
    for deployment in deployments():
        module, _, name = deployment["entrypoint"].rpartition(".")
        flow = getattr(importlib.import_module(module), name)
        found[f"{flow.name}/{deployment['name']}"] = deployment
    assert {
        "median-composite/on-demand-cloud-run",
        "median-composite/annual-cloud-run",
        "repair/on-demand-cloud-run",
        "window-batch/cloud-run",
    } <= set(found)
    for deployment in found.values():
        assert deployment["work_pool"]["name"] == "cloud-run"
        assert set(deployment["work_pool"]["job_variables"]) <= set(PROPERTIES)
        # By these tags the automations know our runs.
        assert {"clearyear", "clearyear-shard"} & set(deployment["tags"])


def test_both_annual_deployments_mean_the_same() -> None:
    here, there = (
        next(d for d in yaml.safe_load(path.read_text())["deployments"] if d["name"].startswith("annual"))
        for path in (ROOT / "prefect.yaml", FILES / "prefect.yaml")
    )
    for key in ("entrypoint", "parameters", "concurrency_limit", "schedules"):
        assert here[key] == there[key], key


def test_settings_of_the_worker_are_read_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in worker_settings().items():
        monkeypatch.setenv(name, value)
    settings = CloudRunV2WorkerSettings()
    set_here = {f"{kind}_max_attempts" for kind in ("create_job", "submit_job", "api_read_retry")}
    assert {name: getattr(settings, name) for name in set_here} == dict.fromkeys(set_here, 8)
    assert settings.create_job_max_delay_seconds == settings.submit_job_max_delay_seconds == 60
    assert settings.api_read_retry_max_delay_seconds == 60
    assert len(worker_settings()) == 6


def test_a_zombie_is_given_three_heartbeats() -> None:
    """With less a run that is well is crashed: seen with Prefect's own example of 90 s."""
    from prefect.settings.models.flows import FlowsSettings

    [zombie] = [
        a for a in yaml.safe_load((ROOT / "deployments" / "automations.yaml").read_text()) if "zombie" in a["name"]
    ]
    heartbeat = FlowsSettings().heartbeat_frequency
    assert heartbeat is not None
    assert zombie["trigger"]["within"] >= 3 * heartbeat
    assert zombie["trigger"]["expect"] == ["prefect.flow-run.*"]


# -- Kubernetes ---------------------------------------------------------------------------------------------


def test_every_place_of_the_kubernetes_template_is_filled() -> None:
    template = json.loads((ROOT / "deployments" / "kubernetes" / "base-job-template.json").read_text())
    assert set(placeholders(template["job_configuration"])) == set(template["variables"]["properties"])
    for name, described in template["variables"]["properties"].items():
        assert described["description"].endswith("."), name


# -- the how-to ---------------------------------------------------------------------------------------------

HOW_TO = (ROOT / "docs" / "how-to" / "cloud-run.md").read_text()


def shell_lines(page: str) -> list[str]:
    """Commands of a page, continued lines joined."""
    text = "\n".join(re.findall(r"```sh\n(.*?)```", page, re.S)).replace("\\\n", " ")
    return text.splitlines()


@pytest.mark.parametrize(
    "line", [line for line in shell_lines(HOW_TO) if line.startswith("prefect ")], ids=lambda line: line[:50]
)
def test_prefect_knows_the_commands_of_the_how_to(line: str) -> None:
    words = line.split()[1:]
    verbs = list(itertools.takewhile(lambda w: re.fullmatch(r"[a-z-]+", w), [w for w in words if w != "--no-prompt"]))
    done = subprocess.run(
        [str(BIN / "prefect"), *verbs[:2], "--help"],
        capture_output=True,
        text=True,
        env=os.environ | {"COLUMNS": "200"},
    )
    assert done.returncode == 0, done.stdout
    for flag in re.findall(r"(?:^| )(--?[a-z][a-z-]*)", line):
        assert flag in done.stdout, flag


@pytest.mark.skipif(shutil.which("gcloud") is None, reason="the Google Cloud CLI is not here")
def test_gcloud_knows_the_commands_of_the_how_to(tmp_path: Path) -> None:
    found = re.findall(r"(?:^|\$\()(gcloud [^|)\n]+)", "\n".join(shell_lines(HOW_TO)), re.M)
    text = tmp_path / "commands.md"
    # It takes what follows a flag without a value for the flag's value, and stumbles over brackets in a format.
    lines = [re.sub(r" --recurse\b| -- .*| --format='.*", "", line) for line in found]
    lines = [line.replace("$PROJECT", "my-project").replace("$REGION", "us-central1") for line in lines]
    text.write_text("```\n" + "\n".join(lines) + "\n```\n")
    done = subprocess.run(
        ["gcloud", "meta", "lint-gcloud-commands", f"--commands-text-file={text}"],
        env=os.environ | {"CLOUDSDK_CONFIG": str(tmp_path / "config"), "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "1"},
        capture_output=True,
        text=True,
    )
    results = json.loads(done.stdout)
    assert [(r["command_string"], r["error_message"]) for r in results if not r["success"]] == []
    assert len(results) == len(lines) > 10


def test_files_the_how_to_names_are_there() -> None:
    for name in re.findall(r"deployments/[\w./-]+\w", HOW_TO):
        assert (ROOT / name).exists() or name == "deployments/.env", name
