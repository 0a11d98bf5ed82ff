"""What clearyear needs in a Google Cloud project: make it, look at it, remove it.

    python deployments/gcloud/cloud.py up     --project P --region R --bucket B [--scenes-bucket S]
    python deployments/gcloud/cloud.py status --project P --region R
    python deployments/gcloud/cloud.py down   --project P --region R [--with-results]

Everything made has the label app=clearyear, or, where a kind has no labels, that text as its description. `down` lists
what bears it, asks, and deletes that and nothing else; buckets stay unless --with-results is given. `up` can be run
again: what is there stays. Needs the Google Cloud CLI, logged in, and nothing else than Python.
"""

import argparse
import json
import secrets
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LABEL = "app=clearyear"
NAME = "clearyear"
SECRET = "clearyear-prefect-auth"  # noqa: S105  its name, not what is in it
ROLE = "clearyearWorker"
SERVICES = ["run", "artifactregistry", "secretmanager", "storage", "iam", "compute"]
# What Prefect's worker asks of Cloud Run, and no more: roles/run.admin may also open services to the world.
PERMISSIONS = [
    *(f"run.jobs.{verb}" for verb in ("create", "get", "run", "delete")),
    *(f"run.executions.{verb}" for verb in ("get", "list", "delete", "cancel")),
]


@dataclass(frozen=True)
class Kind:
    """One kind of resource: how those of ours are found, and how one of them is deleted."""

    title: str
    find: list[str]
    key: str
    """Where in what `find` lists the name stands."""
    delete: list[str]
    """With {name}, and {zone} where a thing lies in one."""


def kinds(project: str, region: str) -> list[Kind]:
    """Everything that `up`, a worker or the how-to makes; in the order in which it can be deleted."""
    labelled = [f"--filter=labels.{LABEL}"]
    described = [f"--filter=description:{LABEL}"]
    there = [f"--project={project}"]
    found = [
        ("Cloud Run job", ["run", "jobs", "list", f"--region={region}"], labelled, "metadata.name",
         ["run", "jobs", "delete", "{name}", f"--region={region}"]),
        ("virtual machine", ["compute", "instances", "list"], labelled, "name",
         ["compute", "instances", "delete", "{name}", "--zone={zone}"]),
        ("image repository", ["artifacts", "repositories", "list", f"--location={region}"], labelled, "name",
         ["artifacts", "repositories", "delete", "{name}", f"--location={region}"]),
        ("secret", ["secrets", "list"], labelled, "name", ["secrets", "delete", "{name}"]),
        ("service account", ["iam", "service-accounts", "list"], described, "email",
         ["iam", "service-accounts", "delete", "{name}"]),
        ("role", ["iam", "roles", "list"], described, "name", ["iam", "roles", "delete", "{name}"]),
        ("bucket", ["storage", "buckets", "list"], labelled, "name",
         ["storage", "rm", "--recursive", "gs://{name}"]),
    ]  # fmt: skip
    return [
        Kind(title, [*find, *mark, *there, "--format=json"], key, [*delete, *there])
        for title, find, mark, key, delete in found
    ]


def up(project: str, region: str, bucket: str, scenes_bucket: str | None) -> None:
    """Make whatever of it is not there yet."""
    at = f"--project={project}"
    runner, worker = (f"{NAME}-{who}@{project}.iam.gserviceaccount.com" for who in ("runner", "worker"))
    gcloud("services", "enable", *(f"{name}.googleapis.com" for name in SERVICES), at)
    make(
        f"artifacts repositories describe {NAME} --location={region} {at}",
        f"artifacts repositories create {NAME} --location={region} --repository-format=docker --labels={LABEL} {at}",
    )
    lifecycle = shlex.quote(str(Path(__file__).with_name("lifecycle.json")))
    closed = "--uniform-bucket-level-access --public-access-prevention"
    make(
        f"storage buckets describe gs://{bucket} {at}",
        f"storage buckets create gs://{bucket} --location={region} {closed} {at}",
        # There is no flag for labels when it is made.
        f"storage buckets update gs://{bucket} --update-labels={LABEL} --lifecycle-file={lifecycle} {at}",
    )
    for account, purpose in ((runner, "is what composites run as"), (worker, "makes and watches Cloud Run jobs")):
        make(
            f"iam service-accounts describe {account} {at}",
            f"iam service-accounts create {account.partition('@')[0]} --description='{LABEL}: {purpose}' {at}",
        )
    make(
        f"iam roles describe {ROLE} {at}",
        f"iam roles create {ROLE} --title='clearyear worker' --description='{LABEL}: Cloud Run jobs' "
        f"--permissions={','.join(PERMISSIONS)} --stage=GA {at}",
    )
    make(
        f"secrets describe {SECRET} {at}",
        f"secrets create {SECRET} --replication-policy=automatic --labels={LABEL} --data-file=- {at}",
        given=f"admin:{secrets.token_urlsafe(24)}",
    )
    grant(project, region, bucket, scenes_bucket, runner=runner, worker=worker)


