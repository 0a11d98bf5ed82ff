"""What the documents claim of files, commands and keys is there."""

import re
from pathlib import Path

import click
import pytest

from clearyear.cli import main
from clearyear.job import Job
from clearyear.lights.job import LightsJob
from clearyear.zonal.job import STATISTICS

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md")]
PAGES += sorted((ROOT / "docs").rglob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
        assert "://" in target or (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_commands_exist_with_their_options(page: Path) -> None:
    shown = "\n".join(re.findall(r"```(?:sh|yaml)\n(.*?)```", page.read_text(), re.S))
    for verb, rest in re.findall(r"(?:^|[;:] )clearyear ([a-z]+)([^#;\n]*)", shown, re.M):
        command = main.commands.get(verb)
        assert isinstance(command, click.Command), f"clearyear {verb}"
        options = {name for param in command.params for name in param.opts}
        for option in re.findall(r"(--[a-z-]+)", rest):
            assert option in options, f"clearyear {verb} {option}"


def test_every_key_of_a_job_is_explained() -> None:
    text = (ROOT / "docs" / "reference.md").read_text()
    rows = re.findall(r"^\| `([a-z_]+)` \|", text, re.M)
    assert set(Job.model_fields) == set(rows)


def test_every_key_of_the_other_jobs_is_explained() -> None:
    text = (ROOT / "docs" / "how-to" / "night-lights.md").read_text()
    rows = set(re.findall(r"^\| ([a-z_]+) \|", text.partition("## What a month can be")[0], re.M)) - {"key"}
    assert rows == set(LightsJob.model_fields)
    text = (ROOT / "docs" / "how-to" / "zonal.md").read_text()
    rows = {name for cell in re.findall(r"^\| ([a-z_, ]+) \|", text, re.M) for name in cell.split(", ")} - {"column"}
    assert rows == set(STATISTICS)


def test_readme_begins_with_the_two_commands() -> None:
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert [line.split("#")[0].split() for line in blocks[0].splitlines()] == [
        ["python3", "scripts/dev.py", "demo"],
        ["python3", "scripts/dev.py", "test"],
    ]


@pytest.mark.parametrize("page", ["README.md", "docs/prefect.md"])
def test_what_each_terminal_needs_stands_in_its_block(page: str) -> None:
    """Read from top to bottom, a block is all that is typed into one terminal."""
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / page).read_text(), re.S)
    server, setup, run = (
        next(block for block in blocks if command in block)
        for command in ("prefect server start", "prefect worker start", "prefect deployment run 'median-composite")
    )
    for block in (server, setup, run):
        assert block.startswith(". .venv/bin/activate\n")
    for block in (setup, run):
        assert block.index("export PREFECT_API_URL=http://127.0.0.1:4200/api\n") < block.index("\nprefect ")
    annual = set(re.findall(r"(CLEARYEAR_(?:SCENES|OUT))=", setup.partition("deploy --all")[0]))
    assert annual == {"CLEARYEAR_SCENES", "CLEARYEAR_OUT"}, "else the yearly schedule is active and can only fail"


def test_nothing_is_installed_from_where_it_is_not() -> None:
    """clearyear is on no package index: what is told to be installed is the checkout."""
    told = [*PAGES, *ROOT.glob("src/**/*.py"), *ROOT.glob("flows/*.py")]
    assert len(told) > 100
    assert [path.name for path in told if re.search(r"pip install [^`\n]*clearyear\[", path.read_text())] == []


def test_architecture_stays_short() -> None:
    assert len((ROOT / "ARCHITECTURE.md").read_text().splitlines()) < 150
