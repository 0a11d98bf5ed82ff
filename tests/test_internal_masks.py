"""What a mask inside a scene's file hides was not seen: the composite is that of scenes with nodata there."""

import struct
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from conftest import DATA, write_scene
from loopback.http import HttpServer
from numpy.typing import NDArray
from runs import finished

from clearyear.errors import InputError, ReadError
from clearyear.job import Job
from clearyear.prepare import make_plan
from clearyear.reading import sources
from clearyear.reading.inner_mask import mask_directory
from clearyear.reading.observe import observe
from clearyear.stores import LocalFile

SIZE = 80


def hidden_of(number: int) -> NDArray[np.bool_]:
    """Another half of every scene, with an edge that blocks and windows do not share."""
    rows, cols = np.mgrid[:SIZE, :SIZE]
    found: NDArray[np.bool_] = (rows * (number + 1) + cols * 2) % 97 < 45
    return found


def scenes_of(folder: Path, dtype: str = "uint8", *, masked: bool, nodata: float | None = 0) -> Path:
    """Five scenes that hide pixels, by a mask inside the file or by the value 0."""
    rng = np.random.default_rng(5)
    for number in range(5):
        pixels = rng.integers(60, 90, (3, SIZE, SIZE)).astype(dtype)
        hidden = hidden_of(number)
        path = folder / f"s_{date(2023, 1 + number, 3):%Y%m%d}.tif"
        if not masked:
            write_scene(path, np.where(hidden, 0, pixels).astype(dtype), nodata=0)
            continue
        write_scene(path, pixels, nodata=nodata)  # what is hidden looks as good as what is seen
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as dataset:
            dataset.write_mask(~hidden)
    return folder


def rasters(folder: Path) -> dict[str, bytes]:
    """All mosaics and tiles: what a product name stands in is the same."""
    found = {}
    for path in sorted(folder.rglob("*.tif")):
        with rasterio.open(path) as dataset:
            found[str(path.relative_to(folder))] = dataset.read().tobytes()
    return found


@pytest.fixture(params=["auto", "gdal"])
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEARYEAR_READER", request.param)
    sources._source_of.cache_clear()


@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"reducer": "luminance-median", "layers": ["count", "source"]},
        {"area": "0.4975,44.2205,0.5035,44.2265"},
        {"resolution": "17", "resampling": "nearest"},
        {"resolution": "17", "resampling": "bilinear"},
        {"resolution": "7", "resampling": "cubic"},
    ],
    ids=str,
)
def test_as_if_it_were_nodata(tmp_path: Path, changes: dict[str, Any]) -> None:
    job = {"reducer": "band-median", "layers": ["count"], "tile_size": 32, **changes}
    for name in ("masked", "plain"):
        scenes_of(tmp_path / name, masked=name == "masked")
        finished(tmp_path / name, tmp_path / f"of-{name}", **job)
    found, wanted = (rasters(tmp_path / f"of-{name}") for name in ("masked", "plain"))
    assert len(wanted) > 4
    assert found == wanted


@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize("dtype", ["uint16", "int16", "float32"])
def test_without_a_nodata_value(tmp_path: Path, dtype: str) -> None:
    """Every value counts; the lowest one stands where nothing was seen."""
    plan = finished(
        scenes_of(tmp_path / "in", dtype, masked=True, nodata=None),
        tmp_path / "out",
        reducer="band-median",
        layers=["count"],
        tile_size=48,
    )
    hidden = np.stack([hidden_of(number) for number in range(5)])
    with rasterio.open(Path(plan.destination) / plan.mosaic_name("count")) as dataset:
        assert np.array_equal(dataset.read(1), (~hidden).sum(axis=0))
    with rasterio.open(Path(plan.destination) / plan.mosaic_name()) as dataset:
        lowest = np.nan if dtype == "float32" else np.iinfo(dtype).min
        unseen = dataset.read(1)[hidden.all(axis=0)]
        assert np.array_equal(unseen, np.full(unseen.shape, lowest, dtype), equal_nan=dtype == "float32")


