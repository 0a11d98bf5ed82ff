"""odc-stac's pixels of each scene on one grid: python odc_grid.py GIVEN.json RESULT.npy

GIVEN.json: the grid (crs, transform, shape), the resampling, and for each scene its files, one a band. RESULT:
(T, B, H, W), 0 where odc-stac has nothing.
"""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import odc.stac
import pystac
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.warp import transform_bounds


def item_of(number: int, files: list[str]) -> pystac.Item:
    """A scene whose bands are files beside one another."""
    with rasterio.open(files[0]) as file:
        west, south, east, north = transform_bounds(file.crs, "EPSG:4326", *file.bounds)
        place = {
            "proj:code": f"EPSG:{file.crs.to_epsg()}",
            "proj:transform": list(file.transform)[:6],
            "proj:shape": [file.height, file.width],
        }
        dtype = file.dtypes[0]
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    when = datetime(2018, 1, 1, tzinfo=UTC)
    shape = {"type": "Polygon", "coordinates": [ring]}
    item = pystac.Item(f"scene-{number}", shape, [west, south, east, north], when, properties=place)
    item.stac_extensions = [
        "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
        "https://stac-extensions.github.io/raster/v1.1.0/schema.json",
    ]
    for band, path in enumerate(files):
        fields = {"raster:bands": [{"nodata": 0, "data_type": dtype}]}
        item.add_asset(f"b{band}", pystac.Asset(path, media_type=pystac.MediaType.COG, extra_fields=fields))
    return item


def main() -> None:
    """Load the scenes one by one."""
    asked = json.loads(Path(sys.argv[1]).read_text())
    geobox = GeoBox(asked["shape"], Affine(*asked["transform"]), asked["crs"])
    found = []
    for number, files in enumerate(asked["scenes"]):
        bands = [f"b{band}" for band in range(len(files))]
        item = item_of(number, files)
        data = odc.stac.load([item], bands=bands, geobox=geobox, resampling=asked["resampling"])
        found.append(np.stack([data[band].values[0] for band in bands]))
    np.save(sys.argv[2], np.stack(found))


if __name__ == "__main__":
    main()
