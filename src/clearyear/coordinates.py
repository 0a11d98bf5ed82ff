"""Points from one CRS to another, and where the pixels of a grid lie in the CRS of a file."""

from functools import lru_cache
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clearyear.grid import Grid, Window

Points = tuple[NDArray[np.float64], NDArray[np.float64]]

FIELD_BYTES = 16
"""A pixel's centre in another CRS: two float64."""


@lru_cache(maxsize=64)
def _transformer(source: str, target: str) -> Any:
    """A pyproj transformer may be used by several threads; making one costs milliseconds."""
    from pyproj import Transformer

    return Transformer.from_crs(source, target, always_xy=True)


def reproject(xs: ArrayLike, ys: ArrayLike, source: str, target: str) -> Points:
    """Points in ``source`` as points in ``target``, both x (or longitude) first; infinite where there is none."""
    x, y = _transformer(source, target).transform(np.asarray(xs, np.float64), np.asarray(ys, np.float64))
    return np.asarray(x, np.float64), np.asarray(y, np.float64)


def pixels_of(transform: tuple[float, ...], xs: NDArray[np.float64], ys: NDArray[np.float64]) -> Points:
    """Points as (column, row) of a raster with that transform, whole numbers at the pixels' upper left corners."""
    a, b, c, d, e, f = transform
    dx, dy, det = xs - c, ys - f, a * e - b * d
    return (e * dx - b * dy) / det, (a * dy - d * dx) / det


class Fields:
    """The centres of one window's pixels in the CRSs of the scenes, each worked out once for all of them."""

    def __init__(self, grid: Grid, window: Window) -> None:
        self.grid, self.window = grid, window
        self._known: dict[str, Points] = {}
        self._lock = Lock()

    def centres(self, crs: str) -> Points:
        """The centres' x and y, each (H, W) float64; a pixel's do not depend on which window it is asked for in."""
        with self._lock:
            if crs not in self._known:
                self._known[crs] = self._centres(crs)
            return self._known[crs]

    def _centres(self, crs: str) -> Points:
        a, b, c, d, e, f = self.grid.transform
        w = self.window
        cols = np.arange(w.col_off, w.col_off + w.width)[None, :] + 0.5
        rows = np.arange(w.row_off, w.row_off + w.height)[:, None] + 0.5
        # Without rotation x is the same in every row and y in every column: views take no memory.
        shape = (w.height, w.width)
        x: NDArray[np.float64] = np.broadcast_to(a * cols + c if b == 0 else a * cols + b * rows + c, shape)
        y: NDArray[np.float64] = np.broadcast_to(e * rows + f if d == 0 else d * cols + e * rows + f, shape)
        return (x, y) if crs == self.grid.crs else reproject(x, y, self.grid.crs, crs)
