"""Pictures for people: the mosaic as a JPEG, and the tile map that shows at a glance what is missing."""

import io
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, suppress

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from rasterio.enums import Resampling
from rasterio.io import DatasetReader

from clearyear.completeness import Status, WindowStatus
from clearyear.plan import Plan
from clearyear.reading.gdal import open_raster

Box = tuple[int, int, int, int]
"""(left, top, right, bottom) in pixels; right and bottom are outside."""

SIDE = 1024
"""Longest side of a picture in pixels."""

GROUND = (24, 26, 30)
"""What nodata is in a picture."""

# Pale against strong, so that red on green is told apart by brightness too; each but ok has a mark of its own.
COLOURS = {
    Status.OK: (186, 219, 190),
    Status.EMPTY: (128, 128, 128),
    Status.MISSING: (204, 20, 30),
    Status.INVALID: (142, 36, 170),
    Status.STALE: (255, 193, 7),
}
_MARKS = {
    Status.MISSING: [(-1, -1, 1, 1), (-1, 1, 1, -1)],  # a cross
    Status.INVALID: [(-1, 1, 1, -1)],  # a slash
    Status.STALE: [(-1, 0, 1, 0)],  # a bar
}
_LEAST = 7
"""A window that is not done is drawn at least so many pixels wide: among thousands it must not be lost."""
_MARKED = 14
"""From this size on a window has a mark, and the grid has lines."""
_COLOURS, _SENTINEL_2 = ("red", "green", "blue"), ("b04", "b03", "b02")
_FONTS = (22, 17, 13, 11)


def preview(*mosaics: str, side: int = SIDE) -> bytes:
    """A JPEG of a mosaic, at most ``side`` px on its longest side; nodata is dark grey.

    8-bit bands are shown as they are; anything else is stretched between its 2nd and 98th percentile. Bands called red,
    green and blue (or B04, B03, B02; of several percentiles the middle one) are shown so; else of three bands or more
    the first three, else the first as grey.

    Args:
        mosaics: GeoTIFFs of one size: one, or one for each band.
        side: in pixels.

    Raises:
        ReadError: one is no GeoTIFF that can be read.
    """
    rgb, valid = _read_small(mosaics, side)
    picture = np.where(valid[..., None], rgb, np.array(GROUND, np.uint8))
    return _encoded(Image.fromarray(picture), "JPEG")


def thumbnail(picture: bytes, *, side: int) -> bytes:
    """A smaller JPEG of a picture."""
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    image.thumbnail((side, side))
    return _encoded(image, "JPEG")


def tile_map(plan: Plan, statuses: Sequence[WindowStatus], picture: bytes | None, *, side: int = SIDE) -> bytes:
    """A PNG of the window grid: what is well shows the picture, what is not is filled with its status' colour.

    Args:
        plan: whose grid and windows are drawn.
        statuses: one a window.
        picture: the mosaic's preview to show underneath, if there is one; one that cannot be read is left out.
        side: longest side of the map in pixels, without the legend.
    """
    scale = min(side / max(plan.grid.width, plan.grid.height), 8.0)
    size = max(1, round(plan.grid.width * scale)), max(1, round(plan.grid.height * scale))
    canvas = Image.new("RGB", size, COLOURS[Status.OK])
    below = _opened(picture) if picture is not None else None
    if below is not None:
        canvas.paste(below.resize(size))
    ground = canvas.copy()
    draw = ImageDraw.Draw(canvas, "RGBA")
    _draw_lines(draw, round(plan.tile_size * scale), scale * plan.tile_size, size)
    empty: list[tuple[Box, WindowStatus]] = []
    not_done: list[tuple[Box, WindowStatus]] = []
    for window, status in zip(plan.windows, statuses, strict=True):
        edges = (window.col_off, window.row_off, window.col_off + window.width, window.row_off + window.height)
        left, top, right, bottom = (round(edge * scale) for edge in edges)
        box = (left, top, max(right, left + 1), max(bottom, top + 1))
        if status.status is Status.EMPTY:
            empty.append((box, status))
        elif not status.is_done:
            not_done.append((_visible(box, size), status))
    for box, status in empty:
        _draw_window(draw, box, status)
    # First every ring, then every fill: neighbours that are not done must not eat into each other.
    for box, _ in not_done:
        _fill(draw, _grown(box, 3), (0, 0, 0))
        _fill(draw, _grown(box, 2), (255, 255, 255))
    for box, status in not_done:
        _draw_window(draw, box, status)
    return _encoded(_with_legend(canvas, ground if below is not None else None, plan, statuses), "PNG")


