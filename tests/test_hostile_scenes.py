"""Scenes that were made to do harm: each is refused or fails by name, reaches nowhere and hangs nothing."""

import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from conftest import write_scene

from clearyear import publish
from clearyear.errors import InputError
from clearyear.job import Job
from clearyear.plan import Plan
from clearyear.prepare import make_plan
from clearyear.reading.direct import DirectSource
from clearyear.reading.stack import read_stack
from clearyear.reading.tiff import Unsupported
from clearyear.scenes import find_scenes
from clearyear.scenes.headers import Header, _known_header, read_header

ROOT = Path(__file__).resolve().parents[1]
FORMS = {1: "B", 2: "B", 3: "H", 4: "I", 16: "Q"}


def plan_of(path: Path, **changes: Any) -> Plan:
    values = {"scenes": [str(path)], "period": "all", "out": str(path.parent / "out"), "reducer": "band-median"}
    return make_plan(Job.model_validate(values | {"tile_size": 1024} | changes))


def scene(folder: Path, **profile: Any) -> Path:
    pixels = np.arange(64 * 64, dtype=np.uint8).reshape(1, 64, 64)
    return write_scene(folder / "hostile_20230101.tif", pixels, **profile)


def set_tag(path: Path, tag: int, value: int, *, kind: int | None = None) -> None:
    """Give a tag of a little-endian file one value, in place; all of its values where it has several."""
    data = bytearray(path.read_bytes())
    big = data[2] == 0x2B
    counter, size, word = ("<Q", 20, "<Q") if big else ("<H", 12, "<I")
    (start,) = struct.unpack_from(word, data, 8 if big else 4)
    (n,) = struct.unpack_from(counter, data, start)
    for i in range(n):
        at = start + struct.calcsize(counter) + i * size
        found, found_kind = struct.unpack_from("<HH", data, at)
        if found != tag:
            continue
        (count,) = struct.unpack_from(word, data, at + 4)
        if kind is not None:
            struct.pack_into("<H", data, at + 2, kind)
        form = "<" + FORMS[kind or found_kind]
        place = at + 4 + struct.calcsize(word)
        if count * struct.calcsize(form) > struct.calcsize(word):
            (place,) = struct.unpack_from(word, data, place)
        for j in range(count):
            struct.pack_into(form, data, place + j * struct.calcsize(form), value)
        path.write_bytes(data)
        return
    raise AssertionError(f"no tag {tag}")


# -- headers that claim too much -----------------------------------------------------------------------------


def test_too_many_bands(tmp_path: Path) -> None:
    """GDAL is busy for minutes with one small block of 65,535 bands."""
    path = scene(tmp_path, compress=None)
    set_tag(path, 277, 65535)
    with pytest.raises(InputError, match=r"hostile_20230101 \(.*: it claims 65,535 bands, at most 512 are read\)"):
        plan_of(path)


def test_giant_blocks(tmp_path: Path) -> None:
    path = scene(tmp_path)
    for tag, value in ((256, 60000), (257, 60000), (322, 32768), (323, 32768)):
        set_tag(path, tag, value, kind=4)
    with pytest.raises(InputError, match=r"hostile_20230101 \(.*: its blocks are of 1,074 MB, at most 268 MB are read"):
        plan_of(path)


def test_windows_without_end(tmp_path: Path) -> None:
    path = scene(tmp_path, sparse_ok=True)
    for tag, value in ((256, 2**24), (257, 2**24), (322, 16384), (323, 16384)):
        set_tag(path, tag, value, kind=4)
    with pytest.raises(
        InputError,
        match=r"hostile_20230101 and all scenes like it claim 16,777,216 × 16,777,216 px, which is 268,435,456 windows",
    ):
        plan_of(path)


@pytest.mark.parametrize("offset", [2**62 + 1, 2**63, 2**64 - 1])
def test_blocks_beyond_any_file(tmp_path: Path, offset: int) -> None:
    path = scene(tmp_path, BIGTIFF="YES")
    set_tag(path, 324, offset)
    with pytest.raises(Unsupported, match="a block at byte"):
        DirectSource.open(str(path))
    plan = plan_of(path)
    _, used, failed = read_stack(plan.scenes, plan.grid, plan.windows[0], n_bands=1, dtype="uint8")
    assert (used, [f.scene for f in failed]) == ([], ["hostile_20230101"])