def grant(project: str, region: str, bucket: str, scenes_bucket: str | None, *, runner: str, worker: str) -> None:
    """Give the two accounts what each needs, where it needs it; doing it again changes nothing."""
    here, there = f"storage buckets add-iam-policy-binding gs://{bucket}", f"--location={region}"
    secret = f"secrets add-iam-policy-binding {SECRET}"
    grants = [
        (f"projects add-iam-policy-binding {project} --condition=None", worker, f"projects/{project}/roles/{ROLE}"),
        # A job runs as the runner, so the worker must be allowed to hand that identity out: this one only.
        (f"iam service-accounts add-iam-policy-binding {runner}", worker, "roles/iam.serviceAccountUser"),
        (f"artifacts repositories add-iam-policy-binding {NAME} {there}", worker, "roles/artifactregistry.reader"),
        (here, runner, "roles/storage.objectUser"),
        # Prefect's results ask for the bucket itself (storage.buckets.get), which objectUser does not have.
        (here, runner, "roles/storage.legacyBucketReader"),
        (secret, runner, "roles/secretmanager.secretAccessor"),
        (secret, worker, "roles/secretmanager.secretAccessor"),
    ]
    if scenes_bucket:
        viewed = f"storage buckets add-iam-policy-binding gs://{scenes_bucket}"
        grants.append((viewed, runner, "roles/storage.objectViewer"))
    for command, account, role in grants:
        gcloud(*shlex.split(command), f"--project={project}", f"--member=serviceAccount:{account}", f"--role={role}")


def status(project: str, region: str) -> list[tuple[Kind, dict[str, Any]]]:
    """Find what is ours, and print it."""
    found = []
    for kind in kinds(project, region):
        things = [thing for thing in json.loads(gcloud(*kind.find, quiet=True) or "[]") if is_ours(thing)]
        found += [(kind, thing) for thing in things]
        for thing in things:
            print(f"{kind.title:<18}{name_of(kind, thing)}")
    if not found:
        print(f"Nothing with {LABEL} in project {project}.")
    return found


def down(project: str, region: str, *, with_results: bool, sure: bool) -> int:
    """List what is ours, ask, delete it; 1 if the answer is no."""
    found = status(project, region)
    kept = [] if with_results else [item for item in found if item[0].title == "bucket"]
    doomed = [item for item in found if item not in kept]
    for kind, thing in kept:
        print(f"stays: {kind.title} {name_of(kind, thing)} (--with-results deletes it)")
    if not doomed:
        return 0
    if not sure and input(f"Delete these {len(doomed)}? Type the project's name: ") != project:
        print("Nothing was deleted.")
        return 1
    for kind, thing in doomed:
        # An instance's zone is told as the address of one.
        place = {"name": name_of(kind, thing), "zone": str(thing.get("zone", "")).rpartition("/")[2]}
        gcloud(*(part.format(**place) for part in kind.delete), "--quiet")
    account = f"{NAME}-worker@{project}.iam.gserviceaccount.com"
    print(f"If the project's policy still names {account}: gcloud projects get-iam-policy {project}")
    return 0


def is_ours(thing: dict[str, Any]) -> bool:
    """Whether it bears the mark; that gcloud's filter let it through is not enough to delete it."""
    labels = thing.get("labels") or thing.get("metadata", {}).get("labels") or {}
    key, _, value = LABEL.partition("=")
    return labels.get(key) == value or str(thing.get("description", "")).partition(":")[0] == LABEL


def name_of(kind: Kind, thing: dict[str, Any]) -> str:
    """The name by which gcloud deletes it: the last part of its address."""
    value: Any = thing
    for part in kind.key.split("."):
        value = value[part]
    return str(value).rpartition("/")[2]


def make(describe: str, *create: str, given: str | None = None) -> None:
    """Create a thing unless it can be described."""
    if subprocess.run(["gcloud", *shlex.split(describe)], capture_output=True).returncode:
        for command in create:
            gcloud(*shlex.split(command), given=given)


def gcloud(*command: str, given: str | None = None, quiet: bool = False) -> str:
    """Run one command, shown before; what it prints. An error of its ends this program with its own words."""
    if not quiet:
        print("gcloud " + shlex.join(command))
    done = subprocess.run(["gcloud", *command], input=given, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"gcloud {shlex.join(command)}\n{done.stderr}")
    return done.stdout


def main(arguments: list[str]) -> int:
    """Do as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["up", "status", "down"])
    parser.add_argument("--project", required=True)
    parser.add_argument("--region", required=True)
    parser.add_argument("--bucket", help="up: where results go; made unless it is there")
    parser.add_argument("--scenes-bucket", help="up: a private bucket of scenes, which runs may then read")
    parser.add_argument("--with-results", action="store_true", help="down: delete buckets too, with all composites")
    parser.add_argument("--yes", action="store_true", help="down: do not ask")
    given = parser.parse_args(arguments)
    if given.verb == "down":
        return down(given.project, given.region, with_results=given.with_results, sure=given.yes)
    if given.verb == "status":
        status(given.project, given.region)
        return 0
    if not given.bucket:
        parser.error("up needs --bucket")
    up(given.project, given.region, given.bucket, given.scenes_bucket)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
