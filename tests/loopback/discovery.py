"""Google's own description of the Cloud Run Admin API v2, as shipped with googleapiclient, to hold requests against."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import googleapiclient


@cache
def _document() -> dict[str, Any]:
    path = Path(googleapiclient.__file__).parent / "discovery_cache" / "documents" / "run.v2.json"
    document: dict[str, Any] = json.loads(path.read_text())
    return document


def complaints(schema: str, value: Any) -> list[str]:
    """What of ``value`` the schema does not know or allow, each with its path; the service refuses such a request."""
    return _check({"$ref": schema}, value, schema.removeprefix("GoogleCloudRunV2"))


def _check(described: dict[str, Any], value: Any, path: str) -> list[str]:
    if reference := described.get("$ref"):
        described = _document()["schemas"][reference]
    if value is None:
        return []  # in proto3's JSON null means: as if it were not there
    kind = described.get("type", "any")
    if kind == "object":
        return _check_object(described, value, path)
    if kind == "array":
        if not isinstance(value, list):
            return [f"{path}: {value!r} is no list"]
        return [c for number, item in enumerate(value) for c in _check(described["items"], item, f"{path}[{number}]")]
    if kind == "boolean" and not isinstance(value, bool):
        return [f"{path}: {value!r} is not true or false"]
    if kind == "integer" and not (isinstance(value, int) or str(value).isdigit()):
        return [f"{path}: {value!r} is no number"]
    if kind == "string" and not isinstance(value, str):
        return [f"{path}: {value!r} is no string"]
    if "enum" in described and value not in described["enum"]:
        return [f"{path}: {value!r} is none of {', '.join(described['enum'])}"]
    return []


def _check_object(described: dict[str, Any], value: Any, path: str) -> list[str]:
    if not isinstance(value, dict):
        return [f"{path}: {value!r} is no object"]
    known = described.get("properties", {})
    other = described.get("additionalProperties")
    found = []
    for name, item in value.items():
        if name not in known and other is None:
            found.append(f'Unknown name "{name}" at "{path}": Cannot find field.')
        else:
            found += _check(known.get(name, other), item, f"{path}.{name}")
    return found
