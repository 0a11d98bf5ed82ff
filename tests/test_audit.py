"""The audit without the internet answers as osv.dev would: what is affected is told, and nothing else."""

import json
import runpy
import threading
import urllib.request
from pathlib import Path

import pytest

AUDIT = runpy.run_path(str(Path(__file__).parent.parent / "scripts" / "audit.py"))

ADVISORY = """\
id: PYSEC-2026-1
modified: 2026-01-02T03:04:05.678901Z
affected:
- package: {ecosystem: PyPI, name: Sample.Package}
  ranges:
  - type: ECOSYSTEM
    events: [{introduced: "0"}, {fixed: 1.2.0}, {introduced: 2.0.0}, {fixed: 2.0.3}]
  - type: GIT
    events: [{introduced: "0"}]
  versions: ["3.0", 1.9.9]
- package: {ecosystem: npm, name: other}
  ranges: [{type: ECOSYSTEM, events: [{introduced: "0"}]}]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sample").mkdir()
    (tmp_path / "sample" / "PYSEC-2026-1.yaml").write_text(ADVISORY)
    (tmp_path / "sample" / "PYSEC-2026-2.yaml").write_text(
        ADVISORY.replace("-1\n", "-2\nwithdrawn: 2026-02-01T00:00:00Z\n")
    )
    return tmp_path


@pytest.mark.parametrize(
    ("version", "affected"),
    [
        ("0.1", True),
        ("1.1.99", True),
        ("1.2", False),
        ("1.9.9", True),
        ("2.0.0rc1", False),
        ("2.0", True),
        ("2.0.2.post1", True),
        ("2.0.3", False),
        ("3.0.0", True),
        ("3.1", False),
    ],
)
def test_versions_in_ranges_and_lists_are_affected(folder: Path, version: str, affected: bool) -> None:
    (advisory,) = AUDIT["read"](folder)["sample-package"]
    assert AUDIT["affects"](advisory, "sample-package", version) is affected


def test_the_last_affected_version_is_affected(folder: Path) -> None:
    events = [{"introduced": "1"}, {"last_affected": "1.5"}]
    affected = [{"package": {"ecosystem": "PyPI", "name": "p"}, "ranges": [{"type": "ECOSYSTEM", "events": events}]}]
    told = [AUDIT["affects"]({"affected": affected}, "p", version) for version in ("0.9", "1", "1.5", "1.5.1")]
    assert told == [False, True, True, False]


def test_the_server_answers_as_osv_does(folder: Path) -> None:
    server = AUDIT["server_of"](AUDIT["read"](folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def ask(name: str, version: str) -> dict[str, list[dict[str, str]]]:
        query = json.dumps({"package": {"name": name, "ecosystem": "PyPI"}, "version": version}).encode()
        address = f"http://127.0.0.1:{server.server_port}/v1/query"
        found: dict[str, list[dict[str, str]]] = json.load(urllib.request.urlopen(address, query))
        return found

    try:
        (known,) = ask("sample-package", "2.0.1")["vulns"]
        assert (known["id"], known["modified"]) == ("PYSEC-2026-1", "2026-01-02T03:04:05.678901Z")
        assert ask("sample-package", "2.0.3") == ask("other", "1") == ask("unknown", "1") == {}
    finally:
        server.shutdown()


def test_a_folder_without_advisories_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.yaml").write_text("a: b\n")
    assert AUDIT["main"]([str(tmp_path)]) == 2
    assert "found no advisory" in capsys.readouterr().err
