"""From unlike scenes to one grid: what is asked for comes out exactly, and what cannot be is refused in words."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from conftest import write_scene
from unlike import day, landsat, plan_of, portugal, scene_of, whole

from clearyear.area import read_area
from clearyear.errors import InputError
from clearyear.grid import Grid, Window
from clearyear.job import make_job
from clearyear.masks import Bits, Mask
from clearyear.plan import Plan
from clearyear.scenes import changed_scenes
from clearyear.scenes.scene import UNKNOWN, Place, Scene

SCL = Mask(asset="scl", classes=(3, 8, 9, 10), opening=2, dilation=5)
BQA = Mask(asset="BQA", bits=(Bits(name="cloud", shift=4), Bits(name="fill", shift=0)))


def numbered(height: int, width: int, first: int = 1) -> Any:
    return (np.arange(height * width, dtype=np.uint16) + first).reshape(1, height, width)


def strips(folder: Path) -> list[Scene]:
    """Three scenes whose pixels coincide: one that reaches to the left, one to the right and below, one far off."""
    corners = {"a": (300000, 4900020, 20, 30), "b": (300100, 4899920, 25, 20), "c": (309000, 4890020, 5, 5)}
    scenes = []
    for n, (name, (x, y, height, width)) in enumerate(corners.items()):
        file = folder / f"{name}.tif"
        write_scene(file, numbered(height, width, 1000 * n + 1), transform=Affine(10, 0, x, 0, -10, y))
        scenes.append(scene_of(name, day(n), {"data": file}))
    return scenes


# -- nothing is wished for ---------------------------------------------------------------------------------------


def test_unlike_scenes_are_refused_with_what_would_bring_them_together(data: Path) -> None:
    with pytest.raises(
        InputError, match=r"of 57 files of 19 scenes differ from the others: LC08\S+ B4: size"
    ) as caught:
        plan_of(landsat(data, ("B4", "B3", "B2")), found={"assets": ("B4", "B3", "B2")})
    assert "nothing is resampled silently" in caught.value.wanted
    assert all(word in caught.value.do for word in ("--crs", "--resolution", "--area", "name of a band"))


def test_scenes_on_one_grid_have_no_places(data: Path) -> None:
    plan = plan_of(portugal(data, 3), [SCL])
    assert all(not scene.places for scene in plan.scenes)
    assert (plan.is_plain, plan.valid_bands) == (False, 1)
    assert plan_of(portugal(data, 3)).is_plain


# -- their own pixels --------------------------------------------------------------------------------------------


def test_pixels_that_coincide_make_one_grid_as_far_as_they_reach(tmp_path: Path) -> None:
    plan = plan_of(strips(tmp_path)[:2], resolution="data", tile_size=16)
    assert list(plan.grid.transform) == [10, 0, 300000, 0, -10, 4900020]
    assert (plan.grid.width, plan.grid.height) == (30, 35)
    assert [scene.places["data"].offset for scene in plan.scenes] == [(0, 0), (10, 10)]
    expected = np.zeros((2, 35, 30), np.float64)
    expected[0, :20, :30] = numbered(20, 30)
    expected[1, 10:, 10:] = numbered(25, 20, 1001)
    seen = (expected > 0).sum(axis=0)
    layers = whole(plan)
    assert np.array_equal(layers["count"][0], seen)
    assert np.array_equal(layers["composite"][0], np.rint(expected.sum(axis=0) / np.maximum(seen, 1)))


@pytest.mark.parametrize("tile_size", [16, 64])
def test_an_area_crops_on_the_scenes_own_pixels(data: Path, tile_size: int) -> None:
    """What is outside does not exist, what is inside is byte for byte what the files hold."""
    paths = sorted((data / "s2" / "hr33twl" / "refl").iterdir())
    scenes = [scene_of(path.stem, day(i), {"data": path}) for i, path in enumerate(paths)]
    plan = plan_of(scenes, area="15.31,45.86,15.42,45.93", tile_size=tile_size)
    with rasterio.open(paths[0]) as dataset:
        left, bottom, right, top = rasterio.warp.transform_bounds(
            "EPSG:4326", dataset.crs, 15.31, 45.86, 15.42, 45.93, densify_pts=50
        )
        (row0, col0), (row1, col1) = dataset.index(left, top), dataset.index(right, bottom)
        expected = dataset.read()[:, row0 : row1 + 1, col0 : col1 + 1]
        corner = dataset.transform @ (col0, row0) if hasattr(Affine, "__matmul__") else dataset.transform * (col0, row0)
    assert (plan.grid.width, plan.grid.height) == (col1 + 1 - col0, row1 + 1 - row0)
    assert (plan.grid.transform[2], plan.grid.transform[5]) == corner
    assert {scene.places["data"].offset for scene in plan.scenes} == {(-col0, -row0)}
    one = plan.model_copy(update={"scenes": plan.scenes[:1]})
    assert np.array_equal(whole(one)["composite"], expected)


def test_scenes_beside_the_area_are_left_out(tmp_path: Path) -> None:
    scenes = strips(tmp_path)
    with rasterio.open(scenes[1].uri) as dataset:
        west, south, east, _ = rasterio.warp.transform_bounds(dataset.crs, "EPSG:4326", *dataset.bounds)
    inner = f"{west + 0.0004},{south + 0.0002},{east - 0.0004},{south + 0.0006}"
    plan = plan_of(scenes, area=inner)
    assert [scene.id for scene in plan.scenes] == ["b"]
    assert plan.grid.offset_of(Grid(crs="EPSG:32631", transform=(10, 0, 300100, 0, -10, 4899920), width=20, height=25,
                                    block=(16, 16))) is not None  # fmt: skip


def test_a_geojson_file_means_the_box_round_its_polygons(tmp_path: Path) -> None:
    ring = [[0.2, 44.0], [0.3, 44.2], [0.4, 44.1], [0.2, 44.0]]
    shapes: dict[str, Any] = {
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "feature": {"type": "Feature", "properties": {}, "geometry": {"type": "MultiPolygon", "coordinates": [[ring]]}},
    }
    shapes["collection"] = {"type": "FeatureCollection", "features": [shapes["feature"]]}
    for name, document in shapes.items():
        path = tmp_path / f"{name}.geojson"
        path.write_text(json.dumps(document))
        assert read_area(str(path)).bbox == (0.2, 44.0, 0.4, 44.2)


def test_what_an_area_takes_to_read_is_its_share_of_the_files(tmp_path: Path) -> None:
    """To the byte where pixels coincide; by the pixels' size where they are resampled."""
    scenes = strips(tmp_path)[:2]
    plan = plan_of(scenes, resolution="data", tile_size=16)
    read = sum(plan.read_bytes(window) for window in plan.windows)
    assert abs(read - sum(scene.size for scene in scenes)) <= len(plan.windows)
    corner = Window(col_off=0, row_off=0, width=5, height=5)  # where the second has nothing
    assert plan.read_bytes(corner) == round(scenes[0].size * 25 / 600)
    assert plan_of(scenes, resolution=20).read_bytes(corner) == pytest.approx(
        scenes[0].size * 100 / 600 + scenes[1].size * 100 / 500, abs=1
    )