def test_nothing_hidden_is_mixed_in(tmp_path: Path) -> None:
    scenes = scenes_of(tmp_path / "in", "uint16", masked=True, nodata=None)
    job = {"scenes": str(scenes), "period": "2023", "out": str(tmp_path / "out"), "reducer": "band-median"}
    wanted = "5 scenes hide pixels by a mask inside the file and have no nodata value .*bilinear would mix"
    with pytest.raises(InputError, match=wanted):
        make_plan(Job.model_validate(job | {"resolution": "17", "resampling": "bilinear"}))
    assert make_plan(Job.model_validate(job | {"resolution": "17", "resampling": "bilinear", "nodata": [0]}))
    assert make_plan(Job.model_validate(job | {"resolution": "17"}))


def test_each_band_s_own(tmp_path: Path) -> None:
    """Bands in files of their own need not hide the same."""
    rng = np.random.default_rng(3)
    for number, band in enumerate(("B02", "B03")):
        path = write_scene(tmp_path / "in" / f"s_20230103_{band}.tif", rng.integers(60, 90, (1, 80, 80), np.uint16))
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as dataset:
            dataset.write_mask(~hidden_of(number))
    plan = finished(
        tmp_path / "in",
        tmp_path / "out",
        pattern="s_*_{band}.tif",
        bands=["B02", "B03"],
        reducer="band-median",
        layers=["count"],
    )
    with rasterio.open(Path(plan.destination) / plan.mosaic_name("count")) as dataset:
        assert np.array_equal(dataset.read(), ~np.stack([hidden_of(0), hidden_of(1)]))


def test_a_mosaic_of_ours_as_a_scene(tmp_path: Path) -> None:
    """JPEG keeps no value exactly: its mosaics say by a mask where nothing was seen."""
    scenes = scenes_of(tmp_path / "in", masked=False)
    first = finished(scenes, tmp_path / "jpeg", reducer="luminance-median", compress="jpeg", layers=["count"])
    folder = tmp_path / "second"
    folder.mkdir()
    mosaic = Path(first.destination) / first.mosaic_name()
    (folder / "s_20230101.tif").write_bytes(mosaic.read_bytes())
    second = finished(folder, tmp_path / "out", reducer="band-median", layers=["count"])
    with rasterio.open(Path(second.destination) / second.mosaic_name("count")) as dataset:
        with rasterio.open(mosaic) as source:
            assert np.array_equal(dataset.read(1), source.read_masks(1) > 0)
        assert not dataset.read(1).all()


def test_elsewhere(tmp_path: Path, web: HttpServer) -> None:
    scenes = scenes_of(tmp_path / "in", masked=True)
    for path in sorted(scenes.iterdir()):
        web.files[f"/{path.name}"] = path.read_bytes()
    manifest = tmp_path / "list.csv"
    manifest.write_text("uri\n" + "".join(f"{web.url}/{path.name}\n" for path in sorted(scenes.iterdir())))
    job = {"reducer": "band-median", "layers": ["count"], "tile_size": 32}
    finished(scenes, tmp_path / "here", **job)
    finished(manifest, tmp_path / "there", **job)
    assert rasters(tmp_path / "here") == rasters(tmp_path / "there")


