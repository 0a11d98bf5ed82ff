"""Scale and offset tags of scenes' files: carried into the product, refused where they differ, never mixed."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from conftest import write_scene
from runs import finished
from test_products import item_of

from clearyear import mosaic
from clearyear.completeness import check_plan
from clearyear.errors import InputError
from clearyear.job import Job, make_job
from clearyear.plan import Plan
from clearyear.prepare import make_plan, put_down
from clearyear.publish import join_windows
from clearyear.published import published
from clearyear.scenes.laws import tag_laws
from clearyear.stores import open_store
from clearyear.window import compute_window

Law = tuple[float, float]
REFLECTANCE = (1e-4, -0.1)


def scene(path: Path, *laws: Law | None, size: int = 20, bands: int = 2, seed: int = 0) -> Path:
    """A scene of uint16 whose bands have these tags: one law for all, or one for each; None writes none."""
    pixels = np.random.default_rng(seed).integers(1, 9999, (bands, size, size), dtype=np.uint16)
    write_scene(path, pixels, nodata=0)
    each = laws * bands if len(laws) == 1 else laws
    if any(each):
        with rasterio.open(path, "r+") as dataset:
            dataset.scales = [law[0] if law else 1.0 for law in each]
            dataset.offsets = [law[1] if law else 0.0 for law in each]
    return path


def year(folder: Path, *laws: Law | None, months: int = 4, **about: Any) -> Path:
    for month in range(1, months + 1):
        scene(folder / f"s_2023{month:02d}05.tif", *laws, seed=month, **about)
    return folder


def job_of(scenes: Any, **more: Any) -> Job:
    return make_job({"scenes": scenes, "out": "unused", "period": "2023", "reducer": "band-median", **more})


def law_of(plan: Plan) -> tuple[float | None, float | None]:
    return plan.product.scale, plan.product.offset


# -- carried -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("law", [REFLECTANCE, (1e-4, 0.0), (1.0, -273.15), (2.75e-05, -0.2)])
def test_what_all_scenes_say_the_result_says(tmp_path: Path, law: Law) -> None:
    plan = finished(year(tmp_path / "in", law), tmp_path / "out", reducer="band-median", layers=["count"])
    assert law_of(plan) == law
    assets = item_of(plan)["assets"]
    assert (assets["composite"]["raster:scale"], assets["composite"]["raster:offset"]) == law
    assert "raster:scale" not in assets["count"]
    for name, expected in {
        plan.mosaic_name(): law,
        plan.tile_name(plan.windows[0]): law,
        plan.mosaic_name("count"): (1.0, 0.0),
    }.items():
        with rasterio.open(Path(plan.destination) / name) as dataset:
            assert set(zip(dataset.scales, dataset.offsets, strict=True)) == {expected}


def test_of_real_reflectance(data: Path) -> None:
    plan = make_plan(job_of(str(data / "s2" / "pt29snd" / "refl"), period="2021", reducer="geomedian"))
    assert law_of(plan) == (1e-4, 0.0)


def test_without_tags_a_plan_is_what_it_was(tmp_path: Path) -> None:
    """Its scale is none, as ever; and a plan's id, and its windows, do not depend on tags."""
    without = make_plan(job_of(str(year(tmp_path / "a", None))))
    assert law_of(without) == (None, None)
    tagged = without.model_copy(update={"product": without.product.model_copy(update={"scale": 1e-4, "offset": -0.1})})
    assert tagged.id == without.id
    assert tagged.fingerprint(tagged.windows[0]) == without.fingerprint(without.windows[0])


@pytest.mark.parametrize("nonsense", [(0.0, 0.0), (float("nan"), 0.0), (1e-4, float("inf"))])
def test_a_tag_that_cannot_be_a_scale_says_nothing(nonsense: Law) -> None:
    assert tag_laws([nonsense[0], 1e-4], [nonsense[1], -0.1]) == ((1.0, 0.0), REFLECTANCE)


