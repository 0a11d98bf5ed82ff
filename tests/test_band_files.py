"""Bands in files beside one another, masks in folders of their own, and how a job says what masks erase."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import write_scene

from clearyear.errors import InputError
from clearyear.finding import find
from clearyear.job import make_job
from clearyear.mask_presets import PRESETS, JobMask, masks_of
from clearyear.masks import Mask
from clearyear.periods import parse_period
from clearyear.scenes.scene import Found


def found_by(period: str = "all", **job: Any) -> Found:
    return find(make_job({"out": "unused", "period": period, **job}), parse_period(period))


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return folder


# -- files for single bands -----------------------------------------------------------------------------------------


def test_the_real_landsat_folder(data: Path) -> None:
    folder = data / "landsat" / "L8NY18"
    found = found_by("2018", scenes=str(folder), pattern="LC08_*_{band}.TIF", bands=["B4", "B3", "B2"], masks=["bqa"])
    assert (len(found.scenes), found.assets) == (19, ("B4", "B3", "B2"))
    scene = found.scenes[0]
    assert (scene.id, f"{scene.datetime:%Y-%m-%d}") == ("LC08_L1TP_014031_20180106", "2018-01-06")
    names = {name: Path(uri).name for name, uri in scene.assets.items()}
    assert names == {name: f"{scene.id}_{name.upper()}.TIF" for name in ("B4", "B3", "B2", "bqa")}
    assert scene.size == sum(Path(uri).stat().st_size for uri in scene.assets.values())
    assert len(set(scene.versions.values())) == 4
    assert len(found_by("2018-12", scenes=str(folder), pattern="LC08_*_{band}.TIF", bands=["B4"]).scenes) == 3


@pytest.mark.parametrize(
    ("pattern", "names", "ids"),
    [
        ("*_{band}.tif", ["a_20230101_B04.tif", "a_20230101_B03.tif"], ["a_20230101"]),
        ("*_{band}.jp2", ["sub/a_20230101_B04.jp2", "sub/a_20230101_B03.jp2"], ["a_20230101"]),
        ("{id}/{band}.tif", ["x/T_20230101/B04.tif", "x/T_20230101/B03.tif"], ["T_20230101"]),
        ("{band}.tif", ["T_20230101/B04.tif", "T_20230101/B03.tif"], ["T_20230101"]),
        ("{band}_%d%m%Y*.tif", ["B04_02012023_x.tif", "B03_02012023_x.tif"], ["02012023_x"]),
        ("S2_{band}_*.tif", ["S2_B04_20230101.tif", "S2_B03_20230101.tif"], ["S2_20230101"]),
        ("*_{band}.tif", ["20230101_B03.tif", "20230101_B04.tif", "20230102_B03.tif", "20230102_B04.tif"],
         ["20230101", "20230102"]),
    ],
)  # fmt: skip
def test_how_files_make_scenes(tmp_path: Path, pattern: str, names: list[str], ids: list[str]) -> None:
    touch(tmp_path, *names, "readme.txt", "20230101_B044.tif")
    found = found_by(scenes=str(tmp_path), pattern=pattern, bands=["B04", "B03"])
    assert [scene.id for scene in found.scenes] == ids
    assert all(list(scene.assets) == ["B04", "B03"] for scene in found.scenes)


@pytest.mark.parametrize(
    ("pattern", "band", "mine", "others"),
    [
        ("LC08_*_{band}*.TIF", "B1", "LC08_20230102_B1_x.TIF", ["LC08_20230102_B10_x.TIF", "LC08_20230102_B11_x.TIF"]),
        ("*_{band}*.tif", "B8", "20230102_B8_10m.tif", ["20230102_B8A_20m.tif"]),
        ("*{band}.tif", "red", "20230102red.tif", ["20230102_infrared.tif"]),
        ("*{band}.tif", "4", "20230102_B4.tif", ["20230102_B14.tif"]),
        ("*_B{band}_*.tif", "4", "20230102_B4_x.tif", ["20230102_B14_x.tif"]),
    ],
)
def test_a_band_is_no_part_of_another(tmp_path: Path, pattern: str, band: str, mine: str, others: list[str]) -> None:
    touch(tmp_path, mine, *others)
    found = found_by(scenes=str(tmp_path), pattern=pattern, bands=[band])
    assert [Path(scene.uri).name for scene in found.scenes] == [mine]


def test_one_band_alone_is_a_scenes_data(tmp_path: Path) -> None:
    touch(tmp_path, "a_20230101_B04.tif", "a_20230101_SCL.tif")
    found = found_by(scenes=str(tmp_path), pattern="*_{band}.tif", bands=["B04"], masks=["scl"])
    assert (list(found.scenes[0].assets), found.assets) == (["scl", "data"], ("data",))


@pytest.mark.parametrize(
    ("names", "job", "says"),
    [
        (["a_20230101_B04.tif"], {}, "1 of 1 scenes .* lack a band: a_20230101 has no B03"),
        (["a_20230101_X.tif"], {}, r"none of which matches \*_\{band\}\.tif with \{band\} as one of B04, B03"),
        (["a_B04.tif", "a_B03.tif"], {}, r"The file a_B0[34]\.tif tells no date"),
        (["a_20230101_B04.tif", "a_20230101_b04.tif"], {}, "has B04 more than once"),
        (["x/a_20230101_B04.tif", "y/a_20230101_B04.tif"], {}, "a_20230101 has files more than once"),
        (["a_20230101_B04.tif"], {"period": "2022"}, "None of the 1 scenes .* was taken in 2022--P1Y"),
        ([], {"bands": []}, "has {band}, and no bands are named"),
        ([], {"bands": ["B4", "b4"]}, "The band B4 is named more than once"),
        ([], {"pattern": "%Q{band}"}, "cannot be used"),
        ([], {"pattern": "{band}_{band}"}, "cannot be used"),
        ([], {"pattern": "*.tif", "bands": [], "masks": ["scl"]}, "The mask scl cannot be told apart"),
    ],
)
def test_files_that_make_none(tmp_path: Path, names: list[str], job: dict[str, Any], says: str) -> None:
    touch(tmp_path, *names)
    with pytest.raises(InputError, match=says):
        found_by(**({"scenes": str(tmp_path), "pattern": "*_{band}.tif", "bands": ["B04", "B03"]} | job))


# -- masks beside ----------------------------------------------------------------------------------------------------


def test_real_masks_are_matched_by_date_and_name(data: Path) -> None:
    folder = data / "s2" / "pt29snd"
    found = found_by("2021", scenes=str(folder / "refl"), masks=[f"scl={folder / 'scl'}"])
    assert len(found.scenes) == 30
    for scene in found.scenes:
        assert scene.assets["scl"] == scene.assets["data"].replace("refl", "scl").replace("REFL", "SCL")
    with pytest.raises(InputError, match=r"30 of 30 scenes have no scl in .* files.: pt29snd_20210514_REFL"):
        found_by("2021", scenes=str(folder / "refl"), masks=[f"scl={data / 's2' / 'hr33twl' / 'scl'}"])


@pytest.mark.parametrize(
    ("masks", "matched"),
    [
        (["T_20230101_SCL.tif"], "T_20230101_SCL.tif"),
        (["t_20230101T104441_SCL.tif", "T_20230101T104451_SCL.tif"], "t_20230101T104441_SCL.tif"),
        (["T_20230101T104451_SCL.tif"], "T_20230101T104451_SCL.tif"),
        (
            ["T_20230101_a.tif", "T_20230101_b.tif"],
            r"have more than one scl in .*: T_20230101_a\.tif, T_20230101_b\.tif",
        ),
        (["U_20230101_SCL.tif"], "1 of 1 scenes have no scl"),
        (["U_20230101_SCL.tif", "T_20230102_SCL.tif"], r"have no scl in .* \(2 GeoTIFF files\): T_20230101T104441_TCI"),
    ],
)
def test_which_mask_is_a_scenes(tmp_path: Path, masks: list[str], matched: str) -> None:
    write_scene(tmp_path / "s" / "T_20230101T104441_TCI.tif", np.ones((3, 16, 16), np.uint8))
    touch(tmp_path / "m", *masks)
    job: dict[str, Any] = {"scenes": str(tmp_path / "s"), "masks": [f"scl={tmp_path / 'm'}"]}
    if matched.endswith("SCL.tif"):
        assert Path(found_by(**job).scenes[0].assets["scl"]).name == matched
    else:
        with pytest.raises(InputError, match=matched):
            found_by(**job)


@pytest.mark.parametrize(
    ("scenes", "mask", "lacking"),
    [
        (["T_20230101T104441_a", "T_20230101T222222_a"], "T_20230101T104441_SCL", "T_20230101T222222_a"),
        (["T_20230101T222222_a"], "T_20230101T104441_SCL", "T_20230101T222222_a"),
        (["T_20230101T104441_a", "T_20230101T104455_a"], "T_20230101T104441_SCL", "T_20230101T104455_a"),
        (["S_20230101T104441_T31TCJ_a", "S_20230101T104441_T31TDJ_a"], "S_20230101T104441_T31TCJ_SCL",
         "S_20230101T104441_T31TDJ_a"),
    ],
)  # fmt: skip
def test_the_mask_of_another_scene_is_none(tmp_path: Path, scenes: list[str], mask: str, lacking: str) -> None:
    touch(tmp_path / "s", *(f"{name}.tif" for name in scenes))
    touch(tmp_path / "m", f"{mask}.tif")
    with pytest.raises(InputError, match=rf"1 of {len(scenes)} scenes have no scl .*: {lacking}\. Wanted"):
        found_by(scenes=str(tmp_path / "s"), masks=[f"scl={tmp_path / 'm'}"])


def test_a_mask_file_that_changes_is_another_version(tmp_path: Path) -> None:
    write_scene(tmp_path / "s" / "T_20230101_TCI.tif", np.ones((3, 16, 16), np.uint8))
    touch(tmp_path / "m", "T_20230101_SCL.tif")
    job: dict[str, Any] = {"scenes": str(tmp_path / "s"), "masks": [f"scl={tmp_path / 'm'}"]}
    first = found_by(**job).scenes[0]
    assert first.version_of("data") == found_by(scenes=job["scenes"]).scenes[0].version
    (tmp_path / "m" / "T_20230101_SCL.tif").write_bytes(b"other content")
    again = found_by(**job).scenes[0]
    assert again.version != first.version
    assert again.version_of("data") == first.version_of("data")


# -- scenes of one observation, by their names ----------------------------------------------------------------------


def test_files_of_one_observation(tmp_path: Path) -> None:
    name = "S2A_MSIL2A_20230102T10{}_N{}_R008_T31TCJ_20230102T150000_TCI.tif"
    for minute, baseline in (("4441", "0400"), ("4441", "0509"), ("4455", "0509")):
        write_scene(tmp_path / name.format(minute, baseline), np.ones((3, 16, 16), np.uint8))
    scenes = found_by(scenes=str(tmp_path), fuse="newest-processing").scenes
    assert ["N0509" in scene.id for scene in scenes] == [True, True]
    assert {scene.group for scene in scenes} == {""}
    scenes = found_by(scenes=str(tmp_path), fuse="solar-day").scenes
    assert [scene.group for scene in scenes] == ["2023-01-02 S2A"] * 2
    assert len(found_by(scenes=str(tmp_path)).scenes) == 3


# -- what masks erase ------------------------------------------------------------------------------------------------


def mask(**asked: Any) -> Mask:
    return JobMask.model_validate({"asset": "m", **asked}).mask()


def erased(one: Mask, values: range | list[int]) -> list[int]:
    """The values of a bit band that a mask erases, by arithmetic of its own."""
    return [v for v in values if any((v >> b.shift) % (1 << b.width) in b.values for b in one.bits)]


def test_presets_are_told_by_the_bands_name() -> None:
    scl = mask(asset="SCL")
    assert (scl.classes, scl.opening, scl.dilation, scl.bits) == ((0, 3, 8, 9, 10), 2, 5, ())
    assert {b.name for b in mask(asset="qa_pixel").bits} == {"fill", "dilated_cloud", "cirrus", "cloud", "cloud_shadow"}
    assert mask(asset="BQA") == mask(asset="BQA", preset="landsat-bqa")
    with pytest.raises(InputError, match=r"What the mask m erases is not said\. Wanted: a preset \(sentinel-2-scl"):
        mask()


def test_bits_stand_where_usgs_says() -> None:
    # Values with their meaning from the QA_PIXEL value interpretations of the Landsat 8-9 Collection 2 guide.
    values = {
        21824: "clear",
        21888: "water",
        1: "fill",
        22280: "high cloud",
        23888: "shadow",
        54596: "cirrus",
        30048: "snow",
    }
    qa = mask(asset="qa_pixel")
    assert {values[v] for v in erased(qa, list(values))} == {"fill", "high cloud", "shadow", "cirrus"}
    # BQA of Collection 1: 2720 clear, 2800 cloud, 2976 shadow, 6816 cirrus, 3744 snow.
    bqa = {1: "fill", 2720: "clear", 2800: "cloud", 2976: "shadow", 6816: "cirrus", 3744: "snow"}
    assert {bqa[v] for v in erased(mask(asset="bqa"), list(bqa))} == {"fill", "cloud", "shadow", "cirrus"}


def test_the_real_bqa_bands_values(data: Path) -> None:
    import rasterio

    bands = sorted((data / "landsat" / "L8NY18").rglob("*BQA.TIF"))
    shares = []
    for path in bands:
        with rasterio.open(path) as dataset:
            pixels = dataset.read(1)
        seen = pixels[pixels != 1]
        shares.append(float(np.isin(seen, erased(mask(asset="bqa"), np.unique(seen).tolist())).mean()))
    assert len(shares) == 19
    assert min(shares) < 0.1
    assert max(shares) > 0.2


@pytest.mark.parametrize(
    ("asked", "classes", "bits"),
    [
        ({"asset": "scl", "classes": [3]}, (3,), []),
        ({"asset": "scl", "classes": "8,9"}, (8, 9), []),
        ({"asset": "x", "classes": [1]}, (1,), []),
        ({"asset": "bqa", "bits": ["cloud"]}, (), [("cloud", 4, 1, (1,))]),
        ({"asset": "bqa", "bits": "cloud, snow"}, (), [("cloud", 4, 1, (1,)), ("snow", 9, 2, (3,))]),
        ({"asset": "qa_pixel", "bits": {"cloud_confidence": [2, 3]}}, (), [("cloud_confidence", 8, 2, (2, 3))]),
        ({"asset": "x", "bits": [{"name": "own", "shift": 5}]}, (), [("own", 5, 1, (1,))]),
        ({"asset": "x", "preset": "landsat-qa-pixel", "bits": ["fill"]}, (), [("fill", 0, 1, (1,))]),
    ],
)
def test_a_job_says_otherwise(asked: dict[str, Any], classes: tuple[int, ...], bits: list[Any]) -> None:
    made = mask(**asked)
    assert (made.classes, [(b.name, b.shift, b.width, b.values) for b in made.bits]) == (classes, bits)


def test_radii_are_the_presets_unless_said() -> None:
    made = mask(asset="scl", opening=0, dilation=3)
    assert (made.classes, made.opening, made.dilation) == (PRESETS["sentinel-2-scl"].classes, 0, 3)


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"asset": "bqa", "bits": ["clouds"]}, "has no bits called 'clouds'.*Wanted: some of fill, terrain_occlusion"),
        ({"asset": "x", "bits": ["cloud"]}, "has no bits called 'cloud'.*give the mask a preset"),
        ({"asset": "bqa", "bits": {"cloud": [2]}}, r"cannot have the values \[2\]"),
        ({"asset": "bqa", "bits": {"cloud": []}}, r"cannot have the values \[\]"),
    ],
)
def test_bits_that_are_none(asked: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        mask(**asked)


def test_two_masks_of_one_name() -> None:
    with pytest.raises(InputError, match="Two masks are called scl"):
        masks_of([JobMask(asset="scl"), JobMask(asset="scl")])
