"""Overviews: each level from the one below, row by row as they come, with the pixels GDAL's COG driver would make.

``average`` is the mean of the valid pixels below, band by band, rounded half up (signed: away from zero); a mean that
happens to be the nodata value takes a neighbouring one, so that no valid pixel becomes nodata. Where a side is odd the
level above has half of it rounded down, its pixels then being a little more than two by two: what they cut counts by
its share. ``nearest`` takes the pixel at the upper left, or where the side is odd the one nearest to that.
Source: GDAL 3.10, gcore/overview.cpp, GDALResampleChunk_AverageOrRMS_T and GDALResampleChunk_Near_T. Whole numbers come
out equal; floats differ in the last bit here and there, because GDAL adds them in another order. Two things GDAL does
and we do not: where a mean of signed numbers only rounds to nodata, it loses the pixel; and where a block of the level
below takes more than 10 MB (in its working type: 3 bands of int16, 6 of uint16), it goes back to the full resolution
(GDAL_OVR_CHUNK_MAX_SIZE; later versions a tenth of the RAM).
"""

import math
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

_NEVER = 1 << 40
"""No sample of up to 32 bits has this value."""


@dataclass(frozen=True)
class Spans:
    """Along one side: the pixels [start, end) below each pixel of a level, and the share of the first and last."""

    start: Array
    end: Array
    first: Array
    last: Array

    @classmethod
    def of(cls, below: int, above: int) -> "Spans":
        """For a side of ``below`` pixels that becomes ``above``."""
        ratio = below / above
        left, right = np.arange(above) * ratio, np.arange(1, above + 1) * ratio
        start = (left + 1e-8).astype(np.int64)
        end = np.minimum(np.maximum(np.ceil(right - 1e-8).astype(np.int64), start + 1), below)
        return cls(start, end, np.where(end == start + 1, 1.0, 1 - (left - start)), 1 - (end - right))


class Overview:
    """One level, made from the rows of the level below."""

    def __init__(
        self, below: tuple[int, int], size: tuple[int, int], *, dtype: str, nodata: float | None, resampling: str
    ) -> None:
        """Both sizes are (width, height); ``resampling`` is average or nearest."""
        self.size = size
        self.dtype = np.dtype(dtype)
        self.nodata, self.resampling = nodata, resampling
        self._even = below == (2 * size[0], 2 * size[1])
        self._xs, self._ys = Spans.of(below[0], size[0]), Spans.of(below[1], size[1])
        self._near_xs, self._near_ys = (
            np.minimum((0.5 + np.arange(n) * (m / n)).astype(np.int64), m - 1) for m, n in zip(below, size, strict=True)
        )
        self._kept: Array | None = None
        """Rows below that are still needed."""
        self._top = 0
        """The first kept row's number."""
        self._done = 0

    def push(self, rows: Array) -> Array:
        """Take the next rows (B, n, width below); returns the rows of this level that are whole now (B, m, width)."""
        # The kernels are compiled for arrays that lie in memory in one piece.
        kept = np.ascontiguousarray(rows) if self._kept is None else np.concatenate([self._kept, rows], axis=1)
        done = self._done
        until = int(np.searchsorted(self._ys.end, self._top + kept.shape[1], side="right"))
        out = np.empty((kept.shape[0], until - done, self.size[0]), self.dtype)
        if self.resampling == "nearest":
            out[:] = kept[:, self._near_ys[done:until] - self._top][:, :, self._near_xs]
        elif until > done:
            self._average(kept, slice(done, until), out)
        next_row = int(self._ys.start[until]) if until < self.size[1] else self._top + kept.shape[1]
        # A copy: a view would keep all rows that ever came.
        self._kept = kept[:, next_row - self._top :].copy()
        self._top, self._done = next_row, until
        return out

    def _average(self, kept: Array, rows: slice, out: Array) -> None:
        """Mean of the kept rows; the first of them is the first that ``rows`` need."""
        nodata, instead = self.nodata, self._instead()
        if self._even and self.dtype.kind in "ui":
            usable = nodata is not None and float(nodata).is_integer()
            mean_of_four(kept, out, int(nodata) if usable and nodata is not None else _NEVER, int(instead))
            return
        xs, ys = self._xs, self._ys
        mean_by_share(
            kept,
            out,
            (ys.start[rows] - self._top, ys.end[rows] - self._top, ys.first[rows], ys.last[rows]),
            (xs.start, xs.end, xs.first, xs.last),
            nodata is not None,
            0.0 if nodata is None else float(nodata),
            instead,
            {"u": 0, "i": 1, "f": 2}[self.dtype.kind],
        )

    def _instead(self) -> float:
        """What a valid mean becomes that happens to be the nodata value."""
        nodata = self.nodata
        if nodata is None or not math.isfinite(nodata):
            return 0.0
        if self.dtype.kind == "f":
            most = np.finfo(self.dtype).max
            return float(np.nextafter(self.dtype.type(nodata), self.dtype.type(0 if nodata == most else most)))
        return float(nodata - 1 if nodata == np.iinfo(self.dtype).max else nodata + 1)


