"""What Terraform's google provider takes, for the resources in deployments/terraform → tests/terraform_schema.json.

    pip download --no-deps --dest DIR cdktn-provider-google==20.3.1 cdktn-provider-google==21.1.0
    python scripts/terraform_schema.py DIR/*.whl

The provider itself comes from Terraform's registry alone. cdktn-provider-google is generated from the provider's own
schema and holds a description of all of it: of each resource the names of arguments and blocks, which of them are
required, and the attributes that others may refer to. What values they take is not among it.
"""

import io
import json
import re
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "tests" / "terraform_schema.json"


def main() -> int:
    wheels = [Path(name) for name in sys.argv[1:]]
    if not wheels:
        print(__doc__, file=sys.stderr)
        return 2
    text = "\n".join(path.read_text() for path in sorted((ROOT / "deployments" / "terraform").glob("*.tf")))
    used = sorted(set(re.findall(r'^resource "google_(\w+)"', text, re.M)))
    found = dict(read(wheel, used) for wheel in wheels)
    # A line for each resource, so that a change of one can be seen.
    lines = [
        f'"{version}": {{\n' + ",\n".join(f'"{name}": {json.dumps(schema[name])}' for name in sorted(schema)) + "\n}"
        for version, schema in sorted(found.items())
    ]
    TARGET.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    return 0


def read(wheel: Path, resources: list[str]) -> tuple[str, dict[str, Any]]:
    """The provider's version, and the schema of these resources."""
    with zipfile.ZipFile(wheel) as package:
        [name] = [n for n in package.namelist() if n.endswith(".jsii.tgz")]
        with tarfile.open(fileobj=io.BytesIO(package.read(name))) as archive:
            assembly = archive.extractfile("package/.jsii")
            assert assembly is not None
            types = json.load(assembly)["types"]
        [metadata] = [n for n in package.namelist() if n.endswith(".dist-info/METADATA")]
        version = re.search(r"google provider version ([\d.]+)", package.read(metadata).decode())
        assert version is not None
    schema = {}
    for resource in resources:
        pascal = "".join(part.title() for part in resource.split("_"))
        module = f"@cdktn/provider-google.{pascal[0].lower()}{pascal[1:]}"
        taken = arguments(types, types[f"{module}.{pascal}Config"])
        names = {snake(p["name"]).removesuffix("_input") for p in types[f"{module}.{pascal}"]["properties"]}
        told = names - taken.keys() - {"tf_resource_type", "terraform_labels"}
        schema[f"google_{resource}"] = {"arguments": taken, "attributes": sorted(told)}
    return version[1], schema


def arguments(types: dict[str, Any], described: dict[str, Any]) -> dict[str, Any]:
    """Name → whether it is required or, where it is a block, that, whether there may be many, and what it takes."""
    found: dict[str, Any] = {}
    for item in described.get("properties", ()):
        # Where a name is none for their languages ours is in the link to the registry; «id» in front has no link.
        link = re.search(r"/docs/resources/\w+#(\w+) ", item["docs"].get("remarks", ""))
        name = link[1] if link else snake(item["name"])
        found[name] = required = not item.get("optional", False)
        for kind, many in kinds(item["type"]):
            if kind in types:
                found[name] = {"required": required, "many": many, "block": arguments(types, types[kind])}
    return dict(sorted(found.items()))


def kinds(described: dict[str, Any]) -> list[tuple[str, bool]]:
    """The types that a value may be of, and whether as an item of a list."""
    if "union" in described:
        return [kind for one in described["union"]["types"] for kind in kinds(one)]
    if "collection" in described:
        return [(name, True) for name, _ in kinds(described["collection"]["elementtype"])]
    return [(described.get("fqn", described.get("primitive", "")), False)]


def snake(name: str) -> str:
    """DeletionPolicyInput → deletion_policy_input."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


if __name__ == "__main__":
    sys.exit(main())
