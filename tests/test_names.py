"""Dates in file names: found without a regex, or where the pattern says; and how find_scenes uses them."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from clearyear.errors import InputError
from clearyear.periods import parse_period
from clearyear.scenes import find_scenes
from clearyear.scenes.names import NamePattern, granule_of


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc,arg-type]


@pytest.mark.parametrize(
    ("name", "moment"),
    [
        ("T31TCJ_20230102T104441_TCI.tif", utc(2023, 1, 2, 10, 44, 41)),
        ("pt29snd_20210514_TCI.tif", utc(2021, 5, 14)),
        ("field_2021-05-14.tif", utc(2021, 5, 14)),
        ("2021-05-14T10:44:41Z.tif", utc(2021, 5, 14, 10, 44, 41)),
        ("S2B_MSIL2A_20230102T104441_N0509_R008_T31TCJ_20230102T121212.tif", utc(2023, 1, 2, 10, 44, 41)),
        ("LC08_L1TP_198030_20230115_20230125_02_T1_B4.tif", utc(2023, 1, 15)),
        ("a_20230102T1044_b.tif", utc(2023, 1, 2)),  # no seconds: the day at least
        ("20231345_20230102.tif", utc(2023, 1, 2)),  # the first is no date
        ("20230102.tif", utc(2023, 1, 2)),
        ("x_20161231T235960_20170105.tif", utc(2016, 12, 31, 23, 59, 59)),  # a leap second
        ("x_20230229_20230301T101010.tif", None),  # no such day, and the second date is not the scene's
        ("x_20230102T254441_20230301.tif", None),
        ("orbit_120230102_x.tif", None),  # digits of a longer number
        ("orbit_202301021.tif", None),
        ("a_2023.tif", None),
        ("a_18991231.tif", None),
        ("composite.tif", None),
    ],
)
def test_date_is_found_without_help(name: str, moment: datetime | None) -> None:
    assert NamePattern().datetime_of(name) == moment
    assert NamePattern("*.tif").datetime_of(name) == moment


@pytest.mark.parametrize(
    ("pattern", "name", "moment"),
    [
        ("S2_%Y%j_*.tif", "S2_2023032_x.tif", utc(2023, 2, 1)),
        ("S2_%Y%j_*.tif", "S2_2024366_x.tif", utc(2024, 12, 31)),
        ("*_%d.%m.%Y*.tif", "field_14.05.2021_b.tif", utc(2021, 5, 14)),
        ("%Y%m%dT%H%M%S*.tif", "20230102T104441_a.tif", utc(2023, 1, 2, 10, 44, 41)),
        ("*_*_%Y-%m*.tif", "a_b_c_2023-07_x_2020-01.tif", utc(2023, 7, 1)),
        ("made20200101_%Y%m%d.tif", "made20200101_20230102.tif", utc(2023, 1, 2)),  # not the first date
        # Of several dates the first: Landsat's second is that of the processing.
        ("LC*_%Y%m%d*.tif", "LC08_L1TP_198030_20230115_20230125_02_T1.tif", utc(2023, 1, 15)),
        ("x_%Y.tif", "2023-01-02.tif", None),
        ("S2_%Y%j.tif", "S2_2023366.tif", None),  # 2023 has 365 days
        ("S2_%m%d.tif", "S2_0514.tif", None),  # no year
    ],
)
def test_date_stands_where_the_pattern_says(pattern: str, name: str, moment: datetime | None) -> None:
    assert NamePattern(pattern).datetime_of(name) == moment


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        (None, ["a.tif", "a.TIFF", "b.Tif"], ["a.jpg", "a.tif.aux.xml", "tif"]),
        ("*_TCI.tif", ["a_TCI.tif", "_TCI.tif"], ["a_B04.tif", "a_TCI.tiff", "a_tci.tif", "a_TCI.tif.bak"]),
        ("S2?_[AB]*.tif", ["S2A_Bx.tif"], ["S2_Bx.tif", "S2A_Cx.tif"]),
        ("S2_%Y%j_*.tif", ["S2_2023032_x.tif"], ["S2_202332_x.tif", "XS2_2023032_x.tif"]),
        ("a.b+(c).tif", ["a.b+(c).tif"], ["axb+(c).tif", "a.bb(c).tif"]),
        ("100%_*.tif", ["100%_20230102.tif"], ["100_20230102.tif"]),
        ("*a*b_%Y*c*d.tif", ["xaybzb_2023_c_c_d.tif"], ["xayzb_202_c_d.tif"]),
    ],
)
def test_which_files_are_scenes(pattern: str | None, yes: list[str], no: list[str]) -> None:
    names = NamePattern(pattern)
    assert [name for name in (*yes, *no) if names.matches(name)] == yes


def test_percent_sign_that_is_no_code_does_not_hide_the_date() -> None:
    assert NamePattern("100%_*.tif").datetime_of("100%_20230102.tif") == utc(2023, 1, 2)


@pytest.mark.parametrize(
    ("pattern", "words"), [("%Y_%Y.tif", "redefinition of group name"), ("%Y%q.tif", "unknown code %q")]
)
def test_unusable_pattern_is_refused(pattern: str, words: str) -> None:
    with pytest.raises(InputError, match=f"{re.escape(pattern)}.*{words}.*at most once"):
        NamePattern(pattern)


# -- find_scenes -------------------------------------------------------------------------------------------


def touch(folder: Path, *names: str) -> str:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return str(folder)


def test_both_naming_styles_in_one_folder(tmp_path: Path) -> None:
    source = touch(tmp_path, "pt29snd_20210514_TCI.tif", "T31TCJ_20230102T104441_TCI.tif", "notes.txt")
    found = find_scenes(source)
    assert [(s.id, s.datetime) for s in found] == [
        ("pt29snd_20210514_TCI", utc(2021, 5, 14)),
        ("T31TCJ_20230102T104441_TCI", utc(2023, 1, 2, 10, 44, 41)),
    ]


def test_scenes_come_in_acquisition_order_whatever_their_names(tmp_path: Path) -> None:
    source = touch(tmp_path, "a_20230301.tif", "z_20230101.tif", "b/m_20230201.tif", "b_20230201.tif")
    found = find_scenes(source)
    assert [s.id for s in found] == ["z_20230101", "b_20230201", "m_20230201", "a_20230301"]
    reverse = find_scenes([s.uri for s in reversed(found)])
    assert reverse == found


def test_period_is_half_open_to_the_second(tmp_path: Path) -> None:
    inside = ["a_20230101T000000.tif", "b_20231231T235959.tif"]
    source = touch(tmp_path, *inside, "c_20221231T235959.tif", "d_20240101T000000.tif")
    found = find_scenes(source, period=parse_period("2023"))
    assert [f"{s.id}.tif" for s in found] == inside


def test_period_without_scenes_says_what_there_is(tmp_path: Path) -> None:
    source = touch(tmp_path, "a_20210514.tif", "b_20210920.tif")
    with pytest.raises(InputError, match=r"None of the 2 scenes of .* was taken in 2023--P1Y") as caught:
        find_scenes(source, period=parse_period("2023"))
    assert "from 2021-05-14 to 2021-09-20" in caught.value.wanted
    assert source in caught.value.found


def test_file_without_a_date_is_named(tmp_path: Path) -> None:
    source = touch(tmp_path, "a_20230101.tif", "mosaic.tif")
    with pytest.raises(InputError, match=r"The file mosaic\.tif of .* tells no date.*--pattern") as caught:
        find_scenes(source)
    assert caught.value.uri == str(tmp_path / "mosaic.tif")
    assert [s.id for s in find_scenes(source, pattern="a_*.tif")] == ["a_20230101"]


def test_pattern_sees_the_name_without_its_folders(tmp_path: Path) -> None:
    source = touch(tmp_path, "2022/S2_2023032_TCI.tif", "2022/S2_2023032_B04.tif")
    found = find_scenes(source, pattern="S2_%Y%j_TCI.tif")
    assert [(s.id, s.datetime) for s in found] == [("S2_2023032_TCI", utc(2023, 2, 1))]


@pytest.mark.parametrize(
    ("names", "granule"),
    [
        (["T31TCJ_20230102T104441_TCI", "T31TCJ_20230112T104441_TCI"], "T31TCJ"),
        (["S2A_MSIL2A_20230102T104441_N0509_R008_T31TCJ_20230102T141022"], "T31TCJ"),
        (["hls.t31tcj.2023002"], "T31TCJ"),
        (["LC08_L1TP_013032_20180131_20180207_01_T1", "LC08_L1TP_013032_20180405_20180417_01_T1"], "013032"),
        (["LC09_L2SP_199026_20230402_20230404_02_T1_SR"], "199026"),
        (["T31TCJ_20230102", "T31TCK_20230112"], ""),  # two tiles
        (["T31TCJ_20230102", "field_2023-05-14"], ""),  # and one that tells none
        (["pt29snd_20210708_REFL"], ""),  # a tile's letters, but not as Sentinel-2 writes it
        (["T31TCI_20230102", "T31TCI_20230112"], ""),  # no square is called I
        (["T61TCJ_20230102"], ""),  # zones end at 60
        (["XT31TCJ_20230102", "T31TCJ2_20230102"], ""),
        (["field_20180131_20180207_013032"], ""),
        ([], ""),
    ],
)
def test_a_granule_is_what_all_scenes_are_named_after(names: list[str], granule: str) -> None:
    assert granule_of(names) == granule
