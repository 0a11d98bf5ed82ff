"""A template of monthly tiles: which addresses it means, and which of the tiles are there."""

from pathlib import Path

import pytest
from loopback.http import HttpServer

from clearyear.errors import InputError
from clearyear.scenes.template import DateTemplate, months_of

NAME = "{yyyymm}/SVDNB_npp_{yyyymm}01-{yyyymm_last}_{tile}_vcmcfg_v10.tgz"


@pytest.mark.parametrize(
    ("span", "labels"),
    [
        ("2023-01/2023-03", ["2023-01--P1M", "2023-02--P1M", "2023-03--P1M"]),
        ("2022-12/2023-01", ["2022-12--P1M", "2023-01--P1M"]),
        ("2024-02", ["2024-02--P1M"]),
        ("2023/2023-01", [f"2023-{n:02d}--P1M" for n in range(1, 2)]),
        ("2023", [f"2023-{n:02d}--P1M" for n in range(1, 13)]),
    ],
)
def test_both_ends_of_a_span_are_meant(span: str, labels: list[str]) -> None:
    assert [month.label for month in months_of(span)] == labels


@pytest.mark.parametrize("span", ["", "2023-13", "2023-03/2023-01", "2023-01-01", "2023-01--P3M", "202301", "all"])
def test_no_span(span: str) -> None:
    with pytest.raises(InputError):
        months_of(span)


def test_an_address_of_a_leap_february() -> None:
    template = DateTemplate(f"https://host/{NAME}")
    [month] = months_of("2024-02")
    assert (
        template.address(month, "75N060W") == "https://host/202402/SVDNB_npp_20240201-20240229_75N060W_vcmcfg_v10.tgz"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("/data/{yyymm}/{tile}.tif", "did you mean {yyyymm}"),
        ("/data/{yyyymm}/a.tif", "where the tile's name stands"),
        ("/data/{tile}.tif", "where the month stands"),
        ("/data/{mm}/{tile}.tif", "where the year stands"),
        ("https://host/{yyyymm}/*_{tile}.tif", "cannot be listed"),
        ("ftp://host/{yyyymm}/{tile}.tif", "cannot be used"),
    ],
)
def test_templates_that_are_refused(text: str, said: str) -> None:
    with pytest.raises(InputError) as refused:
        DateTemplate(text)
    assert said in str(refused.value)


def test_globs_in_a_folder_and_what_they_do_not_cross(tmp_path: Path) -> None:
    for name in ("a_75N060W_v10.tif", "deep/a_75N060E_v10.tif", "a_00N060W_v10.tif", "a_00N060W_v20.tif"):
        (tmp_path / "202301" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "202301" / name).write_bytes(b"x")
    [month] = months_of("2023-01")
    template = DateTemplate(f"{tmp_path}/{{yyyymm}}/*_{{tile}}_*.tif")
    there, deeper, twice = template.find(month, ["75N060W", "75N060E", "00N060W"])
    assert there.entry is not None
    assert there.entry.uri.endswith("202301/a_75N060W_v10.tif")
    assert deeper.entry is None
    assert deeper.absent
    assert twice.entry is None
    assert not twice.absent
    assert twice.cause.startswith("ambiguous: 2 files match")


def test_a_month_without_a_folder_is_absent_and_no_error(tmp_path: Path) -> None:
    [month] = months_of("2023-01")
    for text in (f"{tmp_path}/{{yyyymm}}/*_{{tile}}.tif", f"{tmp_path}/{{yyyymm}}/{{tile}}.tif"):
        [found] = DateTemplate(text).find(month, ["75N060W"])
        assert found.absent
        assert "is not there" in found.cause


def test_absent_forbidden_and_there_on_the_web(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEARYEAR_RETRIES", "0")
    with HttpServer() as web:
        web.files |= {"/202301/a.tif": b"a", "/202301/b.tif": b"b"}
        web.fail("b.tif", 403, times=5)
        [month] = months_of("2023-01")
        a, b, c = DateTemplate(f"{web.url}/{{yyyymm}}/{{tile}}.tif").find(month, ["a", "b", "c"])
    assert a.entry is not None
    assert (a.entry.size, a.absent) == (1, False)
    assert (b.entry, b.absent) == (None, False)
    assert "403" in b.cause
    assert (c.entry, c.absent) == (None, True)


def test_a_signature_is_kept_for_asking_and_never_shown() -> None:
    with HttpServer() as web:
        web.files["/202301/a.tif"] = b"a"
        [month] = months_of("2023-01")
        here, absent = DateTemplate(f"{web.url}/{{yyyymm}}/{{tile}}.tif?sig=s3cret").find(month, ["a", "z"])
        assert here.entry is not None
        assert web.requests[0].target.endswith("?sig=s3cret")
    assert "s3cret" not in absent.cause + absent.address + here.address
