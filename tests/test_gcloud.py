"""The commands of deployments/gcloud/cloud.py: a gcloud of ours records them, the real one checks their flags."""

import json
import os
import shlex
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "deployments" / "gcloud" / "cloud.py"
AT = ["--project", "my-project", "--region", "us-central1"]
UP = ["up", *AT, "--bucket", "my-results", "--scenes-bucket", "my-scenes"]

FAKE = '''#!{python}
"""Answers a `list` with what lies in world.json, fails a `describe` of what is not there, writes every call down."""
import json, pathlib, sys
here, call = pathlib.Path({folder!r}), sys.argv[1:]
given = "" if sys.stdin.isatty() or "--data-file=-" not in call else sys.stdin.read()
with (here / "calls.jsonl").open("a") as log:
    log.write(json.dumps([call, given]) + "\\n")
world = json.loads((here / "world.json").read_text())
if "list" in call:
    print(json.dumps(world.get(" ".join(call[: call.index("list")]), [])))
if "describe" in call and not world.get("everything is there"):
    sys.exit("ERROR: NOT_FOUND")
'''


class Gcloud:
    """A folder for PATH with a gcloud in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.world: dict[str, Any] = {}
        program = folder / "gcloud"
        program.write_text(FAKE.format(python=sys.executable, folder=str(folder)))
        program.chmod(program.stat().st_mode | stat.S_IXUSR)

    def run(self, *arguments: str, answer: str = "") -> subprocess.CompletedProcess[str]:
        (self.folder / "world.json").write_text(json.dumps(self.world))
        (self.folder / "calls.jsonl").write_text("")
        path = f"{self.folder}{os.pathsep}{os.environ['PATH']}"
        return subprocess.run(
            [sys.executable, str(SCRIPT), *arguments],
            env=os.environ | {"PATH": path},
            input=answer,
            capture_output=True,
            text=True,
        )

    def calls(self, verb: str) -> list[list[str]]:
        """Calls so far with a word in them."""
        lines = [json.loads(line) for line in (self.folder / "calls.jsonl").read_text().splitlines()]
        return [call for call, _ in lines if verb in call]

    def given(self) -> list[str]:
        lines = [json.loads(line) for line in (self.folder / "calls.jsonl").read_text().splitlines()]
        return [given for _, given in lines if given]


@pytest.fixture
def gcloud(tmp_path: Path) -> Gcloud:
    return Gcloud(tmp_path)


OURS = {"labels": {"app": "clearyear"}}
WORLD = {
    "run jobs": [{"metadata": {"name": "left-behind", **OURS}}, {"metadata": {"name": "stranger", "labels": {}}}],
    "compute instances": [{"name": "clearyear-prefect", "zone": "https://g/zones/us-central1-a", **OURS}],
    "secrets": [{"name": "projects/1/secrets/clearyear-prefect-auth", **OURS}],
    "iam service-accounts": [
        {"email": "clearyear-runner@my-project.iam.gserviceaccount.com", "description": "app=clearyear: runs"},
        {"email": "other@my-project.iam.gserviceaccount.com", "description": "app=clearyear2: somebody's"},
    ],
    "iam roles": [{"name": "projects/my-project/roles/clearyearWorker", "description": "app=clearyear: jobs"}],
    "storage buckets": [{"name": "my-results", **OURS}],
}


def deleted(gcloud: Gcloud) -> list[str]:
    calls = [*gcloud.calls("delete"), *gcloud.calls("rm")]
    return [call[call.index("delete" if "delete" in call else "--recursive") + 1] for call in calls]


def test_up_makes_what_is_missing_and_grants_only_what_is_needed(gcloud: Gcloud) -> None:
    done = gcloud.run(*UP)
    assert done.returncode == 0, done.stderr
    assert len(gcloud.calls("create")) == 6
    granted = {call[-1].removeprefix("--role=") for call in gcloud.calls("add-iam-policy-binding")}
    assert granted == {
        "projects/my-project/roles/clearyearWorker",
        "roles/iam.serviceAccountUser",
        "roles/artifactregistry.reader",
        "roles/storage.objectUser",
        "roles/storage.legacyBucketReader",
        "roles/storage.objectViewer",
        "roles/secretmanager.secretAccessor",
    }
    # On the whole project one account has one role, and that is of our making.
    assert [call[-1] for call in gcloud.calls("projects")] == ["--role=projects/my-project/roles/clearyearWorker"]
    [viewer] = [c for c in gcloud.calls("add-iam-policy-binding") if "--role=roles/storage.objectViewer" in c]
    assert "gs://my-scenes" in viewer


def test_the_password_is_made_up_and_not_shown(gcloud: Gcloud) -> None:
    done = gcloud.run(*UP)
    [password] = gcloud.given()
    assert password.startswith("admin:")
    assert len(password) > 30
    assert password not in done.stdout + done.stderr
    assert gcloud.run(*UP).stdout
    assert gcloud.given() != [password]


def test_up_again_makes_nothing(gcloud: Gcloud) -> None:
    gcloud.world["everything is there"] = True
    done = gcloud.run(*UP)
    assert done.returncode == 0, done.stderr
    assert gcloud.calls("create") == []
    assert gcloud.given() == []


def test_down_lists_asks_and_deletes_only_what_is_ours(gcloud: Gcloud) -> None:
    gcloud.world |= WORLD
    done = gcloud.run("down", *AT, answer="my-project\n")
    assert done.returncode == 0, done.stderr
    assert deleted(gcloud) == [
        "left-behind",
        "clearyear-prefect",
        "clearyear-prefect-auth",
        "clearyear-runner@my-project.iam.gserviceaccount.com",
        "clearyearWorker",
    ]
    assert "stays: bucket my-results" in done.stdout
    [machine] = [call for call in gcloud.calls("delete") if "instances" in call]
    assert "--zone=us-central1-a" in machine


@pytest.mark.parametrize("answer", ["", "y\n", "my-projec\n"])
def test_down_deletes_nothing_unless_the_project_is_named(gcloud: Gcloud, answer: str) -> None:
    gcloud.world |= WORLD
    assert gcloud.run("down", *AT, answer=answer).returncode == 1
    assert deleted(gcloud) == []


def test_results_are_deleted_only_when_asked_for(gcloud: Gcloud) -> None:
    gcloud.world |= WORLD
    gcloud.run("down", *AT, "--with-results", "--yes")
    assert deleted(gcloud)[-1] == "gs://my-results"
    assert len(deleted(gcloud)) == 6


def test_status_shows_and_changes_nothing(gcloud: Gcloud) -> None:
    gcloud.world |= WORLD
    done = gcloud.run("status", *AT)
    assert "secret            clearyear-prefect-auth" in done.stdout
    assert "stranger" not in done.stdout
    assert {call[-1] for call in gcloud.calls("--project=my-project")} == {"--format=json"}


def test_an_error_of_gcloud_ends_it(gcloud: Gcloud) -> None:
    program = gcloud.folder / "gcloud"
    program.write_text("#!/bin/sh\necho 'ERROR: no billing account' >&2; exit 1\n")
    done = gcloud.run("status", *AT)
    assert done.returncode == 1
    assert "no billing account" in done.stderr


@pytest.mark.skipif(shutil.which("gcloud") is None, reason="the Google Cloud CLI is not here")
def test_the_real_gcloud_knows_every_command_and_flag(gcloud: Gcloud, tmp_path: Path) -> None:
    gcloud.world |= WORLD
    commands = []
    for arguments in (UP, ["down", *AT, "--with-results", "--yes"]):
        assert gcloud.run(*arguments).returncode == 0
        commands += gcloud.calls("--project=my-project") + gcloud.calls("projects")
    lint(commands, tmp_path)


def lint(commands: list[list[str]], folder: Path) -> None:
    """gcloud's own check of commands against its definitions, which asks nobody."""
    # It takes the argument after --recursive for its value.
    lines = ["gcloud " + shlex.join(part for part in call if part != "--recursive") for call in commands]
    text = folder / "commands.md"
    text.write_text("```\n" + "\n".join(lines) + "\n```\n")
    done = subprocess.run(
        ["gcloud", "meta", "lint-gcloud-commands", f"--commands-text-file={text}"],
        env=os.environ | {"CLOUDSDK_CONFIG": str(folder / "config"), "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "1"},
        capture_output=True,
        text=True,
    )
    found = json.loads(done.stdout)
    assert [(one["command_string"], one["error_message"]) for one in found if not one["success"]] == []
    assert len(found) == len(lines) > 20
