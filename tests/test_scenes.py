"""Scenes of a folder: found, filtered, and refused by name where they do not fit together."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from conftest import write_scene

from clearyear.errors import InputError, ReadError
from clearyear.job import Job
from clearyear.periods import parse_period
from clearyear.prepare import check_scenes, make_plan
from clearyear.reading import gdal
from clearyear.scenes import changed_scenes, find_scenes, headers
from clearyear.scenes.headers import Header, agree, read_header, read_headers

Year = Callable[..., Path]


def ones(bands: int = 3, height: int = 20, width: int = 30, dtype: str = "uint8") -> Any:
    return np.ones((bands, height, width), dtype)


@pytest.fixture
def year(tmp_path: Path) -> Path:
    """Five equal scenes, 30 × 20 px."""
    for month in range(1, 6):
        write_scene(tmp_path / "s" / f"a_2023{month:02d}01.tif", ones())
    return tmp_path / "s"


def header_of(folder: Path, *, max_unreadable: int = 0) -> Header:
    found = find_scenes(str(folder))
    headers = read_headers(found, max_unreadable=max_unreadable)
    return agree({scene_id: of["data"] for scene_id, of in headers.items()}, f"{len(found)} scenes")


# -- listing -----------------------------------------------------------------------------------------------


def test_listing_tells_where_and_which_version(year: Path) -> None:
    scene = find_scenes(str(year))[0]
    path = year / "a_20230101.tif"
    info = path.stat()
    assert (scene.id, scene.uri, scene.size) == ("a_20230101", str(path), info.st_size)
    assert scene.version == f"{info.st_mtime_ns}-{info.st_size}"
    assert scene.cloud_cover is None


def test_empty_folder_and_folder_of_other_files(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    with pytest.raises(InputError, match=r"No scenes: .*/s holds 0 files, none of which matches \*\.tif"):
        find_scenes(str(tmp_path / "s"))
    (tmp_path / "s" / "readme.txt").write_text("x")
    with pytest.raises(InputError, match=r"holds 1 files, none of which matches \*_TCI\.tif"):
        find_scenes(str(tmp_path / "s"), pattern="*_TCI.tif")


def test_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Cannot list .*/none: No such file or directory"):
        find_scenes(str(tmp_path / "none"))


def test_scheme_that_is_not_known() -> None:
    with pytest.raises(InputError, match=r"The address 's4://bucket/x' cannot be used\. Wanted: a local path, .*gs://"):
        find_scenes("s4://bucket/x")


def test_list_of_files_and_an_empty_one(year: Path) -> None:
    chosen = [str(year / "a_20230301.tif"), str(year / "a_20230101.tif")]
    assert [s.uri for s in find_scenes(chosen)] == sorted(chosen)
    with pytest.raises(InputError, match="The list of scenes is empty"):
        find_scenes([])
    with pytest.raises(InputError, match=r"1 of 2 scenes of the list are not there: .*/gone_20230101\.tif"):
        find_scenes([chosen[0], str(year / "gone_20230101.tif")])


def test_period_leaves_out_the_rest(year: Path) -> None:
    found = find_scenes(str(year), period=parse_period("2023-02--P2M"))
    assert [s.id for s in found] == ["a_20230201", "a_20230301"]


def test_same_name_in_two_folders_is_refused(year: Path) -> None:
    write_scene(year / "sub" / "a_20230101.tif", ones())
    with pytest.raises(InputError, match=r"1 scene names stand for more than one file, the first is a_20230101") as e:
        find_scenes(str(year))
    assert f"{year}/a_20230101.tif, {year}/sub/a_20230101.tif" in e.value.found


def test_doubles_outside_the_period_do_no_harm(year: Path) -> None:
    write_scene(year / "sub" / "a_20230101.tif", ones())
    assert len(find_scenes(str(year), period=parse_period("2023-02--P1Y"))) == 4


@pytest.mark.parametrize(
    ("named", "says", "do"),
    [
        ("a_20230101.tif", "is one file, and no folder", "scenes: ["),
        ("a_20230101.tif,{}/a_20230301.TIF", "names several files, and no folder", "scenes: ["),
        ("*_2023*.tif", "has a wildcard, and no folder", "--scenes {} --pattern '*_2023*.tif'"),
        ("?/a_20230101.tif", "has a wildcard, and no folder", "--scenes {} --pattern a_20230101.tif"),
    ],
)
def test_what_a_shell_would_take_for_scenes(year: Path, named: str, says: str, do: str) -> None:
    with pytest.raises(InputError) as caught:
        make_plan(Job(scenes=f"{year}/{named.format(year)}", period="2023", out="unused"))
    assert caught.value.found.endswith(says)
    assert do.format(year) in caught.value.do
    assert "--pattern" in caught.value.wanted


def test_a_folder_may_be_called_like_a_file(year: Path) -> None:
    odd = year.rename(year.parent / "all*.tif")
    assert len(make_plan(Job(scenes=str(odd), period="2023", out="unused")).scenes) == 5


# -- what has changed since ----------------------------------------------------------------------------------


def test_changed_and_lost_scenes_are_named(year: Path) -> None:
    plan = make_plan(Job(scenes=str(year), period="2023", out="unused"))
    assert changed_scenes(plan.scenes) == []
    check_scenes(plan)
    (year / "a_20230101.tif").unlink()
    (year / "a_20230301.tif").write_bytes(b"other")
    said = [f"a_20230101 is gone ({year}/a_20230101.tif)", f"a_20230301 has changed ({year}/a_20230301.tif)"]
    assert changed_scenes(plan.scenes) == said
    with pytest.raises(InputError, match="2 of 5 scenes are not what was planned: a_20230101 is gone") as caught:
        check_scenes(plan)
    assert "--overwrite" in caught.value.do
    check_scenes(plan.model_copy(update={"max_failed_reads": 2}))


# -- one grid for all ----------------------------------------------------------------------------------------


def test_header_says_what_the_file_is(tmp_path: Path) -> None:
    path = write_scene(tmp_path / "a.tif", ones(2, 50, 70, "int16"), nodata=-999, crs="EPSG:3857", blockxsize=32)
    header = read_header(str(path))
    assert (header.count, header.dtype, header.nodata, header.band_names) == (2, "int16", -999, ("", ""))
    grid = header.grid
    assert (grid.crs, grid.width, grid.height, grid.block) == ("EPSG:3857", 70, 50, (32, 16))
    assert grid.transform == (10, 0, 300000, 0, -10, 4900020)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"pixels": ones(height=21)}, "size 30×21 px instead of 30×20 px"),
        ({"pixels": ones(bands=4)}, "bands 4 instead of 3"),
        ({"pixels": ones(dtype="uint16")}, "dtype uint16 instead of uint8"),
        ({"crs": "EPSG:32632"}, "CRS EPSG:32632 instead of EPSG:32631"),
        ({"nodata": None}, r"nodata None instead of 0\.0"),
        ({"nodata": 7}, r"nodata 7\.0 instead of 0\.0"),
        (
            {"transform": Affine(10, 0, 300005, 0, -10, 4900020)},
            r"transform \(10\.0, 0\.0, 300005\.0, .*\) instead of \(10\.0, 0\.0, 300000\.0, ",
        ),
        (
            {"pixels": ones(bands=1, width=31), "crs": "EPSG:32632"},
            "size 31×20 px instead of 30×20 px, CRS EPSG:32632 instead of EPSG:32631, bands 1 instead of 3",
        ),
    ],
)
def test_odd_scene_is_named_with_how_it_differs(year: Path, changed: dict[str, Any], words: str) -> None:
    write_scene(year / "a_20230301.tif", **{"pixels": ones(), **changed})
    with pytest.raises(InputError, match=rf"1 of 5 scenes differ from the others: a_20230301: {words}") as caught:
        header_of(year)
    assert "nothing is resampled silently" in caught.value.wanted


def test_the_majority_is_right_wherever_it_stands(year: Path) -> None:
    """The first scene is not what the others are measured by."""
    for month in (1, 2):
        write_scene(year / f"a_2023{month:02d}01.tif", ones(width=40))
    with pytest.raises(InputError, match=r"2 of 5 scenes differ .*a_20230101: size 40×20 px instead of 30×20 px; a_"):
        header_of(year)


def test_bands_are_called_as_in_the_first_scene(tmp_path: Path) -> None:
    for month, names in enumerate((("red", "nir"), ("red", "nir"), (None, None)), start=1):
        path = write_scene(tmp_path / f"s_2023{month:02d}15.tif", ones(2))
        with rasterio.open(path, "r+") as dataset:
            dataset.descriptions = names
    assert header_of(tmp_path).band_names == ("red", "nir")


@pytest.mark.parametrize("masks", [2, 5])
def test_what_lies_beside_the_pictures_is_named_and_the_pattern_that_leaves_it_out(tmp_path: Path, masks: int) -> None:
    """Of as many pictures as masks it is the masks; the rarest kind comes first."""
    for month in range(1, 6):
        write_scene(tmp_path / f"s/T_2023{month:02d}01_TCI.tif", ones())
    for month in range(1, masks + 1):
        write_scene(tmp_path / f"s/T_2023{month:02d}01_SCL.tif", ones(bands=1))
    write_scene(tmp_path / "s/T_20230901_AOT.tif", ones(bands=2))
    with pytest.raises(InputError) as caught:
        header_of(tmp_path / "s")
    said = "differ from the others: T_20230901_AOT: bands 2 instead of 3; T_20230101_SCL: bands 1 instead of 3"
    assert caught.value.found.startswith(f"{masks + 1} of {masks + 6} scenes {said}")
    assert "--pattern '*_TCI.tif'" in caught.value.do


def test_of_many_odd_scenes_five_are_named(year: Path) -> None:
    for day in range(1, 8):
        write_scene(year / f"b_202306{day:02d}.tif", ones(), transform=Affine(10, 0, day, 0, -10, 0))
    with pytest.raises(InputError, match=r"7 of 12 scenes differ .*b_20230605: .* … and 2 more\.") as caught:
        header_of(year)
    assert "b_20230606" not in caught.value.found


def test_blocks_and_compression_may_differ(year: Path) -> None:
    write_scene(year / "a_20230301.tif", ones(), blockxsize=32, blockysize=32, compress="lzw")
    assert header_of(year).grid.block == (16, 16)


def test_nodata_nan_equals_itself(tmp_path: Path) -> None:
    for day in (1, 2):
        write_scene(tmp_path / f"a_2023010{day}.tif", ones(dtype="float32"), nodata=float("nan"))
    nodata = header_of(tmp_path).nodata
    assert nodata is not None
    assert np.isnan(nodata)


# -- scenes that cannot be opened ------------------------------------------------------------------------------


def test_file_that_is_no_tiff(year: Path) -> None:
    (year / "a_20230301.tif").write_text("no TIFF at all")
    with pytest.raises(ReadError, match=r"not recognized as being in a supported file format") as caught:
        read_header(str(year / "a_20230301.tif"))
    assert not caught.value.transient
    with pytest.raises(InputError, match=r"1 of 5 scenes cannot be opened: a_20230301 \(.*not recognized") as refused:
        header_of(year)
    assert "at most 0 may fail (max_failed_reads)" in refused.value.wanted


def test_a_coordinate_system_that_is_no_text(year: Path) -> None:
    path = write_scene(year / "a_20230301.tif", ones(), crs='LOCAL_CS["a place of ours",UNIT["metre",1]]')
    data = path.read_bytes()
    assert data.count(b"a place of ours") == 1
    path.write_bytes(data.replace(b"a place of ours", b"a place \xd8\xd8 ours"))
    with pytest.raises(InputError, match=r"1 of 5 scenes cannot be opened: a_20230301 \(.*codec can't decode"):
        header_of(year)


def test_vrt_is_no_scene(year: Path) -> None:
    """A VRT could reach for files elsewhere."""
    vrt = '<VRTDataset rasterXSize="30" rasterYSize="20"><VRTRasterBand dataType="Byte" band="1"/></VRTDataset>'
    (year / "a_20230301.tif").write_text(vrt)
    with pytest.raises(InputError, match="a_20230301"):
        header_of(year)


def test_max_unreadable(year: Path) -> None:
    for month in (2, 4):
        (year / f"a_2023{month:02d}01.tif").write_bytes(b"")
    assert header_of(year, max_unreadable=2).count == 3
    with pytest.raises(InputError, match=r"2 of 5 scenes cannot be opened: a_20230201 .*; a_20230401 .*at most 1 may"):
        header_of(year, max_unreadable=1)


def test_none_can_be_opened(year: Path) -> None:
    for path in year.iterdir():
        path.write_bytes(b"")
    with pytest.raises(InputError, match="5 of 5 scenes cannot be opened"):
        header_of(year, max_unreadable=9)


def test_unreadable_scene_stays_a_scene_of_the_plan(year: Path) -> None:
    (year / "a_20230301.tif").write_bytes(b"")
    plan = make_plan(Job(scenes=str(year), period="2023", out="unused", max_failed_reads=1))
    assert [s.id for s in plan.scenes] == [f"a_20230{m}01" for m in range(1, 6)]
    assert plan.grid.width == 30


@pytest.mark.parametrize(
    ("pixels", "job", "words"),
    [
        (ones(bands=4), {}, r"luminance-median cannot use these scenes: they have 4 bands of uint8\. Wanted: three"),
        (ones(dtype="uint16"), {}, "3 bands of uint16"),
        (ones(dtype="float64"), {"reducer": "band-median"}, "3 bands of float64. Wanted: one of uint8, uint16, int16"),
        (ones(bands=1), {"reducer": "band-median", "compress": "jpeg"}, "JPEG cannot hold 1 bands of uint8"),
    ],
)
def test_scenes_a_reducer_cannot_use(tmp_path: Path, pixels: Any, job: dict[str, Any], words: str) -> None:
    write_scene(tmp_path / "a_20230101.tif", pixels)
    with pytest.raises(InputError, match=words):
        make_plan(Job(scenes=str(tmp_path), period="2023", out="unused", **job))


def test_headers_are_read_once_a_process_and_again_when_a_file_changes(
    scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Command line and flow both plan: the second time nothing is opened."""
    opened: list[str] = []
    genuine = gdal.open_raster

    def counted(uri: str) -> Any:
        opened.append(uri)
        return genuine(uri)

    monkeypatch.setattr(headers, "open_raster", counted)
    job = Job(scenes=str(scenes), period="2023", out=str(tmp_path / "out"))
    first = make_plan(job)
    assert sorted(opened) == [scene.uri for scene in sorted(first.scenes, key=lambda s: s.uri)]
    assert make_plan(job) == first
    assert len(opened) == 7
    path = Path(first.scenes[2].uri)
    path.write_bytes(path.read_bytes() + b"\0")
    assert make_plan(job).scenes[2].version != first.scenes[2].version
    assert opened[7:] == [str(path)]
