"""How much of each pixel a polygon covers: exactextract's answer, checked by area, and the long way where it is wrong.

exactextract 0.3.0 takes a pixel for uncovered now and then whose corner an edge runs through, and crashes the process
where a hole touches its grid from outside. Both were found by comparing with exact areas (tests/test_coverage.py).
"""

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clearyear.grid import Window

log = logging.getLogger(__name__)

Covered = tuple[NDArray[np.int64], NDArray[np.float64]]

LEAST_SHARE = 1e-7
"""exactextract works in single precision: a pixel of which less is covered is one beside an edge, rounded into it."""
_SLACK = 1e-4
"""Pixels by which the sum of all shares may differ from the polygon's area; one pixel that is wrong makes more."""
_SLACK_EDGE = 1e-6
"""The same for each pixel on the edge: its share is rounded."""


def coverage(shape: Any, window: Window) -> Covered:
    """Which pixels of a window are covered (row-major indices), and how much of each, LEAST_SHARE to 1.

    Args:
        shape: a shapely polygon or multipolygon in pixels: x is the column, y the row below zero.
        window: where to look.
    """
    part = _within(shape, window)
    if part is None:
        return np.empty(0, np.int64), np.empty(0)
    cells, weights = _by_exactextract(part, window)
    edge = np.count_nonzero(weights < 1)
    if abs(float(weights.sum()) - part.area) > _SLACK + _SLACK_EDGE * edge:
        log.info("exactextract covers %.6f px of %.6f: cut pixel by pixel", weights.sum(), part.area)
        cells, weights = _by_area(part, window)
    covered = weights >= LEAST_SHARE
    return cells[covered], weights[covered]


def _by_exactextract(part: Any, window: Window) -> Covered:
    from exactextract import exact_extract
    from exactextract.raster import NumPyRasterSource
    from shapely.geometry import mapping

    # It is asked for the coverage only: it needs a grid, and pixels that nobody looks at.
    source = NumPyRasterSource(
        np.broadcast_to(np.uint8(0), (window.height, window.width)),
        xmin=window.col_off,
        xmax=window.col_off + window.width,
        ymin=-(window.row_off + window.height),
        ymax=-window.row_off,
    )
    feature = {"type": "Feature", "properties": {}, "geometry": mapping(part)}
    [answer] = exact_extract(source, feature, ["cell_id", "coverage"], max_cells_in_memory=window.n_pixels + 1)
    return answer["properties"]["cell_id"], answer["properties"]["coverage"]


def _by_area(part: Any, window: Window) -> Covered:
    """Cut every pixel on the edge with the polygon, row by row."""
    import shapely

    shapely.prepare(part)
    cols = window.col_off + np.arange(window.width)
    cells, weights = [], []
    for row in range(window.height):
        bottom = -(window.row_off + row + 1)
        pixels = shapely.box(cols, bottom, cols + 1, bottom + 1)
        share = shapely.covers(part, pixels).astype(np.float64)
        cut = (share == 0) & shapely.intersects(part, pixels)
        share[cut] = shapely.area(shapely.intersection(part, pixels[cut]))
        touched = np.flatnonzero(share)
        cells.append(row * window.width + touched)
        weights.append(share[touched])
    return np.concatenate(cells), np.concatenate(weights)


def _within(shape: Any, window: Window) -> Any:
    """What of a polygon lies in a window, None for nothing: so exactextract sees no ring that only touches it."""
    from shapely.geometry import MultiPolygon, box

    frame = box(window.col_off, -(window.row_off + window.height), window.col_off + window.width, -window.row_off)
    if frame.covers(shape):
        return shape
    cut = shape.intersection(frame)
    # Where they only touch, the rest are lines and points.
    parts = [p for p in getattr(cut, "geoms", [cut]) if p.geom_type in ("Polygon", "MultiPolygon") and p.area]
    flat = [polygon for part in parts for polygon in getattr(part, "geoms", [part])]
    return MultiPolygon(flat) if flat else None
