"""pip-audit without the internet: uvx --from pip-audit --with pyyaml python scripts/audit.py ADVISORIES [LOCK …].

ADVISORIES is a folder of advisories in OSV's format, YAML or JSON, such as a checkout of
github.com/pypa/advisory-database. The script answers pip-audit at loopback as osv.dev would, from these files and by
OSV's rule (https://ossf.github.io/osv-schema/#evaluation): a version is affected if it is listed, or lies in a range of
the ecosystem. It says from when the newest advisory is, since it knows of nothing later. LOCK is requirements/run.lock
unless given. The exit code is pip-audit's own: 1 where a weakness is known.
"""

import json
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

ROOT = Path(__file__).resolve().parent.parent


def read(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Package → its advisories that are not withdrawn."""
    found: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)  # JSON is YAML; dates and versions stay the text they are
    for path in sorted(p for p in folder.rglob("*") if p.suffix in (".yaml", ".yml", ".json") and p.is_file()):
        advisory = yaml.load(path.read_text(), loader)  # noqa: S506  either makes nothing but texts, lists and dicts
        if not isinstance(advisory, dict) or "withdrawn" in advisory:
            continue
        for name in {canonicalize_name(part["package"]["name"]) for part in _of_pypi(advisory)}:
            found[name].append(advisory)
    return dict(found)


def affects(advisory: dict[str, Any], name: str, version: str) -> bool:
    """Whether that version of the package is affected."""
    for part in _of_pypi(advisory):
        if canonicalize_name(part["package"]["name"]) != name:
            continue
        if Version(version) in {v for v in map(_version, part.get("versions", [])) if v}:
            return True
        ranges = [r["events"] for r in part.get("ranges", []) if r["type"] == "ECOSYSTEM"]
        if any(_within(events, Version(version)) for events in ranges):
            return True
    return False


def _of_pypi(advisory: dict[str, Any]) -> Iterator[dict[str, Any]]:
    return (part for part in advisory.get("affected", []) if part.get("package", {}).get("ecosystem") == "PyPI")


def _version(text: Any) -> Version | None:
    try:
        return Version(str(text))
    except InvalidVersion:  # of before PEP 440: nothing that is locked today
        return None


def _within(events: list[dict[str, str]], version: Version) -> bool:
    """OSV's evaluation: the last event at or before the version decides."""
    inside = False
    order = sorted(((Version(str(at)), kind) for event in events for kind, at in event.items()), key=lambda e: e[0])
    for at, kind in order:
        if kind == "introduced" and version >= at:
            inside = True
        elif (kind == "fixed" and version >= at) or (kind == "last_affected" and version > at):
            inside = False
    return inside


def server_of(advisories: dict[str, list[dict[str, Any]]]) -> ThreadingHTTPServer:
    """OSV's /v1/query at a free port of loopback."""

    class Osv(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            name = canonicalize_name(asked["package"]["name"])
            known = [a for a in advisories.get(name, []) if affects(a, name, asked["version"])]
            body = json.dumps({"vulns": known} if known else {}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    return ThreadingHTTPServer(("127.0.0.1", 0), Osv)


def main(argv: list[str]) -> int:
    if not argv or argv[0].startswith("-"):
        print(__doc__)
        return 2
    advisories = read(Path(argv[0]))
    if not advisories:
        print(f"found no advisory of a PyPI package below {argv[0]}, wanted OSV's format", file=sys.stderr)
        return 2
    every = {a["id"]: a for known in advisories.values() for a in known}
    newest = max(str(a.get("modified", ""))[:10] for a in every.values())
    print(f"{len(every):,} advisories of {len(advisories):,} packages, the newest of {newest}", file=sys.stderr)
    server = server_of(advisories)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    where = ["-s", "osv", "--osv-url", f"http://127.0.0.1:{server.server_port}/v1/query"]
    command = [sys.executable, "-m", "pip_audit", "--strict", "--require-hashes", "--disable-pip", *where]
    for lock in argv[1:] or [str(ROOT / "requirements" / "run.lock")]:
        command += ["-r", lock]
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
