"""How many valid samples pixels had: counted by windows, the same however these are cut."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from runs import finished

from clearyear.completeness import Status, check_plan
from clearyear.observations import Observations, histogram, summary
from clearyear.plan import Plan
from clearyear.publish import survey
from clearyear.report import Report
from clearyear.stores import open_store


def plainly(count: NDArray[Any]) -> dict[str, float]:
    """NumPy's own answer, of all pixels at once."""
    most = count.max(axis=0)
    seen = most[most > 0]
    return {
        "least": seen.min(),
        "median": float(np.median(seen)),
        "most": seen.max(),
        "few_share": round(float((seen < 3).mean()), 6),
        "pixels": seen.size,
    }


def forget(plan: Plan, number: int) -> None:
    """Make a window's record one of a version that did not count."""
    path = Path(plan.destination) / plan.record_name(plan.windows[number])
    record = json.loads(path.read_text())
    assert record.pop("observations")
    path.write_text(json.dumps(record))


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 300, 500), (3, 700, 257), (1, 3, 70_000)])
def test_a_histogram_is_numpys(shape: tuple[int, int, int]) -> None:
    count = np.random.default_rng(1).binomial(7, 0.4, shape).astype(np.uint16)
    values, pixels = np.unique(count.max(axis=0), return_counts=True)
    found = histogram(count)
    assert list(found.items()) == list(zip(values.tolist(), pixels.tolist(), strict=True))


def test_a_histogram_of_what_plugins_may_return() -> None:
    values = np.array([[[-1, 0, 0.5, 2, np.nan, 1e9]]])
    assert histogram(values.astype(np.float32)) == {0: 3, 1: 1, 2: 1, 65_535: 1}
    assert histogram(np.array([[[-5, 0, 7, 1 << 30]]], np.int32)) == {0: 2, 7: 1, 65_535: 1}


@pytest.mark.parametrize("seed", range(20))
def test_a_summary_is_numpys_of_all_windows_in_any_order(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = rng.binomial(rng.integers(1, 40), rng.uniform(0.02, 0.9), (1, rng.integers(1, 30), 24)).astype(np.uint16)
    count[0, 0, 0] = 1
    parts = [histogram(part) for part in np.array_split(count, 4, axis=2)]
    found = summary(parts)
    assert found is not None
    assert found.model_dump() == {**plainly(count), "windows": 4}
    assert summary(reversed(parts)) == found


def test_a_summary_of_nothing() -> None:
    assert summary([]) is summary([{}]) is summary([{0: 9}]) is None


@pytest.mark.parametrize("job", [{"layers": ["count"]}, {"reducer": "band-median", "layers": ["count"]}, {}])
def test_the_report_says_what_the_count_layer_holds(scenes: Path, tmp_path: Path, job: dict[str, Any]) -> None:
    plan = finished(scenes, tmp_path / "out", **job)
    report = survey(plan)
    found = report.observations
    counted = plan if job else finished(scenes, tmp_path / "counted", layers=["count"])
    with rasterio.open(Path(counted.destination) / counted.mosaic_name("count")) as dataset:
        wanted = plainly(dataset.read())
    assert found == Observations(**wanted, windows=12)  # type: ignore[arg-type]
    assert json.loads((Path(plan.destination) / "report.json").read_text())["observations"] == found.model_dump()
    line = f"| valid samples of such a pixel | {found.least} to {found.most}, median {found.median:g}; "
    assert f"{line}{found.few_share:.2%} have fewer than 3 |" in (Path(plan.destination) / "report.md").read_text()
    whole = survey(finished(scenes, tmp_path / "whole", **{**job, "tile_size": 64})).observations
    assert whole == found.model_copy(update={"windows": 1}), "however it is cut"


def test_records_of_versions_that_did_not_count(scenes: Path, tmp_path: Path) -> None:
    plan = finished(scenes, tmp_path / "out")
    whole = survey(plan).observations
    forget(plan, 3)
    report = survey(plan)
    assert report.status == "complete", "the tile is as good as ever"
    assert whole is not None
    assert report.observations is not None
    assert (report.observations.windows, report.observations.pixels < whole.pixels) == (11, True)
    text = (Path(plan.destination) / "report.md").read_text()
    assert "have fewer than 3 (not counted by the version that made 1 of the windows) |" in text
    for number in {*range(12)} - {3}:
        forget(plan, number)
    assert survey(plan).observations is None
    assert "| valid samples of such a pixel | not known |" in (Path(plan.destination) / "report.md").read_text()
    document = json.loads((Path(plan.destination) / "report.json").read_text())
    del document["observations"]
    assert Report.model_validate(document).observations is None, "reports of these versions are read as well"


@pytest.mark.parametrize("wrong", [{"5": 0}, {"5": -1}, {"-1": 3}, {"many": 3}])
def test_a_record_with_what_cannot_be_is_none(scenes: Path, tmp_path: Path, wrong: dict[str, int]) -> None:
    plan = finished(scenes, tmp_path / "out")
    path = Path(plan.destination) / plan.record_name(plan.windows[0])
    path.write_text(json.dumps({**json.loads(path.read_text()), "observations": wrong}))
    status = check_plan(plan, open_store(plan.destination))[0]
    assert (status.status, status.cause.partition("tiles/")[0]) == (Status.MISSING, "its record ")
