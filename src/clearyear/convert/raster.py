"""One GeoTIFF as a COG, and whether all that was in the one is in the other."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import NodataShadowWarning, NotGeoreferencedWarning
from rasterio.io import DatasetReader
from rasterio.shutil import copy as rasterio_copy

from clearyear.cog.geotiff import rasterio_window
from clearyear.cog.layers import cog_block
from clearyear.convert.complaints import complaints_of_tags
from clearyear.errors import InputError, ReadError
from clearyear.grid import Window
from clearyear.reading.gdal import open_raster
from clearyear.reading.verify import check_blocks
from clearyear.scenes.headers import read_header
from clearyear.stores import LocalFile

# One without a georeference is converted as one without, and whoever converts thousands need not be told so each time.
warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)
warnings.filterwarnings("ignore", category=NodataShadowWarning)  # GDAL decides so in the COG, too: it is compared

_PIECE_BYTES = 32 << 20
"""Of the source and of the COG as much is compared at a time."""
_BLOCK_BYTES = 16 << 20
"""A COG's block holds all bands; with hundreds of them 512 px would make blocks nobody can read quickly."""
_LEAST_BLOCK = 128
"""What the COG driver allows."""
_MADE_DOMAINS = {"IMAGE_STRUCTURE", "DERIVED_SUBDATASETS", "RPC"}
"""Metadata that GDAL makes of a file, or that is compared as what it means."""


@dataclass(frozen=True)
class Source:
    """An image on this machine, open, and the mask that lies beside it, if one does."""

    path: Path
    dataset: DatasetReader
    mask: DatasetReader | None

    def validity(self, window: Window, bands: Sequence[int]) -> NDArray[np.bool_]:
        """Which samples of these bands (from 1) are valid, (B, H, W)."""
        place = rasterio_window(window)
        if self.mask is None:
            return np.asarray(self.dataset.read_masks(list(bands), window=place) > 0)
        return np.broadcast_to(self.mask.read(1, window=place) > 0, (len(bands), window.height, window.width))

    def flags(self) -> list[list[MaskFlags]]:
        """What makes a sample valid, band by band."""
        if self.mask is not None:
            return [[MaskFlags.per_dataset]] * self.dataset.count
        return [list(flags) for flags in self.dataset.mask_flag_enums]


@contextmanager
def open_source(path: Path, mask: Path | None) -> Iterator[Source]:
    """Open an image as a GeoTIFF and nothing else, without sidecars but the mask that is named.

    Raises:
        ReadError: it is none, or cannot be read inside the block.
        InputError: it is more than one image, or its mask is not one for all bands.
    """
    for file in (path, mask):
        if file is not None:
            read_header(str(file))  # what claims to be impossibly large is refused before anything is read by its word
    with ExitStack() as stack:
        complaints = stack.enter_context(complaints_of_tags())
        dataset = stack.enter_context(open_raster(str(path)))
        if complaints:
            raise ReadError(complaints[0], "a GeoTIFF whose tags can all be read")
        if dataset.subdatasets:
            raise InputError(
                f"it holds {len(dataset.subdatasets)} images",
                "one image a file",
                "take them apart, with `gdal_translate GTIFF_DIR:2:in.tif out.tif`",
            )
        beside = stack.enter_context(open_raster(str(mask))) if mask else None
        if beside is not None:
            _refuse_mask(beside, dataset)
        yield Source(path, dataset, beside)


def _refuse_mask(mask: DatasetReader, image: DatasetReader) -> None:
    name = Path(mask.name).name
    if (mask.width, mask.height, mask.count) != (image.width, image.height, 1):
        raise InputError(
            f"the mask {name} beside it has {mask.width} × {mask.height} px, {mask.count} bands",
            f"one band of {image.width} × {image.height} px",
            "make it anew or take it away",
        )
    if any(mask.tags().get(f"INTERNAL_MASK_FLAGS_{band}") != "2" for band in image.indexes):
        raise InputError(
            f"the file {name} beside it is no mask of GDAL's for all bands",
            "one that says so, by INTERNAL_MASK_FLAGS_1=2 and so on",
            "make it anew or take it away",
        )


def write_cog(source: Source, target: Path, *, compress: str) -> None:
    """Write the COG, with overviews of its own; LZW, DEFLATE or ZSTD with the predictor of its type.

    Args:
        source: the image.
        target: a scratch path; beside it GDAL puts the levels while it makes them.
        compress: lzw, deflate or zstd.
    """
    dataset = source.dataset
    with ExitStack() as stack:
        if source.mask is not None:
            masked = target.with_suffix(".masked.tif")
            stack.callback(masked.unlink, missing_ok=True)
            _put_mask_inside(source.dataset, source.mask, masked)
            dataset = stack.enter_context(open_raster(str(masked)))
        # An average of colour numbers or of complex amplitudes is nothing that was seen.
        exact = _is_palette(dataset) or any("complex" in dtype for dtype in dataset.dtypes)
        rasterio_copy(
            dataset,
            target,
            driver="COG",
            blocksize=_block(dataset),
            compress=compress.upper(),
            predictor="NO" if exact or is_packed(dataset) else "YES",
            overviews="IGNORE_EXISTING",
            overview_resampling="nearest" if exact else "average",
            bigtiff="IF_SAFER",
            num_threads="ALL_CPUS",
            copy_src_mdd=_copied(dataset),
        )


