"""Polygons × raster → one row for each polygon and band; exactextract says how much of each pixel is covered."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from clearyear.grid import Window
from clearyear.zonal.coverage import coverage
from clearyear.zonal.job import STATISTICS, ZonalJob
from clearyear.zonal.polygons import Polygons, over_grid
from clearyear.zonal.raster import Blocks, Raster, open_blocks
from clearyear.zonal.statistics import Gathered

MAX_CELLS = 4_000_000
"""Pixels times bands of a block: with values, masks and coverage some 150 MB."""

KEYS = ("polygon", "product", "period", "start", "end", "band")


def zonal_rows(
    raster: Raster,
    polygons: Polygons,
    job: ZonalJob,
    *,
    max_cells: int = MAX_CELLS,
    on_polygon: Callable[[int, int], None] | None = None,
) -> list[dict[str, Any]]:
    """Statistics of every polygon in every band.

    Args:
        raster: of one period.
        polygons: in any CRS; straight lines between their corners are straight in the raster's CRS.
        job: which statistics, what is nodata.
        max_cells: the most pixels, over all bands, that are read at once; no statistic depends on it.
        on_polygon: called with how many are done and how many there are.

    Returns:
        One row for each polygon and band, polygons in the order of their file: KEYS (``start``, ``end``: ISO dates,
        half-open) and the job's statistics. What no pixel can tell is NaN: a polygon outside the raster has count 0,
        sum 0 and else nothing.

    Raises:
        InputError: the raster or the polygons' CRS cannot be used.
        ReadError: the raster could not be read.
    """
    with open_blocks(raster, job) as blocks:
        shapes = over_grid(polygons, blocks.dataset.crs, blocks.dataset.transform)
        keep = "median" in job.stats
        rows: list[dict[str, Any]] = []
        for number, (name, shape) in enumerate(zip(polygons.frame["polygon"], shapes, strict=True), start=1):
            gathered = gather(shape, blocks, max_cells=max_cells, keep_values=keep)
            outside = _outside(shape, blocks.dataset.width, blocks.dataset.height)
            for index, each in enumerate(gathered):
                rows.append(_row(raster, str(name), index, each, outside, job))
            if on_polygon:
                on_polygon(number, len(shapes))
    return rows


def gather(shape: Any, blocks: Blocks, *, max_cells: int, keep_values: bool) -> list[Gathered]:
    """Go over the blocks a polygon lies in; one result for each band.

    Args:
        shape: a shapely polygon or multipolygon in pixels, see ``over_grid``; None for none.
        blocks: the raster.
        max_cells: see ``zonal_rows``.
        keep_values: whether medians are wanted.
    """
    found = [Gathered(keep_values=keep_values) for _ in range(blocks.dataset.count)]
    if shape is None:
        return found
    for window in _windows(shape.bounds, blocks, max_cells):
        index, weights = coverage(shape, window)
        if not len(index):
            continue
        values, valid = blocks.read(window)
        for band, each in enumerate(found):
            each.add(values[band].ravel()[index], weights, valid[band].ravel()[index])
    return found


def _windows(bounds: Sequence[float], blocks: Blocks, max_cells: int) -> Iterator[Window]:
    """The rows of pixels a bounding box touches, as many at once as allowed."""
    width, height, bands = blocks.dataset.width, blocks.dataset.height, blocks.dataset.count
    left, right = max(0, math.floor(bounds[0])), min(width, math.ceil(bounds[2]))
    top, bottom = max(0, math.floor(-bounds[3])), min(height, math.ceil(-bounds[1]))
    if left >= right or top >= bottom:
        return
    rows = max(1, max_cells // ((right - left) * bands))
    for row in range(top, bottom, rows):
        yield Window(col_off=left, row_off=row, width=right - left, height=min(rows, bottom - row))


def _outside(shape: Any, width: int, height: int) -> float:
    """The share of a polygon's area that lies outside the raster; NaN for one without area."""
    if shape is None or not shape.area:
        return math.nan
    from shapely.geometry import box

    left, bottom, right, top = shape.bounds
    if left >= 0 and right <= width and top <= 0 and bottom >= -height:
        return 0.0
    return min(1.0, max(0.0, 1 - float(shape.intersection(box(0, -height, width, 0)).area) / float(shape.area)))


def _row(raster: Raster, name: str, band: int, each: Gathered, outside: float, job: ZonalJob) -> dict[str, Any]:
    found = {"sum": 0.0, **each.result(), "outside_share": outside}
    period = raster.period
    return {
        "polygon": name,
        "product": raster.product,
        "period": period.label if period else "",
        "start": f"{period.start:%Y-%m-%d}" if period else "",
        "end": f"{period.end:%Y-%m-%d}" if period else "",
        "band": raster.band_names[band],
        **{stat: found.get(stat, math.nan) for stat in STATISTICS if stat in job.stats},
    }
