"""Make docs/images/lights-map.png and lights-series.png: the pictures of a zonal job over a made-up year.

    python docs/make_lights_pictures.py FOLDER

Twelve invented months of six global tiles at half a degree, joined, and two dozen invented districts. FOLDER keeps all
of it: tiles, mosaics, tables.
"""

import shutil
import sys
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from shapely import voronoi_polygons
from shapely.geometry import MultiPoint, Point, Polygon

from clearyear.lights.job import VIIRS_TILES, LightsJob
from clearyear.lights.join import join_month
from clearyear.lights.month import find_month, months_asked
from clearyear.lights.tiles import fetch_tile
from clearyear.zonal.job import ZonalJob
from clearyear.zonal.run import run_zonal

STEP = 0.5
NAMES = ("Aldmoor", "Brenhaven", "Castermark", "Dunwick", "Eastmere", "Farrowdale", "Glenholt", "Harrowgate",
         "Inverlea", "Jarnfold", "Kestrel Bay", "Lowfields", "Marrow", "Northolt", "Oakhurst", "Penrose", "Quarry",
         "Redmarsh", "Stonebridge", "Thornby", "Upwell", "Vexley", "Westerby", "Yarrow")  # fmt: skip


def world(month: int) -> NDArray[np.float32]:
    """The whole globe in one month: towns that grow at their own pace, brighter in winter, and a noise round zero."""
    towns = np.random.default_rng(4)
    pixels = np.random.default_rng(month).normal(0.1, 0.25, (280, 720))
    rows, cols = np.mgrid[:280, :720]
    for _ in range(260):
        row, col, size = towns.uniform(35, 80), towns.uniform(340, 420), towns.gamma(1.2, 14)
        growth, season = towns.normal(0.012, 0.02), towns.uniform(0, 0.12)
        light = size * (1 + growth * month) * (1 + season * np.cos(2 * np.pi * (month - 1) / 12))
        pixels += light * np.exp(-((rows - row) ** 2 + (cols - col) ** 2) / 1.6)
    return pixels.astype(np.float32)


def write_tiles(folder: Path) -> None:
    """Six tiles a month, as VIIRS cuts them."""
    for month in range(1, 13):
        pixels = world(month)
        for tile, (left, bottom, right, top) in VIIRS_TILES.items():
            rows = slice(round((75 - top) / STEP), round((75 - bottom) / STEP))
            part = pixels[rows, round((left + 180) / STEP) : round((right + 180) / STEP)]
            path = folder / f"2023{month:02d}" / f"{tile}.avg_rade9h.tif"
            path.parent.mkdir(parents=True, exist_ok=True)
            transform = Affine(STEP, 0, left - STEP / 2, 0, -STEP, top + STEP / 2)
            size: dict[str, Any] = {"height": part.shape[0], "width": part.shape[1], "count": 1, "dtype": "float32"}
            with rasterio.open(path, "w", "GTiff", crs="EPSG:4326", transform=transform, **size) as dataset:
                dataset.write(part, 1)


def districts(path: Path) -> None:
    """Two dozen neighbours."""
    rng = np.random.default_rng(11)
    frame = Polygon([(-8, 38), (2, 36), (16, 37), (27, 41), (29, 51), (20, 56), (6, 55), (-6, 50)])
    points: list[Point] = []
    while len(points) < len(NAMES):
        point = Point(rng.uniform(-8, 29), rng.uniform(36, 56))
        # Not too near to each other, so that none is a sliver.
        if frame.contains(point) and all(point.distance(other) > 3.2 for other in points):
            points.append(point)
    cells = voronoi_polygons(MultiPoint(points), extend_to=frame)
    shapes = [next(c for c in cells.geoms if c.contains(point)).intersection(frame) for point in points]
    geopandas.GeoDataFrame({"id": NAMES}, geometry=shapes, crs="EPSG:4326").to_file(path)


def main(folder: Path) -> None:
    """Make the year, join it, count in it, copy the pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    write_tiles(folder / "in")
    districts(folder / "districts.gpkg")
    source = f"{folder.resolve()}/in/{{yyyymm}}/{{tile}}.avg_rade9h.tif"
    job = LightsJob(source=source, out=str(folder), months="2023")
    for period in months_asked(job):
        month = find_month(job, period)
        tiles = [fetch_tile(f.name, f.entry.uri, month.folder, job.member) for f in month.found if f.entry]
        join_month(month, tiles)
    zonal = {"raster": str(folder), "polygons": str(folder / "districts.gpkg"), "out": str(folder / "zonal")}
    run_zonal(ZonalJob.model_validate({**zonal, "negatives_are_nodata": True}))
    images = Path(__file__).parent / "images"
    shutil.copy(folder / "zonal" / "night-lights_2023-12--P1M_districts_map.png", images / "lights-map.png")
    shutil.copy(folder / "zonal" / "series_night-lights_districts.png", images / "lights-series.png")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "clearyear-lights"))
