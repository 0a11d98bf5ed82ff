"""Pictures for people: the mosaic as a JPEG, and the tile map that shows at a glance what is missing."""

import io
from collections.abc import Sequence

import numpy as np
import rasterio
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from rasterio.enums import Resampling

from clearyear import gdal  # noqa: F401  GDAL's options
from clearyear.completeness import Status, WindowStatus
from clearyear.plan import Plan

_SIDE = 1024
"""Longest side of a picture in pixels."""

_COLOURS = {
    Status.OK: (46, 125, 50),
    Status.EMPTY: (120, 120, 120),
    Status.MISSING: (211, 32, 39),
    Status.INVALID: (240, 120, 20),
    Status.STALE: (249, 200, 40),
}
_GROUND = (24, 26, 30)


def preview(mosaic: str, *, side: int = _SIDE) -> bytes:
    """A JPEG of a mosaic, at most ``side`` px on its longest side; nodata is dark grey.

    Three bands of uint8 are shown as they are; anything else is stretched between its 2nd and 98th percentile.
    """
    rgb, valid = _read_small(mosaic, side)
    picture = np.where(valid[..., None], rgb, np.array(_GROUND, np.uint8))
    return _jpeg(Image.fromarray(picture))


def thumbnail(picture: bytes, *, side: int) -> bytes:
    """A smaller JPEG of a JPEG."""
    image = Image.open(io.BytesIO(picture))
    image.thumbnail((side, side))
    return _jpeg(image)


def tile_map(plan: Plan, statuses: Sequence[WindowStatus], picture: bytes | None, *, side: int = _SIDE) -> bytes:
    """A PNG of the window grid: what is well shows the picture, what is not is filled with its status' colour.

    Args:
        plan: whose grid and windows are drawn.
        statuses: one a window.
        picture: the mosaic's preview to show underneath, if there is one.
        side: longest side of the map in pixels.
    """
    scale = min(side / max(plan.grid.width, plan.grid.height), 8.0)
    width, height = (max(1, round(n * scale)) for n in (plan.grid.width, plan.grid.height))
    canvas = Image.new("RGB", (width, height), _GROUND)
    if picture is not None:
        canvas.paste(Image.open(io.BytesIO(picture)).resize((width, height)))
    draw = ImageDraw.Draw(canvas, "RGBA")
    for window, status in zip(plan.windows, statuses, strict=True):
        left, top = window.col_off * scale, window.row_off * scale
        box = (left, top, left + window.width * scale - 1, top + window.height * scale - 1)
        _draw_window(draw, box, status.status, window.id, opaque=picture is None)
    return _png(_with_legend(canvas, statuses))


def _draw_window(
    draw: ImageDraw.ImageDraw, box: tuple[float, float, float, float], status: Status, name: str, *, opaque: bool
) -> None:
    colour = _COLOURS[status]
    well = status in (Status.OK, Status.EMPTY)
    fill = (*colour, 150 if opaque else 0) if well else (*colour, 235)
    draw.rectangle(box, fill=fill, outline=(255, 255, 255, 60))
    if well:
        return
    draw.line((box[0], box[1], box[2], box[3]), fill=(255, 255, 255, 200), width=2)
    draw.line((box[0], box[3], box[2], box[1]), fill=(255, 255, 255, 200), width=2)
    if box[2] - box[0] > 90:
        draw.text((box[0] + 5, box[1] + 4), f"{name}\n{status}", fill=(255, 255, 255), font=ImageFont.load_default(12))


def _with_legend(canvas: Image.Image, statuses: Sequence[WindowStatus]) -> Image.Image:
    """A strip below the map: each status with its colour and count."""
    counts = {status: sum(s.status is status for s in statuses) for status in Status}
    sheet = Image.new("RGB", (max(canvas.width, 480), canvas.height + 30), "white")
    sheet.paste(canvas, (0, 0))
    draw = ImageDraw.Draw(sheet)
    x = 8
    for status, n in counts.items():
        draw.rectangle((x, canvas.height + 9, x + 12, canvas.height + 21), fill=_COLOURS[status])
        text = f"{n} {status}"
        draw.text((x + 17, canvas.height + 7), text, fill="black", font=ImageFont.load_default(13))
        x += 30 + int(draw.textlength(text, font=ImageFont.load_default(13)))
    return sheet


def _read_small(mosaic: str, side: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """(H, W, 3) uint8 and (H, W) bool of a mosaic, read from its overviews."""
    with rasterio.open(mosaic) as dataset:
        scale = min(1.0, side / max(dataset.width, dataset.height))
        shape = (max(1, round(dataset.height * scale)), max(1, round(dataset.width * scale)))
        bands = [1, 2, 3] if dataset.count >= 3 else [1, 1, 1]
        pixels = dataset.read(bands, out_shape=(3, *shape), resampling=Resampling.average)
        valid = dataset.dataset_mask(out_shape=shape) > 0
    if pixels.dtype != np.uint8:
        pixels = _stretch(pixels, valid)
    return np.ascontiguousarray(np.moveaxis(pixels, 0, 2)), valid


def _stretch(pixels: NDArray[np.generic], valid: NDArray[np.bool_]) -> NDArray[np.uint8]:
    values = pixels.astype(np.float64)
    seen = values[:, valid]
    low, high = np.nanpercentile(seen, [2, 98]) if seen.size else (0.0, 1.0)
    scaled = (np.nan_to_num(values, nan=low) - low) / max(high - low, 1e-9)
    return np.clip(scaled * 254 + 1, 1, 255).astype(np.uint8)


def _jpeg(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=88)
    return out.getvalue()


def _png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG", optimize=True)
    return out.getvalue()