# -- another grid ------------------------------------------------------------------------------------------------


def test_a_grid_of_ones_own_begins_at_multiples_of_the_resolution_and_holds_every_scene(data: Path) -> None:
    plan = plan_of(landsat(data, ("B4", "BQA")), [BQA], found={"assets": ("B4",)}, resolution=3000)
    assert plan.grid.crs == "EPSG:32618"
    a, b, c, d, e, f = plan.grid.transform
    assert (a, b, d, e) == (3000, 0, 0, -3000)
    assert c % 3000 == f % 3000 == 0
    lefts, bottoms, rights, tops = zip(*(rasterio.open(s.assets["B4"]).bounds for s in plan.scenes), strict=True)
    left, bottom, right, top = plan.grid.bounds()
    assert 0 <= min(lefts) - left < 3000
    assert 0 <= right - max(rights) < 3000
    assert 0 <= min(bottoms) - bottom < 3000
    assert 0 <= top - max(tops) < 3000
    assert all(scene.places[asset].offset is None for scene in plan.scenes for asset in ("B4", "BQA"))


def test_another_crs_and_an_area(data: Path) -> None:
    scenes = landsat(data, ("B4",))
    plan = plan_of(scenes, found={"assets": ("B4",)}, crs="EPSG:4326", resolution=0.05, area=[-74.5, 40.0, -73.0, 40.5])
    assert plan.grid.crs == "EPSG:4326"
    assert np.allclose(plan.grid.transform, (0.05, 0, -74.5, 0, -0.05, 40.5), atol=1e-12)
    assert (plan.grid.width, plan.grid.height) == (30, 10)
    assert len(plan.scenes) < len(scenes)  # those of the path to the north lie beside it