def differences(source: Source, target: Path) -> list[str]:
    """In words: what of the source the COG does not have. Every sample and every mask is compared.

    Raises:
        ReadError: one of the two cannot be read whole.
    """
    with open_raster(str(target)) as cog:
        mine, theirs = _facts(source.dataset), _facts(cog)
        both = ((name, mine[name], theirs.get(name)) for name in mine)
        found = [f"{name}: {its} instead of {wanted}" for name, wanted, its in both if its != wanted]
        if [list(flags) for flags in cog.mask_flag_enums] != source.flags():
            found.append(f"masks: {cog.mask_flag_enums} instead of {source.flags()}")
        if found:
            return found
        for window in pieces(cog):
            check_blocks(source.dataset, LocalFile(str(source.path)), window)
            place = rasterio_window(window)
            if not _same(source.dataset.read(window=place), cog.read(window=place)):
                return [f"pixels: they differ in {window.id}, {window.width} × {window.height} px"]
            if not np.array_equal(source.validity(window, cog.indexes), cog.read_masks(window=place) > 0):
                return [f"masks: they differ in {window.id}, {window.width} × {window.height} px"]
    return []


def pieces(dataset: DatasetReader) -> Iterator[Window]:
    """Windows of whole blocks that cover an image, as many blocks side by side as a piece may have bytes."""
    height, width = dataset.block_shapes[0]
    column = height * width * dataset.count * np.dtype(_numpy_name(dataset.dtypes[0])).itemsize
    step = width * max(1, _PIECE_BYTES // column)
    for top in range(0, dataset.height, height):
        for left in range(0, dataset.width, step):
            yield Window(
                col_off=left,
                row_off=top,
                width=min(step, dataset.width - left),
                height=min(height, dataset.height - top),
            )


def _facts(dataset: DatasetReader) -> dict[str, Any]:
    """All that a GeoTIFF says of itself and a conversion must not change, in a form that can be compared."""
    points, points_crs = dataset.gcps
    bands = range(1, dataset.count + 1)
    return {
        "size": (dataset.width, dataset.height, dataset.count),
        "dtypes": dataset.dtypes,
        "CRS": dataset.crs,
        "transform": tuple(dataset.transform),
        "ground control points": ([(p.row, p.col, p.x, p.y, p.z) for p in points], points_crs),
        "RPCs": dataset.rpcs and dataset.rpcs.to_gdal(),
        "nodata": [str(value) for value in dataset.nodatavals],  # NaN must equal itself
        "scales": [str(value) for value in dataset.scales],
        "offsets": [str(value) for value in dataset.offsets],
        "units": dataset.units,
        "band descriptions": dataset.descriptions,
        "colour interpretation": [colour.name for colour in dataset.colorinterp],
        "palette": dataset.colormap(1) if _is_palette(dataset) else None,
        "tags": dataset.tags(),
        "band tags": [dataset.tags(band) for band in bands],
        **_domains(dataset),
    }


def _domains(dataset: DatasetReader) -> dict[str, dict[str, str]]:
    """The metadata that stand apart from a file's own tags and those of its bands, by what to call them."""
    found = {f"metadata {d}": dataset.tags(ns=d) for d in dataset.tag_namespaces() if d not in _MADE_DOMAINS}
    for band in dataset.indexes:
        of_band = [d for d in dataset.tag_namespaces(band) if d not in _MADE_DOMAINS]
        found |= {f"metadata {d} of band {band}": dataset.tags(band, ns=d) for d in of_band}
    return found


def _copied(dataset: DatasetReader) -> str:
    """Which metadata GDAL is to copy: by itself it leaves out domains it does not know; told to, the bands' tags."""
    return "YES" if {*_domains(dataset)} - {"metadata xml:XMP", "metadata COLOR_PROFILE"} else "AUTO"


def is_packed(dataset: DatasetReader) -> bool:
    """Whether samples have fewer bits than their type, for which there is no predictor."""
    return "NBITS" in dataset.tags(1, ns="IMAGE_STRUCTURE")


def _is_palette(dataset: DatasetReader) -> bool:
    return bool(dataset.colorinterp[0] == ColorInterp.palette)


def _block(dataset: DatasetReader) -> int:
    """The side of the COG's blocks in pixels."""
    side = cog_block(dataset.width, dataset.height)
    sample = np.dtype(_numpy_name(dataset.dtypes[0])).itemsize * dataset.count
    while side * side * sample > _BLOCK_BYTES and side // 2 >= _LEAST_BLOCK:
        side //= 2
    return side


def _numpy_name(dtype: str) -> str:
    """NumPy has no complex of integers; rasterio reads them as complex64."""
    return dtype.replace("complex_int16", "complex64")


def _same(one: NDArray[Any], other: NDArray[Any]) -> bool:
    """Bit by bit, so that NaN equals itself and −0 does not equal 0."""
    return one.dtype == other.dtype and np.array_equal(
        np.ascontiguousarray(one).view(np.uint8), np.ascontiguousarray(other).view(np.uint8)
    )


def _put_mask_inside(dataset: DatasetReader, mask: DatasetReader, target: Path) -> None:
    """A copy of an image with the mask from beside it inside."""
    rasterio_copy(dataset, target, driver="GTiff", tiled="YES", bigtiff="IF_SAFER", copy_src_mdd=_copied(dataset))
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(target, "r+", driver="GTiff") as copy,
    ):
        for window in pieces(copy):
            place = rasterio_window(window)
            copy.write_mask(mask.read(1, window=place) > 0, window=place)