def halved(pixels: Array, *, nodata: float | None, resampling: str) -> Array:
    """The overview (B, H/2, W/2) of a window (B, H, W) whose sides are even."""
    _, height, width = pixels.shape
    level = Overview(
        (width, height), (width // 2, height // 2), dtype=str(pixels.dtype), nodata=nodata, resampling=resampling
    )
    return level.push(pixels)


@numba.njit(nogil=True, cache=True)
def mean_of_four(rows, out, nodata, instead):  # type: ignore[no-untyped-def]
    """Whole numbers, two by two. rows: (B, 2m or more, 2w); out: (B, m, w)."""
    n_bands, height, width = out.shape
    for band in range(n_bands):
        for y in range(height):
            upper, lower, target = rows[band, 2 * y], rows[band, 2 * y + 1], out[band, y]
            for x in range(width):
                a, b = np.int64(upper[2 * x]), np.int64(upper[2 * x + 1])
                c, d = np.int64(lower[2 * x]), np.int64(lower[2 * x + 1])
                total = a + b + c + d
                n = 4
                if a == nodata or b == nodata or c == nodata or d == nodata:
                    n = (a != nodata) + (b != nodata) + (c != nodata) + (d != nodata)
                    total -= (4 - n) * nodata
                    if n == 0:
                        target[x] = nodata
                        continue
                # Half away from zero, which is up for those without a sign.
                mean = (2 * total + n) // (2 * n) if total >= 0 else -((-2 * total + n) // (2 * n))
                target[x] = instead if mean == nodata else mean


@numba.njit(nogil=True, cache=True)
def mean_by_share(rows, out, ys, xs, masked, nodata, instead, kind):  # type: ignore[no-untyped-def]
    """Any ratio, any type. ys, xs: the arrays of Spans. kind: 0 without sign, 1 with sign, 2 float."""
    y_start, y_end, y_first, y_last = ys
    x_start, x_end, x_first, x_last = xs
    n_bands, height, width = out.shape
    for band in range(n_bands):
        for i in range(height):
            for j in range(width):
                total, weight, n = 0.0, 0.0, 0
                for y in range(y_start[i], y_end[i]):
                    line, share = 0.0, 0.0
                    for x in range(x_start[j], x_end[j]):
                        value = rows[band, y, x]
                        if masked and (value == nodata or (value != value and nodata != nodata)):
                            continue
                        part = x_first[j] if x == x_start[j] else (x_last[j] if x + 1 == x_end[j] else 1.0)
                        line += np.float64(value) * part
                        share += part
                        n += 1
                    part = y_first[i] if y == y_start[i] else (y_last[i] if y + 1 == y_end[i] else 1.0)
                    total += line * part
                    weight += share * part
                if n == 0:
                    out[band, i, j] = nodata
                    continue
                mean = total / weight
                if kind == 0:
                    mean = np.floor(mean + 0.5)
                elif kind == 1:
                    mean = np.float64(np.float32(mean))
                    mean = np.floor(mean + 0.5) if mean >= 0 else np.ceil(mean - 0.5)
                else:
                    mean = np.float64(np.float32(mean))
                out[band, i, j] = instead if masked and mean == nodata else mean
