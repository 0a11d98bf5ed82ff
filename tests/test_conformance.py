"""GeoTIFFs of every awkward kind, each as a scene: the pixels are right, or it is refused or fails by name."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from conftest import DATA
from numpy.typing import NDArray

from clearyear.errors import InputError
from clearyear.job import Job
from clearyear.plan import Plan
from clearyear.prepare import make_plan
from clearyear.reading import sources
from clearyear.reading.stack import FailedRead, read_stack

FOLDER = DATA / "conformance"

REFUSED = {
    "ungarj__invalid.tif": "1 of 1 scenes cannot be opened: ungarj__invalid (",
    "cogeotiff__image_nan.tif": "band-median cannot use these scenes: they have 1 bands of float64",
}
FAILED = {"rasterio__corrupt.tif", "rouault__byte_truncated.tif"}
"""These open, and some of their blocks cannot be read."""


def files() -> list[str]:
    if not (FOLDER / "manifest.csv").exists():
        return []
    with (FOLDER / "manifest.csv").open() as table:
        return [row["file"] for row in csv.DictReader(table) if row["file"].endswith(".tif")]


@pytest.fixture(params=["auto", "gdal"])
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEARYEAR_READER", request.param)
    sources._source_of.cache_clear()


def plan_of(name: str, folder: Path) -> Plan:
    """The plan of one scene; its name tells no date, a manifest does."""
    manifest = folder / "scenes.csv"
    manifest.write_text(f"uri,datetime\n{FOLDER / name},2023-01-01\n")
    return make_plan(Job(scenes=str(manifest), period="all", out=str(folder), reducer="band-median", tile_size=1024))


def pixels_of(plan: Plan) -> tuple[list[NDArray[Any]], list[FailedRead]]:
    """The first windows of the scene, which for most are all; and what could not be read."""
    found, failed = [], []
    for window in plan.windows[:4]:
        stack, _, failures = read_stack(
            plan.scenes, plan.grid, window, n_bands=plan.product.n_bands, dtype=plan.product.dtype
        )
        found += list(stack.copy())
        failed += failures
    return found, failed


@pytest.mark.usefixtures("data", "reader")
@pytest.mark.parametrize("name", files())
def test_right_or_refused_by_name(name: str, tmp_path: Path) -> None:
    if name in REFUSED:
        with pytest.raises(InputError) as caught:
            plan_of(name, tmp_path)
        assert REFUSED[name] in str(caught.value)
        return
    plan = plan_of(name, tmp_path)
    found, failed = pixels_of(plan)
    if name in FAILED:
        assert {(f.scene, f.uri) for f in failed} == {(Path(name).stem, str(FOLDER / name))}
        assert all(f.cause for f in failed)
        return
    assert not failed
    with rasterio.open(FOLDER / name) as dataset:
        for window, pixels in zip(plan.windows[:4], found, strict=True):
            place = rasterio.windows.Window(window.col_off, window.row_off, window.width, window.height)
            assert np.array_equal(pixels, dataset.read(window=place), equal_nan=True)


@pytest.mark.usefixtures("data")
def test_all_of_them_are_there() -> None:
    assert len(files()) == 29