def test_bands_of_another_resolution_take_the_named_bands_pixels(tmp_path: Path) -> None:
    fine = write_scene(tmp_path / "fine.tif", numbered(20, 20))
    coarse = write_scene(tmp_path / "coarse.tif", numbered(10, 10), transform=Affine(20, 0, 300000, 0, -20, 4900020))
    scene = scene_of("s", day(0), {"B04": fine, "B05": coarse})
    with pytest.raises(InputError, match=r"1 of 2 files of 1 scenes differ .*s B05: size 10×10 px instead of 20×20 px"):
        plan_of([scene], found={"assets": ("B04", "B05")})
    plan = plan_of([scene], found={"assets": ("B04", "B05")}, resolution="B04")
    assert (plan.grid.width, plan.product.n_bands, plan.product.band_names) == (20, 2, ("B04", "B05"))
    assert set(plan.scenes[0].places) == {"B05"}
    layers = whole(plan)
    assert np.array_equal(layers["composite"][0], numbered(20, 20)[0])
    assert np.array_equal(layers["composite"][1], np.repeat(np.repeat(numbered(10, 10)[0], 2, axis=0), 2, axis=1))
    assert plan_of([scene], found={"assets": ("B04", "B05")}, resolution="B05").grid.width == 10


# -- georeference from the source --------------------------------------------------------------------------------


def test_a_file_without_georeference_lies_where_its_source_says_and_in_its_own_size(data: Path) -> None:
    """JPEG 2000 in files called .tif; the items speak of 10,980² px of 10 m, the files have 915²."""
    said = Place(crs="EPSG:32633", transform=(10, 0, 499980, 0, -10, 5100000), width=10980, height=10980)
    folder = data / "stac" / "earthsearch-33TWL" / "sentinel-2-l2a"
    assets = ("B04", "B03", "SCL")
    scenes = [
        scene_of(f.name, day(i), {a: f / f"{a}.tif" for a in assets}, places=dict.fromkeys(assets, said))
        for i, f in enumerate(sorted(p for p in folder.iterdir() if p.is_dir()))
    ]
    scl = Mask(asset="SCL", classes=(3, 8, 9, 10))
    plan = plan_of(scenes, [scl], found={"assets": ("B04", "B03")}, area="15.31,45.86,15.42,45.93", tile_size=32)
    assert plan.grid.transform[0] == 120
    assert plan.scenes[0].places["B04"].width == 915
    with rasterio.open(data / "s2" / "hr33twl" / "refl" / "hr33twl_20230810_REFL.tif") as dataset:
        assert dataset.crs == plan.grid.crs
        place = Grid(crs="EPSG:32633", transform=tuple(dataset.transform)[:6], width=915, height=340, block=(1, 1))
    assert place.offset_of(plan.grid) is not None  # the same pixels as an independent copy of the tile
    col, row = (-n for n in plan.scenes[0].places["B04"].offset or (0, 0))
    crop = np.s_[row : row + plan.grid.height, col : col + plan.grid.width]
    stack, clear = [], []
    for scene in plan.scenes:
        with rasterio.open(scene.assets["SCL"], driver="JP2OpenJPEG") as dataset:
            clear.append(~np.isin(dataset.read(1)[crop], (3, 8, 9, 10)))
        bands = []
        for asset in ("B04", "B03"):
            with rasterio.open(scene.assets[asset], driver="JP2OpenJPEG") as dataset:
                bands.append(dataset.read(1)[crop])
        stack.append(bands)
    pixels = np.array(stack, np.float64)
    pixels[(pixels == 0) | ~np.array(clear)[:, None]] = np.nan
    layers = whole(plan)
    assert np.array_equal(layers["count"], (~np.isnan(pixels)).sum(axis=0))
    seen = layers["count"] > 0
    assert np.array_equal(layers["composite"][seen], np.rint(np.nanmedian(pixels[:, seen], axis=0)))


