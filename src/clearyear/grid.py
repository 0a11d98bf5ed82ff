"""The output grid and its windows: aligned to the origin, covering every pixel exactly once, edges clipped."""

import math
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from clearyear.errors import InputError

if TYPE_CHECKING:
    pass

_ID = re.compile(r"x(\d{5,})_y(\d{5,})")
_SAME_PLACE = 1e-3
"""Pixels."""

_MOST_WINDOWS = 1_000_000
"""A continent at 10 m in windows of 1024 px has some 40,000."""


class Window(BaseModel):
    """A rectangle of the grid in pixels: columns [col_off, col_off + width), rows [row_off, row_off + height)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    col_off: int
    row_off: int
    width: int
    height: int

    @property
    def id(self) -> str:
        """``x<col_off>_y<row_off>``, five digits at least, so that names sort."""
        return f"x{self.col_off:05d}_y{self.row_off:05d}"

    @property
    def n_pixels(self) -> int:
        """Width times height."""
        return self.width * self.height


class Grid(BaseModel):
    """Where the pixels lie: CRS, affine transform, size, and the blocks the scenes are stored in.

    ``transform`` is (a, b, c, d, e, f): x = a·col + b·row + c, y = d·col + e·row + f, in CRS units.
    ``block`` is (width, height) in pixels of the scenes' blocks, the unit a read costs.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    crs: str
    transform: tuple[float, float, float, float, float, float]
    width: int
    height: int
    block: tuple[int, int]

    def windows(self, tile_size: int) -> Iterator[Window]:
        """All windows of ``tile_size`` px, row by row; the last column and row are clipped at the grid's edge."""
        for row in range(0, self.height, tile_size):
            for col in range(0, self.width, tile_size):
                yield Window(
                    col_off=col,
                    row_off=row,
                    width=min(tile_size, self.width - col),
                    height=min(tile_size, self.height - row),
                )

    def window(self, window_id: str, tile_size: int) -> Window:
        """The window called ``window_id``.

        Raises:
            InputError: no window of this grid and tile size has that id.
        """
        match = _ID.fullmatch(window_id)
        col, row = (int(n) for n in match.groups()) if match else (-1, -1)
        inside = 0 <= col < self.width and 0 <= row < self.height
        if not inside or col % tile_size or row % tile_size:
            last = f"x{(self.width - 1) // tile_size * tile_size:05d}_y{(self.height - 1) // tile_size * tile_size:05d}"
            raise InputError(
                f"The window {window_id!r} lies outside the grid of {self.width} × {self.height} px "
                f"in windows of {tile_size} px",
                f"an id from x00000_y00000 to {last} in steps of {tile_size}",
                "take one that `clearyear plan` lists",
                window=window_id,
            )
        return Window(
            col_off=col,
            row_off=row,
            width=min(tile_size, self.width - col),
            height=min(tile_size, self.height - row),
        )

    def check_count(self, tile_size: int, scene: str) -> None:
        """Refuse to lay out windows without end: a damaged or hostile header may claim 2³¹ × 2³¹ px.

        Raises:
            InputError: there would be more than a million.
        """
        count = -(-self.width // tile_size) * -(-self.height // tile_size)
        if count > _MOST_WINDOWS:
            raise InputError(
                f"{scene} and all scenes like it claim {self.width:,} × {self.height:,} px, which is {count:,} windows "
                f"of {tile_size} px",
                f"at most {_MOST_WINDOWS:,}",
                "take larger windows (tile_size), or see whether the scene's header is damaged",
                scene=scene,
            )

    def check_inside(self, window: Window) -> Window:
        """Any rectangle, as the course's payload gives it; returned as it came.

        Raises:
            InputError: a part of it lies outside the grid.
        """
        right, bottom = window.col_off + window.width, window.row_off + window.height
        if (
            min(window.col_off, window.row_off) < 0
            or min(window.width, window.height) < 1
            or (right > self.width or bottom > self.height)
        ):
            raise InputError(
                f"The window [{window.col_off}, {window.row_off}, {window.width}, {window.height}] "
                f"(column, row, width, height) lies outside the grid of {self.width} × {self.height} px",
                "a window inside it",
                "clip the window at the grid's edge",
                window=window.id,
            )
        return window

    @property
    def is_placed(self) -> bool:
        """Whether it is known where on the Earth its pixels lie: a damaged header may claim what is no transform."""
        a, b, _, d, e, _ = self.transform
        return bool(self.crs) and all(map(math.isfinite, self.transform)) and a * e != b * d

    def offset_of(self, other: "Grid") -> tuple[int, int] | None:
        """Column and row of ``other``'s first pixel where all its pixels are this grid's, negative ones too; else None.

        CRSs are compared as text. A thousandth of a pixel, over the whole raster, is what rounding in a header makes.
        """
        if other.crs != self.crs or not (self.is_placed and other.is_placed):
            return (0, 0) if repr((other.crs, other.transform)) == repr((self.crs, self.transform)) else None
        a, b, c, d, e, f = self.transform
        ends = []
        for x, y in ((0, 0), (other.width, 0), (0, other.height)):
            u, v, w, p, q, r = other.transform
            dx, dy = u * x + v * y + w - c, p * x + q * y + r - f
            ends += [(e * dx - b * dy) / (a * e - b * d), (a * dy - d * dx) / (a * e - b * d)]
        if not all(map(math.isfinite, ends)):
            return None
        col, row = round(ends[0]), round(ends[1])
        wanted = (col, row, col + other.width, row, col, row + other.height)
        off = max(abs(end - corner) for end, corner in zip(ends, wanted, strict=True))
        return (col, row) if off < _SAME_PLACE else None

    def transform_of(self, window: Window) -> tuple[float, float, float, float, float, float]:
        """The affine transform of the window's own pixels."""
        a, b, c, d, e, f = self.transform
        x, y = window.col_off, window.row_off
        return (a, b, a * x + b * y + c, d, e, d * x + e * y + f)

    def corners(self, window: Window | None = None) -> list[tuple[float, float]]:
        """The window's (or grid's) ring in CRS units: upper left, upper right, lower right, lower left, closed."""
        w = window or Window(col_off=0, row_off=0, width=self.width, height=self.height)
        a, b, c, d, e, f = self.transform_of(w)
        ring = [(0, 0), (w.width, 0), (w.width, w.height), (0, w.height), (0, 0)]
        return [(a * x + b * y + c, d * x + e * y + f) for x, y in ring]

    def bounds(self, window: Window | None = None) -> tuple[float, float, float, float]:
        """(left, bottom, right, top) in CRS units."""
        xs, ys = zip(*self.corners(window), strict=True)
        return (min(xs), min(ys), max(xs), max(ys))