def _opened(picture: bytes) -> Image.Image | None:
    """A picture, or None where it is damaged: it lies where others may write, and the map can do without."""
    with suppress(OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return Image.open(io.BytesIO(picture)).convert("RGB")
    return None


def _draw_lines(draw: ImageDraw.ImageDraw, cell: int, step: float, size: tuple[int, int]) -> None:
    """The windows' edges, fainter the more of them there are; none where they would be all one sees."""
    if cell < _MARKED:
        return
    colour = (128, 128, 128, 150 if cell >= 48 else 70)
    for n in range(1, int(size[0] / step) + 1):
        draw.line((round(n * step), 0, round(n * step), size[1]), fill=colour)
    for n in range(1, int(size[1] / step) + 1):
        draw.line((0, round(n * step), size[0], round(n * step)), fill=colour)


def _draw_window(draw: ImageDraw.ImageDraw, box: Box, status: WindowStatus) -> None:
    """One window that is not just well: its colour, its mark and, where there is room below, what it is."""
    left, top, right, bottom = box
    _fill(draw, box, COLOURS[status.status])
    width, height = right - left, bottom - top
    if min(width, height) < _MARKED:
        return
    draw.rectangle((left, top, right - 1, bottom - 1), outline=(255, 255, 255))
    ink = _ink(status.status)
    reach = min(width, height, 140) * 0.24
    x, y = (left + right) / 2, (top + bottom) / 2
    text = f"{status.id}\n{status.status}"
    for font in map(ImageFont.load_default, _FONTS):
        wide, high = draw.multiline_textbbox((0, 0), text, font=font)[2:]
        if wide <= width - 8 and high + 2 * reach + 18 <= height:
            y -= (high + 8) / 2
            draw.multiline_text((x - wide / 2, y + reach + 8), text, fill=ink, font=font, align="center")
            break
    _draw_mark(draw, (x, y), reach, status.status)


def _draw_mark(draw: ImageDraw.ImageDraw, centre: tuple[float, float], reach: float, status: Status) -> None:
    x, y = centre
    for x0, y0, x1, y1 in _MARKS.get(status, ()):
        ends = (x + x0 * reach, y + y0 * reach, x + x1 * reach, y + y1 * reach)
        draw.line(ends, fill=_ink(status), width=max(2, round(reach / 5)))


def _with_legend(
    canvas: Image.Image, ground: Image.Image | None, plan: Plan, statuses: Sequence[WindowStatus]
) -> Image.Image:
    """A strip below the map: how many windows are done, and each status with its colour, mark and count."""
    counts = Counter(status.status for status in statuses)
    done = counts[Status.OK] + counts[Status.EMPTY]
    title, font = ImageFont.load_default(19), ImageFont.load_default(16)
    width = max(canvas.width, 560)
    sheet = Image.new("RGB", (width, canvas.height + 76), "white")
    sheet.paste(canvas, (0, 0))
    draw = ImageDraw.Draw(sheet, "RGBA")
    head = f"{done:,} of {len(statuses):,} windows are there"
    draw.text((10, canvas.height + 10), head, fill="black", font=title)
    name = f"{plan.product.name}, {plan.period.label}"
    room = width - 30 - draw.textlength(head, font=title)
    if draw.textlength(name, font=font) <= room:
        draw.text((width - 10, canvas.height + 12), name, fill=(90, 90, 90), font=font, anchor="ra")
    x, y = 10, canvas.height + 44
    for status in Status:
        _fill(draw, (x - 1, y - 1, x + 21, y + 21), (90, 90, 90))
        _fill(draw, (x, y, x + 20, y + 20), COLOURS[status])
        if status is Status.OK and ground is not None:
            sheet.paste(ground.resize((20, 20)), (x, y))
        _draw_mark(draw, (x + 10, y + 10), 5.5, status)
        text = f"{counts[status]:,} {status}"
        draw.text((x + 27, y), text, fill="black", font=font)
        x += 45 + int(draw.textlength(text, font=font))
    return sheet


def _ink(status: Status) -> tuple[int, int, int]:
    return (0, 0, 0) if status is Status.STALE else (255, 255, 255)


def _fill(draw: ImageDraw.ImageDraw, box: Box, colour: tuple[int, int, int]) -> None:
    # Pillow counts the right and lower edge as inside.
    draw.rectangle((box[0], box[1], box[2] - 1, box[3] - 1), fill=colour)


def _grown(box: Box, by: int) -> Box:
    return (box[0] - by, box[1] - by, box[2] + by, box[3] + by)


def _visible(box: Box, size: tuple[int, int]) -> Box:
    """The box, or one round its middle but within the map that is large enough to be seen."""
    width, height = (max(end - start, _LEAST) for start, end in zip(box[:2], box[2:], strict=True))
    left = max(0, min((box[0] + box[2] - width) // 2, size[0] - width))
    top = max(0, min((box[1] + box[3] - height) // 2, size[1] - height))
    return (left, top, left + width, top + height)


def _read_small(mosaics: Sequence[str], side: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """(H, W, 3) uint8 and (H, W) bool of a mosaic, read from its overviews."""
    with ExitStack() as stack:
        opened = [stack.enter_context(open_raster(mosaic)) for mosaic in mosaics]
        first = opened[0]
        scale = min(1.0, side / max(first.width, first.height))
        shape = (max(1, round(first.height * scale)), max(1, round(first.width * scale)))
        options = {"out_shape": (3, *shape), "resampling": Resampling.average}
        bands = [(dataset, index) for dataset in opened for index in dataset.indexes]
        shown = [bands[number] for number in _rgb_bands(opened)]
        if len(opened) == 1:
            pixels = first.read([index for _, index in shown], **options)
        else:
            options["out_shape"] = shape
            pixels = np.stack([dataset.read(index, **options) for dataset, index in shown])
        valid = np.stack([dataset.dataset_mask(out_shape=shape) for dataset in opened]).max(axis=0) > 0
    valid &= np.isfinite(pixels).all(axis=0)
    if pixels.dtype != np.uint8:
        pixels = _stretch(pixels, valid)
    return np.ascontiguousarray(np.moveaxis(pixels, 0, 2)), valid


def _rgb_bands(opened: Sequence[DatasetReader]) -> list[int]:
    """Which of all files' bands (from 0) are shown as red, green and blue."""
    names = [(name or "").lower() for dataset in opened for name in dataset.descriptions]
    colours = [colour.name for dataset in opened for colour in dataset.colorinterp]
    for found, wanted in ((names, _COLOURS), (names, _SENTINEL_2), (colours, _COLOURS)):
        # p10_red, p50_red, p90_red: the middle one.
        places = [[i for i, name in enumerate(found) if name.rpartition("_")[2] == colour] for colour in wanted]
        if all(places):
            return [place[len(place) // 2] for place in places]
    return [0, 1, 2] if len(names) >= 3 else [0, 0, 0]


def _stretch(pixels: NDArray[np.generic], valid: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """1..255 between the 2nd and 98th percentile of the valid samples of all bands; middle grey if they are all one."""
    values = pixels.astype(np.float64)
    seen = values[:, valid]
    low, high = np.percentile(seen, [2, 98]) if seen.size else (0.0, 0.0)
    share = (np.where(valid, values, low) - low) / (high - low) if high > low else np.full(values.shape, 0.5)
    grey: NDArray[np.uint8] = np.clip(np.rint(share * 254) + 1, 1, 255).astype(np.uint8)
    return grey


def _encoded(image: Image.Image, form: str) -> bytes:
    out = io.BytesIO()
    image.save(out, form, quality=88)  # PNG has no use for it
    return out.getvalue()
