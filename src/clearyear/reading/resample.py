"""Pixels of a raster at given points: the nearest, or interpolated among valid ones. Compiled loops.

Each pixel is a function of its own centre and of the samples round it, so that no pixel depends on the window it is
asked for in, and a sample that is invalid never bleeds into its neighbours.
"""

from functools import cache
from typing import Any

import numba
import numpy as np
from numba import types
from numpy.typing import NDArray

from clearyear.coordinates import Points

REACH = {"nearest": 0, "bilinear": 1, "cubic": 2}
"""Pixels round the one that holds the centre which a value may depend on."""

_EDGE = 1e-7
"""Pixels. A centre on the border of two pixels, but for rounding, belongs to the right or lower one."""

_ORDER = {"nearest": 0, "bilinear": 1, "cubic": 2}


def box_of(
    transform: tuple[float, ...], size: tuple[int, int], points: Points, reach: int
) -> tuple[int, int, int, int]:
    """What of a raster is needed at ``points``: (column, row, width, height), 0 wide where none lies within it.

    Args:
        transform: the raster's, as in Grid.
        size: its width and height in pixels.
        points: x and y in its CRS, each (H, W).
        reach: pixels more on every side, clipped at the raster's edges.
    """
    left, top, right, bottom = extent_kernel()(*points, np.array(transform, np.float64), *size)
    if right < left:
        return 0, 0, 0, 0
    left, top = max(0, left - reach), max(0, top - reach)
    return left, top, min(size[0], right + reach + 1) - left, min(size[1], bottom + reach + 1) - top


def sample(
    pixels: NDArray[Any],
    corner: tuple[int, int],
    transform: tuple[float, ...],
    size: tuple[int, int],
    points: Points,
    *,
    method: str,
    invalid: NDArray[Any],
    fill: Any,
    out: NDArray[Any],
    inside: NDArray[np.bool_],
) -> None:
    """Fill ``out`` with a raster's pixels at ``points``.

    ``nearest`` takes the pixel that holds the point. ``bilinear`` is the mean of the 2 × 2 samples round it, weighted
    by nearness; ``cubic`` that of 4 × 4 with the weights of Keys 1981 (a = −0.5), as in GDAL, and ``bilinear`` where
    one of them is invalid or beyond the edge. A sample that is invalid or beyond the edge has no weight. The kernel
    is never wider: a coarser grid is not averaged.

    A result is valid exactly where the pixel that holds the point is; the invalid ones keep that pixel's value.
    Integers are rounded half to even and clipped to their type. Where interpolation would come to an invalid value,
    the pixel that holds the point gives its own.

    Args:
        pixels: (B, h, w) of the raster: at least ``box_of`` the points.
        corner: column and row of their first.
        transform: the raster's.
        size: the raster's width and height.
        points: x and y in the raster's CRS, each (H, W); what is not finite is outside.
        method: nearest, bilinear or cubic.
        invalid: the invalid values, in the pixels' type; NaN always is.
        fill: what stands where the raster does not reach.
        out: (B, H, W) in the pixels' type.
        inside: (H, W), set to whether it does.
    """
    limits = np.iinfo(out.dtype) if out.dtype.kind in "ui" else None
    lowest, highest = (float(limits.min), float(limits.max)) if limits else (0.0, 0.0)
    by = (_ORDER[method], invalid, lowest, highest, out.dtype.type(fill))
    sample_kernel(str(out.dtype))(pixels, *corner, np.array(transform, np.float64), *size, *points, *by, out, inside)


def array(of: Any, n_axes: int, *, written: bool = False) -> Any:
    """The type of an array that may lie in memory in any way: a kernel of such types is compiled once."""
    return types.Array(of, n_axes, "A", readonly=not written)


@cache
def extent_kernel() -> Any:
    """Compile ``_extent``."""
    points = array(types.float64, 2)
    signature = types.UniTuple(types.int64, 4)(points, points, array(types.float64, 1), types.int64, types.int64)  # type: ignore[no-untyped-call]
    return numba.njit(signature, nogil=True, cache=True)(_extent)


@cache
def sample_kernel(dtype: str) -> Any:
    """Compile ``_sample`` for pixels of a type."""
    of, number = getattr(types, dtype), types.int64
    points = array(types.float64, 2)
    signature = types.void(
        *(array(of, 3), number, number, array(types.float64, 1), number, number, points, points),
        *(number, array(of, 1), types.float64, types.float64, of, array(of, 3, written=True)),
        array(types.boolean, 2, written=True),
    )
    return numba.njit(signature, nogil=True, cache=True)(_sample)


