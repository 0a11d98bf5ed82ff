"""The verbs over a destination that holds several runs: each is told of, and one that fails keeps no other from it."""

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from runs import finished
from verbs_run import CONTRACT, clearyear, last_json

from clearyear.catalog import write_catalog
from clearyear.errors import InputError
from clearyear.job import Job
from clearyear.plan import Plan
from clearyear.prepare import prepare
from clearyear.runs import find_run, find_runs
from clearyear.stores import open_store

YEAR, MARCH, COUNT = "luminance-median/2023--P1Y", "luminance-median/2023-03--P1M", "clear-count/2023--P1Y"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def year(scenes: Path, out: Path) -> Plan:
    """Complete."""
    return finished(scenes, out)


@pytest.fixture
def march(scenes: Path, out: Path) -> Plan:
    """Not begun."""
    return prepare(Job(scenes=str(scenes), period="2023-03", out=str(out), tile_size=16))


def broken(out: Path) -> None:
    """A third run, whose plan nobody can read."""
    (out / COUNT).mkdir(parents=True)
    (out / COUNT / "plan.json").write_text("{}")


def of_each(result: Result) -> dict[str, Any]:
    found = last_json(result)
    assert set(found) == {"runs"}
    return {run["run"]: run for run in found["runs"]}


# -- which there are -----------------------------------------------------------------------------------------


def test_all_runs_of_a_destination_of_a_product_and_a_runs_own(year: Plan, march: Plan, out: Path) -> None:
    broken(out)
    (out / "luminance-median" / "2023--P1Y" / "a" / "b").mkdir(parents=True)
    (out / "luminance-median" / "2023--P1Y" / "a" / "b" / "plan.json").write_text("no run's")
    assert find_runs(f"{out}/") == [f"{out}/{name}" for name in (COUNT, YEAR, MARCH)]
    assert find_runs(f"{out}/luminance-median") == [year.destination, march.destination]
    assert find_runs(march.destination) == [march.destination]
    assert find_run(f"{out}/clear-count") == f"{out}/{COUNT}"


def test_a_folder_that_may_not_be_listed_is_left_out(
    year: Plan, out: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A disk's lost+found; root may list it, so the system's answer is given here."""
    (out / "lost+found").mkdir()
    scan = os.scandir

    def refuse(path: Any) -> Any:
        if str(path).endswith(("lost+found", "closed")):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert find_runs(str(out)) == [year.destination]
    assert write_catalog(str(out))["collections"] == {"luminance-median": 1}
    assert "lost+found is left out: it may not be listed" in caplog.text
    with pytest.raises(InputError, match=r"Cannot list .*lost\+found: Permission denied"):
        open_store(str(out)).entries()
    (out / "closed").mkdir()
    with pytest.raises(InputError, match=r"Cannot list .*closed: Permission denied"):
        find_runs(str(out / "closed"))


@pytest.mark.parametrize("arguments", [("mosaic", ""), ("preview", "a.jpg")])
@pytest.mark.usefixtures("year", "march")
def test_where_one_is_meant_its_folder_is_asked_for(arguments: tuple[str, str], out: Path) -> None:
    verb, target = arguments
    for place, names in ((out, (YEAR, MARCH)), (out / "luminance-median", ("2023--P1Y", "2023-03--P1M"))):
        result = clearyear(verb, place, *([out / target] if target else []))
        assert (result.exit_code, result.stdout) == (2, "")
        assert f"{place} holds 2 runs: {', '.join(names)}. Wanted: one. What to do: give one of these" in result.stderr


# -- report, validate, preview -------------------------------------------------------------------------------


def test_a_report_of_several(year: Plan, march: Plan, out: Path) -> None:
    alone = {plan.destination: last_json(clearyear("report", plan.destination, "--json")) for plan in (year, march)}
    for place in (out, out / "luminance-median"):
        result = clearyear("report", place, "--json")
        assert (result.exit_code, result.stderr) == (3, "")
        assert of_each(result) == {run: {"run": run, **found} for run, found in alone.items()}
    assert clearyear("report", out, "--allow-missing").exit_code == 0
    lines = clearyear("report", out).stdout.splitlines()
    assert lines[:2] == [f"{YEAR}:", "complete: 12 of 12 windows are there"]
    assert lines[(second := lines.index(f"{MARCH}:")) - 1 : second + 2 : 2] == [
        "",
        "incomplete: 0 of 12 windows are there",
    ]
    assert (Path(march.destination) / "report.json").is_file()


@pytest.mark.usefixtures("year", "march")
def test_the_worst_exit_code_counts_and_the_others_are_told_all_the_same(out: Path) -> None:
    broken(out)
    found = of_each(result := clearyear("report", out, "--json"))
    assert result.exit_code == 2, "wrong input over incomplete"
    assert [run["status"] for run in found.values()] == ["failed", "complete", "incomplete"]
    assert all(run.keys() >= CONTRACT for run in found.values())
    assert "is no plan this version can use" in found[f"{out}/{COUNT}"]["error"]
    assert result.stderr == f"Error in {COUNT}: {found[f'{out}/{COUNT}']['error']}\n"
    assert clearyear("report", out).stdout.startswith(f"{COUNT}:\n\n{YEAR}:\ncomplete: ")
    found = of_each(result := clearyear("validate", out, "--json"))
    assert result.exit_code == 1, "not sound over wrong input"
    assert [run.get("valid") for run in found.values()] == [None, True, False]
    assert f"\n{YEAR}:\n{out}/{YEAR} is valid\n" in clearyear("validate", out).stdout


@pytest.mark.usefixtures("march")
def test_a_preview_of_each(year: Plan, out: Path) -> None:
    standard = Path(year.destination) / year.preview_name
    standard.unlink()
    found = of_each(result := clearyear("preview", out, "--json"))
    assert result.exit_code == 2, "one has no mosaic"
    assert found[year.destination] == {"run": year.destination, "preview": str(standard)}
    assert standard.is_file()
    assert f"There is no picture to make of {out}/{MARCH}" in found[f"{out}/{MARCH}"]["error"]


# -- repair --------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("prefect_server")
def test_repair_of_several_does_what_is_not_complete(year: Plan, march: Plan, out: Path) -> None:
    broken(out)
    april = Path(march.destination).with_name("2023-04--P1M")
    april.mkdir()
    for path in Path(march.destination).glob("*.*"):
        (april / path.name).write_bytes(path.read_bytes())
    kept = {path: path.stat().st_mtime_ns for path in Path(year.destination).rglob("*.tif")}
    found = of_each(result := clearyear("repair", out, "--json"))
    assert result.exit_code == 2, "of the one whose plan cannot be read"
    statuses = {run.removeprefix(f"{out}/"): each["status"] for run, each in found.items()}
    assert statuses == {
        COUNT: "failed",
        YEAR: "complete",
        MARCH: "complete",
        f"luminance-median/{april.name}": "complete",
    }
    assert {path: path.stat().st_mtime_ns for path in Path(year.destination).rglob("*.tif")} == kept
    assert json.loads((Path(march.destination) / "report.json").read_text())["status"] == "complete"


@pytest.mark.usefixtures("year", "no_prefect")
def test_repair_of_runs_that_are_complete_starts_nothing(scenes: Path, out: Path) -> None:
    finished(scenes, out, reducer="clear-count")
    result = clearyear("repair", out)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.count("complete: 12 of 12 windows are there") == 2
