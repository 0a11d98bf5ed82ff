"""Lists of images: what a row, a folder and a file ask for, and what the verb says of it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from conftest import write_scene
from loopback.http import HttpServer

from clearyear.cli import main
from clearyear.convert.picture import Bands
from clearyear.convert.rows import parse_bands, read_sheet, rows_of
from clearyear.errors import InputError

Cli = Callable[..., tuple[int, dict[str, Any]]]


def make_image(path: Path, bands: int = 3) -> Path:
    return write_scene(path, np.full((bands, 20, 20), 99, np.uint8))


@pytest.mark.parametrize(
    ("text", "bands"),
    [("", None), (" 3 ", 3), ("1", 1), ("4,3,2", (4, 3, 2)), ("4;3;2", (4, 3, 2)), ("4 3 2", (4, 3, 2)), ("12", 12)],
)
def test_bands(text: str, bands: Bands) -> None:
    assert parse_bands(text) == bands


@pytest.mark.parametrize("text", ["three", "0", "-1", "3.0", "1,x,2", "²", "9" * 30])
def test_what_says_no_bands_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="says no bands"):
        parse_bands(text)


@pytest.mark.parametrize(
    ("data", "head", "texts"),
    [
        (b"a.tif,3\nb/c.tif,1\n", "", ["a.tif,3\n", "b/c.tif,1\n"]),
        (b"\xef\xbb\xbfpath,bands\r\na.tif,3\r\nb.tif,4", "path,bands\r\n", ["a.tif,3\r\n", "b.tif,4"]),
        (b"image\na.tif\n\n  \nb.tif\n", "image\n", ["a.tif\n", "b.tif\n"]),
        (b'"a, b.tif",3\n"c\nd.tif","4,3,2"\n', "", ['"a, b.tif",3\n', '"c\nd.tif","4,3,2"\n']),
        (b"my file,number of bands\na.tif,3\n", "my file,number of bands\n", ["a.tif,3\n"]),
        (b"scan.img,3\na.tif,3\n", "", ["scan.img,3\n", "a.tif,3\n"]),
        ("grün.tif,3\n".encode(), "", ["grün.tif,3\n"]),
        (b"https://h/x.tif?sig=1,\ny.tif,3\n", "", ["https://h/x.tif?sig=1,\n", "y.tif,3\n"]),
        (b"gs://b/scene1,three\n", "", ["gs://b/scene1,three\n"]),
        (b"scan.img,\n", "", ["scan.img,\n"]),
    ],
)
def test_a_list_as_it_came(data: bytes, head: str, texts: list[str]) -> None:
    sheet = read_sheet(data)
    assert sheet.head == head
    assert [text for text, _ in sheet.cells] == texts


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "it lists no image"),
        (b"path,bands\n", "it lists no image"),
        (b"\n\n", "it lists no image"),
        (b"a.tif,3\n\xff\xfe", "it is not text in UTF-8"),
        (b'a.tif,3\n"b.tif,3\nc.tif,3\n', "line 4 is no CSV (unexpected end of data)"),
        (b'a.tif,3\n"b"x.tif,3\n', "is no CSV"),
    ],
)
def test_a_malformed_list_is_refused_as_a_whole(data: bytes, said: str) -> None:
    with pytest.raises(InputError) as caught:
        read_sheet(data)
    assert said in str(caught.value)


def test_paths_are_meant_from_the_list_or_from_the_root(tmp_path: Path) -> None:
    root = tmp_path / "root"
    for name in ("a.tif", "x/a.tif", "x/only.tif", "far/b.tif"):
        make_image(root / name)
    elsewhere = make_image(tmp_path / "elsewhere" / "e.tif")
    listed = ["a.tif", "./only.tif", "far/b.tif", "nowhere.tif", "../a.tif", str(elsewhere), str(root / "x/a.tif")]
    data = "".join(f"{name},3\n" for name in listed).encode()
    rows = rows_of(read_sheet(data), str(root / "x" / "l-raw.csv"), str(root))
    found = [(row.image.source.removeprefix(f"{tmp_path}/"), row.image.name) for row in rows if row.image]
    assert found == [
        ("root/x/a.tif", "x/a"),
        ("root/x/only.tif", "x/only"),
        ("root/far/b.tif", "far/b"),
        ("root/x/nowhere.tif", "x/nowhere"),
        ("root/a.tif", "a"),
        ("elsewhere/e.tif", "e"),
        ("root/x/a.tif", "x/a"),
    ]


@pytest.mark.parametrize("address", ["/etc/a.tif", "~/a.tif", "../../a.tif", "file:///etc/a.tif", "x/../../a.tif"])
def test_a_list_elsewhere_names_no_file_of_this_machine(address: str) -> None:
    sheet = read_sheet(f"{address},3\nhttps://host/b.tif,3\n".encode())
    first, second = rows_of(sheet, "gs://bucket/in/l-raw.csv", "gs://bucket/in")
    assert first.image is None
    assert "is a file of this machine, or out of the folder that is watched" in first.cause
    assert second.image is not None
    assert (second.image.source, second.image.name) == ("https://host/b.tif", "b")


def test_a_bad_row_says_why_and_hides_no_other(tmp_path: Path) -> None:
    data = b"a.tif,x\nb.tif,3,4\nhttp://10.0.0.1/c.tif,3\nd.tif,3\nd.tiff,3\nd.tif,3\nd.tif,1\n,3\n"
    rows = rows_of(read_sheet(data), str(tmp_path / "raw.csv"), str(tmp_path))
    assert [row.image is not None for row in rows] == [False, False, False, True, False, True, False, False]
    causes = [row.cause for row in rows if row.image is None]
    assert "says no bands" in causes[0]
    assert causes[1] == "the row has 3 cells"
    assert "is plain http" in causes[2]
    assert "its outputs would be those of" in causes[3]
    assert "itself with other bands" in causes[4]
    assert causes[5] == "the row names no image"


# -- the verb ----------------------------------------------------------------------------------------------------


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, dict[str, Any]]:
        done = CliRunner().invoke(main, ["convert", *arguments, "--json"])
        return done.exit_code, json.loads(done.stdout.splitlines()[-1])

    return run


def test_one_file(cli: Cli, tmp_path: Path) -> None:
    make_image(tmp_path / "in" / "a.tif")
    code, found = cli("in/a.tif")
    assert (code, found["status"], found["converted"], found["kept"]) == (0, "complete", 1, 0)
    out = str(tmp_path / "converted")
    assert found["out"] == out
    assert found["images"] == [{"source": "in/a.tif", "cog": f"{out}/a.tif", "jpeg": f"{out}/a.jpg"}]
    assert sorted(p.name for p in (tmp_path / "converted").iterdir()) == ["a.convert.json", "a.jpg", "a.tif"]
    assert cli("in/a.tif")[1]["kept"] == 1


def test_a_folder_with_a_broken_image_and_its_own_outputs_below(cli: Cli, tmp_path: Path) -> None:
    make_image(tmp_path / "in" / "a.tif")
    make_image(tmp_path / "in" / "b" / "a.TIFF")
    (tmp_path / "in" / "broken.tif").write_bytes(b"no image")
    for converted in (2, 0):
        code, found = cli("in", "--out", "in/out", "--no-jpeg", "--compress", "deflate")
        assert (code, found["status"], found["expected"], found["converted"]) == (3, "incomplete", 3, converted)
        [failed] = found["failed"]
        assert failed["source"] == str(tmp_path / "in" / "broken.tif")
        assert "not recognized" in failed["cause"]
        assert failed["do"] == "mend or replace the file"
    files = sorted(p.relative_to(tmp_path / "in" / "out").as_posix() for p in (tmp_path / "in" / "out").rglob("*.*"))
    assert files == ["a.convert.json", "a.tif", "b/a.convert.json", "b/a.tif"]


def test_a_list(cli: Cli, tmp_path: Path) -> None:
    make_image(tmp_path / "in" / "a.tif")
    make_image(tmp_path / "in" / "b.tif", bands=4)
    (tmp_path / "in" / "list.csv").write_text('path,bands\na.tif,1\nb.tif,"4,3,2"\nc.tif,3\na.tif,9x\n')
    code, found = cli("in/list.csv", "--out", "out")
    assert (code, found["expected"], found["converted"]) == (3, 4, 2)
    assert [f["cause"] for f in found["failed"]] == ["it is not there", "'9x' says no bands"]
    bands = {name: json.loads((tmp_path / "out" / f"{name}.convert.json").read_text())["picture"] for name in "ab"}
    assert (bands["a"]["bands"], bands["b"]["bands"]) == ([1], [4, 3, 2])
    assert (tmp_path / "in" / "list.csv").exists()


def test_all_failed(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(b"")
    code, found = cli("a.tif")
    assert (code, found["status"], found["images"]) == (3, "failed", [])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere.tif"], "nowhere.tif is not there"),
        (["nowhere"], "Cannot list"),
        (["empty"], "holds 0 files, none of which is an image to convert"),
        (["nowhere.csv"], "The list nowhere.csv: Cannot read"),
        (["bad.csv"], "The list bad.csv: it lists no image"),
        (["a.tif", "--compress", "jpeg"], "compress: 'jpeg' is not possible"),
        (["a.tif", "--bands", "x"], "'x' says no bands"),
        (["a.tif", "--out", "https://host/out"], "is a web address, which can only be read"),
        (["s4://bucket/x.tif"], "cannot be used"),
    ],
)
def test_wrong_input(arguments: list[str], said: str, cli: Cli, tmp_path: Path) -> None:
    make_image(tmp_path / "a.tif")
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.csv").write_text("path,bands\n")
    code, found = cli(*arguments)
    assert (code, found["status"]) == (2, "failed")
    assert said in found["error"]


def test_what_a_person_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_image(tmp_path / "in" / "a.tif")
    (tmp_path / "in" / "b.tif").write_bytes(b"")
    done = CliRunner().invoke(main, ["convert", "in"])
    assert done.exit_code == 3
    first, second, third = done.stdout.splitlines()
    assert first == "incomplete: 1 of 2 images are converted"
    assert second.startswith(f"  failed   {tmp_path}/in/b.tif: ")
    assert second.endswith("What to do: mend or replace the file")
    assert third == f"out      {tmp_path}/converted"
    assert done.stderr == ""


def test_images_on_the_web_and_no_signature_anywhere(cli: Cli, tmp_path: Path) -> None:
    with HttpServer() as web:
        web.files["/in/out.tif"] = make_image(tmp_path / "in" / "a.tif").read_bytes()
        web.files["/in/b.tif"] = b"no image"
        (tmp_path / "list.csv").write_text(
            "".join(f"{web.url}/in/{name}.tif?sig=s3cret%2F,3\n" for name in ("out", "b", "c"))
        )
        code, found = cli("list.csv", "--out", "out")
        assert (code, found["converted"], len(found["failed"])) == (3, 1, 2)
        assert cli("list.csv", "--out", "out")[1]["kept"] == 1
    assert "s3cret" not in json.dumps(found)
    assert "s3cret" not in (tmp_path / "out" / "out.convert.json").read_text()
    with rasterio.open(tmp_path / "in" / "a.tif") as one, rasterio.open(tmp_path / "out" / "out.tif") as other:
        assert np.array_equal(one.read(), other.read())
