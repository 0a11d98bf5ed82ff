"""The main job on real Sentinel-2 imagery, against an oracle that shares no code with it."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pytest
import rasterio

from clearyear.job import Job

pytestmark = pytest.mark.usefixtures("prefect_server")


def compose(**values: Any) -> dict[str, Any]:
    """Run the flow; the outcome, complete."""
    from flows.median_composite import median_composite

    job = Job(layers=["count", "source"], **values)
    state: Any = median_composite(job, return_state=True)
    outcome: dict[str, Any] = state.result()
    assert outcome["status"] == "complete"
    return outcome


def pixels(uri: str) -> Any:
    with rasterio.open(uri) as dataset:
        return dataset.read()


@pytest.fixture(scope="module")
def portugal(data: Path) -> tuple[list[Path], tuple[Any, Any, Any]]:
    """Thirty dates of 2021 and what their composite must be."""
    paths = sorted((data / "s2" / "pt29snd" / "tci").glob("*.tif"))
    return paths, oracle.luminance_median(oracle.read_all(paths))


@pytest.mark.parametrize(
    ("tile_size", "workers", "windows"), [(64, 1, 4), (64, 4, 4), (50, 2, 9), (100, 2, 4), (128, 2, 1)]
)
def test_portugal_equals_the_oracle(
    portugal: tuple[list[Path], Any], tmp_path: Path, tile_size: int, workers: int, windows: int
) -> None:
    paths, (composite, count, source) = portugal
    outcome = compose(
        scenes=str(paths[0].parent), period="2021", out=str(tmp_path), tile_size=tile_size, workers=workers
    )
    assert (outcome["expected"], outcome["ok"]) == (windows, windows)
    assert np.array_equal(pixels(outcome["mosaic"]), composite)
    assert np.array_equal(pixels(outcome["layers"]["count"])[0], count)
    assert np.array_equal(pixels(outcome["layers"]["source"])[0], source)


def test_order_of_the_list_changes_nothing(portugal: tuple[list[Path], Any], tmp_path: Path) -> None:
    paths, (composite, _, source) = portugal
    shuffled = [str(path) for path in paths]
    random.Random(3).shuffle(shuffled)
    outcome = compose(scenes=shuffled, period="2021", out=str(tmp_path), tile_size=64)
    assert np.array_equal(pixels(outcome["mosaic"]), composite)
    assert np.array_equal(pixels(outcome["layers"]["source"])[0], source)


def test_clipped_edges_on_a_swath_border(data: Path, tmp_path: Path) -> None:
    folder = data / "s2" / "hr33twl" / "tci"
    composite, count, source = oracle.luminance_median(oracle.read_all(sorted(folder.glob("*.tif"))))
    outcome = compose(scenes=str(folder), period="2023", out=str(tmp_path), tile_size=256)
    assert outcome["expected"] == outcome["ok"] + len(outcome["empty"]) == 8
    assert np.array_equal(pixels(outcome["mosaic"]), composite)
    assert np.array_equal(pixels(outcome["layers"]["count"])[0], count)
    assert np.array_equal(pixels(outcome["layers"]["source"])[0], source)


def test_band_median_of_reflectance(data: Path, tmp_path: Path) -> None:
    folder = data / "s2" / "pt29snd" / "refl"
    stack = oracle.read_all(sorted(folder.glob("*.tif")))
    from flows.median_composite import median_composite

    job = Job(scenes=str(folder), period="2021", out=str(tmp_path), tile_size=100, reducer="band-median")
    state: Any = median_composite(job, return_state=True)
    outcome = state.result()
    assert np.array_equal(pixels(outcome["mosaic"]), oracle.band_median(stack, stack != 0, 0))
