"""The notebook is what docs/make_notebook.py writes, and its code runs, without Jupyter."""

import contextlib
import importlib.util
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from harness import ROOT

NOTEBOOK = ROOT / "docs" / "notebooks" / "first-composite.ipynb"


@pytest.fixture(scope="module")
def cells() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(NOTEBOOK.read_text())["cells"]
    return found


def source(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def test_it_is_what_the_script_makes(cells: list[dict[str, Any]]) -> None:
    spec = importlib.util.spec_from_file_location("make_notebook", ROOT / "docs" / "make_notebook.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert [(c["cell_type"], source(c)) for c in cells] == module.cells()


def test_it_is_small_and_tells_nothing_of_a_machine(cells: list[dict[str, Any]]) -> None:
    assert NOTEBOOK.stat().st_size < 300_000
    outputs = [output for cell in cells if cell["cell_type"] == "code" for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error"]
    pictures = [o["data"]["image/jpeg"] for o in outputs if "image/jpeg" in o.get("data", {})]
    assert len(pictures) == 2
    assert all(len(picture) < 100_000 for picture in pictures)
    text = "".join("".join(output.get("text", [])) for output in outputs)
    assert not re.findall(r"(?<!\w)/\w+", text), "no path of the machine it was made on"


def test_its_code_runs_and_says_the_same(
    cells: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    names: dict[str, Any] = {}
    for cell in cells:
        if cell["cell_type"] != "code":
            continue
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            exec(compile(source(cell), "cell", "exec"), names)
        printed = "".join("".join(o["text"]) for o in cell["outputs"] if o.get("name") == "stdout")
        assert said.getvalue() == printed
    assert names["again"].status == "complete"
    assert names["Picture"](names["shown"])._repr_jpeg_().startswith(b"\xff\xd8")
