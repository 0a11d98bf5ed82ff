"""Polygons and rasters of strangers: what is not what its name says is refused before GDAL asks its drivers."""

from pathlib import Path

import geopandas
import numpy as np
import pytest
from conftest import write_scene
from shapely.geometry import box
from test_hostile_scenes import set_tag

from clearyear.errors import InputError, ReadError
from clearyear.zonal.job import ZonalJob
from clearyear.zonal.polygons import read_polygons
from clearyear.zonal.run import run_zonal

VRT = """<OGRVRTDataSource><OGRVRTLayer name="a"><SrcDataSource>{source}</SrcDataSource>
</OGRVRTLayer></OGRVRTDataSource>"""
OSM = """<?xml version='1.0' encoding='UTF-8'?><osm version="0.6"><node id="1" lat="0" lon="0"/></osm>"""


@pytest.mark.parametrize("name", ["a.geojson", "a.json", "a.gpkg", "a.shp"])
@pytest.mark.parametrize("text", [VRT, OSM, "", "\ufeff  [1]"])
def test_polygons_in_disguise(tmp_path: Path, elsewhere: tuple[str, list[str]], name: str, text: str) -> None:
    """GDAL alone follows the first of them, whatever it is called."""
    url, asked = elsewhere
    path = tmp_path / name
    path.write_text(text.format(source=f"/vsicurl/{url}/secret.tif"))
    with pytest.raises(InputError, match=rf"{name} is not what its name says \(it begins with b."):
        read_polygons(ZonalJob(raster="r.tif", polygons=str(path), out=str(tmp_path)))
    assert asked == []


@pytest.mark.parametrize("name", ["a.geojson", "a.gpkg", "a.shp", "a.parquet"])
def test_polygons_undisguised(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    frame = geopandas.GeoDataFrame({"name": ["field"]}, geometry=[box(0, 0, 1, 1)], crs="EPSG:4326")
    frame.to_parquet(path) if name == "a.parquet" else frame.to_file(path)
    if name == "a.geojson":
        path.write_bytes(b"\xef\xbb\xbf\n  " + path.read_bytes())
    assert len(read_polygons(ZonalJob(raster="r.tif", polygons=str(path), out=str(tmp_path))).frame) == 1


def test_a_raster_of_giant_blocks(tmp_path: Path) -> None:
    raster = write_scene(tmp_path / "r_20230101.tif", np.ones((1, 64, 64), np.uint8))
    for tag, value in ((256, 60000), (257, 60000), (322, 32768), (323, 32768)):
        set_tag(raster, tag, value, kind=4)
    fields = tmp_path / "p.gpkg"
    geopandas.GeoDataFrame(geometry=[box(0, 0, 1, 1)], crs="EPSG:32631").to_file(fields)
    with pytest.raises(ReadError, match="its blocks are of 1,074 MB, at most 268 MB are read"):
        run_zonal(ZonalJob(raster=str(raster), polygons=str(fields), out=str(tmp_path / "out")))