def test_bands_of_different_scales(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One number cannot say it: none is said, and that is said."""
    with caplog.at_level(logging.WARNING):
        plan = make_plan(job_of(str(year(tmp_path, REFLECTANCE, (0.01, 0.0)))))
    assert law_of(plan) == (None, None)
    assert "different scales or offsets (scale 0.0001 offset -0.1, scale 0.01 offset 0.0)" in caplog.text


# -- refused -----------------------------------------------------------------------------------------------------


def test_scenes_that_mean_something_else_are_named(tmp_path: Path) -> None:
    year(tmp_path, (1e-4, 0.0), months=5)
    scene(tmp_path / "s_20230305.tif", REFLECTANCE)
    scene(tmp_path / "s_20230405.tif", None)
    with pytest.raises(InputError, match="2 of 5 scenes do not mean the same by their numbers: ") as caught:
        make_plan(job_of(str(tmp_path)))
    assert "s_20230305: scale 0.0001 offset -0.1 instead of scale 0.0001 offset 0.0; " in caught.value.found
    assert "s_20230405: no scale instead of scale 0.0001 offset 0.0" in caught.value.found
    assert "gdal_edit.py" in caught.value.do


def test_a_band_that_means_something_else_is_named(tmp_path: Path) -> None:
    year(tmp_path, REFLECTANCE, (0.01, 0.0))
    scene(tmp_path / "s_20230405.tif", REFLECTANCE, (0.02, 0.0))
    with pytest.raises(InputError, match=r"1 of 4 scenes .*s_20230405: band 2 scale 0\.02 offset 0\.0 instead of"):
        make_plan(job_of(str(tmp_path)))


def test_lists_too_and_on_any_grid(tmp_path: Path) -> None:
    files = [str(scene(tmp_path / f"s_2023010{n}.tif", (10.0**-n, 0.0))) for n in (1, 2)]
    for more in ({}, {"resolution": 20}):
        with pytest.raises(InputError, match="1 of 2 scenes do not mean the same"):
            make_plan(job_of(files, **more))


def band_files(folder: Path, laws: dict[str, Law | None], months: int = 3) -> Path:
    for month in range(1, months + 1):
        for name, law in laws.items():
            scene(folder / f"s_2023{month:02d}05_{name}.tif", law, bands=1)
    return folder


def test_band_files(tmp_path: Path) -> None:
    """A band must mean the same in all scenes, bands among each other need not; masks are no numbers."""
    laws: dict[str, Law | None] = {"B4": REFLECTANCE, "B3": REFLECTANCE, "T": (0.1, 0.0), "SCL": (7.0, 3.0)}
    folder = str(band_files(tmp_path, laws))
    files: dict[str, Any] = {"pattern": "s_%Y%m%d_{band}.tif"}
    masks = [{"asset": "SCL", "classes": [3]}]
    assert law_of(make_plan(job_of(folder, bands=["B4", "B3"], masks=masks, **files))) == REFLECTANCE
    assert law_of(make_plan(job_of(folder, bands=["B4", "T"], **files))) == (None, None)
    scene(tmp_path / "s_20230205_B3.tif", (1e-4, 0.0), bands=1)
    scene(tmp_path / "s_20230205_SCL.tif", None, bands=1)
    assert law_of(make_plan(job_of(folder, bands=["B4"], masks=masks, **files))) == REFLECTANCE
    with pytest.raises(InputError, match=r"1 of 6 files of 3 scenes do not .*: s_20230205 B3: scale 0\.0001 offset 0"):
        make_plan(job_of(folder, bands=["B4", "B3"], masks=masks, **files))


def items(folder: Path, tags: list[Law | None], said: dict[str, float] | None) -> str:
    """A saved search of items that say this of their one asset; their files have these tags."""
    features = []
    for n, law in enumerate(tags):
        path = scene(folder / f"file-{n}.tif", law, bands=1)
        features.append(
            {
                "type": "Feature",
                "id": f"item-{n}",
                "properties": {"datetime": f"2023-0{n + 1}-05T10:00:00Z"},
                "geometry": None,
                "assets": {"nir": {"href": str(path), "type": "image/tiff", "raster:bands": [said or {}]}},
            }
        )
    (folder / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return str(folder / "items.json")


def test_what_items_say_is_the_last_word(tmp_path: Path) -> None:
    """Tags count where they say nothing, and where their numbers are not to be taken as they are."""
    both: list[Law | None] = [REFLECTANCE, (1e-4, 0.0)]
    said = {"scale": 1e-3, "offset": 0.5}
    assert law_of(make_plan(job_of(items(tmp_path, both, said), bands=["nir"]))) == (1e-3, 0.5)
    silent = items(tmp_path, both, None)
    with pytest.raises(InputError, match="1 of 2 scenes do not mean the same"):
        make_plan(job_of(silent, bands=["nir"]))
    raw = {"stac": {"url": silent, "harmonise": False}, "scenes": ""}
    assert law_of(make_plan(job_of(**raw, bands=["nir"]))) == (None, None)
    alike = items(tmp_path, [REFLECTANCE, REFLECTANCE], None)
    assert law_of(make_plan(job_of(alike, bands=["nir"]))) == REFLECTANCE


# -- before there were tags --------------------------------------------------------------------------------------


def test_windows_without_tags_go_into_one_mosaic_with_those_that_have_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They stay current, and their bytes are used as they are."""
    scenes = year(tmp_path / "in", REFLECTANCE, months=2, size=1024, bands=1)
    plan = make_plan(job_of(str(scenes), out=str(tmp_path / "out"), tile_size=512))
    before = plan.model_copy(update={"product": plan.product.model_copy(update={"scale": None, "offset": None})})
    store = open_store(plan.destination)
    for window in plan.windows[:2]:
        compute_window(before, window, store)
    plan = put_down(plan)
    for window, status in zip(plan.windows, check_plan(plan, store), strict=True):
        if not status.is_done:
            compute_window(plan, window, store)

    def encoded(*_: Any, **__: Any) -> None:
        raise AssertionError("the tiles were decoded and encoded again")

    monkeypatch.setattr(mosaic, "_encode_once", encoded)
    assert join_windows(plan).status == "complete"
    tags = []
    for name in (*(plan.tile_name(window) for window in plan.windows), plan.mosaic_name()):
        with rasterio.open(Path(plan.destination) / name) as dataset:
            tags.append((dataset.scales[0], dataset.offsets[0]))
    assert tags == [(1.0, 0.0), (1.0, 0.0), REFLECTANCE, REFLECTANCE, REFLECTANCE]


def test_a_mosaic_published_without_tags_is_made_again(tmp_path: Path) -> None:
    """Out of the windows that are there: none is computed."""
    plan = finished(year(tmp_path / "in", REFLECTANCE, months=2), tmp_path / "out", reducer="band-median")
    store = open_store(plan.destination)
    assert published(plan, store, check_plan(plan, store))[1] == ""
    before = plan.model_copy(update={"product": plan.product.model_copy(update={"scale": None, "offset": None})})
    join_windows(before)
    statuses = check_plan(plan, store)
    assert all(status.is_done for status in statuses)
    assert published(before, store, statuses)[1] == ""
    assert published(plan, store, statuses)[1] == "the published mosaic says another scale or offset than the plan"
    join_windows(plan)
    assert item_of(plan)["assets"]["composite"]["raster:scale"] == 1e-4