def test_a_files_own_georeference_wins(tmp_path: Path) -> None:
    path = write_scene(tmp_path / "a.tif", numbered(20, 20))
    said = Place(crs="EPSG:32632", transform=(99, 0, 0, 0, -99, 0), width=5, height=5)
    plan = plan_of([scene_of("a", day(0), {"data": path}, places={"data": said})])
    assert (plan.grid.crs, plan.grid.transform[0], plan.scenes[0].places) == ("EPSG:32631", 10, {})


def test_no_sidecar_says_where_a_file_lies(data: Path) -> None:
    """Its .aux.xml does: it is not read."""
    path = data / "stac/earthsearch-33TWL/sentinel-2-l2a/S2A_33TWL_20230815_0_L2A/B04.tif"
    assert path.with_name("B04.tif.aux.xml").exists()
    plan = plan_of([scene_of("a", day(0), {"data": path})])
    assert plan.grid.crs == ""
    with pytest.raises(InputError, match="1 files have no georeference: a"):
        plan_of([scene_of("a", day(0), {"data": path})], area="15.31,45.86,15.42,45.93")


# -- refusals ----------------------------------------------------------------------------------------------------


def test_several_crss_need_one_for_the_result(tmp_path: Path) -> None:
    scenes = strips(tmp_path)[:2]
    path = write_scene(
        tmp_path / "d.tif", numbered(20, 20), crs="EPSG:32630", transform=Affine(10, 0, 779221, 0, -10, 4902915)
    )
    scenes.append(scene_of("d", day(9), {"data": path}))
    with pytest.raises(InputError, match=r"several CRSs: EPSG:32631 \(2 files\); EPSG:32630 \(1 files\)") as caught:
        plan_of(scenes, resolution=10)
    assert "--crs" in caught.value.do
    with pytest.raises(InputError, match="1 of 3 files do not share the pixels of the others: d: 10×10 in EPSG:32630"):
        plan_of(scenes, area="0.4,44.1,0.6,44.3")
    plan = plan_of(scenes, crs="EPSG:32631", resolution=10)
    assert [bool(s.places) and s.places["data"].offset is None for s in plan.scenes] == [False, False, True]


