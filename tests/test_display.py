"""The picture beside the mosaic: a fixed stretch, by hand and from the mosaic's own pixels."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from conftest import write_scene
from numpy.typing import NDArray
from pydantic import ValidationError
from runs import finished

from clearyear.cog.geotiff import problems
from clearyear.display import Display, rgba
from clearyear.errors import InputError


def test_numbers_become_brightness() -> None:
    values = np.array([-500, 0, 1, 1500, 3000, 9000, 7], np.int16)
    pixels = np.broadcast_to(values, (3, 1, 7))
    valid = np.array([[True] * 6 + [False]])
    found = rgba(pixels, valid, Display())
    assert found[0, 0].tolist() == [0, 0, 0, 128, 255, 255, 0]  # 127.5 rounds half to even
    assert found[3, 0].tolist() == [255] * 6 + [0]
    assert rgba(pixels, valid, Display(gamma=2.0))[1, 0, 3] == round(255 * 0.5**0.5)
    assert rgba(pixels, valid, Display(min=-1000, max=1000))[2, 0].tolist()[:3] == [64, 128, 128]
    assert rgba(np.full((3, 1, 7), np.nan, np.float32), np.zeros((1, 7), np.bool_), Display())[:, 0, 0].tolist() == [
        0,
        0,
        0,
        0,
    ]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"min": 3000}, "max (3000) is not above min (3000)"),
        ({"max": float("inf")}, "finite"),
        ({"gamma": 0}, "greater than 0"),
        ({"bands": ["red"]}, "Field required"),
        ({"colour": 1}, "not permitted"),
    ],
)
def test_what_is_no_display_is_refused(values: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Display(**values)
    assert says in str(caught.value)


def test_bands_by_name_and_by_number() -> None:
    names = ("B02", "B03", "B04", "")
    assert Display(bands=("B04", "B03", 4)).indices(names, 4) == (2, 1, 3)
    for wrong in ("red", 0, 5, ""):
        with pytest.raises(InputError, match=r"has no band .* Wanted: B02, B03, B04, or a number from 1 to 4"):
            Display(bands=(1, 2, wrong)).indices(("B02", "B03", "B04"), 4)


@pytest.fixture
def reflectance(tmp_path: Path) -> Path:
    """Five scenes of 600 × 500 px, four bands with names, a corner that nobody saw, a patch that B02 did not."""
    rng = np.random.default_rng(3)
    land = rng.integers(200, 4000, (4, 500, 600))
    for month in range(1, 6):
        pixels = np.clip(land + rng.integers(-150, 150, land.shape), 1, 9000).astype("uint16")
        pixels[:, :40, :70] = 0
        pixels[0, 200:210, 300:310] = 0
        path = write_scene(tmp_path / "s" / f"a_2023{month:02d}01.tif", pixels, blockxsize=256, blockysize=256)
        with rasterio.open(path, "r+") as dataset:
            dataset.descriptions = ("B02", "B03", "B04", "B8A")
    return tmp_path / "s"


def shown(composite: NDArray[Any], bands: list[int], top: float) -> NDArray[Any]:
    """The picture as one would write it down."""
    valid = (composite[bands] != 0).all(axis=0)
    share = np.clip(composite[bands].astype(np.float64) / top, 0, 1)
    return np.concatenate([np.rint(255 * share) * valid, 255 * valid[None]])


@pytest.mark.parametrize("outputs", ["stacked", "per-band"])
def test_the_picture_is_made_of_the_mosaic(reflectance: Path, tmp_path: Path, outputs: str) -> None:
    display = {"bands": ["B04", "B03", "B02"], "min": 0, "max": 3500}
    job = {"reducer": "band-median", "display": display, "outputs": outputs, "tile_size": 256}
    plan = finished(reflectance, tmp_path / "out", **job)
    folder = Path(plan.destination)
    names = ["composite"] if outputs == "stacked" else ["B02", "B03", "B04", "B8A"]
    composite = np.concatenate([rasterio.open(folder / plan.mosaic_name(name)).read() for name in names])
    path = folder / plan.mosaic_name("visual")
    with rasterio.open(path) as picture:
        found = picture.read()
        assert [c.name for c in picture.colorinterp] == ["red", "green", "blue", "alpha"]
        assert picture.overviews(1) == [2]
    assert np.abs(found - shown(composite, [2, 1, 0], 3500)).max() <= 1  # float32 against float64 at a half
    assert (found[3] == 0).sum() == 40 * 70 + 10 * 10
    assert problems(str(path)) == []
    with rasterio.open(folder / plan.preview_name) as preview:
        shade = preview.read(1)[100:, 100:].mean()
        assert abs(shade - found[0, 100:, 100:].mean()) < 2, "the preview is the picture's"


def test_equal_jobs_give_equal_bytes(reflectance: Path, tmp_path: Path) -> None:
    job = {"reducer": "band-median", "display": {"bands": [3, 2, 1]}, "tile_size": 256}
    one, two = (finished(reflectance, tmp_path / name, **job) for name in ("one", "two"))
    for key in one.published:
        files = [Path(plan.destination) / plan.mosaic_name(key) for plan in (one, two)]
        assert files[0].read_bytes() == files[1].read_bytes(), key


def test_two_months_compare(reflectance: Path, tmp_path: Path) -> None:
    """The same number is the same brightness, whatever else the month has seen."""
    job = {"reducer": "band-median", "display": {"bands": [3, 2, 1]}, "tile_size": 256}
    darker = finished(reflectance, tmp_path / "out", **job, period="2023-01")
    other = finished(reflectance, tmp_path / "out", **job, period="2023-02--P4M")
    lookup: dict[int, int] = {}
    for plan in (darker, other):
        folder = Path(plan.destination)
        with (
            rasterio.open(folder / plan.mosaic_name()) as data,
            rasterio.open(folder / plan.mosaic_name("visual")) as picture,
        ):
            opaque = picture.read(4) == 255
            numbers, bright = data.read(3)[opaque][::7].tolist(), picture.read(1)[opaque][::7].tolist()
        for number, brightness in zip(numbers, bright, strict=True):
            assert lookup.setdefault(number, brightness) == brightness
    assert len(set(lookup.values())) > 200


def test_a_band_that_is_not_there_is_refused_before_anything_is_written(reflectance: Path, tmp_path: Path) -> None:
    job = {"reducer": "percentiles", "options": {"percentiles": [50]}, "display": {}}
    with pytest.raises(InputError, match=r"no band 'red' to show .* p50_B02, p50_B03, p50_B04, p50_B8A"):
        finished(reflectance, tmp_path / "out", **job)
    assert not (tmp_path / "out").exists()
