"""How tiles that abut lie on one grid: nothing is resampled, none lies over another, each where declared."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from clearyear.errors import InputError
from clearyear.grid import Grid, Window
from clearyear.lights.job import Bounds
from clearyear.scenes.headers import Header

_SLACK = 0.01
"""Of a pixel: headers give a degree's fraction with ten digits or so, and origins are that far off a common grid."""
_SHIFT = 1.5
"""Pixels a tile's edge may lie beside its declared one: VIIRS counts from pixels' centres, hence half a pixel."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The grid over all expected tiles, there or not, and each tile's place in it."""

    grid: Grid
    places: dict[str, Window]
    header: Header
    """Bands, dtype, nodata, scales and names, the same for all."""

    @property
    def has_gaps(self) -> bool:
        """Whether there are pixels in which no tile is expected."""
        return sum(place.n_pixels for place in self.places.values()) < self.grid.width * self.grid.height


def lay_out(headers: Mapping[str, Header], declared: Mapping[str, Bounds]) -> Layout:
    """Place tiles on one grid.

    Args:
        headers: of the tiles that are there, at least one.
        declared: (left, bottom, right, top) of all that are expected, in the tiles' CRS. The extent follows from it: a
            tile that is absent leaves its place empty.

    Raises:
        InputError: a tile differs in CRS, pixel size, bands, dtype, nodata or scale; hides pixels by a mask; is off the
            grid; lies elsewhere than declared; or two overlap. They are named.
    """
    first = next(name for name in declared if name in headers)
    header = headers[first]
    _refuse_odd(headers, first)
    a, b, c, d, e, f = header.grid.transform
    if b or d or a <= 0 or e >= 0:
        raise InputError(f"The grid of tile {first} is rotated or upside down", "rows from north to south", "warp it")
    places = {name: _place(name, headers.get(name), header, declared, first) for name in declared}
    _refuse_overlap(places)
    left, top = min(p[0] for p in places.values()), min(p[1] for p in places.values())
    width = max(p[0] + p[2] for p in places.values()) - left
    height = max(p[1] + p[3] for p in places.values()) - top
    grid = Grid(
        crs=header.grid.crs,
        transform=(a, b, c + left * a, d, e, f + top * e),
        width=width,
        height=height,
        block=header.grid.block,
    )
    windows = {
        name: Window(col_off=col - left, row_off=row - top, width=w, height=h)
        for name, (col, row, w, h) in places.items()
    }
    return Layout(grid=grid, places=windows, header=header)


_Box = tuple[int, int, int, int]
"""(column, row, width, height) in pixels from the first tile's origin."""


def _refuse_odd(headers: Mapping[str, Header], first: str) -> None:
    odd = []
    for name, header in headers.items():
        mine, theirs = header.grid.transform, headers[first].grid.transform
        found = [d for d in header.differences(headers[first]) if not d.startswith(("size", "transform"))]
        for n, axis in ((0, "width"), (4, "height")):
            # Over the whole tile the difference must stay below the slack.
            if abs(mine[n] / theirs[n] - 1) * max(header.grid.width, header.grid.height) > _SLACK:
                found.append(f"pixel {axis} {mine[n]} instead of {theirs[n]}")
        if not found:
            found = _other_meaning(header, headers[first])
        if found:
            odd.append(f"{name}: {', '.join(found)}")
    if odd:
        raise InputError(
            f"{len(odd)} of {len(headers)} tiles differ from {first}: {'; '.join(odd)}",
            "one CRS, pixel size, band count and names, dtype, nodata and scale for all; nothing is resampled",
            "see whether these files are of the same product and version",
        )
    if hiding := [name for name, header in headers.items() if header.hides]:
        raise InputError(
            f"Pixels are hidden by a mask in the tiles {', '.join(hiding)}",
            "tiles whose own values say which pixels have none",
            "put a nodata value in their place, and name it: nodata",
        )


def _other_meaning(header: Header, first: Header) -> list[str]:
    """In words: by what the same numbers mean something else in two tiles of as many bands."""
    pairs = enumerate(zip(header.band_names, first.band_names, strict=True), start=1)
    # One without a name contradicts none.
    found = [
        f"band {n} is {mine} instead of {theirs}" for n, (mine, theirs) in pairs if mine and theirs and mine != theirs
    ]
    if header.laws != first.laws:
        both = [", ".join(f"× {scale:g} + {offset:g}" for scale, offset in of.laws) for of in (header, first)]
        found.append(f"scale and offset {both[0]} instead of {both[1]}")
    return found


def _place(name: str, header: Header | None, first: Header, declared: Mapping[str, Bounds], first_name: str) -> _Box:
    a, _, c, _, e, f = first.grid.transform
    left, bottom, right, top = declared[name]
    if header is None:
        # Beside the first tile by as much as the declared places differ: both are off by the same half pixel.
        base_left, _, _, base_top = declared[first_name]
        col, row = round((left - base_left) / a), round((top - base_top) / e)
        return col, row, round((right - left) / a), round((bottom - top) / e)
    _, _, x, _, _, y = header.grid.transform
    column, line = (x - c) / a, (y - f) / e
    if abs(column - round(column)) > _SLACK or abs(line - round(line)) > _SLACK:
        raise InputError(
            f"Tile {name} is off the grid of {first_name} by {column - round(column):+.2f} columns and "
            f"{line - round(line):+.2f} rows",
            "whole pixels; nothing is resampled",
            "see whether it is of the same product",
        )
    there = (x, y + header.grid.height * e, x + header.grid.width * a, y)
    off = [abs(found - said) / abs(a) for found, said in zip(there, declared[name], strict=True)]
    if max(off) > _SHIFT:
        shown = ", ".join(f"{n:g}" for n in there)
        raise InputError(
            f"The file of tile {name} covers {shown} (left, bottom, right, top)",
            f"{', '.join(f'{n:g}' for n in declared[name])}, where that tile lies",
            "see whether the file is another tile's, or correct the bounds in tiles",
        )
    return round(column), round(line), header.grid.width, header.grid.height


def _refuse_overlap(places: Mapping[str, _Box]) -> None:
    for (one, p), (other, q) in combinations(places.items(), 2):
        apart: Sequence[bool] = (
            p[0] + p[2] <= q[0],
            q[0] + q[2] <= p[0],
            p[1] + p[3] <= q[1],
            q[1] + q[3] <= p[1],
        )
        if not any(apart):
            raise InputError(
                f"The tiles {one} and {other} overlap", "tiles that abut", "correct the bounds in tiles, or the files"
            )