def test_a_directory_beyond_any_file(tmp_path: Path) -> None:
    path = scene(tmp_path, BIGTIFF="YES")
    data = bytearray(path.read_bytes())
    struct.pack_into("<Q", data, 8, 2**64 - 1)
    path.write_bytes(data)
    with pytest.raises(Unsupported, match="its header points to byte"):
        DirectSource.open(str(path))
    with pytest.raises(InputError, match="1 of 1 scenes cannot be opened: hostile_20230101"):
        plan_of(path)


def test_jpeg_2000_can_be_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its decoder meets every file that begins like one, whatever it is called."""
    pixels = np.arange(64 * 64, dtype=np.uint8).reshape(1, 64, 64)
    profile = {"width": 64, "height": 64, "count": 1, "dtype": "uint8", "crs": "EPSG:32631"}
    place = rasterio.Affine(10, 0, 0, 0, -10, 0)
    with rasterio.open(tmp_path / "a.jp2", "w", driver="JP2OpenJPEG", transform=place, **profile) as dataset:
        dataset.write(pixels)
    path = (tmp_path / "a.jp2").rename(tmp_path / "hostile_20230101.tif")
    assert plan_of(path).grid.width == 64
    _known_header.cache_clear()
    monkeypatch.setenv("CLEARYEAR_JPEG2000", "false")
    with pytest.raises(InputError, match=r"1 of 1 scenes cannot be opened: .*not recognized"):
        plan_of(path)


# -- files that are none -------------------------------------------------------------------------------------


def test_pipes_and_devices_are_no_scenes(tmp_path: Path) -> None:
    """Opening a pipe waits for a writer who never comes; /dev/zero has no end."""
    sound = scene(tmp_path)
    os.mkfifo(tmp_path / "pipe_20230102.tif")
    (tmp_path / "zero_20230103.tif").symlink_to("/dev/zero")
    assert [s.uri for s in find_scenes(str(tmp_path))] == [str(sound)]
    with pytest.raises(InputError, match="2 of 2 scenes of the list are not there"):
        find_scenes([str(tmp_path / "pipe_20230102.tif"), str(tmp_path / "zero_20230103.tif")])


def test_a_folder_that_holds_itself(tmp_path: Path) -> None:
    """Two links upwards make 2⁴⁰ paths; each scene is found once, and a linked folder is still searched."""
    (tmp_path / "real").mkdir()
    scene(tmp_path / "real")
    top = tmp_path / "top"
    top.mkdir()
    for name, target in (("a", "."), ("b", "."), ("linked", "../real")):
        (top / name).symlink_to(target)
    assert [s.id for s in find_scenes(str(top))] == ["hostile_20230101"]


# -- other formats, and files beside -------------------------------------------------------------------------


def vrt(source: str, extra: str = "") -> str:
    return f"""<VRTDataset rasterXSize="64" rasterYSize="64"><VRTRasterBand dataType="Byte" band="1" {extra}>
    <SimpleSource><SourceFilename relativeToVRT="0">{source}</SourceFilename><SourceBand>1</SourceBand></SimpleSource>
    </VRTRasterBand></VRTDataset>"""


PIXEL_FUNCTION = """<VRTDataset rasterXSize="64" rasterYSize="64">
    <VRTRasterBand dataType="Byte" band="1" subClass="VRTDerivedRasterBand">
    <PixelFunctionType>harm</PixelFunctionType><PixelFunctionLanguage>Python</PixelFunctionLanguage>
    <PixelFunctionCode><![CDATA[open({mark!r}, "w").write("I was here")
def harm(*_): open({mark!r}, "w").write("I was here")]]></PixelFunctionCode>
    <SimpleSource><SourceFilename relativeToVRT="0">{source}</SourceFilename></SimpleSource>
    </VRTRasterBand></VRTDataset>"""


@pytest.mark.parametrize("reader", ["auto", "gdal"])
@pytest.mark.parametrize("name", ["a_20230101.tif", "a_20230101.vrt"])
def test_a_vrt_reaches_nowhere(
    tmp_path: Path, elsewhere: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch, reader: str, name: str
) -> None:
    url, asked = elsewhere
    monkeypatch.setenv("CLEARYEAR_READER", reader)
    path = tmp_path / name
    path.write_text(vrt(f"/vsicurl/{url}/secret.tif"))
    with pytest.raises(InputError, match="1 of 1 scenes cannot be opened: a_20230101"):
        plan_of(path)
    assert asked == []


@pytest.mark.parametrize("asks", [lambda p: publish.validate(p), lambda p: publish.write_preview(p, None, size=64)])
def test_no_verb_follows_a_vrt(tmp_path: Path, elsewhere: tuple[str, list[str]], asks: Callable[[str], Any]) -> None:
    url, asked = elsewhere
    path = tmp_path / "a.tif"
    path.write_text(vrt(f"/vsicurl/{url}/secret.tif"))
    try:
        found = asks(str(path))
    except Exception as error:
        found = [str(error)]
    assert "not recognized as being in a supported file format" in found[0]
    assert asked == []


def test_no_python_from_a_file_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where somebody has told GDAL that it may."""
    monkeypatch.setenv("GDAL_VRT_ENABLE_PYTHON", "YES")
    mark = tmp_path / "mark"
    path = tmp_path / "a_20230101.tif"
    path.write_text(PIXEL_FUNCTION.format(mark=str(mark), source=scene(tmp_path)))
    with pytest.raises(InputError, match="1 of 1 scenes cannot be opened: a_20230101"):
        plan_of(path)
    assert publish.validate(str(path))
    assert not mark.exists()


