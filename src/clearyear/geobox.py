"""The grid a job wishes for: whose pixels, and how far it reaches."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.errors import CRSError

from clearyear.area import Area, densified
from clearyear.coordinates import pixels_of, reproject
from clearyear.errors import InputError
from clearyear.grid import Grid
from clearyear.scenes.headers import Header, some

_BLOCK = 512
_SLACK = 0.01
"""Pixels that an edge may reach over a pixel's border without taking the next one in: degrees are not exact metres."""
_MOST_PIXELS_A_SIDE = 10_000_000
"""The Earth's circumference at 4 m."""


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What a job says of the grid; nothing: the one all scenes share."""

    crs: str | None = None
    resolution: float | str | None = None
    """In units of the CRS, or the band whose pixels are to be the grid's."""
    area: Area | None = None

    @property
    def is_given(self) -> bool:
        """Whether scenes may be moved, cropped or resampled."""
        return (self.crs, self.resolution, self.area) != (None, None, None)


def called(scene_id: str, asset: str) -> str:
    """How a message names one file of a scene."""
    return scene_id if asset == "data" else f"{scene_id} {asset}"


def one_name_a_crs(headers: Mapping[str, Mapping[str, Header]]) -> dict[str, dict[str, Header]]:
    """The headers with one text for each CRS: one file says EPSG:32631, the next spells it out."""
    names: dict[str, str] = {}
    for text in dict.fromkeys(header.grid.crs for of in headers.values() for header in of.values()):
        names[text] = next((known for known in names.values() if _same_crs(known, text)), text)
    return {
        scene_id: {
            asset: replace(header, grid=header.grid.model_copy(update={"crs": names[header.grid.crs]}))
            for asset, header in of.items()
        }
        for scene_id, of in headers.items()
    }


def _same_crs(one: str, other: str) -> bool:
    if one == other or not (one and other):
        return one == other
    return bool(CRS.from_string(one) == CRS.from_string(other))


def grid_of(wish: Wish, headers: Mapping[str, Mapping[str, Header]], bands: Mapping[str, Header]) -> Grid:
    """The grid that is wished for.

    Args:
        wish: at least one of CRS, resolution and area.
        headers: of all files, scene by scene; one text a CRS.
        bands: of those that bands are made of, by the name a message is to use.

    Raises:
        InputError: it cannot be, or not be from these files.
    """
    lost = [name for name, header in bands.items() if not header.grid.is_placed]
    if lost:
        raise InputError(
            f"{len(lost)} files have no georeference: {some(lost)}",
            "a CRS and a transform in the file or in its STAC item",
            "leave crs, resolution and area out, or give the files their georeference",
        )
    if isinstance(wish.resolution, str):
        chosen = {called(i, wish.resolution): of[wish.resolution] for i, of in headers.items() if wish.resolution in of}
        if not chosen:
            assets = sorted({asset for of in headers.values() for asset in of})
            raise InputError(f"No scene has a band {wish.resolution!r}", f"a number, or one of {', '.join(assets)}",
                             "correct the resolution")  # fmt: skip
        return _on_lattice(chosen, wish)
    if wish.crs is None and wish.resolution is None:
        return _on_lattice(bands, wish)
    return _anchored(wish, {name: header.grid for name, header in bands.items()})


def _on_lattice(headers: Mapping[str, Header], wish: Wish) -> Grid:
    """The pixels all of these share, as far as they reach or the area does: nothing of them is resampled."""
    usual = Counter(header.grid for header in headers.values()).most_common(1)[0][0]
    if wish.crs is not None and not _same_crs(wish.crs, usual.crs):
        raise InputError(f"Pixels of {wish.resolution} lie in {usual.crs}, not in {wish.crs}", "one CRS",
                         "leave --crs out, or give the resolution as a number")  # fmt: skip
    offsets = {name: usual.offset_of(header.grid) for name, header in headers.items()}
    odd = [f"{name}: {_pixels(headers[name].grid)}" for name, offset in offsets.items() if offset is None]
    if odd:
        raise InputError(
            f"{len(odd)} of {len(headers)} files do not share the pixels of the others: {some(odd)}",
            f"pixels that coincide with those of most: {_pixels(usual)}",
            "say to which grid they are to be resampled: --resolution, and --crs where they have several",
        )
    left, top, right, bottom = _extent(offset + size for offset, size in _rectangles(headers, offsets))
    if wish.area is not None:
        cols, rows = pixels_of(usual.transform, *wish.area.points(usual.crs).T)
        left, right = max(left, _floor(cols)), min(right, _ceil(cols))
        top, bottom = max(top, _floor(rows)), min(bottom, _ceil(rows))
        if left >= right or top >= bottom:
            raise outside(wish, headers)
    a, b, c, d, e, f = usual.transform
    transform = (a, b, a * left + b * top + c, d, e, d * left + e * top + f)
    return usual.model_copy(update={"transform": transform, "width": right - left, "height": bottom - top})


def _rectangles(
    headers: Mapping[str, Header], offsets: Mapping[str, tuple[int, int] | None]
) -> Iterable[tuple[tuple[int, int], tuple[int, int]]]:
    for name, offset in offsets.items():
        if offset is not None:
            grid = headers[name].grid
            yield offset, (offset[0] + grid.width, offset[1] + grid.height)


def _extent(rectangles: Iterable[tuple[int, ...]]) -> tuple[int, int, int, int]:
    lefts, tops, rights, bottoms = zip(*rectangles, strict=True)
    return min(lefts), min(tops), max(rights), max(bottoms)


def _floor(values: NDArray[np.float64]) -> int:
    return int(np.floor(values.min() + _SLACK))


def _ceil(values: NDArray[np.float64]) -> int:
    return int(np.ceil(values.max() - _SLACK))


