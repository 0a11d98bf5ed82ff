"""The tiles of a month → one COG, band of rows by band of rows; the extent is the declared one."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import rasterio

from clearyear.cog.geotiff import problems, profile, rasterio_window, write_cog
from clearyear.errors import ClearyearError, InputError, ReadError
from clearyear.grid import Window
from clearyear.lights.layout import Layout
from clearyear.progress import report_progress
from clearyear.reading.sources import source_of
from clearyear.scenes.laws import NONE
from clearyear.stores.local import local_version

_BAND_BYTES = 64 << 20
"""Memory of the rows that are on their way. The tiles of VIIRS are 28,800 px wide and stored row by row."""


def build(
    layout: Layout,
    rasters: Mapping[str, str],
    cog: Path,
    *,
    nodata: float | None,
    compress: str,
    tags: dict[str, str],
) -> None:
    """Write the mosaic to ``cog``, a scratch path, and read it back whole.

    Args:
        layout: the grid and where tiles lie in it.
        rasters: the GeoTIFF of every tile that is there; the others' places stay nodata.
        cog: where it goes; beside it the uncompressed image lies for a while.
        nodata: the nodata tag, or None.
        compress: deflate, zstd or lzw.
        tags: metadata items; must not change between equal runs.

    Raises:
        ReadError: a tile could not be read; ``scene`` names it.
        ClearyearError: the COG cannot be read back.
    """
    image = cog.with_name(f"image-{cog.name}")
    header = layout.header
    settings = profile(layout.grid, None, count=header.count, dtype=header.dtype, nodata=nodata)
    try:
        with rasterio.open(image, "w", **settings, bigtiff="IF_SAFER") as dataset:
            dataset.update_tags(**tags)
            for index, name in enumerate(header.band_names, start=1):
                if name:
                    dataset.set_band_description(index, name)
            if any(law != NONE for law in header.laws):
                dataset.scales, dataset.offsets = zip(*header.laws, strict=True)
            for number, (tile, path) in enumerate(rasters.items()):
                report_progress("tiles", number, len(rasters))
                _copy(tile, path, layout, dataset)
        write_cog(image, cog, compress=compress, resampling="average")
    finally:
        image.unlink(missing_ok=True)
    if found := problems(str(cog)):
        raise ClearyearError(f"The mosaic is not a valid COG: {'; '.join(found)}", "one that reads back", "report this")


def fill_value(layout: Layout, asked: float | None, *, gaps: bool) -> float | None:
    """What marks a pixel without a value: as asked, the tiles' own tag, else NaN for floats.

    Raises:
        InputError: there are gaps and nothing could mark them, or the type cannot hold the value.
    """
    dtype = np.dtype(layout.header.dtype)
    value = asked if asked is not None else layout.header.nodata
    if value is None and dtype.kind == "f":
        return float("nan")
    if value is None and gaps:
        raise InputError(
            f"Some places have no tile, and no value of {dtype} marks them: the files have no nodata tag",
            "a value that no pixel has",
            "name one: nodata",
        )
    if value is not None and dtype.kind != "f":
        limits = np.iinfo(dtype)
        if not (float(value).is_integer() and limits.min <= value <= limits.max):
            raise InputError(f"nodata {value:g} is no value of {dtype}", "one the pixels can have", "correct it")
    return value


def _copy(tile: str, path: str, layout: Layout, dataset: rasterio.io.DatasetWriter) -> None:
    """Put one tile where it belongs."""
    place, header = layout.places[tile], layout.header
    row_bytes = place.width * header.count * np.dtype(header.dtype).itemsize
    height = max(1, _BAND_BYTES // row_bytes)
    source = source_of(path, local_version(path) or "")
    if source.shape() != (place.width, place.height, header.count, header.dtype):
        raise ReadError(f"{path} has changed since its header was read", scene=tile, uri=path)
    for top in range(0, place.height, height):
        rows = min(height, place.height - top)
        out = np.empty((header.count, rows, place.width), header.dtype)
        try:
            for step in source.steps(Window(col_off=0, row_off=top, width=place.width, height=rows), out):
                step()
        except ReadError as error:
            raise ReadError(error.found, transient=error.transient, scene=tile, uri=path) from error
        target = Window(col_off=place.col_off, row_off=place.row_off + top, width=place.width, height=rows)
        dataset.write(out, window=rasterio_window(target))
