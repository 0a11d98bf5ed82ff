"""The application package: valid CWL, and run by cwltool as a platform does."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pystac
import pytest
import rasterio
import yaml
from click import Command
from harness import BIN, ROOT

from clearyear import __version__
from clearyear.cli import main

PACKAGE = ROOT / "deployments" / "cwl" / "clearyear.cwl"
TOOLS: dict[str, Any] = {part["id"]: part for part in yaml.safe_load(PACKAGE.read_text())["$graph"]}


def cwltool(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "CLEARYEAR_"))}
    environment["PATH"] = f"{BIN}{os.pathsep}{environment['PATH']}"
    command = [str(BIN / "cwltool"), "--disable-color", *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=900)


def test_the_tool_calls_what_there_is() -> None:
    tool = TOOLS["clearyear-run"]
    command = main.commands[tool["baseCommand"][1]]
    assert isinstance(command, Command)
    flags = {name for parameter in command.params for name in parameter.opts}
    bound = [i["inputBinding"]["prefix"] for i in tool["inputs"].values() if "prefix" in i["inputBinding"]]
    assert {*bound, *(a for a in tool["arguments"] if a.startswith("--"))} <= flags
    assert "clearyear catalog" in TOOLS["clearyear-gather"]["arguments"][0]["valueFrom"]
    assert "catalog" in main.commands


def test_every_input_is_explained_and_passed_on() -> None:
    for name in ("composite", "monthly"):
        workflow = TOOLS[name]
        step = workflow["steps"]["run"]["in"]
        assert set(step) == set(TOOLS["clearyear-run"]["inputs"])
        assert set(step.values()) == set(workflow["inputs"])
        assert all(described["label"] for described in workflow["inputs"].values())


def test_the_image_is_of_this_version() -> None:
    for name in ("clearyear-run", "clearyear-gather"):
        assert TOOLS[name]["hints"]["DockerRequirement"]["dockerPull"] == f"clearyear:{__version__}"
    assert yaml.safe_load(PACKAGE.read_text())["s:softwareVersion"] == __version__


@pytest.mark.slow
def test_it_is_valid(tmp_path: Path) -> None:
    for workflow in ("composite", "monthly"):
        done = cwltool("--validate", f"{PACKAGE}#{workflow}", cwd=tmp_path)
        assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_one_period_of_real_scenes(data: Path, tmp_path: Path) -> None:
    scenes = str(data / "s2" / "pt29snd" / "tci")
    asked = ["--scenes", scenes, "--period", "2021", "--layers", "count", "--tile_size", "64"]
    done = cwltool("--no-container", f"{PACKAGE}#composite", *asked, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["composites"]["class"] == "Directory"
    (item,) = pystac.Catalog.from_file(str(tmp_path / "composites" / "catalog.json")).get_items(recursive=True)
    assert item.properties["clearyear:complete"] is True
    with rasterio.open(item.assets["composite"].get_absolute_href()) as dataset:
        assert dataset.shape == (128, 128)


@pytest.mark.slow
def test_periods_side_by_side_in_one_catalogue(data: Path, tmp_path: Path) -> None:
    asked = {
        "scenes": {"class": "Directory", "path": str(data / "s2" / "pt29snd" / "tci")},
        "periods": ["2021-06", "2021-08"],
    }
    (tmp_path / "inputs.yaml").write_text(yaml.safe_dump(asked))
    done = cwltool("--no-container", "--parallel", f"{PACKAGE}#monthly", "inputs.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    items = pystac.Catalog.from_file(str(tmp_path / "composites" / "catalog.json")).get_items(recursive=True)
    assert [i.id for i in items] == ["luminance-median_2021-06--P1M", "luminance-median_2021-08--P1M"]


@pytest.mark.slow
def test_a_step_that_is_not_complete_fails(scenes: Path, poisoned: Path, tmp_path: Path) -> None:
    place = tmp_path / "platform"
    place.mkdir()
    asked = ["--scenes", str(scenes), "--period", "2023"]
    done = cwltool("--no-container", f"{PACKAGE}#composite", *asked, cwd=place)
    assert done.returncode != 0
    assert "permanentFail" in done.stderr
    # cwltool hands over what the step left: its tiles and the report that says why, but nothing published.
    assert not [*place.rglob("*.stac-item.json"), *place.rglob("catalog.json")]
