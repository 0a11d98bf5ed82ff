"""Plans whose tiles are written without computing them, and what GDAL makes of the same image."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import tifffile
from numpy.typing import NDArray
from test_memory import plan_of

from clearyear.cog.geotiff import profile, write_cog
from clearyear.cog.layers import layer_of
from clearyear.completeness import check_plan
from clearyear.grid import Window
from clearyear.mosaic import Mosaic, build_mosaic
from clearyear.plan import Plan
from clearyear.stores import Store, open_store
from clearyear.window import WindowResult, write_layer

Array = NDArray[Any]


def made_plan(out: Path, size: tuple[int, int], *, tile_size: int = 1024, **product: Any) -> Plan:
    """A plan of (width, height) pixels whose one scene is never read."""
    base = plan_of(1)
    grid = base.grid.model_copy(update={"width": size[0], "height": size[1]})
    values: dict[str, Any] = {"n_bands": 3, "reducer": "band-median", "band_names": ("red", "", "blue")} | product
    values["band_names"] = values["band_names"][: values["n_bands"]]
    update = {"grid": grid, "tile_size": tile_size, "destination": str(out)}
    return base.model_copy(update=update | {"product": base.product.model_copy(update=values)})


def image_of(plan: Plan, layer: str = "composite", *, seed: int = 1) -> Array:
    """Smooth land with noise, a corner and single samples of nodata."""
    about, rng = layer_of(plan, layer), np.random.default_rng(seed)
    y, x = np.mgrid[: plan.grid.height, : plan.grid.width]
    shape = (about.n_bands, *y.shape)
    low = -60 if about.dtype in ("int16", "float32") else 1
    land = 90 + 50 * np.sin(x / 37) * np.cos(y / 23) + rng.integers(-20, 20, shape) + low
    pixels: Array = (land / 7 if about.dtype == "float32" else land).astype(about.dtype)
    if layer == "source":
        pixels = rng.integers(-1, 300, shape).astype("int16")
    elif about.nodata is not None:
        pixels[rng.random(shape) < 0.1] = about.nodata
        pixels[:, :333, :290] = about.nodata
    return pixels


def put(plan: Plan, images: dict[str, Array], windows: Iterable[Window] | None = None) -> Store:
    """Write the windows' tiles and records, as computing them would."""
    store = open_store(plan.destination)
    for w in plan.windows if windows is None else windows:
        area = np.s_[:, w.row_off : w.row_off + w.height, w.col_off : w.col_off + w.width]
        files = {name: write_layer(plan, w, store, name, image[area]) for name, image in images.items()}
        record = WindowResult(id=w.id, status="ok", fingerprint=plan.fingerprint(w), layers=files)
        store.write(plan.record_name(w), record.model_dump_json().encode())
    return store


def build(plan: Plan, store: Store) -> Mosaic:
    return build_mosaic(plan, store, check_plan(plan, store))


def by_gdal(plan: Plan, layer: str, image: Array, target: Path) -> Path:
    """What GDAL's COG driver makes of the whole image."""
    about, whole = layer_of(plan, layer), target.with_name("whole.tif")
    settings = profile(plan.grid, None, count=about.n_bands, dtype=about.dtype, nodata=about.nodata)
    with rasterio.open(whole, "w", **settings) as dataset:
        dataset.write(image)
    # Where a block of the level below takes more than 10 MB, GDAL would leave that level out and go back to the image.
    with rasterio.Env(GDAL_OVR_CHUNK_MAX_SIZE=10**9, GDAL_OVR_CHUNK_MAX_SIZE_FOR_TEMP_FILE=10**9):
        write_cog(whole, target, compress=about.compress, resampling=about.resampling)
    return target


def levels(path: str | Path) -> list[Array]:
    """Every level, by rasterio."""
    with rasterio.open(path) as dataset:
        found = [dataset.read()]
        n = len(dataset.overviews(1))
    for level in range(n):
        with rasterio.open(path, overview_level=level) as dataset:
            found.append(dataset.read())
    return found


def levels_without_gdal(path: str | Path) -> list[Array]:
    """Every level, by tifffile."""
    with tifffile.TiffFile(path) as file:
        pages = [page.asarray() for page in file.series[0].levels]
    return [page[None] if page.ndim == 2 else np.moveaxis(page, -1, 0) for page in pages]


def assert_same(found: Sequence[Array], expected: Sequence[Array]) -> None:
    assert [a.shape for a in found] == [a.shape for a in expected]
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype
        assert np.array_equal(one, other, equal_nan=one.dtype.kind == "f")


# -- pixels --------------------------------------------------------------------------------------------------

EVEN, ODD = (1060, 530), (1061, 555)