@pytest.mark.parametrize("profile", [{}, {"BIGTIFF": "YES"}, {"ENDIANNESS": "BIG"}, {"compress": "lzw"}], ids=str)
@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("with_overviews", [True, False])
def test_it_is_found_without_gdal(
    tmp_path: Path, profile: dict[str, str], *, masked: bool, with_overviews: bool
) -> None:
    """Of scenes elsewhere, of which GDAL would ask the server with Python's lock held."""
    path = write_scene(tmp_path / "s.tif", np.ones((3, SIZE, SIZE), np.uint8), nodata=None, **profile)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as dataset:
        if masked:
            dataset.write_mask(~hidden_of(1))
        if with_overviews:
            dataset.build_overviews([2, 4])
    data = path.read_bytes()
    fetch = LocalFile(str(path)).fetch
    found = mask_directory(fetch)
    assert bool(found) is masked
    if masked:
        with rasterio.open(f"GTIFF_DIR:{found}:{path}") as mask:
            assert np.array_equal(mask.read(1) == 0, hidden_of(1))
    assert not mask_directory(lambda offset, size: b"no TIFF"[offset : offset + size])
    for end in range(0, len(data), 97):  # cut off, it is there or not, and nothing else happens
        cut = data[:end]
        assert mask_directory(lambda offset, size, cut=cut: cut[offset : offset + size]) in (0, found)  # type: ignore[misc]


def test_a_mask_of_giant_blocks_is_a_failed_read(tmp_path: Path) -> None:
    path = scenes_of(tmp_path / "in", masked=True) / "s_20230103.tif"
    data, one_band = path.read_bytes(), struct.pack("<HHIHH", 277, 3, 1, 1, 0)
    at = data.rindex(one_band)
    path.write_bytes(data[:at] + struct.pack("<HHIHH", 277, 3, 1, 65535, 0) + data[at + 12 :])
    plan = make_plan(Job(scenes=str(path.parent), period="2023", out=str(tmp_path / "out"), tile_size=80))
    seen = observe(plan, plan.scenes, plan.windows[0])
    assert [f.cause for f in seen.failed] == ["it claims 65,535 bands, at most 512 are read"]


def masked_as(tmp_path: Path, kind: int, n_entries: int | None = None) -> bytes:
    """A scene whose mask says that it is one by a number of another TIFF type, or claims more tags."""
    path = scenes_of(tmp_path / "in", masked=True) / "s_20230103.tif"
    data = bytearray(path.read_bytes())
    (at,) = (i for i in range(len(data)) if data.startswith(struct.pack("<HHII", 254, 4, 1, 4), i))
    struct.pack_into("<HHIHH", data, at, 254, kind, 1, 4, 0)
    if n_entries is not None:
        struct.pack_into("<H", data, at - 2, n_entries)
        data += bytes(n_entries * 12)
    return bytes(data)


@pytest.mark.parametrize("kind", [3, 4])
def test_whatever_type_its_number_is_of(tmp_path: Path, kind: int) -> None:
    data = masked_as(tmp_path, kind)
    assert mask_directory(lambda offset, size: data[offset : offset + size]) == 2
    path = tmp_path / "s.tif"
    path.write_bytes(data)
    with rasterio.open(path) as dataset:
        assert np.array_equal(dataset.read_masks(1) == 0, hidden_of(0))


def test_where_it_cannot_be_known_the_scene_is_not_read(tmp_path: Path) -> None:
    data = masked_as(tmp_path, 4, 300)
    with pytest.raises(ReadError, match="whether it has a mask is not known: image 2 in it has 300 tags"):
        mask_directory(lambda offset, size: data[offset : offset + size])


def test_a_chain_that_ends_beyond_the_file_is_no_fault_elsewhere_either(tmp_path: Path, web: HttpServer) -> None:
    path = write_scene(tmp_path / "s_20230103.tif", np.ones((3, SIZE, SIZE), np.uint8))
    data = bytearray(path.read_bytes())
    (at,) = struct.unpack_from("<I", data, 4)
    (n,) = struct.unpack_from("<H", data, at)
    struct.pack_into("<I", data, at + 2 + 12 * n, 500_000)
    path.write_bytes(data)
    web.files["/s_20230103.tif"] = bytes(data)
    for address in (str(path), f"{web.url}/s_20230103.tif"):
        plan = make_plan(Job(scenes=[address], period="2023", out=str(tmp_path / "out"), tile_size=80))
        seen = observe(plan, plan.scenes, plan.windows[0])
        assert not seen.failed
        assert np.all(seen.stack == 1)


