"""Make the pictures in docs/images from finished runs.

    python docs/make_pictures.py clearyear-demo           # demo.jpg
    python docs/make_pictures.py NAIVE.tif MASKED.tif     # masked.jpg

demo.jpg: four of the year's scenes as they came, and what the product made of all twenty-four. masked.jpg: a composite
without and with a cloud mask, one above the other, both twice as bright.
"""

import io
import sys
from pathlib import Path

from PIL import Image

from clearyear.pictures import preview

SIDE = 560
GAP = 8
WIDE = 800
BRIGHTER = 2
SHOWN = ("0115", "0217", "0608", "0929")
"""Where these days have no scene, the next ones are shown: snow, clouds, a swath's edge."""


def picture(path: Path, side: int) -> Image.Image:
    """One raster as a square picture."""
    scratch = path.with_suffix(".preview.tmp")
    scratch.write_bytes(preview(str(path), side=side))
    with Image.open(scratch) as image:
        square = image.convert("RGB").resize((side, side), Image.Resampling.LANCZOS)
    scratch.unlink()
    return square


def main(demo: Path) -> None:
    """Put the sheet together."""
    scenes = sorted((demo / "scenes").glob("*.tif"))
    chosen = [next((p for p in scenes if p.name.split("_")[1][4:8] >= day), scenes[-1]) for day in SHOWN]
    small = (SIDE - GAP) // 2
    sheet = Image.new("RGB", (2 * SIDE + 3 * GAP, SIDE), "white")
    for index, path in enumerate(chosen):
        sheet.paste(picture(path, small), ((index % 2) * (small + GAP), (index // 2) * (small + GAP)))
    mosaic = demo / "luminance-median" / "2023--P1Y" / "luminance-median_2023--P1Y.tif"
    sheet.paste(picture(mosaic, SIDE), (SIDE + 3 * GAP, 0))
    save(sheet, "demo.jpg", quality=86)


def main_masked(naive: Path, masked: Path) -> None:
    """Put two composites of one grid one above the other."""
    images = []
    for path in (naive, masked):
        with Image.open(io.BytesIO(preview(str(path), side=WIDE))) as image:
            images.append(image.convert("RGB").point(lambda value: min(255, BRIGHTER * value)))
    width, height = images[0].size
    sheet = Image.new("RGB", (width, 2 * height + GAP), "white")
    for index, image in enumerate(images):
        sheet.paste(image, (0, index * (height + GAP)))
    save(sheet, "masked.jpg", quality=80)


def save(sheet: Image.Image, name: str, *, quality: int) -> None:
    """Write it where the pages look for it, and say where."""
    path = Path(__file__).parent / "images" / name
    sheet.save(path, quality=quality, optimize=True)
    print(path)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        main_masked(Path(sys.argv[1]), Path(sys.argv[2]))
    else:
        main(Path(sys.argv[1] if len(sys.argv) > 1 else "clearyear-demo"))
