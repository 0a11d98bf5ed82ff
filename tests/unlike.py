"""Scenes that are unlike each other, made by hand, and the plain way to what is expected of them."""

import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT

from clearyear.grid import Grid
from clearyear.job import Job
from clearyear.masks import Mask
from clearyear.periods import parse_period
from clearyear.plan import Plan
from clearyear.prepare import plan_of as plan_of_found
from clearyear.scenes.scene import Found, Scene
from clearyear.stores import stat_uri
from clearyear.window import reduce_window


def scene_of(scene_id: str, when: dt.datetime, files: Mapping[str, Path], **more: Any) -> Scene:
    """A scene of these files as they lie there now."""
    entries = {asset: stat_uri(str(path)) for asset, path in files.items()}
    found = {asset: entry for asset, entry in entries.items() if entry is not None}
    return Scene(
        id=scene_id,
        datetime=when,
        assets={asset: str(path) for asset, path in files.items()},
        version="-".join(entry.version for entry in found.values()),
        versions={asset: entry.version for asset, entry in found.items()},
        size=sum(entry.size for entry in found.values()),
        **more,
    )


def day(n: int) -> dt.datetime:
    return dt.datetime(2023, 1, 1, tzinfo=dt.UTC) + dt.timedelta(days=n)


def landsat(data: Path, assets: Sequence[str], *, month: int | None = None) -> list[Scene]:
    """The scenes round New York, each on its own grid."""
    scenes = []
    for folder in sorted((data / "landsat" / "L8NY18").iterdir()):
        parts = folder.name.split("_")
        when = dt.datetime.strptime(parts[3], "%Y%m%d").replace(tzinfo=dt.UTC)
        if month in (None, when.month):
            files = {asset: folder / f"{'_'.join(parts[:4])}_{asset}.TIF" for asset in assets}
            scenes.append(scene_of(folder.name, when, files))
    return sorted(scenes, key=lambda scene: (scene.datetime, scene.id))


def portugal(data: Path, n: int = 30) -> list[Scene]:
    """Four bands in one file, and their classes beside them, all on one grid."""
    folder = data / "s2" / "pt29snd"
    return [
        scene_of(path.stem, day(i), {"data": path, "scl": folder / "scl" / path.name.replace("REFL", "SCL")})
        for i, path in enumerate(sorted((folder / "refl").iterdir())[:n])
    ]


def plan_of(
    scenes: Sequence[Scene], masks: Sequence[Mask] = (), found: Mapping[str, Any] | None = None, **job: Any
) -> Plan:
    """The plan of such scenes: band-median, nodata 0 and a period 2023 unless said otherwise."""
    values = {"scenes": "by-hand", "out": "unused", "reducer": "band-median", "nodata": [0], **job}
    values["masks"] = [mask.model_dump() for mask in masks]
    made = Found(scenes=tuple(scenes), **(found or {}))
    return plan_of_found(Job.model_validate(values), parse_period("2023"), made)


def whole(plan: Plan, *, threads: int = 1) -> dict[str, NDArray[Any]]:
    """All layers, window by window."""
    layers: dict[str, NDArray[Any]] = {}
    for window in plan.windows:
        found, _, failed = reduce_window(plan, window, threads=threads)
        assert found is not None, failed
        assert not failed
        rows = slice(window.row_off, window.row_off + window.height)
        for name, array in found.items():
            if name not in layers:
                layers[name] = np.zeros((len(array), plan.grid.height, plan.grid.width), array.dtype)
            layers[name][:, rows, window.col_off : window.col_off + window.width] = array
    return layers


def warped(path: str | Path, grid: Grid, *, outside: int = 0, method: Resampling = Resampling.nearest) -> NDArray[Any]:
    """(B, H, W): the whole file brought to a grid by GDAL, ``outside`` where it does not reach.

    ``rasterio.warp.reproject`` places a pixel to an eighth only; here GDAL's approximation is as good as exact.
    """
    with (
        rasterio.open(path) as dataset,
        WarpedVRT(
            dataset,
            crs=grid.crs,
            transform=rasterio.Affine(*grid.transform),
            width=grid.width,
            height=grid.height,
            nodata=outside,
            resampling=method,
            tolerance=1e-9,  # 0 leaves rasterio's VRT without a transformer
        ) as warp,
    ):
        pixels: NDArray[Any] = warp.read()
    return pixels


def opened_and_dilated(erased: NDArray[np.bool_], opening: int, dilation: int) -> NDArray[np.bool_]:
    """The rule of the masks once more: a shifted copy for each pixel of the disk; nothing is erased beyond the edge."""
    if opening:
        erased = _over_disk(_over_disk(erased, opening, every=True), opening, every=False)
    return _over_disk(erased, dilation, every=False) if dilation else erased


def _over_disk(erased: NDArray[np.bool_], radius: int, *, every: bool) -> NDArray[np.bool_]:
    height, width = erased.shape
    padded = np.pad(erased, radius)
    result = np.full(erased.shape, every)
    for dy in range(-radius, radius + 1):
        for dx in range(-radius, radius + 1):
            if dx * dx + dy * dy <= radius * radius:
                shifted = padded[radius + dy : radius + dy + height, radius + dx : radius + dx + width]
                result = result & shifted if every else result | shifted
    return result