@pytest.mark.usefixtures("data")
def test_it_is_found_as_gdal_finds_it() -> None:
    for path in sorted((DATA / "conformance").glob("*.tif")):
        if path.stat().st_size:
            with rasterio.open(path) as dataset:
                flags = [f.name for f in dataset.mask_flag_enums[0]]
            wanted = "per_dataset" in flags and "alpha" not in flags and not path.with_suffix(".tif.msk").exists()
            assert bool(mask_directory(LocalFile(str(path)).fetch)) == wanted, path.name


@pytest.mark.parametrize("where", ["here", "elsewhere"])
@pytest.mark.parametrize("harm", ["start", "middle", "one bit", "checksum"])
def test_a_damaged_mask_is_a_failed_read(tmp_path: Path, web: HttpServer, where: str, harm: str) -> None:
    """One that hides too little says nothing; GDAL alone does not look at the checksum."""
    path = scenes_of(tmp_path / "in", masked=True) / "s_20230103.tif"
    with rasterio.open(path) as dataset, rasterio.open(f"GTIFF_DIR:2:{path}") as mask:
        assert dataset.mask_flag_enums[0] == [rasterio.enums.MaskFlags.per_dataset]
        start, size = (int(mask.get_tag_item(f"BLOCK_{of}_0_0", "TIFF", bidx=1)) for of in ("OFFSET", "SIZE"))
    data = bytearray(path.read_bytes())
    if harm == "one bit":
        data[start + size // 2] ^= 4
    else:
        at = start + {"start": 0, "middle": size // 2, "checksum": size - 4}[harm]
        data[at : at + 4] = b"\xff" * 4
    path.write_bytes(data)
    addresses = {p: str(p) for p in sorted(path.parent.iterdir())}
    if where == "elsewhere":
        web.files |= {f"/{p.name}": p.read_bytes() for p in addresses}
        addresses = {p: f"{web.url}/{p.name}" for p in addresses}
    job = Job(scenes=list(addresses.values()), period="2023", out=str(tmp_path / "out"), tile_size=80)
    plan = make_plan(job)
    seen = observe(plan, plan.scenes, plan.windows[0])
    assert [(f.scene, f.uri) for f in seen.failed] == [("s_20230103", addresses[path])]


def test_a_mask_of_another_size_is_a_failed_read(tmp_path: Path) -> None:
    """GDAL takes it for none."""
    path = scenes_of(tmp_path / "in", masked=True) / "s_20230103.tif"
    data, width = path.read_bytes(), struct.pack("<HHII", 256, 4, 1, SIZE)
    width = width if width in data else struct.pack("<HHIHH", 256, 3, 1, SIZE, 0)
    image, mask = data.index(width), data.rindex(width)
    assert image < mask
    path.write_bytes(data[: mask + 8] + struct.pack("<H", 64) + data[mask + 10 :])
    plan = make_plan(Job(scenes=str(path.parent), period="2023", out=str(tmp_path / "out"), tile_size=80))
    seen = observe(plan, plan.scenes, plan.windows[0])
    assert [f.cause for f in seen.failed] == ["its internal mask is of 64×80 px"]


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize("name", ["cogeotiff__image_rgb_mask.tif", "rasterio__cogeo.tif"])
def test_real_ones_as_gdal_has_them(tmp_path: Path, name: str) -> None:
    path = DATA / "conformance" / name
    manifest = tmp_path / "scenes.csv"
    manifest.write_text(f"uri,datetime\n{path},2023-01-01\n")
    plan = make_plan(Job(scenes=str(manifest), period="all", out=str(tmp_path), reducer="band-median", tile_size=1024))
    seen = observe(plan, plan.scenes, plan.windows[0])
    assert not seen.failed
    assert seen.valid is not None
    with rasterio.open(path) as dataset:
        assert np.array_equal(seen.valid[0, 0], dataset.dataset_mask() > 0)
        assert np.array_equal(seen.stack[0], dataset.read())
