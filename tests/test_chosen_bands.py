"""Bands chosen of files that hold several: as if the files held those and no others."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from click.testing import CliRunner
from conftest import write_scene
from numpy.typing import NDArray
from rasterio.enums import ColorInterp
from runs import finished

from clearyear.cli import main
from clearyear.errors import InputError
from clearyear.job import make_job
from clearyear.plan import Plan
from clearyear.prepare import make_plan
from clearyear.reading import sources
from clearyear.reading.stack import read_stack
from clearyear.scenes.scene import UNKNOWN

SIZE = 80
NAMES = ("B02", "B03", "B04", "B8A")
CHOSEN = (4, 1, 3)


@pytest.fixture(params=["auto", "gdal"])
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("CLEARYEAR_READER", request.param)
    sources._source_of.cache_clear()
    return str(request.param)


def pixels_of(number: int, dtype: str = "uint16", bands: int = 4) -> NDArray[Any]:
    rng = np.random.default_rng(number)
    pixels = rng.integers(60, 90, (bands, SIZE, SIZE))
    pixels[:, rng.random((SIZE, SIZE)) < 0.2] = 0
    pixels[:, :32, 16:48] = 0  # with SPARSE_OK blocks that are never written
    return pixels.astype(dtype)


def scene(path: Path, pixels: NDArray[Any], names: tuple[str, ...] = NAMES, **profile: Any) -> Path:
    write_scene(path, pixels, **profile)
    with rasterio.open(path, "r+") as dataset:
        for number, name in enumerate(names[: len(pixels)], start=1):
            dataset.set_band_description(number, name)
    return path


def year(folder: Path, take: tuple[int, ...] = (), *, dtype: str = "uint16", **profile: Any) -> Path:
    """Four scenes with all bands, or with those taken."""
    for month in range(1, 5):
        numbers = [n - 1 for n in take or range(1, 5)]
        names = tuple(NAMES[n] for n in numbers)
        scene(folder / f"s_2023{month:02d}05.tif", pixels_of(month, dtype)[numbers], names, **profile)
    return folder


def rasters(folder: Path) -> dict[str, Any]:
    found = {}
    for path in sorted(folder.rglob("*.tif")):
        with rasterio.open(path) as dataset:
            found[str(path.relative_to(folder))] = (dataset.read().tobytes(), dataset.descriptions, str(dataset.nodata))
    return found


def plan_of(scenes: Any, **more: Any) -> Plan:
    return make_plan(
        make_job(
            {"scenes": scenes, "out": "unused", "period": "2023", "reducer": "band-median", "tile_size": 32, **more}
        )
    )


# -- the same pixels -----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize("interleave", ["pixel", "band"])
@pytest.mark.parametrize(
    "job",
    [
        {"layers": ["count"]},
        {"area": "0.4975,44.2205,0.5035,44.2265"},
        {"resolution": "17", "resampling": "bilinear"},
    ],
    ids=str,
)
def test_as_if_the_files_held_no_others(tmp_path: Path, interleave: str, job: dict[str, Any]) -> None:
    about = {"reducer": "band-median", "tile_size": 128, **job}
    layout: dict[str, Any] = {"interleave": interleave, "SPARSE_OK": True}
    finished(year(tmp_path / "all", **layout), tmp_path / "of-all", bands=["b8a", "1", "B04"], **about)
    finished(year(tmp_path / "some", CHOSEN, **layout), tmp_path / "of-some", **about)
    found, wanted = rasters(tmp_path / "of-all"), rasters(tmp_path / "of-some")
    assert len(wanted) > 1
    assert found == wanted


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
@pytest.mark.parametrize("interleave", ["pixel", "band"])
@pytest.mark.parametrize(
    "layout",
    [{"compress": "deflate", "predictor": 2}, {"compress": "zstd"}, {"compress": None}, {"compress": "lzw"},
     {"compress": "deflate", "tiled": False}],
    ids=str,
)  # fmt: skip
def test_either_reader_gives_gdals_pixels(
    tmp_path: Path, dtype: str, interleave: str, layout: dict[str, Any], reader: str
) -> None:
    path = scene(tmp_path / "s_20230105.tif", pixels_of(1, dtype), interleave=interleave, **layout)
    plan = plan_of([str(path)], bands=[str(n) for n in CHOSEN])
    direct = layout["compress"] != "lzw" and layout.get("tiled", True) and reader == "auto"
    assert isinstance(sources.source_of(str(path), plan.scenes[0].version), sources.GdalSource) is not direct
    for window in plan.windows[2:5]:
        stack, _, failed = read_stack(
            plan.scenes, plan.grid, window, n_bands=3, dtype=dtype, bands=plan.product.bands, file_bands=4
        )
        assert failed == []
        with rasterio.open(path) as dataset:
            box = ((window.row_off, window.row_off + window.height), (window.col_off, window.col_off + window.width))
            assert np.array_equal(stack[0], dataset.read(list(CHOSEN), window=box))


def test_jpeg_2000(tmp_path: Path) -> None:
    path = tmp_path / "s_20230105.jp2"
    layout = {"REVERSIBLE": "YES", "QUALITY": "100", "BLOCKXSIZE": 64, "BLOCKYSIZE": 64}
    about = {"driver": "JP2OpenJPEG", "crs": "EPSG:32631", "transform": Affine(10, 0, 300000, 0, -10, 4900020)}
    with rasterio.open(path, "w", count=4, width=SIZE, height=SIZE, dtype="uint16", **about, **layout) as dataset:
        dataset.write(pixels_of(1))
    plan = plan_of([str(path)], bands=["4", "1", "3"], tile_size=128)
    stack, _, _ = read_stack(
        plan.scenes, plan.grid, plan.windows[0], n_bands=3, dtype="uint16", bands=plan.product.bands, file_bands=4
    )
    assert np.array_equal(stack[0], pixels_of(1)[[3, 0, 2]])


@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize(("bands", "fails"), [(["B03", "B04"], False), (["B04", "B8A"], True)])
def test_of_separate_bands_the_others_are_not_read(tmp_path: Path, bands: list[str], fails: bool) -> None:
    """A block of B8A is damaged."""
    path = scene(tmp_path / "s_20230105.tif", pixels_of(1), interleave="band")
    with rasterio.open(path) as dataset:
        offset = int(dataset.get_tag_item("BLOCK_OFFSET_3_3", "TIFF", bidx=4))
    data = bytearray(path.read_bytes())
    data[offset + 10 : offset + 40] = bytes(30)
    path.write_bytes(bytes(data))
    plan = plan_of([str(path)], bands=bands, tile_size=128)
    _, _, failed = read_stack(
        plan.scenes, plan.grid, plan.windows[0], n_bands=2, dtype="uint16", bands=plan.product.bands, file_bands=4
    )
    assert bool(failed) is fails


# -- what is meant -------------------------------------------------------------------------------------------------


def test_names_and_numbers(tmp_path: Path) -> None:
    folder = str(year(tmp_path))
    for bands in (["B04", "B02"], ["b04", "b02"], ["3", "1"], ["B04", "1"]):
        product = plan_of(folder, bands=bands).product
        assert (product.bands, product.file_bands, product.n_bands) == ((3, 1), 4, 2)
        assert product.band_names == ("B04", "B02")
    listed = sorted(map(str, tmp_path.glob("*.tif")))
    assert plan_of(listed, bands=["B03"]).product.bands == (2,)


def test_a_name_that_looks_like_a_number_is_a_name(tmp_path: Path) -> None:
    path = scene(tmp_path / "s_20230105.tif", pixels_of(1), ("4", "3", "2", "nir"))
    assert plan_of([str(path)], bands=["3", "nir"]).product.bands == (2, 4)


def test_all_bands_in_their_order_are_no_choice(tmp_path: Path) -> None:
    folder = str(year(tmp_path))
    choices: list[list[str]] = [[], [*NAMES], [*NAMES[::-1]]]
    without, every, other = (plan_of(folder, bands=bands) for bands in choices)
    assert every.to_json() == without.to_json()
    assert len({plan.id for plan in (without, every, other)}) == 2
    assert len({plan.fingerprint(plan.windows[0]) for plan in (without, every, other)}) == 2


def test_scale_is_that_of_the_bands_taken(tmp_path: Path) -> None:
    for path in year(tmp_path).iterdir():
        with rasterio.open(path, "r+") as dataset:
            dataset.scales = (1e-4, 1e-4, 1e-4, 1.0 if "0205" in path.name else 0.5)
    assert plan_of(str(tmp_path), bands=["B04", "B02"]).product.scale == 1e-4
    with pytest.raises(InputError, match=r"1 of 4 .*s_20230205: band 4 no scale instead of scale 0\.5"):
        plan_of(str(tmp_path), bands=["B02", "B8A"])


@pytest.mark.parametrize(
    ("bands", "says"),
    [
        (["B05"], r"4 of 4 scenes .*: s_20230105 has 4 bands \(B02, B03, B04, B8A\) and no B05"),
        (["5"], "and no 5"),
        (["0"], "and no 0"),
        (["-1"], "and no -1"),
        (["B04", "3"], "Of B04, 3 two are one band"),
        (["B02", "B02"], "Of B02, B02 two are one band"),
    ],
)
def test_bands_that_are_not_there(tmp_path: Path, bands: list[str], says: str) -> None:
    with pytest.raises(InputError, match=says):
        plan_of(str(year(tmp_path)), bands=bands)


def test_files_that_differ(tmp_path: Path) -> None:
    folder = str(year(tmp_path))
    scene(tmp_path / "s_20230205.tif", pixels_of(2), NAMES[::-1])
    with pytest.raises(
        InputError, match=r"In 1 of 4 scenes the bands B03, B04 have other .* than 2, 3: s_20230205: 3, 2"
    ):
        plan_of(folder, bands=["B03", "B04"])
    scene(tmp_path / "s_20230205.tif", pixels_of(2), ("B02", "B03", "B04", "B04"))
    with pytest.raises(InputError, match=r"1 of 4 .*: s_20230205 has 2 bands called B04: choose by number"):
        plan_of(folder, bands=["B04"])
    write_scene(tmp_path / "s_20230205.tif", pixels_of(2))
    with pytest.raises(InputError, match=r"1 of 4 .*: s_20230205 has 4 bands \(without names\) and no B04"):
        plan_of(folder, bands=["B04"])


def test_another_order_is_not_mixed(tmp_path: Path) -> None:
    """By names that differ altogether (of dates, say) nothing can be told."""
    for month, names in ((1, NAMES), (2, NAMES), (3, NAMES[::-1])):
        scene(tmp_path / f"s_2023{month:02d}05.tif", pixels_of(month), names)
    says = r"1 of 3 files have the bands B02, B03, B04, B8A in another order: .*s_20230305.*: B8A, B04, B03, B02"
    with pytest.raises(InputError, match=says):
        plan_of(str(tmp_path))
    scene(tmp_path / "s_20230305.tif", pixels_of(3), ("a", "b", "c", "d"))
    assert len(plan_of(str(tmp_path)).scenes) == 3


def test_files_of_single_bands_are_told_of_their_pattern(tmp_path: Path) -> None:
    for name in ("B04", "B03"):
        write_scene(tmp_path / f"a_20230101_{name}.tif", pixels_of(1, bands=1))
    with pytest.raises(InputError, match=r"has 1 band \(without names\) and no B04") as caught:
        plan_of(str(tmp_path), bands=["B04", "B03"])
    assert "--pattern with {band}" in caught.value.do


def test_three_of_rgba(tmp_path: Path) -> None:
    for month in (1, 2, 3):
        write_scene(tmp_path / "in" / f"s_2023{month:02d}05.tif", pixels_of(month, "uint8"), photometric="RGB")
    job = {"reducer": "luminance-median", "layers": ["source"]}
    with pytest.raises(InputError, match="they have 4 bands of uint8") as caught:
        plan_of(str(tmp_path / "in"), **job)
    assert "--bands 1,2,3 or --alpha mask leaves one out" in caught.value.wanted
    plan = finished(tmp_path / "in", tmp_path / "out", bands=["1", "2", "3"], **job)
    assert plan.product.band_names == ("red", "green", "blue")


def test_from_the_command_line(tmp_path: Path) -> None:
    folder = str(year(tmp_path / "in"))
    arguments = ["plan", "--scenes", folder, "--period", "2023", "--out", str(tmp_path), "--reducer", "band-median"]
    result = CliRunner().invoke(main, [*arguments, "--bands", "B04,3"])
    assert "Of B04, 3 two are one band" in result.output
    assert CliRunner().invoke(main, [*arguments, "--bands", "B04,B03,B02"]).exit_code == 0


def test_real_reflectance(data: Path) -> None:
    plan = plan_of(str(data / "s2" / "pt29snd" / "refl"), period="2021", bands=["B04", "B03", "B02"])
    assert (plan.product.bands, plan.product.file_bands, plan.product.scale) == ((3, 2, 1), 4, 1e-4)


# -- alpha ---------------------------------------------------------------------------------------------------------


def rgba(folder: Path, dtype: str, *, hidden_is: str, **profile: Any) -> Path:
    """Three scenes of RGB that hide pixels, by alpha or by nodata."""
    for month in (1, 2, 3):
        rng = np.random.default_rng(month)
        colours = rng.integers(60, 90, (3, SIZE, SIZE)).astype(dtype)
        hidden = rng.random((SIZE, SIZE)) < 0.4
        pixels = np.where(hidden, 0, colours).astype(dtype)
        if hidden_is == "alpha":  # what is hidden looks as good as what is seen; 1 is nearly transparent, and is seen
            pixels = np.concatenate([colours, np.where(hidden, 0, 1).astype(dtype)[None]])
        path = write_scene(folder / f"s_2023{month:02d}05.tif", pixels, photometric="RGB", **{"nodata": 0, **profile})
        if hidden_is == "alpha":
            with rasterio.open(path, "r+") as dataset:
                dataset.colorinterp = [*dataset.colorinterp[:3], ColorInterp.alpha]
    return folder


@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize(
    ("dtype", "job"),
    [
        ("uint8", {"reducer": "luminance-median", "layers": ["count", "source"]}),
        ("uint16", {"layers": ["count"], "bands": ["3", "1"]}),
        ("uint16", {"resolution": "17", "resampling": "bilinear"}),
        ("uint8", {"area": "0.4975,44.2205,0.5035,44.2265"}),
    ],
    ids=str,
)
@pytest.mark.parametrize("interleave", ["pixel", "band"])
def test_alpha_as_a_mask(tmp_path: Path, dtype: str, interleave: str, job: dict[str, Any]) -> None:
    about = {"reducer": "band-median", "tile_size": 128, **job}
    for how, more in (("alpha", {"alpha": "mask"}), ("nodata", {})):
        rgba(tmp_path / how, dtype, hidden_is=how, interleave=interleave)
        finished(tmp_path / how, tmp_path / f"of-{how}", **about, **more)
    found, wanted = rasters(tmp_path / "of-alpha"), rasters(tmp_path / "of-nodata")
    assert len(wanted) > 1
    assert found == wanted


def test_alpha_that_is_none(tmp_path: Path) -> None:
    folder = str(year(tmp_path / "in"))
    with pytest.raises(InputError, match="4 of 4 files have no alpha that can be a mask: s_20230105"):
        plan_of(folder, alpha="mask")
    folder = str(rgba(tmp_path / "rgba", "uint8", hidden_is="alpha"))
    with pytest.raises(InputError, match="Of 3, 4 one is the alpha band"):
        plan_of(folder, alpha="mask", bands=["3", "4"])
    as_band, as_mask = plan_of(folder), plan_of(folder, alpha="mask", reducer="luminance-median")
    assert (as_band.product.n_bands, as_mask.product.n_bands) == (4, 3)
    assert as_band.scenes[0].hides == ()
    assert as_band.id != as_mask.id
    (Path(folder) / "s_20230205.tif").write_bytes(b"")  # it stays out even if it is there again when windows are read
    plan = plan_of(folder, alpha="mask", max_failed_reads=1)
    assert [scene.hides for scene in plan.scenes] == [("data",), (), ("data",)]
    assert plan.scenes[1].places == {"data": UNKNOWN}
