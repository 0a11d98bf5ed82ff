"""Archives that may be hostile: one plain file comes out, or a refusal, and nothing else is written anywhere."""

import gzip
import io
import stat
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from months import tgz

from clearyear.errors import ReadError
from clearyear.unpack import is_archive, unpack

WANTED = "*.avg_rade9h.tif"
DATA = b"pixels" * 1000


def tar_of(*members: tuple[str, bytes, int, str]) -> bytes:
    """(name, content, type, link target) of each member."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, content, kind, link in members:
            info = tarfile.TarInfo(name)
            info.size, info.type, info.linkname = len(content), bytes([kind]), link
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def zip_of(*members: tuple[str, bytes, int]) -> bytes:
    """(name, content, Unix mode) of each member."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content, mode in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            packed.writestr(info, content, zipfile.ZIP_DEFLATED)
    return out.getvalue()


FILE, LINK, HARD, FIFO = ord(tarfile.REGTYPE), ord(tarfile.SYMTYPE), ord(tarfile.LNKTYPE), ord(tarfile.FIFOTYPE)


def try_unpack(folder: Path, data: bytes, name: str = "m.tgz", **bounds: Any) -> Path:
    (folder / "in").mkdir(parents=True)
    archive, target = folder / "in" / name, folder / "in" / "tile.tif"
    archive.write_bytes(data)
    unpack(archive, WANTED, target, **bounds)
    return target


@pytest.mark.parametrize("name", ["m.tgz", "m.tar.gz", "M.TGZ"])
def test_the_one_file_that_is_wanted(tmp_path: Path, name: str) -> None:
    data = tgz({"readme.txt": b"x", "deep/a.cf_cvg.tif": b"y", "deep/a.avg_rade9h.tif": DATA})
    assert try_unpack(tmp_path, data, name).read_bytes() == DATA
    assert sorted(p.name for p in (tmp_path / "in").iterdir()) == sorted([name, "tile.tif"])


def test_zip_and_plain_tar(tmp_path: Path) -> None:
    packed = zip_of(("b/", b"", 0o40755), ("b/a.avg_rade9h.tif", DATA, 0o100644), ("c.txt", b"", 0))
    assert try_unpack(tmp_path / "z", packed, "m.zip").read_bytes() == DATA
    tar = gzip.decompress(tgz({"a.avg_rade9h.tif": DATA}))
    assert try_unpack(tmp_path / "t", tar, "m.tar").read_bytes() == DATA
    assert is_archive("m.zip")
    assert not is_archive("m.tif")


HOSTILE = {
    "leads out": (tar_of(("../../a.avg_rade9h.tif", DATA, FILE, "")), "m.tgz", "leads out of the archive"),
    "absolute": (tar_of(("/tmp/a.avg_rade9h.tif", DATA, FILE, "")), "m.tgz", "leads out of the archive"),
    "a link": (tar_of(("a.avg_rade9h.tif", b"", LINK, "/etc/passwd")), "m.tgz", "is a link or a device"),
    "a hard link": (tar_of(("a.avg_rade9h.tif", b"", HARD, "../../secret")), "m.tgz", "is a link or a device"),
    "a pipe": (tar_of(("a.avg_rade9h.tif", b"", FIFO, "")), "m.tgz", "is a link or a device"),
    "a link in a zip": (zip_of(("a.avg_rade9h.tif", b"/etc/passwd", stat.S_IFLNK | 0o777)), "m.zip", "is a link"),
    "out of a zip": (zip_of(("..\\a.avg_rade9h.tif", DATA, 0o100644)), "m.zip", "leads out of the archive"),
    "none": (tgz({"a.cf_cvg.tif": DATA}), "m.tgz", "holds 0 files like"),
    "two": (tgz({"a.avg_rade9h.tif": DATA, "b/a.avg_rade9h.tif": DATA}), "m.tgz", "holds 2 files like"),
    "cut off": (tgz({"a.avg_rade9h.tif": DATA * 50})[:-40], "m.tgz", "cannot be unpacked"),
    "no archive": (b"<html>", "m.tgz", "cannot be unpacked"),
    "no zip": (b"<html>", "m.zip", "cannot be unpacked"),
    "empty": (b"", "m.tgz", "cannot be unpacked"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_is_not_to_be_trusted_is_refused(tmp_path: Path, kind: str) -> None:
    data, name, said = HOSTILE[kind]
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(ReadError, match=said) as refused:
        try_unpack(tmp_path, data, name)
    assert not refused.value.transient
    left = {p for p in tmp_path.rglob("*") if p.is_file()} - set(before)
    assert left == {tmp_path / "in" / name}


@pytest.mark.parametrize("where", ["a pixel", "the checksum", "the length"])
def test_a_flipped_bit_is_found_by_the_checksum_of_gzip(tmp_path: Path, where: str) -> None:
    """Stored without compression, so that nothing but the checksum can tell."""
    data = bytearray(gzip.compress(gzip.decompress(tgz({"a.avg_rade9h.tif": DATA})), compresslevel=0))
    data[{"a pixel": data.index(DATA) + 3000, "the checksum": -8, "the length": -4}[where]] ^= 1
    with pytest.raises(ReadError, match=r"m\.tgz cannot be unpacked"):
        try_unpack(tmp_path, bytes(data))
    assert [p.name for p in (tmp_path / "in").iterdir()] == ["m.tgz"]


def test_links_beside_the_wanted_file_are_passed_over(tmp_path: Path) -> None:
    data = tar_of(("out", b"", LINK, "/"), ("out/a.txt", b"x", FILE, ""), ("a.avg_rade9h.tif", DATA, FILE, ""))
    assert try_unpack(tmp_path, data).read_bytes() == DATA


@pytest.mark.parametrize("kind", ["wanted", "passed over", "after the end", "zip"])
def test_more_than_is_allowed_is_refused(tmp_path: Path, kind: str) -> None:
    """A bomb: a thousand times what it weighs."""
    zeros = bytes(5_000_000)
    data = {
        "wanted": tgz({"a.avg_rade9h.tif": zeros}),
        "passed over": tgz({"bomb": zeros, "a.avg_rade9h.tif": DATA}),
        "after the end": gzip.compress(gzip.decompress(tgz({"a.avg_rade9h.tif": DATA})) + zeros),
        "zip": zip_of(("a.avg_rade9h.tif", zeros, 0o100644)),
    }[kind]
    with pytest.raises(ReadError, match="bytes"):
        try_unpack(tmp_path, data, "m.zip" if kind == "zip" else "m.tgz", most_bytes=1_000_000)


def test_a_zip_that_lies_about_its_size(tmp_path: Path) -> None:
    data = bytearray(zip_of(("a.avg_rade9h.tif", bytes(3_000_000), 0o100644)))
    size = (3_000_000).to_bytes(4, "little")
    at = data.index(size, data.index(b"PK\x01\x02"))
    data[at : at + 4] = (10).to_bytes(4, "little")
    with pytest.raises(ReadError):
        try_unpack(tmp_path, bytes(data), "m.zip", most_bytes=1_000_000)


def test_a_header_that_asks_for_gigabytes(tmp_path: Path) -> None:
    """An extended header is read into memory as a whole, on its own word."""
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 4 << 30
    with pytest.raises(ReadError, match="a header asks for"):
        try_unpack(tmp_path, gzip.compress(info.tobuf() + bytes(100_000)))
