"""Some of a plan's windows: by id, number, slice or polygon."""

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from clearyear.coordinates import pixels_of, reproject
from clearyear.errors import ClearyearError, InputError
from clearyear.geobox import outline
from clearyear.grid import Grid, Window
from clearyear.plan import Plan
from clearyear.stores import open_store, parent_of

_NUMBER = re.compile(r"-?\d+")
_SLICE = re.compile(r"(-?\d*):(-?\d*)(?::(-?\d*))?")
_FILE = re.compile(r"\.(geo)?json$", re.IGNORECASE)
_FORMS = "an id (x01024_y00512), a number from 0 (7), a slice (::10) or a GeoJSON file of polygons (field.geojson)"
_MOST_DEGREES = 0.05
"""Sides of polygons are cut into pieces no longer than that before they are projected: in UTM a straight line in
longitude and latitude that long bends by less than a metre."""
_ROUND = 1.0
"""How far round the grid polygons are looked at, in degrees."""


def select_windows(plan: Plan, selectors: Sequence[str]) -> tuple[Window, ...]:
    """The plan's windows that at least one selector means, in the plan's order, each once; all without a selector.

    Args:
        plan: whose windows.
        selectors: ids, numbers and slices as Python counts them, row by row, or addresses of GeoJSON files whose
            polygons, in longitude and latitude, have some area in common with a window.

    Raises:
        InputError: a selector is none of these, or no window is meant.
    """
    if not selectors:
        return plan.windows
    meant: set[str] = set()
    for selector in selectors:
        meant |= {window.id for window in _meant(plan, selector.strip())}
    if not meant:
        raise InputError(
            f"{', '.join(selectors)} selects none of the {len(plan.windows)} windows",
            "at least one window",
            "see `clearyear plan`, or its windows.geojson in QGIS",
        )
    return tuple(window for window in plan.windows if window.id in meant)


def _meant(plan: Plan, selector: str) -> Iterable[Window]:
    if _FILE.search(selector):
        return _touched(plan, selector)
    if match := _SLICE.fullmatch(selector):
        start, stop, step = (int(part) if part else None for part in match.groups())
        if step == 0:
            raise InputError(f"The slice {selector!r} has a step of 0", "a step of 1 or more", "correct it")
        return plan.windows[start:stop:step]
    if _NUMBER.fullmatch(selector):
        count = len(plan.windows)
        if not -count <= int(selector) < count:
            raise InputError(f"There is no window number {selector}", f"0 to {count - 1}", "see `clearyear plan`")
        return [plan.windows[int(selector)]]
    if not selector.startswith("x"):
        raise InputError(f"The selection {selector!r} cannot be read", _FORMS, "write it in one of these forms")
    return [plan.grid.window(selector, plan.tile_size)]


def _touched(plan: Plan, uri: str) -> list[Window]:
    """Windows that have some area in common with a file's polygons."""
    import numpy as np
    import shapely

    if not plan.grid.crs:
        raise InputError("The scenes have no CRS, so polygons cannot be laid over them", "ids or slices", "use those")
    shape = shapely.segmentize(_near(_shape(uri), plan.grid), _MOST_DEGREES)

    def pixels(points: Any) -> Any:
        at = reproject(points[:, 0], points[:, 1], "EPSG:4326", plan.grid.crs)
        return np.column_stack(pixels_of(plan.grid.transform, *at))

    shape = shapely.transform(shape, pixels)
    if not np.isfinite(shapely.get_coordinates(shape)).all():
        raise InputError(
            f"{uri} reaches where the scenes' CRS has no place",
            "polygons on the scenes or round them",
            "cut them to the area of the scenes: ogr2ogr -clipsrc WEST SOUTH EAST NORTH out.geojson FILE",
            uri=uri,
        )
    shape = shapely.make_valid(shape)
    edges = np.array([[w.col_off, w.row_off, w.col_off + w.width, w.row_off + w.height] for w in plan.windows])
    boxes = shapely.box(*edges.T)
    shapely.prepare(shape)
    common = shapely.intersects(shape, boxes) & ~shapely.touches(shape, boxes)
    return [window for window, is_in in zip(plan.windows, common, strict=True) if is_in]


def _near(shape: Any, grid: Grid) -> Any:
    """What of polygons in degrees lies on the grid or round it: few projections know the Earth's other side."""
    import numpy as np
    import shapely

    around = outline(grid, "EPSG:4326")
    around = around[np.isfinite(around).all(axis=1)]
    if not len(around):
        return shape
    (west, south), (east, north) = around.min(axis=0) - _ROUND, around.max(axis=0) + _ROUND
    if east - west > 180:  # across 180°, or round a pole
        west, east = -180, 180
    boxes = [shapely.box(west + turn, south, east + turn, north) for turn in (-360, 0, 360)]
    return shapely.intersection(shape, shapely.union_all(boxes))


def _shape(uri: str) -> Any:
    """All polygons of a GeoJSON file as one shapely geometry in longitude and latitude."""
    import numpy as np
    import shapely

    folder, name = parent_of(uri)
    try:
        document = json.loads(open_store(folder).read(name))
        geometries = [shapely.from_geojson(json.dumps(g)) for g in _geometries(document)]
    except (ValueError, KeyError, TypeError, AttributeError, shapely.errors.GEOSException) as error:
        raise _no_polygons(uri, f"is not GeoJSON ({str(error).splitlines()[0][:80]})") from error
    except ClearyearError as error:
        raise InputError(f"No polygons: {error.found}", "a GeoJSON file", "correct its address") from error
    kinds = {geometry.geom_type for geometry in geometries}
    if not kinds or kinds - {"Polygon", "MultiPolygon"}:
        raise _no_polygons(uri, f"holds {', '.join(sorted(kinds)) or 'nothing'}")
    shape = shapely.union_all([shapely.make_valid(geometry) for geometry in geometries])
    bounds = shapely.bounds(shape)
    if not np.isfinite(bounds).all() or max(abs(bounds[0]), abs(bounds[2])) > 360 or max(abs(bounds[1::2])) > 90:
        raise _no_polygons(uri, f"has bounds of {', '.join(f'{b:.6g}' for b in bounds)}, which are no degrees")
    return shape


def _geometries(document: Any) -> list[Any]:
    if document["type"] == "FeatureCollection":
        return [feature["geometry"] for feature in document["features"] if feature["geometry"]]
    return [document["geometry"] if document["type"] == "Feature" else document]


def _no_polygons(uri: str, what: str) -> InputError:
    return InputError(
        f"{uri} {what}",
        "polygons in GeoJSON, in longitude and latitude (EPSG:4326), as RFC 7946 has it",
        "convert it: ogr2ogr -t_srs EPSG:4326 out.geojson FILE",
        uri=uri,
    )
