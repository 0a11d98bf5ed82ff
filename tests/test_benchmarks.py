"""The benchmarks run, and what the documents quote of them is what they gave."""

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clearyear.reading import sources

ROOT = Path(__file__).resolve().parents[1]
BENCHMARKS = ROOT / "benchmarks"
RESULTS = BENCHMARKS / "results"


@pytest.fixture(autouse=True)
def benchmarks_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def load(name: str) -> Any:
    return importlib.import_module(name)


def run(script: str, *arguments: str | Path) -> str:
    command = [sys.executable, str(BENCHMARKS / script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stack")
    run("stack.py", folder, "--scenes", "4", "--size", "256")
    return folder


# The smallest form of every benchmark; STACK stands for four scenes of 256². A script that measures gets a line here.
SMALLEST = [
    ("window.py", "STACK", "--runs", "1", "--ways", "floor", "band-median"),
    ("parity.py", "STACK"),
    ("grid.py", "LANDSAT"),
]


@pytest.mark.parametrize("command", SMALLEST, ids=lambda c: c[0])
def test_it_runs_and_prints_a_table_without_any_peer(
    command: tuple[str, ...], stack: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setenv("CLEARYEAR_BENCH_ENVS", "/nowhere/at/all")
    script, *arguments = command
    places = {"STACK": stack}
    if "LANDSAT" in arguments:
        places["LANDSAT"] = request.getfixturevalue("data") / "landsat" / "L8NY18"
    said = run(script, *(places.get(a, a) for a in arguments))
    assert re.search(r"^\|[-|]+\|$", said, re.M)


def test_rounds_add_up_in_the_file_and_never_mix_with_others(stack: Path, tmp_path: Path) -> None:
    window, saved = load("window"), tmp_path / "rounds.json"
    first = window.measure(stack, ["decode"], 1, 0, saved)
    assert len(window.measure(stack, ["decode"], 1, 0, saved)["rounds"]) == 2
    saved.write_text(json.dumps(first | {"scenes": 5}))
    with pytest.raises(SystemExit, match="something else"):
        window.measure(stack, ["decode"], 1, 0, saved)


def test_all_our_ways_run_and_agree_with_the_peer_that_needs_no_other_environment(
    stack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    window, ways, paths = load("window"), load("ways"), sorted(stack.glob("T*.tif"))
    assert len(paths) == 4
    found = {way: make(paths)() for way, make in ways.WAYS.items()}
    assert found.pop("floor") is found.pop("decode") is None
    monkeypatch.setenv("CLEARYEAR_READER", "gdal")
    sources._source_of.cache_clear()
    found["fallback"] = ways.WAYS["luminance-median"](paths)()
    sources._source_of.cache_clear()
    peer = load("peers.rasterio_numpy")
    found |= {"numpy": peer.median(paths, False), "numpy-bands": peer.median(paths, True)}
    assert [window.differing(way, found) for way in ("fallback", "numpy", "numpy-bands")] == [0, 0, 0]
    assert np.any(found["numpy"] % 1 == 0.5), "four scenes have even counts"


def test_a_peer_that_computes_something_else_is_found_out() -> None:
    differing = load("window").differing
    exact = np.array([1.0, 2.5, 3.5, np.nan])
    ours = np.array([1, 2, 4, 0], np.uint8)  # halves to even
    up = np.array([1, 3, 4, 0], np.uint8)  # GDAL's
    both = {"band-median": ours, "numpy": exact}
    assert differing("numpy", both) == 0
    assert differing("numpy", {"band-median": ours, "numpy": exact + np.array([0, 1, 0, 0])}) == 1
    assert differing("gdal-vrt", both | {"gdal-vrt": up}) == 0
    assert differing("gdal-vrt", both | {"gdal-vrt": ours}) == 1
    # With nothing exact beside it only what no rounding explains is found.
    alone = {"band-median": ours}
    assert differing("gdal-vrt", alone | {"gdal-vrt": up}) == 0
    assert differing("gdal-vrt", alone | {"gdal-vrt": up + np.array([2, 0, 2, 0], np.uint8)}) == 2
    assert differing("fallback", {"luminance-median": ours, "fallback": up}) == 1


def test_bars_are_cleared_by_ratios_of_one_round() -> None:
    window = load("window")

    def one(floor: float, ours: float, theirs: float) -> dict[str, Any]:
        figures = {"floor": floor, "luminance-median": ours, "band-median": ours, "odc-stac": theirs}
        return {"load": 0, "ways": {way: {"seconds": s, "cpu": s, "peak": 1e8} for way, s in figures.items()}}

    # Slow rounds are slow for both sides: the ratio holds where a ratio of medians would not.
    rounds = [one(1, 2, 80), one(10, 20, 800), one(1, 2.1, 60)]
    said = window.bars({"stack_bytes": 679_477_248, "rounds": rounds})
    assert "| luminance-median at most 2.2 × the floor | 2.00 (2.00 … 2.10) | cleared |" in said
    assert "| at least 35 × odc-stac + xarray | 40 (29 … 40) | cleared |" in said
    assert "np.ma.median" not in said
    assert "**not cleared**" in window.bars({"stack_bytes": 679_477_248, "rounds": [one(1, 3, 10)]})


def test_locks_are_pinned_with_hashes_and_name_no_address() -> None:
    locks = sorted((BENCHMARKS / "peers").glob("*.lock"))
    assert {environment for environment, _, _ in load("window").SCRIPTS.values() if environment} <= {
        lock.stem for lock in locks
    }
    for lock in locks:
        text = lock.read_text()
        assert "://" not in text
        assert "--index" not in text
        pinned = re.findall(r"^[a-z0-9-]+==\S+.*?(?=^[a-z0-9-]+==|\Z)", text, re.M | re.S)
        assert pinned
        assert all("--hash=sha256:" in package for package in pinned)


def test_pages_hold_what_was_measured() -> None:
    pages = load("pages")
    for path in sorted((ROOT / "docs").rglob("*.md")):
        page = path.read_text()
        assert pages.written(page) == page, f"{path.name}: python benchmarks/pages.py write"
    assert "<!-- scaling: " in (ROOT / "docs" / "scaling.md").read_text()


def test_a_page_that_was_changed_by_hand_is_found_out() -> None:
    pages = load("pages")
    page = (ROOT / "docs" / "scaling.md").read_text()
    changed = page.replace("| windows = task runs | 121 |", "| windows = task runs | 122 |")
    assert changed != page
    assert pages.written(changed) == page


def test_scaling_follows_from_the_window() -> None:
    scaling = load("scaling")
    results = json.loads((RESULTS / "window.json").read_text())
    one = scaling.granule_of(results)
    assert (one.scenes, one.windows) == (216, 121)
    assert one.full_windows == pytest.approx(114.98, abs=0.01)
    assert one.reads(1) == 216 * 121
    core_seconds = [r["ways"]["luminance-median"]["cpu"] for r in results["rounds"]]
    assert one.compute_seconds == pytest.approx(float(np.median(core_seconds)) * one.full_windows / 2)
    # 22 GB at 1 Gbit/s; a job is no faster than the slower of network and cores.
    assert one.network_seconds == pytest.approx(176)
    assert one.job_seconds == pytest.approx(20 + max(176, one.compute_seconds) + scaling.assumed("mosaic"))
    assert one.job_usd == pytest.approx(one.job_seconds * (2 * 18e-6 + 2 * 2e-6))


def test_what_breaks_first_stands_first() -> None:
    scaling = load("scaling")
    one = scaling.Granule(scenes=216, core_seconds=1.8, windows=121, full_windows=115)
    jobs = [at for at, _, _ in scaling.limits(one)]
    assert jobs == sorted(jobs)
    task_runs_a_second = 121 / one.job_seconds
    assert 10 / task_runs_a_second in jobs
    assert 5000 / (216 * 121 * scaling.assumed("reads_tuned") / one.job_seconds) in jobs


def test_every_assumption_names_its_source_and_is_used() -> None:
    scaling = load("scaling")
    text = (BENCHMARKS / "scaling.py").read_text()
    for name, row in scaling.ASSUMED.items():
        assert row["source"]
        assert row["unit"]
        assert float(row["value"]) > 0
        assert f'assumed("{name}")' in text or f"assumed('{name}')" in text, name


def test_every_script_stands_in_the_readme() -> None:
    text = (BENCHMARKS / "README.md").read_text()
    for path in BENCHMARKS.glob("*.py"):
        assert f"`{path.name}" in text or f" {path.name}" in text or f"/{path.name} " in text, path.name
