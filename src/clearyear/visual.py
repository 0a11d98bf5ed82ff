"""The picture beside a mosaic: RGBA with a fixed stretch, made of the mosaic's own pixels, block by block."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import rasterio
from rasterio.enums import ColorInterp

from clearyear.cog.geotiff import describe, profile, write_cog
from clearyear.cog.layers import layer_of
from clearyear.display import VISUAL, rgba
from clearyear.plan import Plan
from clearyear.reading.gdal import open_raster

_COLOURS = (ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha)


def write_visual(plan: Plan, cogs: Mapping[str, Path], target: Path, *, tags: dict[str, str]) -> None:
    """Make the picture that the plan's ``display`` describes; one block of it is in memory at a time.

    A pixel is opaque where each of the three bands is valid.

    Args:
        plan: whose composite is shown.
        cogs: the finished mosaics, by file.
        target: where the picture goes; not atomic, so give a scratch path.
        tags: metadata items.
    """
    display = plan.product.display
    assert display is not None
    whole, layer = plan.kind("composite"), layer_of(plan, VISUAL)
    shown = display.indices(whole.band_names, whole.n_bands)
    places = {band: (key, 1) for key, (name, band) in plan.files.items() if name == "composite" and band is not None}
    image = target.with_name(f"image-{target.name}")
    settings = profile(plan.grid, None, count=4, dtype="uint8", nodata=None) | {"photometric": "RGB", "alpha": "YES"}
    try:
        with ExitStack() as stack:
            bands = [places.get(band, ("composite", band + 1)) for band in shown]
            opened = {key: stack.enter_context(open_raster(str(cogs[key]))) for key, _ in bands}
            out = stack.enter_context(rasterio.open(image, "w", **settings, bigtiff="IF_SAFER"))
            out.colorinterp = _COLOURS
            describe(out, names=layer.band_names, tags=tags, scale=(None, None))
            for _, window in out.block_windows(1):
                pixels = np.stack([opened[key].read(index, window=window) for key, index in bands])
                masks = np.stack([opened[key].read_masks(index, window=window) for key, index in bands])
                valid = ((masks > 0) & np.isfinite(pixels)).all(axis=0)
                out.write(rgba(pixels, valid, display), window=window)
        write_cog(image, target, compress=layer.lossless, resampling="average", level=layer.level)
    finally:
        image.unlink(missing_ok=True)
