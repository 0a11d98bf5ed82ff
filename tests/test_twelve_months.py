"""Months of unlike Landsat scenes by the command of the how-to: each pixel worked out again with GDAL and NumPy."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from numpy.typing import NDArray
from unlike import warped

from clearyear.cli import main
from clearyear.grid import Grid

ROOT = Path(__file__).resolve().parents[1]
BANDS = ("B4", "B3", "B2", "B5")


def documented(data: Path, out: Path) -> list[str]:
    """The command's arguments; ``nearest`` beside GDAL's has no tolerance."""
    page = (ROOT / "docs" / "how-to" / "landsat.md").read_text()
    found = re.search(r"<!-- months:.*?-->\n```sh\nclearyear (.*?)```", page, re.S)
    assert found
    words = shlex.split(found[1].replace("\\\n", " "))
    places = {"../shared/data/landsat/L8NY18": str(data / "landsat" / "L8NY18"), "OUT": str(out)}
    return [places.get(word, word) for word in words] + ["--resampling", "nearest"]


def files(data: Path, month: str) -> list[dict[str, Path]]:
    folders = sorted((data / "landsat" / "L8NY18").iterdir())
    seen = [folder for folder in folders if folder.name.split("_")[3][:6] == month.replace("-", "")]
    return [{path.stem.split("_")[-1]: path for path in folder.iterdir()} for folder in seen]


def is_clear(quality: NDArray[Any]) -> NDArray[np.bool_]:
    """USGS's table of Collection 1, bit by bit: fill, cloud, high confidence of shadow, high confidence of cirrus."""
    bad = (quality & 1 > 0) | (quality >> 4 & 1 > 0) | (quality >> 7 & 3 == 3) | (quality >> 11 & 3 == 3)
    return np.asarray(~bad)


def expected(data: Path, month: str, grid: Grid) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """Median and count, (4, H, W) each."""
    stack = []
    for scene in files(data, month):
        clear = is_clear(warped(scene["BQA"], grid, outside=1)[0])
        bands = np.array([warped(scene[band], grid)[0] for band in BANDS], np.float64)
        stack.append(np.where(clear & (bands > 0), bands, np.nan))
    samples = np.array(stack)
    count = np.isfinite(samples).sum(axis=0)
    filled = np.where(count > 0, samples, 0.0)  # nothing but NaN: 0, without a warning
    return np.round(np.nanmedian(filled, axis=0)).astype(np.uint16), count.astype(np.uint16)


def check(data: Path, out: Path, span: list[str], months: list[str]) -> dict[str, Any]:
    done = CliRunner().invoke(main, [*documented(data, out), *span, "--json"])
    said: dict[str, Any] = json.loads(done.stdout)
    assert (done.exit_code, said["status"]) == (0, "complete"), done.output
    assert [period["period"] for period in said["periods"]] == [f"{month}--P1M" for month in months]
    grids = []
    for month, period in zip(months, said["periods"], strict=True):
        if not files(data, month):
            assert (period["state"], period["mosaic"]) == ("no scenes", None)
            assert period["cause"].endswith(f"was taken in {month}--P1M")
            continue
        assert (period["state"], period["done"]) == ("complete", period["expected"])
        plan = json.loads((Path(period["destination"]) / "plan.json").read_text())
        assert len(plan["scenes"]) == len(files(data, month))
        grids.append(plan["grid"])
        median, count = expected(data, month, Grid.model_validate(plan["grid"]))
        with rasterio.open(period["mosaic"]) as mosaic, rasterio.open(f"{period['mosaic'][:-4]}_count.tif") as layer:
            assert np.array_equal(mosaic.read(), median), month
            assert np.array_equal(layer.read(), count), month
        assert count.any()
    assert all(grid == grids[0] for grid in grids), "months that can be laid on one another"
    return said


@pytest.mark.usefixtures("prefect_server")
def test_a_quarter_with_a_month_that_nobody_saw(data: Path, tmp_path: Path) -> None:
    span = ["--span", "2018-02/2018-05"]
    said = check(data, tmp_path, span, ["2018-02", "2018-03", "2018-04"])
    assert said["counts"] == {"no scenes": 1, "complete": 2}
    refused = [word for word in documented(data, tmp_path) if word != "--allow-empty"]
    done = CliRunner().invoke(main, [*refused, *span, "--json"])
    assert done.exit_code == 2, "not one period came to anything"
    assert json.loads(done.stdout)["counts"] == {"no scenes": 1, "not begun": 2}
    done = CliRunner().invoke(main, [*refused, *span, "--json", "--continue-on-failure"])
    assert done.exit_code == 3
    assert [period["there"] for period in json.loads(done.stdout)["periods"]] == [False, True, True]


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_server")
def test_twelve_months(data: Path, tmp_path: Path) -> None:
    said = check(data, tmp_path, [], [f"2018-{month:02}" for month in range(1, 13)])
    assert said["counts"] == {"complete": 11, "no scenes": 1}
