"""One image converted, and what is left of that: what the tests of convert share."""

from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import ColorInterp

from clearyear.convert.image import convert_image
from clearyear.convert.picture import Bands, Picture
from clearyear.convert.record import Image, Options, Record

RNG = np.random.default_rng(20)


def convert(path: Path, out: Path, *, bands: Bands = None, **options: Any) -> Record:
    return convert_image(Image(source=str(path), name=path.stem, bands=bands), str(out), Options(**options)).record


def picture_of(record: Record) -> Picture:
    assert record.picture is not None
    return record.picture


def left_in(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def assert_same(source: Path, cog: Path) -> None:
    """By rasterio alone, whole: what ``differences`` looks at, and that the COG is one."""
    from rio_cogeo.cogeo import cog_validate

    with (
        rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="FALSE"),  # GDAL itself finds the .msk
        rasterio.open(source, driver="GTiff") as one,
        rasterio.open(cog, driver="GTiff") as other,
    ):
        assert one.profile["dtype"] == other.profile["dtype"]
        assert one.read().tobytes() == other.read().tobytes()
        assert np.array_equal(one.read_masks(), other.read_masks())
        assert np.array_equal(one.dataset_mask(), other.dataset_mask())
        assert (one.crs, one.transform) == (other.crs, other.transform)
        assert [vars(p) | {"id": 0} for p in one.gcps[0]] == [vars(p) | {"id": 0} for p in other.gcps[0]]
        assert repr(one.nodatavals) == repr(other.nodatavals)
        assert (one.scales, one.offsets, one.units) == (other.scales, other.offsets, other.units)
        assert (one.descriptions, one.colorinterp) == (other.descriptions, other.colorinterp)
        assert one.tags() == other.tags()
        for band in (0, *one.indexes):
            for domain in {*one.tag_namespaces(band)} - {"IMAGE_STRUCTURE", "DERIVED_SUBDATASETS", "RPC"}:
                assert one.tags(band, ns=domain) == other.tags(band, ns=domain)
        if one.colorinterp[0] == ColorInterp.palette:
            assert one.colormap(1) == other.colormap(1)
        assert max(other.width, other.height) <= 512 or other.overviews(1)
        assert other.compression.value == "LZW"
    assert cog_validate(cog, strict=True, quiet=True)[0]


def bytes_of(shape: tuple[int, ...]) -> NDArray[Any]:
    return RNG.integers(0, 255, shape, dtype=np.uint8)