SIDECARS: dict[str, str] = {
    ".tif.aux.xml": """<PAMDataset><SRS>EPSG:3857</SRS><GeoTransform>9,9,0,9,0,-9</GeoTransform>
        <PAMRasterBand band="1"><NoDataValue>7</NoDataValue><Description>no</Description></PAMRasterBand>
        <Metadata domain="OVERVIEWS"><MDI key="OVERVIEW_FILE">{other}</MDI></Metadata></PAMDataset>""",
    ".tfw": "9\n0\n0\n-9\n9\n9\n",
    ".prj": 'LOCAL_CS["nowhere"]',
    ".tif.vrt": "<VRTDataset/>",
}


def seen(path: Path) -> tuple[Header, bytes]:
    plan = plan_of(path)
    stack, _, _ = read_stack(plan.scenes, plan.grid, plan.windows[0], n_bands=1, dtype="uint8")
    return read_header(str(path)), stack.tobytes()


@pytest.mark.parametrize("reader", ["auto", "gdal"])
@pytest.mark.parametrize("georeferenced", [True, False])
def test_no_file_beside_a_scene_changes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reader: str, georeferenced: bool
) -> None:
    monkeypatch.setenv("CLEARYEAR_READER", reader)
    path = scene(tmp_path, **({} if georeferenced else {"crs": None, "transform": None, "nodata": None}))
    before = seen(path)
    other = write_scene(tmp_path / "other" / "o.tif", np.full((1, 64, 64), 200, np.uint8))
    for suffix, text in SIDECARS.items():
        path.with_name(path.name.removesuffix(".tif") + suffix).write_text(text.format(other=other))
    for suffix in (".tif.ovr", ".tif.msk"):
        path.with_name(path.name.removesuffix(".tif") + suffix).write_bytes(other.read_bytes())
    os.utime(path)  # another version, so that nothing is remembered
    assert seen(path) == before


def test_a_sidecar_would_be_heard_without_our_options(tmp_path: Path) -> None:
    """What makes the test above able to fail: the same file, opened as GDAL opens it by itself."""
    path = scene(tmp_path, crs=None, transform=None)
    path.with_name(path.name + ".aux.xml").write_text(SIDECARS[".tif.aux.xml"])
    code = f"import rasterio; print(rasterio.open({str(path)!r}).crs)"
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("GDAL_", "CPL_"))}
    said = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert "3857" in said.stdout


# -- the fuzz run, in short ----------------------------------------------------------------------------------


def test_a_hundred_damaged_scenes(tmp_path: Path) -> None:
    """All of benchmarks/fuzz.py but the number: no crash, no hang, no error that is not ours, memory within bounds."""
    command = [sys.executable, str(ROOT / "benchmarks" / "fuzz.py"), "--inputs", "100", "--seed", "7"]
    done = subprocess.run([*command, "--keep", str(tmp_path / "kept")], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "100 inputs of seed 7" in done.stdout
    assert "bug 0, crash 0, hang 0, unnamed 0, memory 0, disagree 0" in done.stdout


def test_pixels_of_a_sound_scene_are_read_by_the_same_way(tmp_path: Path) -> None:
    """The patching above is no harm in itself: a tag set to what it was leaves a scene that reads."""
    path = scene(tmp_path)
    set_tag(path, 322, 16)
    with rasterio.open(path) as dataset:
        assert seen(path)[1] == dataset.read().tobytes()
