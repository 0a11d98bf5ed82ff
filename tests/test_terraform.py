"""The Terraform files: what they declare, what the google provider takes, whom they give what."""

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hcl2
import pytest
from harness import ROOT

TERRAFORM = ROOT / "deployments" / "terraform"


_SHORT = {"variable": "var", "locals": "local"}


def blocks() -> dict[str, dict[str, Any]]:
    """What the files declare: «resource.type.name», «variable.name», «local.name» and so on → its body."""
    found: dict[str, dict[str, Any]] = {}
    for path in TERRAFORM.glob("*.tf"):
        document: dict[str, Any] = hcl2.loads(path.read_text())
        for kind, entries in document.items():
            if kind in ("__comments__", "terraform", "provider"):
                continue
            for entry in entries:
                for name, body in entry.items():
                    name = name.strip('"')
                    if name.startswith("__"):
                        continue
                    if kind == "resource":
                        found |= {f"{name}.{n.strip(chr(34))}": b for n, b in body.items() if not n.startswith("__")}
                    else:
                        found[f"{_SHORT.get(kind, kind)}.{name}"] = body
    return found


def test_whatever_terraform_refers_to_is_declared_and_used() -> None:
    text = "\n".join(path.read_text() for path in TERRAFORM.glob("*.tf"))
    code = re.sub(r"^\s*#.*$", "", text, flags=re.M)
    declared = blocks()
    referred = set(re.findall(r"\b(google_\w+\.\w+)", code)) | set(re.findall(r"\b((?:var|local)\.\w+)", code))
    assert referred <= set(declared)
    assert {name for name in declared if name.startswith(("var.", "local."))} <= referred


def test_terraform_gives_nobody_a_wide_role_or_a_key() -> None:
    declared = blocks()
    roles = {
        str(value).strip('"') for name, body in declared.items() if "_iam_member" in name for value in [body["role"]]
    }
    wide = {"roles/owner", "roles/editor", "roles/run.admin", "roles/storage.admin"}
    assert not roles & wide
    assert not [name for name in declared if "service_account_key" in name or "secret_version" in name]
    assert [n for n in declared if n.startswith("google_project_iam_member.")] == [
        "google_project_iam_member.worker_makes_jobs"
    ]


def test_gcloud_and_terraform_give_the_same_rights() -> None:
    script = (ROOT / "deployments" / "gcloud" / "cloud.py").read_text()
    role = blocks()["google_project_iam_custom_role.worker"]
    permissions = {p.strip('"') for p in role["permissions"]}
    spec = importlib.util.spec_from_file_location("cloud", ROOT / "deployments" / "gcloud" / "cloud.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["cloud"] = module  # a dataclass looks its module up
    spec.loader.exec_module(module)
    assert permissions == set(module.PERMISSIONS)
    text = (TERRAFORM / "identities.tf").read_text()
    assert set(re.findall(r"roles/[\w.]+", text)) - {"roles/run.admin"} == set(re.findall(r'"(roles/[\w.]+)"', script))


def test_prefixes_are_deleted_after_the_same_days() -> None:
    rules = json.loads((ROOT / "deployments" / "gcloud" / "lifecycle.json").read_text())["rule"]
    here = {
        r["condition"]["matchesPrefix"][0]: r["condition"]["age"] for r in rules if "matchesPrefix" in r["condition"]
    }
    there = blocks()["var.deleted_after_days"]["default"]
    assert {name.strip('"'): days for name, days in there.items() if name.strip('"') in here} == here


SCHEMA: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_name("terraform_schema.json").read_text())
"""Provider's version → resource → what it takes and tells; by scripts/terraform_schema.py, from the provider's own."""
META = {"count", "for_each", "depends_on", "lifecycle", "provider", "provisioner", "connection", "__is_block__"}
"""Terraform's own arguments, which every resource takes."""


def plain(name: str) -> str:
    return name.strip('"')


