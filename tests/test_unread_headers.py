"""A scene whose header could not be read when its plan was made is no part of the result, even if it can be read later:
nobody has seen where it lies, what its numbers mean, in which order its bands stand or whether it has a mask."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from conftest import write_scene

from clearyear import run
from clearyear.errors import ReadError
from clearyear.job import Job
from clearyear.scenes import headers

BANDS = ("red", "green", "nir")


def scenes_of(folder: Path) -> Path:
    """Three scenes alike, of which the last shows what no other does."""
    for month, value in ((1, 10), (2, 10), (3, 30)):
        path = write_scene(folder / f"s_2023{month:02d}15.tif", np.full((3, 32, 32), value, np.uint16))
        with rasterio.open(path, "r+") as dataset:
            dataset.descriptions, dataset.scales, dataset.offsets = BANDS, (0.0001,) * 3, (0.0,) * 3
    return path


def hide(path: Path) -> None:
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as dataset:
        dataset.write_mask(np.zeros((32, 32), bool))


def turn_bands(path: Path) -> None:
    with rasterio.open(path, "r+") as dataset:
        dataset.descriptions = BANDS[::-1]


def scale(path: Path) -> None:
    with rasterio.open(path, "r+") as dataset:
        dataset.scales = (0.1,) * 3


def move(path: Path) -> None:
    with rasterio.open(path, "r+") as dataset:
        dataset.transform = Affine.translation(600_000, 0) * dataset.transform


@pytest.mark.parametrize("change", [hide, turn_bands, scale, move])
def test_it_stays_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None]) -> None:
    odd = scenes_of(tmp_path / "scenes")
    change(odd)
    real = headers.read_header

    def closed_for_a_while(uri: str) -> Any:
        if uri == str(odd):
            raise ReadError("HTTP response code: 503", uri=uri)
        return real(uri)

    monkeypatch.setattr(headers, "read_header", closed_for_a_while)
    job: dict[str, Any] = {
        "reducer": "band-median",
        "bands": ["red", "nir"],
        "layers": ["count"],
        "max_failed_reads": 1,
    }
    report = run(Job(scenes=str(odd.parent), period="2023", out=str(tmp_path / "out"), tile_size=32, **job))
    assert (report.status, report.failed_reads) == ("complete", 1)
    assert [(f.scene, f.cause) for f in report.failed_scenes] == [
        (odd.stem, "could not be opened when the plan was made")
    ]
    with rasterio.open(report.layers["count"]) as counts, rasterio.open(str(report.mosaic)) as mosaic:
        assert np.all(counts.read(1) == 2)
        assert np.all(mosaic.read() == 10)
