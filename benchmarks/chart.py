"""The picture of the window's table: python benchmarks/chart.py [RESULTS.json] [PICTURE.png]

A bar for each way on a logarithmic scale, the spread as a line across its end, the floor as a line through all.
"""

import json
import math
import statistics
import sys
from pathlib import Path
from typing import Any

from common import HERE, RESULTS
from PIL import Image, ImageDraw, ImageFont
from window import ratios

WIDTH, ROW, TOP, BOTTOM = 1600, 62, 112, 104
LEFT, RIGHT = 560, 1330
"""Where the bars begin and where the longest ends; beyond it stand the figures."""
NAMES = {
    "luminance-median": "clearyear, luminance-median",
    "band-median": "clearyear, band-median",
    "fallback": "clearyear through GDAL's reader",
    "bottleneck": "rasterio + bottleneck, 2 threads",
    "gdal-vrt-halves": "GDAL VRT median, cut for 2 threads",
    "gdal-vrt": "GDAL VRT median",
    "odc-stac-numbagg": "odc-stac + xarray + numbagg, 2 threads",
    "odc-stac": "odc-stac + xarray, 2 threads",
    "numpy-bands": "np.ma.median, band by band",
    "numpy": "np.ma.median",
}
INK, SOFT, OURS, THEIRS, FLOOR = "#1f2328", "#6b737c", "#0b6e4f", "#b8c0c8", "#c2410c"


def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own, so that no system's is needed; it has no multiplication sign."""
    return ImageFont.load_default(size)


def seconds(results: dict[str, Any], way: str) -> list[float]:
    """Of every round that has it."""
    return [r["ways"][way]["seconds"] for r in results["rounds"] if way in r["ways"]]


def axis(canvas: ImageDraw.ImageDraw, least: float, most: float, bottom: int) -> None:
    """A line and a figure at 1, 2, 5, 10 … seconds."""
    for power in range(math.floor(math.log10(least)), math.ceil(math.log10(most)) + 1):
        for factor in (1, 2, 5):
            value = factor * 10.0**power
            if least <= value <= most:
                x = place(value, least, most)
                canvas.line([(x, TOP), (x, bottom)], fill="#e6e8eb", width=2)
                canvas.text((x, bottom + 10), f"{value:g} s", fill=SOFT, font=font(22), anchor="ma")


def place(value: float, least: float, most: float) -> float:
    """Where on the logarithmic axis a value lies, in pixels."""
    return LEFT + (RIGHT - LEFT) * math.log(value / least) / math.log(most / least)


def chart(results: dict[str, Any]) -> Image.Image:
    """The picture."""
    ways = sorted((way for way in NAMES if seconds(results, way)), key=lambda w: statistics.median(seconds(results, w)))
    every = [value for way in ("floor", *ways) for value in seconds(results, way)]
    least, most = min(every) / 1.6, max(every) * 1.05
    bottom = TOP + ROW * len(ways)
    image = Image.new("RGB", (WIDTH, bottom + BOTTOM), "white")
    canvas = ImageDraw.Draw(image)
    width, height, bands = results["size"]
    title = f"One window, read and reduced: {results['scenes']} scenes of {width} x {height} x {bands}"
    canvas.text((36, 26), title, fill=INK, font=font(32))
    axis(canvas, least, most, bottom)
    for number, way in enumerate(ways):
        bar(canvas, results, way, TOP + ROW * number, (least, most))
    x = place(statistics.median(seconds(results, "floor")), least, most)
    canvas.line([(x, TOP - 8), (x, bottom)], fill=FLOOR, width=4)
    canvas.text((x, TOP - 12), "floor: inflate the blocks, nothing else", fill=FLOOR, font=font(22), anchor="ls")
    note = "logarithmic scale; lines from the least to the most of all rounds"
    canvas.text((LEFT, bottom + 52), note, fill=SOFT, font=font(22), anchor="la")
    canvas.text((WIDTH - 36, TOP - 12), "median, times the floor", fill=SOFT, font=font(22), anchor="rs")
    return image


def bar(canvas: ImageDraw.ImageDraw, results: dict[str, Any], way: str, top: int, scale: tuple[float, float]) -> None:
    """One way: its name, its bar, its spread, its figures."""
    values = seconds(results, way)
    median, middle = statistics.median(values), top + ROW // 2
    mine = NAMES[way].startswith("clearyear")
    canvas.text((LEFT - 20, middle), NAMES[way], fill=OURS if mine else INK, font=font(26), anchor="rm")
    canvas.rectangle([LEFT, top + 11, place(median, *scale), top + ROW - 11], fill=OURS if mine else THEIRS)
    low, high = place(min(values), *scale), place(max(values), *scale)
    canvas.line([(low, middle), (high, middle)], fill=INK, width=3)
    for x in (low, high):
        canvas.line([(x, middle - 8), (x, middle + 8)], fill=INK, width=3)
    times = statistics.median(ratios(results, way, "floor"))
    said = f"{median:.2f} s" if median < 10 else f"{median:.0f} s"
    said += f", {times:.1f} x" if times < 10 else f", {times:.0f} x"
    canvas.text((WIDTH - 36, middle), said, fill=OURS if mine else INK, font=font(26), anchor="rm")


def main() -> None:
    """Draw it."""
    source = Path(sys.argv[1]) if len(sys.argv) > 1 else RESULTS / "window.json"
    target = Path(sys.argv[2]) if len(sys.argv) > 2 else HERE.parent / "docs" / "images" / "performance.png"
    chart(json.loads(source.read_text())).quantize(64).save(target, optimize=True)


if __name__ == "__main__":
    main()