@pytest.mark.parametrize(
    ("job", "words"),
    [
        ({"area": "10,10,11,11"}, r"None of the scenes lies in the area 10,10,11,11\. Wanted: .* they reach from 0\.4"),
        ({"area": "10,10,11,11", "resolution": 20}, "None of the scenes lies in the area 10,10,11,11"),
        ({"area": "1,2,3"}, "The area 1,2,3 has 3 numbers"),
        ({"area": "3,2,1,4"}, "encloses nothing"),
        ({"area": "500000,4900000,500100,4900100"}, "is not in degrees"),
        ({"area": "none.geojson"}, r"is neither four numbers nor a file \(No such file"),
        ({"crs": "EPSG:1"}, r"'EPSG:1' is no CRS"),
        ({"crs": "nonsense"}, r"'nonsense' is no CRS"),
        ({"crs": "EPSG:4326"}, "The pixels are no squares of one size in EPSG:4326: 10×10 in EPSG:32631"),
        ({"resolution": "B99"}, r"No scene has a band 'B99'\. Wanted: a number, or one of data"),
        ({"resolution": 1e-9}, "are more than 10,000,000 on a side"),
        ({"resolution": "data", "crs": "EPSG:4326"}, "Pixels of data lie in EPSG:32631, not in EPSG:4326"),
    ],
)
def test_a_wish_that_cannot_be_is_refused(tmp_path: Path, job: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        plan_of(strips(tmp_path)[:2], **job)
    assert caught.value.exit_code == 2
    assert caught.value.do


NO_AREAS = {
    "a list": [],
    "a point": {"type": "Point", "coordinates": [1, 2]},
    "no coordinates": {"type": "Polygon"},
    "nothing": {"type": "FeatureCollection", "features": []},
    "no geometry": {"type": "Feature", "geometry": None},
}


@pytest.mark.parametrize("document", [*map(json.dumps, NO_AREAS.values()), "{"], ids=[*NO_AREAS, "no JSON"])
def test_a_geojson_that_encloses_nothing_is_refused(tmp_path: Path, document: str) -> None:
    path = tmp_path / "area.geojson"
    path.write_text(document)
    with pytest.raises(InputError, match=r"The area .*area\.geojson"):
        read_area(str(path))


def test_a_scene_without_its_mask_is_refused_by_name(data: Path) -> None:
    scenes = portugal(data, 4)
    scenes[2] = scenes[2].model_copy(update={"assets": {"data": scenes[2].uri}})
    with pytest.raises(InputError, match=rf"1 files are not there: {scenes[2].id} scl\.") as caught:
        plan_of(scenes, [SCL])
    assert "none is left unmasked" in caught.value.wanted


def test_what_is_no_class_band_is_no_mask(data: Path) -> None:
    with pytest.raises(
        InputError, match=r"3 files cannot be masks: .* data: 4 bands of uint16|3 files cannot be masks"
    ):
        plan_of(portugal(data, 3), [SCL.model_copy(update={"asset": "data"})])


def test_a_scene_that_cannot_be_opened_has_no_place_and_is_named(tmp_path: Path) -> None:
    scenes = strips(tmp_path)[:2]
    sound = Path(scenes[1].uri).read_bytes()
    Path(scenes[1].uri).write_bytes(b"")
    scenes[1] = scene_of("b", day(1), {"data": Path(scenes[1].uri)})
    with pytest.raises(InputError, match="1 of 2 scenes cannot be opened: b"):
        plan_of(scenes, resolution="data")
    plan = plan_of(scenes, resolution="data", max_failed_reads=1)
    assert plan.scenes[1].places == {"data": UNKNOWN}
    Path(scenes[1].uri).write_bytes(sound)  # readable again: where it lies the plan does not know all the same
    from clearyear.reading.observe import observe

    (failed,) = observe(plan, plan.scenes, plan.windows[0]).failed
    assert (failed.scene, failed.cause) == ("b", "could not be opened when the plan was made")


# -- what identifies a plan --------------------------------------------------------------------------------------


def test_every_file_of_a_scene_is_looked_after(tmp_path: Path) -> None:
    files = {name: write_scene(tmp_path / f"{name}.tif", numbered(20, 20)) for name in ("B04", "scl")}
    scene = scene_of("s", day(0), files)
    assert changed_scenes([scene]) == []
    files["scl"].write_bytes(files["scl"].read_bytes() + b"\0")
    assert changed_scenes([scene]) == [f"s has changed ({files['scl']})"]
    files["scl"].unlink()
    assert changed_scenes([scene]) == [f"s is gone ({files['scl']})"]


def test_places_survive_json_and_decide(tmp_path: Path) -> None:
    scenes = strips(tmp_path)[:2]
    plan = plan_of(scenes, resolution="data")
    assert Plan.from_json(plan.to_json(), destination=plan.destination) == plan
    other = plan_of(scenes, resolution=20)
    assert other.fingerprint(other.windows[0]) != plan.fingerprint(plan.windows[0])
    cubic = plan_of(scenes, resolution=20, resampling="cubic")
    assert cubic.fingerprint(cubic.windows[0]) != other.fingerprint(other.windows[0])


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"resolution": 0}, r"resolution = 0: a resolution is a positive number, or the name of a band"),
        ({"resolution": "-10"}, "resolution = '-10': a resolution is a positive number"),
        ({"resolution": "nan"}, "resolution = 'nan': a resolution is a positive number"),
        ({"resolution": ""}, "resolution"),
        ({"resampling": "average"}, "resampling = 'average': Input should be 'nearest', 'bilinear' or 'cubic'"),
        ({"area": ""}, "area"),
    ],
)
def test_a_job_refuses_what_is_no_grid(values: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        make_job({"scenes": "s", "out": "o", **values})


def test_a_resolution_of_the_command_line_is_a_number() -> None:
    assert make_job({"scenes": "s", "out": "o", "resolution": "20"}).resolution == 20.0
    assert make_job({"scenes": "s", "out": "o", "resolution": "B04"}).resolution == "B04"