def _anchored(wish: Wish, grids: Mapping[str, Grid]) -> Grid:
    """A new grid whose pixels' edges are multiples of the resolution."""
    from odc.geo.geobox import GeoBox

    crs = _crs(wish, grids)
    resolution = wish.resolution if isinstance(wish.resolution, float) else _resolution(crs, grids)
    if wish.area is not None:
        points = wish.area.points(crs)
    else:
        outlines = [outline(grid, crs) for grid in grids.values()]
        if CRS.from_user_input(crs).is_geographic:
            _refuse_both_ends(outlines)
        points = np.concatenate(outlines)
    (left, bottom), (right, top) = points.min(axis=0), points.max(axis=0)
    if not np.isfinite([left, bottom, right, top]).all():
        raise InputError(f"The scenes have no place in {crs}", "a CRS that holds where they lie", "choose another")
    if max(right - left, top - bottom) / resolution > _MOST_PIXELS_A_SIDE:
        raise InputError(
            f"{right - left:g} × {top - bottom:g} units of {crs} in pixels of {resolution:g} are more than "
            f"{_MOST_PIXELS_A_SIDE:,} on a side",
            "fewer",
            "take a coarser resolution, in units of the CRS, or a smaller area",
        )
    box = GeoBox.from_bbox((left, bottom, right, top), crs=crs, resolution=resolution, anchor="edge", tol=_SLACK)
    height, width = box.shape
    return Grid(
        crs=crs,
        transform=(box.affine.a, box.affine.b, box.affine.c, box.affine.d, box.affine.e, box.affine.f),
        width=width,
        height=height,
        block=(min(_BLOCK, width), min(_BLOCK, height)),
    )


def _refuse_both_ends(outlines: Sequence[NDArray[np.float64]]) -> None:
    """Of what lies across 180° the box in degrees goes round the Earth the other way."""
    longitudes = [points[:, 0] for points in outlines]
    n_across = sum(bool(np.ptp(lon) > 180 and not (np.abs(lon) < 90).any()) for lon in longitudes)
    if n_across:
        raise InputError(
            f"{n_across} of {len(outlines)} files lie across 180°: in degrees they would reach round the Earth",
            "a CRS that does not end there, or an area on one side of it",
            "take their own CRS or zone with --crs, or make two results, each with an --area",
        )


def _crs(wish: Wish, grids: Mapping[str, Grid]) -> str:
    if wish.crs is not None:
        try:
            text: str = CRS.from_user_input(wish.crs).to_string()
        except CRSError as error:
            raise InputError(f"{wish.crs!r} is no CRS ({error})", "EPSG:32633, say", "correct it") from error
        return next((grid.crs for grid in grids.values() if _same_crs(grid.crs, text)), text)
    counts = Counter(grid.crs for grid in grids.values())
    if len(counts) > 1:
        raise InputError(
            f"The scenes have several CRSs: {some(f'{crs} ({n} files)' for crs, n in counts.most_common())}",
            "one for the result",
            "say which with --crs",
        )
    return next(iter(counts))


def _resolution(crs: str, grids: Mapping[str, Grid]) -> float:
    """That of the scenes, where it is one."""
    sizes = Counter(_pixel(grid) for grid in grids.values())
    a, b, _, d, e, _ = next(iter(grids.values())).transform
    if len(sizes) == 1 and next(iter(grids.values())).crs == crs and b == d == 0 and a == -e:
        return a
    raise InputError(
        f"The pixels are no squares of one size in {crs}: {some(f'{text} ({n} files)' for text, n in sizes.items())}",
        "a resolution in units of the CRS",
        "give one with --resolution",
    )


def _pixels(grid: Grid) -> str:
    return f"{_pixel(grid)} at {grid.transform[2]:.10g}, {grid.transform[5]:.10g}"


def _pixel(grid: Grid) -> str:
    a, b, _, d, e, _ = grid.transform
    turned = "" if b == d == 0 else " turned"
    return f"{a:.10g}×{abs(e):.10g}{turned} in {grid.crs or 'no CRS'}"


def outline(grid: Grid, crs: str) -> NDArray[np.float64]:
    """Points all round a raster in another CRS, (n, 2); in degrees, of one that covers a pole, round that as well."""
    ring = densified(np.array(grid.corners()))
    if crs == grid.crs:
        return ring
    round_it = np.stack(reproject(ring[:, 0], ring[:, 1], grid.crs, crs), axis=1)
    return np.concatenate([round_it, *(np.array([[-180, lat], [180, lat]]) for lat in _poles_of(grid, crs))])


def _poles_of(grid: Grid, crs: str) -> list[float]:
    """The latitudes of the poles that a raster covers, where ``crs`` has latitudes."""
    if not CRS.from_user_input(crs).is_geographic:
        return []
    poles = np.array([90.0, -90.0])
    cols, rows = pixels_of(grid.transform, *reproject(np.zeros(2), poles, crs, grid.crs))
    inside = (cols >= 0) & (cols <= grid.width) & (rows >= 0) & (rows <= grid.height)
    return [float(lat) for lat in poles[inside]]


def outside(wish: Wish, headers: Mapping[str, Header]) -> InputError:
    """The refusal of an area where no scene lies."""
    outlines = [outline(header.grid, "EPSG:4326") for header in headers.values() if header.grid.crs]
    (west, south), (east, north) = np.concatenate(outlines).min(axis=0), np.concatenate(outlines).max(axis=0)
    return InputError(
        f"None of the scenes lies in the area {wish.area.said if wish.area else ''}",
        f"an area that meets them; they reach from {west:.3f},{south:.3f} to {east:.3f},{north:.3f}",
        "correct the area (west,south,east,north), or choose other scenes",
    )
