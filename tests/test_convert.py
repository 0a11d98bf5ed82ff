"""One image → COG and JPEG: all that was in it is in them, or it is refused by name and nothing is left."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import tifffile
from affine import Affine
from conftest import DATA, write_scene
from conversions import RNG, assert_same, bytes_of, convert, left_in, picture_of
from numpy.typing import NDArray
from PIL import Image as Pillow
from rasterio.control import GroundControlPoint

from clearyear.convert import image as module
from clearyear.convert.raster import differences, open_source, write_cog
from clearyear.errors import ClearyearError, InputError, ReadError

FOLDER = DATA / "conformance"
REFUSED = {
    "ungarj__invalid.tif": "not recognized as being in a supported file format",
    "rasterio__corrupt.tif": "rasterio__corrupt.tif, band 1: IReadBlock failed at X offset 1, Y offset 1",
    "rouault__byte_truncated.tif": "byte_truncated.tif, band 1: IReadBlock failed at X offset 0, Y offset 0",
}
BIG = "cogeotiff__image_web_z5_z11.tif"


def conformance() -> list[str]:
    if not (FOLDER / "manifest.csv").exists():
        return []
    with (FOLDER / "manifest.csv").open() as table:
        return [row["file"] for row in csv.DictReader(table) if row["file"].endswith(".tif") and row["file"] != BIG]


# -- every awkward kind ------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize("name", conformance())
def test_converted_or_refused_by_name(name: str, tmp_path: Path) -> None:
    source, out = FOLDER / name, tmp_path / "out"
    if name in REFUSED:
        with pytest.raises(ReadError) as caught:
            convert(source, out)
        assert REFUSED[name] in str(caught.value)
        assert left_in(out) == []
        return
    record = convert(source, out)
    assert_same(source, out / f"{source.stem}.tif")
    with Pillow.open(out / f"{source.stem}.jpg") as picture:
        picture.load()
        assert picture.size == (record.width, record.height)
        assert picture.mode == ("RGB" if len(picture_of(record).bands) == 3 or picture_of(record).palette else "L")
    assert left_in(out) == sorted(f"{source.stem}{e}" for e in (".convert.json", ".jpg", ".tif"))
    # A COG of ours is one more GeoTIFF: made again it is the same, byte for byte.
    again = convert(out / f"{source.stem}.tif", tmp_path / "again", jpeg=False)
    assert again.files["cog"].sha256 == record.files["cog"].sha256


@pytest.mark.usefixtures("data")
def test_a_large_image_takes_little_memory(tmp_path: Path) -> None:
    """8,448² px, 214 MB in 3 bands. Its JPEG alone would be that many bytes in memory, its stretch eight times."""
    program = (
        "import re, sys; from pathlib import Path; from clearyear.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as end: code = end.code\n"
        # Not ru_maxrss: that one remembers how large the process was that started this one.
        "print(code, int(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1]) // 1024)"
    )
    arguments = ["convert", str(FOLDER / BIG), "--out", str(tmp_path), "--json", "--compress", "zstd"]
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True)
    outcome, last = done.stdout.splitlines()
    assert json.loads(outcome)["status"] == "complete"
    code, megabytes = map(int, last.split())
    assert code == 0
    assert megabytes < 700
    with Pillow.open(tmp_path / f"{Path(BIG).stem}.jpg") as picture:
        assert picture.size == (8448, 8448)


DTYPES = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64"]


@pytest.mark.parametrize("dtype", [*DTYPES, "complex64", "complex128"])
@pytest.mark.parametrize("compress", ["lzw", "zstd"])
def test_every_sample_type(dtype: str, compress: str, tmp_path: Path) -> None:
    pixels = RNG.integers(0, 2**62, (2, 70, 90)).astype(np.int64).view(np.float64 if dtype == "float64" else np.int64)
    if dtype.startswith("complex"):
        pixels = pixels + 1j * RNG.random(pixels.shape)
    path = write_scene(tmp_path / "a.tif", pixels.astype(dtype), nodata=None, compress="deflate")
    jpeg = not dtype.startswith("complex")
    record = convert(path, tmp_path / "out", compress=compress, jpeg=jpeg)
    with rasterio.open(path) as one, rasterio.open(tmp_path / "out" / "a.tif") as other:
        assert one.read().tobytes() == other.read().tobytes()
        assert other.compression.value == compress.upper()
        predictor = other.tags(ns="IMAGE_STRUCTURE").get("PREDICTOR")
        assert predictor == (None if not jpeg else "3" if dtype.startswith("float") else "2")
    assert set(record.files) == {"cog", "jpeg"} if jpeg else {"cog"}
    assert (record.picture is not None and record.picture.stretch is None) == (dtype == "uint8")
    if not jpeg:
        with pytest.raises(InputError, match="its samples are complex numbers"):
            convert(path, tmp_path / "other")


def odd_image(kind: str, path: Path) -> Path:
    """A GeoTIFF of a kind that a careless conversion loses something of."""
    pixels = bytes_of((3, 600, 530))
    if kind == "palette":
        write_scene(path, pixels[:1], nodata=None)
        with rasterio.open(path, "r+") as dataset:
            dataset.write_colormap(1, {n: (n, 255 - n, n // 2, 255) for n in range(256)})
    elif kind == "bilevel":
        write_scene(path, pixels[:1] % 2, nodata=None, nbits=1)
    elif kind == "twelve bits":
        write_scene(path, RNG.integers(0, 4096, (1, 600, 530)).astype(np.uint16), nodata=None, nbits=12)
    elif kind == "half floats":
        write_scene(path, RNG.random((2, 60, 53)).astype(np.float16).astype(np.float32), nodata=None, nbits=16)
    elif kind == "CMYK":
        write_scene(path, bytes_of((4, 60, 53)), nodata=None, photometric="CMYK")
    elif kind == "ground control points":
        points = [GroundControlPoint(r, c, 5 + c / 9, 50 - r / 9, 3) for r, c in ((0, 0), (0, 500), (500, 0), (9, 9))]
        write_scene(path, pixels, transform=None, crs=None)
        with rasterio.open(path, "r+") as dataset:
            dataset.gcps = (points, "EPSG:4326")
    elif kind == "rotated":
        write_scene(path, pixels, transform=Affine(9, 4, 3e5, 4, -9, 5e6))
    elif kind == "south up, no CRS":
        write_scene(path, pixels, transform=Affine(1, 0, 0, 0, 1, 0.5), crs=None)
    elif kind == "mask inside":
        write_scene(path, pixels, nodata=None)
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as dataset:
            dataset.write_mask(pixels[0] > 99)
    elif kind == "alpha and nodata":
        write_scene(path, bytes_of((4, 600, 530)), nodata=7, photometric="RGB", alpha="YES")
    elif kind == "two hundred bands":
        write_scene(path, RNG.integers(0, 9999, (200, 20, 30)).astype(np.uint16), interleave="band")
    elif kind == "strips, big-endian, BigTIFF":
        write_scene(path, pixels, tiled=False, blockysize=7, endianness="BIG", bigtiff="YES", compress="packbits")
    elif kind == "YCbCr JPEG":
        write_scene(path, pixels, nodata=None, compress="jpeg", photometric="YCbCr")
    elif kind == "NaN":
        floats = np.where(pixels < 60, np.nan, pixels).astype(np.float32)
        write_scene(path, floats, nodata=float("nan"))
    elif kind == "described":
        write_scene(path, pixels.astype(np.int16), nodata=-1000)
        with rasterio.open(path, "r+") as dataset:
            dataset.scales, dataset.offsets = (1e-4, 1e-4, 0.5), (-0.1, 0, 7)
            dataset.units = ("m", "K", "")
            dataset.descriptions = ("nir", "red", "green – Grün")
            dataset.update_tags(TIFFTAG_DATETIME="2023:01:02 03:04:05", ORBIT="51")
            dataset.update_tags(2, wavelength="665")
    if kind == "mask inside":
        update_domains(path)
    return path


def update_domains(path: Path) -> None:
    """Metadata apart from the tags, of the image and of a band."""
    with rasterio.open(path, "r+") as dataset:
        dataset.update_tags(ns="SENSOR", mode="9")
        dataset.update_tags(1, ns="QUALITY", clouds="3 %")


@pytest.mark.parametrize(
    "kind",
    [
        *(
            "palette",
            "bilevel",
            "twelve bits",
            "half floats",
            "CMYK",
            "ground control points",
            "rotated",
            "south up, no CRS",
            "mask inside",
        ),
        *("alpha and nodata", "two hundred bands", "strips, big-endian, BigTIFF", "YCbCr JPEG", "NaN", "described"),
    ],
)
def test_odd_kinds_made_here(kind: str, tmp_path: Path) -> None:
    path = odd_image(kind, tmp_path / "odd.tif")
    convert(path, tmp_path / "out")
    assert_same(path, tmp_path / "out" / "odd.tif")


def write_mask_beside(path: Path, mask: NDArray[Any], **tags: str) -> None:
    write_scene(Path(f"{path}.msk"), mask, nodata=None)
    with rasterio.open(f"{path}.msk", "r+") as dataset:
        dataset.update_tags(**tags)


def test_a_mask_beside_an_image_is_read_and_its_change_noticed(tmp_path: Path) -> None:
    path = write_scene(tmp_path / "a.tif", bytes_of((1, 60, 50)), nodata=None)
    update_domains(path)
    mask = np.where(bytes_of((1, 60, 50)) > 99, 255, 0).astype(np.uint8)
    for shown in (mask, 255 - mask):
        write_mask_beside(path, shown, INTERNAL_MASK_FLAGS_1="2")
        convert(path, tmp_path / "out")
        assert_same(path, tmp_path / "out" / "a.tif")
        with rasterio.open(tmp_path / "out" / "a.tif") as dataset:
            assert np.array_equal(dataset.read_masks(1), shown[0])


@pytest.mark.parametrize(
    ("rows", "tags", "said"),
    [
        (9, {"INTERNAL_MASK_FLAGS_1": "2"}, "the mask a.tif.msk beside it has 50 × 9 px, 1 bands"),
        (60, {}, "the file a.tif.msk beside it is no mask of GDAL's for all bands"),
    ],
)
def test_a_mask_that_is_none_is_refused(rows: int, tags: dict[str, str], said: str, tmp_path: Path) -> None:
    path = write_scene(tmp_path / "a.tif", bytes_of((3, 60, 50)), nodata=None)
    write_mask_beside(path, bytes_of((1, rows, 50)), **tags)
    with pytest.raises(InputError) as caught:
        convert(path, tmp_path / "out")
    assert said in str(caught.value)


def test_a_vrt_is_no_image_and_no_mask(tmp_path: Path) -> None:
    secret = write_scene(tmp_path / "secret.tif", bytes_of((1, 20, 20)))
    vrt = f"<VRTDataset rasterXSize='20' rasterYSize='20'><VRTRasterBand dataType='Byte' band='1'><SimpleSource>\
<SourceFilename>{secret}</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"
    (tmp_path / "a.tif").write_text(vrt)
    with pytest.raises(ReadError, match="not recognized as being in a supported file format"):
        convert(tmp_path / "a.tif", tmp_path / "out")
    path = write_scene(tmp_path / "b.tif", bytes_of((1, 20, 20)), nodata=None)
    (tmp_path / "b.tif.msk").write_text(vrt)
    with pytest.raises(ReadError, match="not recognized as being in a supported file format"):
        convert(path, tmp_path / "out")


def test_several_images_in_one_file_are_refused(tmp_path: Path) -> None:
    pages = [Pillow.fromarray(bytes_of((20, 20))) for _ in range(2)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(InputError, match="it holds 2 images"):
        convert(tmp_path / "a.tif", tmp_path / "out")


def test_a_georeference_that_lies_beside_an_image_is_not_lost_silently(tmp_path: Path) -> None:
    path = write_scene(tmp_path / "a.tif", bytes_of((1, 20, 20)), transform=None, crs=None)
    (tmp_path / "a.tfw").write_text("10\n0\n0\n-10\n300005\n4900015\n")
    with pytest.raises(InputError, match=r"its georeference stands in a\.tfw beside it, which is not read"):
        convert(path, tmp_path / "out")


def test_a_georeference_that_cannot_be_read_is_not_lost_silently(tmp_path: Path) -> None:
    path = write_scene(tmp_path / "a.tif", bytes_of((1, 20, 20)))
    with tifffile.TiffFile(path) as tiff:
        offset = tiff.pages.first.tags["ModelTiepointTag"].offset
    data = bytearray(path.read_bytes())
    data[offset + 8 : offset + 12] = b"\xff\xff\xff\x7f"  # its values lie far behind the end
    path.write_bytes(data)
    with rasterio.open(path) as dataset:
        assert dataset.transform == Affine(10, 0, 0, 0, -10, 0)  # GDAL goes on, with another place
        dataset.read()
    with pytest.raises(ReadError, match=r"GeoTiePoints.*tag ignored"):
        convert(path, tmp_path / "out")
    assert left_in(tmp_path / "out") == []


def test_a_damaged_block_that_gdal_does_not_notice_is_a_failure(tmp_path: Path) -> None:
    pixels = RNG.integers(0, 9, (1, 64, 64), dtype=np.uint8)
    path = write_scene(tmp_path / "a.tif", pixels, blockxsize=64, blockysize=64)
    with rasterio.open(path) as dataset:
        offset, size = (int(dataset.get_tag_item(f"BLOCK_{w}_0_0", "TIFF", bidx=1)) for w in ("OFFSET", "SIZE"))
    sound = path.read_bytes()
    for place in range(offset + size // 2, offset + size):
        data = bytearray(sound)
        data[place] ^= 1
        path.write_bytes(data)
        try:
            with rasterio.open(path) as dataset:
                dataset.read()
        except rasterio.errors.RasterioIOError:
            continue
        break
    else:
        pytest.fail("GDAL notices all of them: the check is not needed any more")
    with pytest.raises(ReadError, match="block 0,0 does not decode to what its header says"):
        convert(path, tmp_path / "out")
    assert left_in(tmp_path / "out") == []


# -- the comparison ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d, p: d.write(p[0] ^ 1, 1), "pixels: they differ in x00000_y00000"),
        (lambda d, p: d.write_mask(p[0] > 98), "masks: they differ in x00000_y00000"),
        (lambda d, p: setattr(d, "nodata", 3), "nodata: ['3.0', '3.0', '3.0'] instead of ['None', 'None', 'None']"),
        (lambda d, p: setattr(d, "transform", Affine(10, 0, 300000, 0, -10, 4900019)), "transform: (10.0, "),
        (lambda d, p: setattr(d, "crs", "EPSG:32632"), "CRS: EPSG:32632 instead of EPSG:32631"),
        (lambda d, p: setattr(d, "descriptions", ("a", None, None)), "band descriptions: ('a', None, None)"),
        (lambda d, p: setattr(d, "scales", (2, 1, 1)), "scales: ['2.0', '1.0', '1.0']"),
        (lambda d, p: d.update_tags(ORBIT="9"), "tags: {"),
        (lambda d, p: d.update_tags(ns="SENSOR", mode="8"), "metadata SENSOR: {'mode': '8'} instead of {'mode': '9'}"),
        (lambda d, p: d.update_tags(1, ns="QUALITY", clouds="4 %"), "metadata QUALITY of band 1: "),
        (lambda d, p: setattr(d, "gcps", ([GroundControlPoint(0, 0, 1, 1)], "EPSG:4326")), "ground control points: "),
    ],
)
def test_what_the_cog_lost_is_noticed(change: Any, said: str, tmp_path: Path) -> None:
    path = odd_image("mask inside", tmp_path / "a.tif")
    with rasterio.open(path) as dataset:
        pixels = dataset.read()
    shutil.copy(path, tmp_path / "b.tif")
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(tmp_path / "b.tif", "r+") as dataset:
        change(dataset, pixels)
    with open_source(path, None) as source:
        assert differences(source, path) == []
        found = differences(source, tmp_path / "b.tif")
    assert found
    assert any(said in text for text in found), found


def test_what_gdal_cannot_copy_is_not_lost_silently(tmp_path: Path) -> None:
    path = odd_image("described", tmp_path / "a.tif")
    update_domains(path)
    with pytest.raises(ClearyearError, match="not the same: band tags: "):
        convert(path, tmp_path / "out")
    assert left_in(tmp_path / "out") == []


def test_nothing_is_published_that_is_not_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, right = write_scene(tmp_path / "a.tif", bytes_of((1, 20, 20))), write_cog

    def careless(source: Any, target: Path, **options: Any) -> None:
        right(source, target, **options)
        with rasterio.open(target, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as dataset:
            dataset.write(dataset.read() ^ 1)

    monkeypatch.setattr(module, "write_cog", careless)
    with pytest.raises(ClearyearError, match="what GDAL makes of it is not the same: pixels: they differ"):
        convert(path, tmp_path / "out")
    assert left_in(tmp_path / "out") == []
