"""GDAL's own median, the pixel function of its VRT driver: python gdal_vrt.py FOLDER RESULT.npy [--threads 1]

This is what `gdal raster mosaic --pixel-function=median` builds and reads; GDAL runs it on one thread. With more
threads the window is cut into that many parts, each read by a thread with a dataset of its own.
"""

import argparse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
import rasterio
from common import tell
from rasterio.windows import Window


def vrt_of(paths: list[Path]) -> str:
    """The scenes one upon the other, 0 being nodata, reduced by GDAL's function ``median``."""
    with rasterio.open(paths[0]) as scene:
        width, height, (rows, cols) = scene.width, scene.height, scene.block_shapes[0]
    rect = f'xOff="0" yOff="0" xSize="{width}" ySize="{height}"'
    # With the size and type of its source in the XML, GDAL opens a scene no earlier than it reads it.
    size = f'RasterXSize="{width}" RasterYSize="{height}" DataType="Byte" BlockXSize="{cols}" BlockYSize="{rows}"'
    bands = []
    for band in (1, 2, 3):
        sources = "".join(
            f"<ComplexSource><SourceFilename>{escape(str(path))}</SourceFilename><SourceBand>{band}</SourceBand>"
            f"<SourceProperties {size}/><SrcRect {rect}/><DstRect {rect}/><NODATA>0</NODATA></ComplexSource>"
            for path in paths
        )
        bands.append(
            f'<VRTRasterBand dataType="Byte" band="{band}" subClass="VRTDerivedRasterBand"><NoDataValue>0</NoDataValue>'
            f"<PixelFunctionType>median</PixelFunctionType>{sources}</VRTRasterBand>"
        )
    return f'<VRTDataset rasterXSize="{width}" rasterYSize="{height}">{"".join(bands)}</VRTDataset>'


def median(paths: list[Path], threads: int) -> np.ndarray:
    """(3, H, W) uint8, halves rounded up, 0 where nothing was seen."""
    text = vrt_of([path.resolve() for path in paths])

    def part(number: int) -> np.ndarray:
        with rasterio.open(text) as vrt:
            top, bottom = (vrt.height * n // threads for n in (number, number + 1))
            return vrt.read(window=Window(0, top, vrt.width, bottom - top))

    with ThreadPoolExecutor(threads) as pool:
        return np.concatenate(list(pool.map(part, range(threads))), axis=1)


def main() -> None:
    """Warm up on four scenes, then time all of them."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("result")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    paths = sorted(arguments.folder.glob("T*.tif"))
    median(paths[:4], arguments.threads)
    np.save(arguments.result, tell(lambda: median(paths, arguments.threads)))


if __name__ == "__main__":
    main()