def complaints(taken: dict[str, Any], body: dict[str, Any], where: str) -> Iterator[str]:
    """What a block says that the provider does not take, and what it leaves out that the provider wants."""
    given: dict[str, list[dict[str, Any]]] = {}
    for name, value in body.items():
        if name == "dynamic":
            for entry in value:
                given |= {plain(n): given.get(plain(n), []) + b["content"] * 2 for n, b in entry.items()}
        elif name not in META and not name.startswith("__"):
            blocks = [b for b in value if isinstance(b, dict)] if isinstance(value, list) else []
            given[name] = given.get(name, []) + [b for b in blocks if "__is_block__" in b]
    for name, blocks in given.items():
        known = taken.get(name)
        if known is None:
            yield f"{where}.{name} is unknown"
        elif isinstance(known, bool) == bool(blocks):
            yield f"{where}.{name} is {'no' if blocks else 'a'} block"
        elif blocks and isinstance(known, dict):
            if len(blocks) > 1 and not known["many"]:
                yield f"{where}.{name} is there more than once"
            for block in blocks:
                yield from complaints(known["block"], block, f"{where}.{name}")
    wanted = {name for name, known in taken.items() if (known if isinstance(known, bool) else known["required"])}
    yield from (f"{where}.{name} is missing" for name in sorted(wanted - given.keys()))


def resources() -> dict[str, dict[str, Any]]:
    return {name: body for name, body in blocks().items() if name.startswith("google_")}


@pytest.mark.parametrize("version", SCHEMA)
def test_the_provider_takes_what_each_resource_says(version: str) -> None:
    schema = SCHEMA[version]
    assert set(schema) == {name.partition(".")[0] for name in resources()}
    found = [
        complaint
        for name, body in resources().items()
        for complaint in complaints(schema[name.partition(".")[0]]["arguments"], body, name)
    ]
    assert found == []


@pytest.mark.parametrize("version", SCHEMA)
def test_the_provider_tells_what_others_refer_to(version: str) -> None:
    text = "\n".join(path.read_text() for path in TERRAFORM.glob("*.tf"))
    referred = set(re.findall(r"\b(google_\w+)\.(\w+)(?:\[[^]]*\])?\.(\w+)", text))
    assert len(referred) > 10
    for kind, name, attribute in referred:
        known = SCHEMA[version][kind]
        assert attribute in known["attributes"] or attribute in known["arguments"], f"{kind}.{name}.{attribute}"


def test_versions_of_the_provider_are_those_looked_at() -> None:
    [wanted] = re.findall(
        r'source  = "hashicorp/google"\s+version = "([^"]+)"', (TERRAFORM / "versions.tf").read_text()
    )
    majors = sorted(int(version.partition(".")[0]) for version in SCHEMA)
    assert wanted == f">= {majors[0]}.0, < {majors[-1] + 1}.0"


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ({"name": "n"}, "b.location is missing"),
        ({"name": "n", "location": "l", "locaton": "l"}, "b.locaton is unknown"),
        ({"name": "n", "location": "l", "autoclass": True}, "b.autoclass is a block"),
        ({"name": "n", "location": [{"__is_block__": True}]}, "b.location is no block"),
        ({"name": "n", "location": "l", "autoclass": [{"__is_block__": True}]}, "b.autoclass.enabled is missing"),
        (
            {"name": "n", "location": "l", "versioning": [{"__is_block__": True, "enabled": True}] * 2},
            "b.versioning is there more than once",
        ),
        (
            {"name": "n", "location": "l", "dynamic": [{'"versioning"': {"content": [{"enabled": True}]}}]},
            "b.versioning is there more than once",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_wrong_is_found(body: dict[str, Any], complaint: str) -> None:
    taken = SCHEMA[max(SCHEMA)]["google_storage_bucket"]["arguments"]
    assert complaint in list(complaints(taken, body, "b"))


@pytest.mark.skipif(shutil.which("terraform") is None, reason="terraform is not here")
def test_terraform_is_formatted() -> None:
    done = subprocess.run(["terraform", "fmt", "-check", "-diff", str(TERRAFORM)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
