"""odc-stac, dask and xarray: python odc_stac.py FOLDER RESULT.npy

The scenes as STAC items, loaded lazily in chunks of 512² with the whole year in each, nodata masked, the median over
time on two dask threads. bottleneck is installed, which xarray uses where it can.
"""

import sys
from datetime import datetime
from pathlib import Path

import dask
import numpy as np
import odc.stac
import pystac
import rasterio
from common import tell
from odc.geo.geobox import GeoBox
from rasterio.warp import transform_bounds

BANDS = ("red", "green", "blue")
THREADS = 2


def item_of(path: Path) -> pystac.Item:
    """One scene, described as fully as odc-stac could wish, so that it opens no file to find out."""
    with rasterio.open(path) as scene:
        west, south, east, north = transform_bounds(scene.crs, "EPSG:4326", *scene.bounds)
        place = {
            "proj:code": f"EPSG:{scene.crs.to_epsg()}",
            "proj:transform": list(scene.transform)[:6],
            "proj:shape": [scene.height, scene.width],
        }
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    when = datetime.strptime(path.name.split("_")[1], "%Y%m%dT%H%M%S")
    item = pystac.Item(
        path.stem, {"type": "Polygon", "coordinates": [ring]}, [west, south, east, north], when, properties=place
    )
    item.stac_extensions = [
        "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
        "https://stac-extensions.github.io/eo/v1.1.0/schema.json",
        "https://stac-extensions.github.io/raster/v1.1.0/schema.json",
    ]
    fields = {
        "eo:bands": [{"name": band, "common_name": band} for band in BANDS],
        "raster:bands": [{"nodata": 0, "data_type": "uint8"} for _ in BANDS],
    }
    item.add_asset("visual", pystac.Asset(str(path), media_type=pystac.MediaType.COG, extra_fields=fields))
    return item


def median(items: list[pystac.Item], geobox: GeoBox) -> np.ndarray:
    """(3, H, W) float32, NaN where nothing was seen."""
    chunks = {"time": -1, "x": 512, "y": 512}
    data = odc.stac.load(items, bands=BANDS, geobox=geobox, groupby="id", chunks=chunks)
    return data.where(data != 0).median("time").compute().to_array().values


def main() -> None:
    """Import and warm up on four scenes, then time all of them."""
    paths = sorted(Path(sys.argv[1]).glob("T*.tif"))
    items = [item_of(path) for path in paths]
    with rasterio.open(paths[0]) as scene:
        geobox = GeoBox.from_rio(scene)
    dask.config.set(scheduler="threads", num_workers=THREADS)
    median(items[:4], geobox)
    np.save(sys.argv[2], tell(lambda: median(items, geobox)))


if __name__ == "__main__":
    main()
