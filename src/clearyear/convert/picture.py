"""A full-size JPEG of a GeoTIFF: which bands it shows, palettes, and how what is not 8-bit becomes 8-bit."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from rasterio.enums import ColorInterp
from rasterio.io import DatasetReader
from rasterio.shutil import copy as rasterio_copy

from clearyear.cog.geotiff import rasterio_window
from clearyear.convert.raster import Source, is_packed
from clearyear.convert.stretch import Stretch, percentiles, read_strip, strips
from clearyear.errors import InputError, ReadError
from clearyear.reading.gdal import words

QUALITY = 80

Bands = int | tuple[int, ...] | None
"""What to show: how many bands an image has, which three (or one) of them, or None: by their colours."""

Show = Callable[[NDArray[np.generic], NDArray[np.bool_]], NDArray[np.uint8]]
"""(B, H, W) samples and which pixels (H, W) are valid → (1 or 3, H, W) as they are shown."""

_MOST_SIDE = 65_500
"""libjpeg's JPEG_MAX_DIMENSION."""
_RGB = [ColorInterp.red, ColorInterp.green, ColorInterp.blue]
_CMYK = [ColorInterp.cyan, ColorInterp.magenta, ColorInterp.yellow, ColorInterp.black]


class Picture(BaseModel):
    """How a picture was made of an image."""

    model_config = ConfigDict(frozen=True)

    bands: tuple[int, ...]
    """Shown as grey, or as red, green and blue; from 1."""
    palette: bool = False
    """The one band's numbers were replaced by their colours."""
    stretch: tuple[float, float] | None = None
    """Stored values that became 1 and 255; below and above they are cut off, and 0 is what is not valid. None: as they
    are."""


def choose_bands(dataset: DatasetReader, wanted: Bands) -> tuple[int, ...]:
    """The band that is shown as grey, or the three that are red, green and blue.

    A list is taken as it stands. A number says how many bands the image has: with fewer than three the first is shown.
    Else, and without a number, the colours the image tells decide; where it tells none, the first three that are not
    alpha, or the first.

    Raises:
        InputError: the image has fewer bands than that, or a list is of neither one nor three.
    """
    listed = wanted if isinstance(wanted, tuple) else ()
    most = max(listed) if listed else wanted or 0
    if isinstance(most, int) and most > dataset.count:
        raise InputError(
            f"it has {dataset.count} bands, and {most} are asked for",
            "a number of bands that is there",
            "correct the bands beside its name",
        )
    if listed:
        if len(listed) not in (1, 3):
            raise InputError(f"{len(listed)} bands are to be shown", "one or three", "name three: 4,3,2")
        return listed
    colours = list(dataset.colorinterp)
    if set(_CMYK) <= set(colours):
        raise InputError(
            "its colours are cyan, magenta, yellow and black",
            "grey, red-green-blue or a palette for a JPEG",
            "convert it without one (--no-jpeg), or name three bands",
        )
    if wanted in (1, 2):
        return (1,)
    if set(_RGB) <= set(colours):
        return tuple(colours.index(colour) + 1 for colour in _RGB)
    plain = [band for band, colour in enumerate(colours, start=1) if colour != ColorInterp.alpha]
    return tuple(plain[:3]) if len(plain) >= 3 else (plain[0] if plain else 1,)


def write_jpeg(source: Source, target: Path, bands: Bands) -> Picture:
    """Write the JPEG, quality 80, and read it back whole.

    Args:
        source: the image.
        target: a scratch path; the 8-bit image lies beside it for a while.
        bands: what to show.

    Raises:
        InputError: no JPEG can be made of it; the reason is named.
        ReadError: it cannot be read.
    """
    dataset = source.dataset
    shown = choose_bands(dataset, bands)
    if max(dataset.width, dataset.height) > _MOST_SIDE:
        raise InputError(
            f"it has {dataset.width} × {dataset.height} px", f"at most {_MOST_SIDE} a side for a JPEG", "--no-jpeg"
        )
    if any("complex" in dtype for dtype in dataset.dtypes):
        raise InputError("its samples are complex numbers", "real ones for a JPEG", "convert it without (--no-jpeg)")
    palette = dataset.colorinterp[0] == ColorInterp.palette and shown == (1,)
    picture = Picture(bands=shown, palette=palette)
    if palette:
        show: Show = _Palette(dataset.colormap(1))
    elif dataset.dtypes[0] == "uint8" and not is_packed(dataset):
        show = _as_they_are
    else:
        low, high = percentiles(source, shown)
        picture = picture.model_copy(update={"stretch": (low, high)})
        show = Stretch(low, high)
    plain = target.with_suffix(".8bit.tif")
    try:
        _write_plain(source, plain, picture, show)
        with rasterio.open(plain, driver="GTiff") as image:
            rasterio_copy(image, target, driver="JPEG", quality=QUALITY)
    finally:
        plain.unlink(missing_ok=True)
    _read_back(target, dataset)
    return picture


class _Palette:
    """Numbers → their colours; a number without one is black."""

    def __init__(self, colours: dict[int, tuple[int, ...]]) -> None:
        self.table = np.zeros((3, 1 << 16 if max(colours) > 255 else 256), np.uint8)
        for number, colour in colours.items():
            self.table[:, number] = colour[:3]

    def __call__(self, pixels: NDArray[np.generic], valid: NDArray[np.bool_]) -> NDArray[np.uint8]:
        return self.table[:, pixels[0].astype(np.intp)]


def _as_they_are(pixels: NDArray[np.generic], _valid: NDArray[np.bool_]) -> NDArray[np.uint8]:
    return pixels.astype(np.uint8, copy=False)


def _write_plain(
    source: Source,
    target: Path,
    picture: Picture,
    show: Show,
) -> None:
    """The picture's pixels in a file of their own: the JPEG driver takes them line by line, not from memory."""
    dataset = source.dataset
    profile = {
        "driver": "GTiff",
        "width": dataset.width,
        "height": dataset.height,
        "count": 3 if picture.palette else len(picture.bands),
        "dtype": "uint8",
        "bigtiff": "IF_SAFER",
    }
    with rasterio.open(target, "w", **profile) as image:
        for strip in strips(dataset, len(picture.bands)):
            pixels, valid = read_strip(source, picture.bands, strip)
            image.write(show(pixels, valid), window=rasterio_window(strip))


def _read_back(target: Path, source: DatasetReader) -> None:
    """Decode every line of a JPEG of ours.

    Raises:
        ReadError: it cannot be read whole, or has another size than its source.
    """
    try:
        with rasterio.Env(GDAL_ERROR_ON_LIBJPEG_WARNING=True), rasterio.open(target, driver="JPEG") as image:
            if image.shape != source.shape:
                raise ReadError(f"the JPEG made of it has {image.width} × {image.height} px")
            for strip in strips(image, image.count):
                image.read(window=rasterio_window(strip))
    except (rasterio.errors.RasterioError, OSError) as error:
        raise ReadError(f"the JPEG made of it cannot be read back: {words(error)}") from error
