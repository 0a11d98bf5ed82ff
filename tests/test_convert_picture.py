"""The JPEG of an image: stretched between percentiles of what is valid, with the bands that are meant."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from conftest import write_scene
from conversions import RNG, convert, picture_of
from PIL import Image as Pillow
from rasterio.enums import ColorInterp

from clearyear.convert.picture import Bands, choose_bands
from clearyear.convert.raster import open_source
from clearyear.convert.stretch import Stretch, percentiles
from clearyear.errors import InputError

# -- the picture -------------------------------------------------------------------------------------------------


def test_the_picture_shows_the_image(tmp_path: Path) -> None:
    ramp = np.broadcast_to(np.arange(256, dtype=np.uint8), (256, 256))
    pixels = np.stack([ramp, ramp.T, ramp[::-1, ::-1], np.zeros_like(ramp)])
    path = write_scene(tmp_path / "a.tif", pixels, nodata=None, photometric="RGB", alpha="YES")
    convert(path, tmp_path / "out")
    with Pillow.open(tmp_path / "out" / "a.jpg") as picture:
        shown = np.moveaxis(np.asarray(picture), 2, 0).astype(int)
    assert np.abs(shown - pixels[:3]).mean() < 3


def test_a_palette_is_expanded(tmp_path: Path) -> None:
    numbers = np.repeat(np.repeat(np.arange(16, dtype=np.uint8).reshape(1, 4, 4), 16, axis=1), 16, axis=2)
    path = write_scene(tmp_path / "a.tif", numbers, nodata=None)
    colours = {n: (16 * n, 255 - 16 * n, 80, 255) for n in range(16)}
    with rasterio.open(path, "r+") as dataset:
        dataset.write_colormap(1, colours)
    assert picture_of(convert(path, tmp_path / "out")).palette
    with Pillow.open(tmp_path / "out" / "a.jpg") as picture:
        shown = np.asarray(picture)[8::16, 8::16].reshape(16, 3).astype(int)
    assert np.abs(shown - [colours[n][:3] for n in range(16)]).max() < 12


@pytest.mark.parametrize("dtype", ["int16", "uint16", "float32", "float64", "int64"])
def test_the_stretch_is_between_the_percentiles_of_what_is_valid(dtype: str, tmp_path: Path) -> None:
    values = RNG.normal(100, 4000, (3, 137, 91))
    pixels = np.abs(values).astype(dtype) if dtype == "uint16" else values.astype(dtype)
    pixels[:, :40, :40] = 7
    if dtype.startswith("float"):
        pixels[1, 50:60, :] = np.nan
        pixels[2, 90, 3] = np.inf
    path = write_scene(tmp_path / "a.tif", pixels, nodata=7)
    record = convert(path, tmp_path / "out")
    valid = np.isfinite(pixels).all(axis=0) & (pixels != 7).all(axis=0)
    seen = np.sort(pixels[:, valid].ravel())
    expected = tuple(float(np.float32(seen[(seen.size - 1) * percent // 100])) for percent in (2, 98))
    assert picture_of(record).stretch == expected
    with open_source(path, None) as source:
        assert percentiles(source, (1, 2, 3)) == expected
    shown = Stretch(*expected)(pixels, valid)
    assert (shown[:, ~valid] == 0).all()
    assert shown[:, valid].min() == 1
    assert shown[:, valid].max() == 255
    middle = (pixels > expected[0]) & (pixels < expected[1]) & valid
    exact = 1 + 254 * (pixels[middle].astype(float) - expected[0]) / (expected[1] - expected[0])
    assert np.abs(shown[middle] - exact).max() <= 0.5
    written = json.loads((tmp_path / "out" / "a.convert.json").read_text())["picture"]
    assert written == {"bands": [1, 2, 3], "palette": False, "stretch": list(expected)}


def test_a_stretch_of_nothing_and_of_one_value(tmp_path: Path) -> None:
    path = write_scene(tmp_path / "a.tif", np.zeros((1, 20, 20), np.uint16))
    assert picture_of(convert(path, tmp_path / "out")).stretch == (0, 0)
    path = write_scene(tmp_path / "b.tif", np.full((1, 20, 20), 500, np.uint16))
    assert picture_of(convert(path, tmp_path / "out")).stretch == (500, 500)
    with Pillow.open(tmp_path / "out" / "b.jpg") as picture:
        assert picture.getextrema() == (128, 128)


@pytest.mark.parametrize(
    ("colours", "bands", "shown"),
    [
        ("gray undefined undefined undefined", None, (1, 2, 3)),
        ("gray undefined", None, (1,)),
        ("gray alpha", None, (1,)),
        ("alpha gray", None, (2,)),
        ("blue green red alpha", None, (3, 2, 1)),
        ("blue green red alpha", 4, (3, 2, 1)),
        ("blue green red alpha", 3, (3, 2, 1)),
        ("blue green red alpha", 1, (1,)),
        ("blue green red alpha", (1, 2, 3), (1, 2, 3)),
        ("gray undefined undefined undefined", (4, 3, 2), (4, 3, 2)),
        ("gray undefined undefined", 4, "it has 3 bands, and 4 are asked for"),
        ("gray undefined undefined", (1, 2, 9), "it has 3 bands, and 9 are asked for"),
        ("gray undefined undefined", (1, 2), "2 bands are to be shown. Wanted: one or three"),
        ("cyan magenta yellow black", None, "its colours are cyan, magenta, yellow and black"),
        ("cyan magenta yellow black", (1, 2, 3), (1, 2, 3)),
    ],
)
def test_which_bands_are_shown(colours: str, bands: Bands, shown: Any) -> None:
    class Dataset:
        colorinterp = tuple(ColorInterp[name] for name in colours.split())
        count = len(colorinterp)

    dataset: Any = Dataset()
    if isinstance(shown, str):
        with pytest.raises(InputError) as caught:
            choose_bands(dataset, bands)
        assert shown in str(caught.value)
    else:
        assert choose_bands(dataset, bands) == shown
