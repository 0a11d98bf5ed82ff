"""The picture of a month: lights differ a thousandfold; between two percentiles of them one sees the noise alone."""

import io

import numpy as np
from PIL import Image
from rasterio.enums import Resampling

from clearyear.pictures import GROUND, SIDE
from clearyear.reading.gdal import open_raster

_SOFT = 1.0
"""Where the scale turns from linear to logarithmic, in the tiles' unit: for VIIRS 1 nW/cm²/sr, a village."""
_WARM = np.array([255, 236, 190], float)
"""What the brightest is."""


def light_picture(mosaic: str, *, side: int = SIDE) -> bytes:
    """A JPEG of a mosaic's first band, asinh-stretched from zero to its 99.9th percentile; no value is dark grey.

    The stretch is Lupton et al. 2004, https://doi.org/10.1086/382245, of one band.

    Raises:
        ReadError: it cannot be read.
    """
    with open_raster(mosaic) as dataset:
        scale = min(1.0, side / max(dataset.width, dataset.height))
        shape = (max(1, round(dataset.height * scale)), max(1, round(dataset.width * scale)))
        band = dataset.read(1, out_shape=shape, resampling=Resampling.average, masked=True)
    valid = ~np.ma.getmaskarray(band) & np.isfinite(band.filled(0).astype(float))
    light = np.arcsinh(np.clip(np.where(valid, band.filled(0), 0).astype(float), 0, None) / _SOFT)
    most = float(np.percentile(light[valid], 99.9)) if valid.any() else 0.0
    shade = np.clip(light / most, 0, 1) if most > 0 else np.zeros(shape)
    picture = np.where(valid[..., None], shade[..., None] * _WARM, np.array(GROUND, float)).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "JPEG", quality=88)
    return out.getvalue()