@numba.njit(nogil=True)
def _position(transform, x, y):  # type: ignore[no-untyped-def]
    """Column and row of a point: ``coordinates.pixels_of`` of one."""
    a, b, c, d, e, f = transform
    dx, dy, det = x - c, y - f, a * e - b * d
    return (e * dx - b * dy) / det, (a * dy - d * dx) / det


@numba.njit(nogil=True)
def _holding(column, row, width, height):  # type: ignore[no-untyped-def]
    """The pixel that holds a position, and whether there is one."""
    u, v = np.floor(column + _EDGE), np.floor(row + _EDGE)
    if not (0 <= u < width and 0 <= v < height):  # NaN and infinity are not
        return 0, 0, False
    return int(u), int(v), True


def _extent(xs, ys, transform, width, height):  # type: ignore[no-untyped-def]
    """The least and greatest column and row of pixels that hold one of the points; crossed where none does."""
    left, top, right, bottom = width, height, -1, -1
    for i in range(xs.shape[0]):
        for j in range(xs.shape[1]):
            column, row = _position(transform, xs[i, j], ys[i, j])
            u, v, is_inside = _holding(column, row, width, height)
            if is_inside:
                left, right = min(left, u), max(right, u)
                top, bottom = min(top, v), max(bottom, v)
    return left, top, right, bottom


@numba.njit(nogil=True)
def is_invalid(value, invalid):  # type: ignore[no-untyped-def]
    """Whether a sample is NaN or one of the invalid values."""
    if value != value:
        return True
    for each in invalid:  # noqa: SIM110  a generator does not compile
        if value == each:
            return True
    return False


@numba.njit(nogil=True)
def _cubic(t):  # type: ignore[no-untyped-def]
    """The weights of four samples at −1, 0, 1, 2 for a place t in [0, 1): Keys 1981, a = −0.5."""
    return (
        ((-0.5 * t + 1.0) * t - 0.5) * t,
        (1.5 * t - 2.5) * t * t + 1.0,
        ((-1.5 * t + 2.0) * t + 0.5) * t,
        (0.5 * t - 0.5) * t * t,
    )


@numba.njit(nogil=True)
def _weighted(plane, column, row, across, down, first, last, invalid):  # type: ignore[no-untyped-def]
    """Σ weight × sample over those of 4 × 4 that have a weight and may be used, Σ weight, and whether all could be.

    Of 4 rows and columns those from ``first`` to ``last`` − 1.
    """
    total, weights, whole = 0.0, 0.0, True
    for n in range(first, last):
        for m in range(first, last):
            weight = across[m] * down[n]
            if weight == 0.0:
                continue
            x, y = column + m - 1, row + n - 1
            if not (0 <= x < plane.shape[1] and 0 <= y < plane.shape[0]) or is_invalid(plane[y, x], invalid):
                whole = False
                continue
            total += weight * plane[y, x]
            weights += weight
    return total, weights, whole


@numba.njit(nogil=True)
def _interpolated(plane, left, top, column, row, order, invalid):  # type: ignore[no-untyped-def]
    """The value at a position of the raster whose pixel there is valid; ``plane`` begins at (left, top)."""
    u, v = np.floor(column - 0.5), np.floor(row - 0.5)
    s, t = column - 0.5 - u, row - 0.5 - v
    x, y = int(u) - left, int(v) - top
    if order == 2:
        total, weights, whole = _weighted(plane, x, y, _cubic(s), _cubic(t), 0, 4, invalid)
        if whole:
            return total / weights
    across, down = (0.0, 1.0 - s, s, 0.0), (0.0, 1.0 - t, t, 0.0)
    total, weights, whole = _weighted(plane, x, y, across, down, 1, 3, invalid)
    return total / weights


def _sample(  # type: ignore[no-untyped-def]
    pixels, left, top, transform, width, height, xs, ys, order, invalid, lowest, highest, fill, out, inside
):
    """See ``sample``; lowest < highest for integers only."""
    for i in range(xs.shape[0]):
        for j in range(xs.shape[1]):
            column, row = _position(transform, xs[i, j], ys[i, j])
            u, v, is_inside = _holding(column, row, width, height)
            inside[i, j] = is_inside
            for band in range(out.shape[0]):
                if not is_inside:
                    out[band, i, j] = fill
                    continue
                plane = pixels[band]
                own = plane[v - top, u - left]
                out[band, i, j] = own
                if order and not is_invalid(own, invalid):
                    value = _interpolated(plane, left, top, column, row, order, invalid)
                    if lowest < highest:
                        value = min(max(np.rint(value), lowest), highest)
                    out[band, i, j] = value
                    if is_invalid(out[band, i, j], invalid):
                        out[band, i, j] = own
