"""Flags that say where scenes come from, as keys of a job; and a whole job from a catalogue to pixels."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from clearyear.completeness import check_plan
from clearyear.errors import InputError
from clearyear.job import make_job
from clearyear.job_file import load_job
from clearyear.options import read_job
from clearyear.prepare import prepare
from clearyear.source_options import source_keys
from clearyear.stores import open_store
from clearyear.window import compute_window

FOLDER = "sentinel-2-l2a"


def test_flags_become_keys() -> None:
    given: dict[str, Any] = {
        "stac": "https://a.org/v1",
        "collections": ("c",),
        "bbox": "1,2,3,4",
        "query": ("eo:cloud_cover<40", "platform=x"),
        "max_items": 5,
        "bands": "red, green",
        "masks": ("scl=/data/scl",),
        "mask_dilation": 0,
        "mask_classes": "8,9",
        "datetime": "2023-08-01/2023-08-31",
        "fuse": "solar-day",
        "out": "o",
    }
    keys = source_keys(given)
    assert keys["stac"] == {
        "url": "https://a.org/v1",
        "collections": ["c"],
        "bbox": "1,2,3,4",
        "query": ["eo:cloud_cover<40", "platform=x"],
        "max_items": 5,
    }
    assert keys["masks"] == [{"asset": "scl", "from": "/data/scl", "dilation": 0, "classes": "8,9"}]
    assert (keys["period"], keys["bands"]) == ("2023-08-01/2023-09-01", "red, green")
    job = make_job(keys)
    assert job.region == [1, 2, 3, 4]
    assert job.masks[0].mask().classes == (8, 9)
    assert source_keys({"scenes": "s", "masks": (), "query": (), "collections": ()}) == {"scenes": "s"}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"mask_classes": "1"}, "--mask-classes is given with 0 masks.*say which band it is"),
        ({"masks": ("a", "b"), "mask_opening": 1}, "--mask-opening is given with 2 masks.*in the job file"),
        ({"period": "2023", "datetime": "2023"}, "--period and --datetime are both given"),
    ],
)
def test_flags_that_do_not_go_together(given: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        source_keys(given)


def test_a_flag_replaces_one_key_of_the_files_search(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text("out: o\nstac:\n  url: https://a.org/v1\n  collections: c\n  bbox: [1, 2, 3, 4]\nmasks: [scl]\n")
    job = read_job(str(file), {"collections": ("other",), "bbox": None, "masks": ()})
    assert job.stac is not None
    assert (job.stac.url, job.stac.collections, job.stac.bbox) == ("https://a.org/v1", ["other"], (1, 2, 3, 4))
    assert load_job(str(file)).masks[0].asset == "scl"
    with pytest.raises(InputError, match=r"unknown key 'stac\.cloud'"):
        load_job(str(file), stac={"cloud": 3})
    with pytest.raises(InputError, match=r"a\.org.*no condition|'cloudy' is no condition"):
        load_job(str(file), stac={"query": ["cloudy"]})


def test_an_area_beside_a_search_is_what_comes_out() -> None:
    search = {"url": "x", "bbox": [1, 2, 3, 4]}
    assert make_job({"out": "o", "stac": search, "area": "1,2,2,3"}).region == "1,2,2,3"
    assert make_job({"out": "o", "stac": {"url": "x"}}).region is None
    assert make_job({"out": "o", "scenes": "s"}).region is None


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")  # our own look at them
def test_from_the_real_catalogue_to_pixels(data: Path, tmp_path: Path) -> None:
    """The files have no georeference, other sizes than their items say, and names that hide what they are."""
    catalogue = data / "stac" / "earthsearch-33TWL" / "catalog.json"
    search = {"url": str(catalogue), "bbox": "15.2,45.8,15.4,45.9"}
    job = {"stac": search, "bands": ["nir"], "period": "2023-08", "reducer": "band-median", "out": str(tmp_path)}
    plan = prepare(make_job(job))
    store = open_store(plan.destination)
    for window in plan.windows:
        compute_window(plan, window, store)
    assert all(status.is_done for status in check_plan(plan, store))
    stack = []
    for path in sorted((catalogue.parent / FOLDER).glob("*/B08.tif")):
        with rasterio.open(path, driver="JP2OpenJPEG") as dataset:
            stack.append(dataset.read(1))
    # 109.8 km in 915 px; the granule's corner is 499980, 5100000.
    left, top = plan.grid.transform[2], plan.grid.transform[5]
    col, row = round((left - 499980) / 120), round((5100000 - top) / 120)
    part = np.stack(stack).astype(float)[:, row : row + plan.grid.height, col : col + plan.grid.width]
    part[part == 0] = np.nan
    with rasterio.open(Path(plan.destination) / plan.tile_name(plan.windows[0], "composite")) as dataset:
        pixels = dataset.read(1)
        assert dataset.transform[:6] == plan.grid.transform
    assert (plan.grid.width, plan.grid.height) < (200, 200)
    assert np.array_equal(pixels, np.rint(np.nanmedian(part, axis=0)))
