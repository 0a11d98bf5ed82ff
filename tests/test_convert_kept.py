"""What is there whole and of this version is kept; anything else is done again, or no success."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from conftest import write_scene
from conversions import assert_same, bytes_of, convert, left_in, picture_of

from clearyear.convert import image as module
from clearyear.convert.image import convert_image
from clearyear.convert.picture import write_jpeg
from clearyear.convert.record import Image, Options
from clearyear.errors import InputError, ReadError
from clearyear.stores.local import LocalStore

# -- what counts -------------------------------------------------------------------------------------------------


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return write_scene(tmp_path / "a.tif", bytes_of((3, 40, 50)))


def stamps(folder: Path) -> dict[str, int]:
    return {p.name: p.stat().st_ino for p in folder.iterdir()}


def test_what_is_there_whole_and_of_this_version_is_kept(image: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = convert_image(Image(source=str(image), name="a"), str(out), Options(), run="one")
    before = stamps(out)
    again = convert_image(Image(source=str(image), name="a"), str(out), Options(), run="two")
    assert (first.kept, again.kept) == (False, True)
    assert again.record == first.record
    assert stamps(out) == before
    assert json.loads((out / "a.convert.json").read_text())["run"] == "one"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: (folder / "a.tif").unlink(),
        lambda folder: (folder / "a.jpg").write_bytes((folder / "a.jpg").read_bytes()[:-1] + b"X"),
        lambda folder: (folder / "a.tif").write_bytes((folder / "a.tif").read_bytes()[:500]),
        lambda folder: (folder / "a.convert.json").unlink(),
        lambda folder: (folder / "a.convert.json").write_text("{"),
        lambda folder: os.utime(folder.parent / "a.tif", (1, 1)),
        lambda folder: write_scene(folder.parent / "a.tif", bytes_of((3, 40, 50))),
    ],
    ids=["cog gone", "jpeg damaged", "cog cut off", "no record", "record cut off", "source touched", "source new"],
)
def test_what_lies_there_otherwise_is_no_success(spoil: Any, image: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    convert(image, out)
    spoil(out)
    assert not convert_image(Image(source=str(image), name="a"), str(out), Options()).kept
    assert_same(image, out / "a.tif")
    assert convert_image(Image(source=str(image), name="a"), str(out), Options()).kept


def test_other_options_are_another_conversion(image: Path, tmp_path: Path) -> None:
    first, second = convert(image, tmp_path / "out"), convert(image, tmp_path / "out", compress="deflate")
    assert first.fingerprint != second.fingerprint
    assert first.files["cog"].sha256 != second.files["cog"].sha256
    shown = convert(image, tmp_path / "out", bands=(3, 2, 1), compress="deflate")
    assert picture_of(shown).bands == (3, 2, 1)


def test_a_picture_of_before_does_not_stay_where_none_is_wanted(image: Path, tmp_path: Path) -> None:
    convert(image, tmp_path / "out")
    convert(image, tmp_path / "out", jpeg=False)
    assert left_in(tmp_path / "out") == ["a.convert.json", "a.tif"]


def test_killed_before_the_record_it_is_done_again(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class KilledError(BaseException):
        pass

    def killed(self: LocalStore, name: str, data: bytes) -> None:
        raise KilledError

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(LocalStore, "write", killed)
        with pytest.raises(KilledError):
            convert(image, out)
    assert {"a.tif", "a.jpg"} <= set(left_in(out))
    assert not convert_image(Image(source=str(image), name="a"), str(out), Options()).kept


def test_a_source_that_breaks_leaves_what_was_made_of_its_last_version(image: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    convert(image, out)
    before = stamps(out)
    image.write_bytes(image.read_bytes()[:700])
    with pytest.raises(ReadError):
        convert(image, out)
    assert stamps(out) == before


def test_a_source_that_changes_meanwhile_is_tried_again(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = write_jpeg

    def meanwhile(*arguments: Any) -> Any:
        os.utime(image, (5, 5))
        return right(*arguments)

    monkeypatch.setattr(module, "write_jpeg", meanwhile)
    with pytest.raises(ReadError, match="it has changed while it was converted") as caught:
        convert(image, tmp_path / "out")
    assert caught.value.transient
    assert left_in(tmp_path / "out") == []


def test_an_image_does_not_take_its_own_place(image: Path, tmp_path: Path) -> None:
    before = image.read_bytes()
    with pytest.raises(InputError, match="its COG would take its own place"):
        convert(image, tmp_path)
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(InputError, match="its COG would take its own place"):
        convert(image, tmp_path / "link")
    assert image.read_bytes() == before
