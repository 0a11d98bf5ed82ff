"""What `import clearyear` offers: its names, and a whole job in this process."""

import ast
import hashlib
import os
import re
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from harness import ROOT
from oracle import luminance_median, read_all
from runs import finished

import clearyear
from clearyear import InputError, Job, compute_window, run
from clearyear.progress import watched_by


def job_of(scenes: Path, out: Path, **keys: Any) -> Job:
    return Job(**{"scenes": str(scenes), "period": "2023", "out": str(out), "tile_size": 16, **keys})


# -- its names -----------------------------------------------------------------------------------------------


def test_every_name_is_there_for_people_programs_and_type_checkers() -> None:
    tree = ast.parse(Path(clearyear.__file__).read_text())
    (checked,) = [n for n in tree.body if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]
    imported = {
        alias.name: node.module for node in checked.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert sorted([*imported, "__version__"]) == clearyear.__all__
    for name, module in imported.items():
        assert getattr(clearyear, name) is getattr(import_module(str(module)), name)
    assert set(clearyear.__all__) <= set(dir(clearyear))
    assert not set(clearyear.__all__) & {path.stem for path in Path(clearyear.__file__).parent.iterdir()}
    with pytest.raises(AttributeError, match=r"^module 'clearyear' has no attribute 'mosiac'$"):
        getattr(clearyear, "mosiac")  # noqa: B009
    with pytest.raises(ImportError):
        exec("from clearyear import mosiac")


def test_an_error_costs_no_gdal() -> None:
    code = "import sys; from clearyear import InputError; print({'numpy', 'rasterio', 'pydantic'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "set()\n"


# -- run -----------------------------------------------------------------------------------------------------


def test_the_example_of_the_reference_runs(scenes: Path, tmp_path: Path) -> None:
    (section,) = re.findall(r"\n## Python\n(.*?)\n## ", (ROOT / "docs" / "reference.md").read_text(), re.DOTALL)
    whole, steps = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    for number, text in enumerate((whole, whole + steps)):
        out = tmp_path / f"out{number}"
        code = text.replace("/data/t31tcj", str(scenes)).replace("/data/composites", str(out))
        names: dict[str, Any] = {}
        exec(compile(code, "reference.md", "exec"), names)
        assert (names["report"].status, names["report"].done) == ("complete", 1)


def test_it_makes_what_the_steps_make_and_prefect_is_not_there(scenes: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from clearyear import Job, run\n"
        f"report = run(Job(scenes={str(scenes)!r}, period='2023', out={str(tmp_path / 'out')!r}, tile_size=16,"
        " workers=3, layers=['count']))\n"
        "print(report.status, report.done, report.expected, report.mosaic, 'prefect' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    mosaic = tmp_path / "out" / "luminance-median" / "2023--P1Y" / "luminance-median_2023--P1Y.tif"
    assert (said.stdout, said.stderr) == (f"complete 12 12 {mosaic} False\n", "")
    with rasterio.open(mosaic) as dataset:
        assert np.array_equal(dataset.read(), luminance_median(read_all(sorted(scenes.glob("*.tif"))))[0])
    plan = finished(scenes, tmp_path / "steps", layers=["count"])
    for name in (plan.mosaic_name(), plan.mosaic_name("count"), *(plan.tile_name(w) for w in plan.windows)):
        same = [
            hashlib.sha256(Path(folder, name).read_bytes()).digest() for folder in (plan.destination, mosaic.parent)
        ]
        assert same[0] == same[1], name


def test_it_goes_on_from_what_is_there_and_tells_how_far_it_is(scenes: Path, tmp_path: Path) -> None:
    job = job_of(scenes, tmp_path / "out", workers=2)
    first = run(job)
    tiles = sorted((Path(first.destination) / "tiles").glob("*.tif"))
    tiles[4].unlink()
    before = {path: path.stat().st_mtime_ns for path in Path(first.destination).rglob("*.tif")}
    heard: list[tuple[str, int, int]] = []
    with watched_by(lambda *said: heard.append(said)):
        report = run(job)
    assert report.status == "complete"
    assert [said for said in heard if said[0] == "windows"] == [("windows", 0, 1), ("windows", 1, 1)]
    touched = {p for p in Path(first.destination).rglob("*.tif") if before.get(p) != p.stat().st_mtime_ns}
    assert touched == {tiles[4], Path(str(report.mosaic))}
    before = {path: path.stat().st_mtime_ns for path in Path(first.destination).rglob("*.tif")}
    assert run(job).status == "complete"
    assert {path: path.stat().st_mtime_ns for path in before} == before, "nothing is left to do"


def test_one_window_that_fails_keeps_no_other_and_is_told(scenes: Path, poisoned: Path, tmp_path: Path) -> None:
    report = run(job_of(scenes, tmp_path / "out"))
    assert (report.status, report.mosaic, report.done) == ("incomplete", None, 11)
    (gap,) = report.not_done
    assert gap.id == "x00016_y00016"
    assert poisoned.stem in gap.cause
    assert report.problem.startswith("11 of 12 windows are done")
    allowed = run(job_of(scenes, tmp_path / "out", allow_missing=True))
    assert (allowed.status, allowed.allowed, allowed.done) == ("incomplete", True, 11)
    assert Path(str(allowed.mosaic)).is_file()


def test_an_interruption_ends_it_soon_and_what_is_published_does_not_call_itself_complete(
    scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_of(scenes, tmp_path / "out", workers=1)
    item = Path(str(run(job).stac_item))
    for path in item.parent.glob("tiles/*.json"):
        path.unlink()

    def unhurried(*arguments: Any, **share: Any) -> Any:
        time.sleep(0.05)  # time for who waits to hear of the one before
        return compute_window(*arguments, **share)

    monkeypatch.setattr("clearyear.batch.compute_window", unhurried)

    def interrupted(what: str, done: int, total: int) -> None:
        if done:
            raise KeyboardInterrupt

    with watched_by(interrupted), pytest.raises(KeyboardInterrupt):
        run(job)
    assert len(list(item.parent.glob("tiles/*.json"))) < 12, "windows that were not begun are not"
    assert not item.exists()
    assert run(job).status == "complete"


def test_a_selection_is_all_that_is_computed(scenes: Path, tmp_path: Path) -> None:
    report = run(job_of(scenes, tmp_path / "out", select=["0", "5"]))
    assert (report.status, report.done) == ("incomplete", 2)
    assert report.problem.endswith("; this run was of a selection of 2 windows")
    assert set(report.causes.values()) == {"not among the 2 windows of this run's selection"}


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        ({"work_pool": "cloud"}, "The job asks for the work pool 'cloud', which Prefect starts"),
        ({"runner": "dask"}, "The job asks for the runner 'dask', which Prefect starts"),
        ({"memory_limit": "100MB"}, "100 MB of memory (memory_limit) cannot hold one row of one block"),
        ({"period": "1999"}, "None of the 7 scenes"),
    ],
)
def test_what_it_cannot_do_is_refused_before_anything_is_written(
    scenes: Path, tmp_path: Path, keys: dict[str, Any], found: str
) -> None:
    with pytest.raises(InputError, match=re.escape(found)):
        run(job_of(scenes, tmp_path / "out", **keys))
    assert not (tmp_path / "out").exists()


def test_the_memory_limit_of_the_job_decides_how_many_windows_at_once(
    scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[dict[str, Any]] = []

    def watched(*arguments: Any, **share: Any) -> Any:
        given.append(share)
        return compute_window(*arguments, **share)

    monkeypatch.setattr("clearyear.batch.compute_window", watched)
    assert run(job_of(scenes, tmp_path / "out", memory_limit="1GiB", select=["0"])).done == 1
    assert given[0]["threads"] == len(os.sched_getaffinity(0))
    assert 0 < given[0]["window_bytes"] < (1 << 30) - 450_000_000
