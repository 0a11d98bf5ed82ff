"""Polygons from files of every kind, refused by name where they are none, and laid over a raster's grid."""

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from clearyear.errors import InputError
from clearyear.stores import shown
from clearyear.zonal.job import ZonalSettings
from clearyear.zonal.polygon_file import KINDS, digest_of, local_file, read_file, some
from clearyear.zonal.raster import plain

if TYPE_CHECKING:
    from geopandas import GeoDataFrame


@dataclass(frozen=True, kw_only=True)
class Polygons:
    """Polygons with names that tell them apart."""

    frame: "GeoDataFrame"
    """Columns ``polygon`` (text) and ``geometry``, in the CRS of their file."""
    name: str
    """What tables call them."""
    uri: str
    digest: str
    """SHA-256 of the file, so that tables know when it was another."""


def read_polygons(settings: ZonalSettings) -> Polygons:
    """Read and check a file of polygons.

    Raises:
        InputError: it cannot be read; has no CRS; holds lines or points, invalid polygons or none; its names do not
            tell the polygons apart. What is wrong is named.
    """
    try:
        from geopandas import GeoDataFrame
    except ImportError as error:
        raise InputError(
            f"Zonal statistics need packages that are not installed ({error.name})",
            "clearyear with its extra «zonal»",
            "pip install '.[zonal]' in clearyear's checkout; the environment of scripts/dev.py has them",
        ) from error
    uri = settings.polygons
    name = PurePosixPath(uri.partition("?")[0]).name
    if not name.lower().endswith(KINDS):
        raise InputError(
            f"{shown(uri)} is no file of polygons", "GeoJSON, GeoPackage, Shapefile or GeoParquet", "convert it first"
        )
    with local_file(uri, name) as path:
        frame = read_file(path, uri, settings.polygons_layer)
        digest = digest_of(path)
    frame = _with_crs(frame, uri, settings.polygons_crs)
    names = _ids(frame, uri, settings.id_column)
    frame = GeoDataFrame({"polygon": names}, geometry=list(frame.geometry), crs=frame.crs)
    _refuse_others(frame, uri)
    frame = _valid(frame, uri, repair=settings.repair_invalid)
    layer = f"-{settings.polygons_layer}" if settings.polygons_layer else ""
    return Polygons(
        frame=frame, name=settings.name or plain(f"{PurePosixPath(name).stem}{layer}"), uri=shown(uri), digest=digest
    )


def over_grid(polygons: Polygons, crs: Any, transform: Any) -> list[Any]:
    """The polygons in a raster's pixels: x is the column, y the row below zero (−row), as shapely geometries.

    Raises:
        InputError: their coordinates cannot be brought to the raster's CRS.
    """
    import numpy as np
    from shapely import force_2d
    from shapely.affinity import affine_transform

    frame = polygons.frame
    same = frame.crs == crs.to_wkt()
    moved = force_2d(np.asarray((frame if same else frame.to_crs(crs.to_wkt())).geometry.array))
    lost = [
        name
        for name, before, after in zip(frame["polygon"], frame.geometry, moved, strict=True)
        if before is not None and not before.is_empty and not np.isfinite(after.bounds).all()
    ]
    if lost:
        raise InputError(
            f"{len(lost)} of {len(frame)} polygons of {polygons.uri} cannot be brought to the raster's CRS: "
            f"{some(lost)}",
            f"coordinates in {_called(frame.crs)}, which the file is said to be in",
            "say what they are really in (polygons_crs), or leave these out",
            uri=polygons.uri,
        )
    a, _, c, _, e, f = tuple(transform)[:6]
    to_pixels = [1 / a, 0, 0, -1 / e, -c / a, f / e]
    return [None if g is None or g.is_empty else affine_transform(g, to_pixels) for g in moved]


def _with_crs(frame: "GeoDataFrame", uri: str, given: str | None) -> "GeoDataFrame":
    from pyproj.exceptions import CRSError

    if given:
        try:
            return frame.set_crs(given, allow_override=True)
        except CRSError as error:
            raise InputError(f"polygons_crs {given!r} is no CRS", "EPSG:4326 and the like", "correct it") from error
    if frame.crs is None:
        raise InputError(
            f"{shown(uri)} does not say what its coordinates are in",
            "polygons with a CRS",
            "name it with polygons_crs (--polygons-crs EPSG:4326)",
            uri=shown(uri),
        )
    west, south, east, north = frame.total_bounds
    if frame.crs.is_geographic and (min(west, south) < -360 or max(east, north) > 360):
        raise InputError(
            f"{shown(uri)} says {_called(frame.crs)}, but its coordinates run from {west:.0f}, {south:.0f} to "
            f"{east:.0f}, {north:.0f}",
            "longitude and latitude",
            "name what they really are with polygons_crs; a GeoJSON without a CRS is taken for EPSG:4326",
            uri=shown(uri),
        )
    return frame


def _ids(frame: "GeoDataFrame", uri: str, column: str | None) -> list[str]:
    if column is not None and column not in frame.columns:
        raise InputError(
            f"{shown(uri)} has no column {column!r}",
            f"one of {', '.join(str(c) for c in frame.columns if c != frame.geometry.name)}",
            "correct id_column",
        )
    if column is None and ("id" not in frame.columns or not frame["id"].is_unique or frame["id"].isna().any()):
        return [str(number) for number in range(1, len(frame) + 1)]
    values = frame[column or "id"]
    doubles = sorted({str(v) for v in values[values.duplicated()]} | ({"(nothing)"} if values.isna().any() else set()))
    if doubles:
        raise InputError(
            f"The column {column!r} of {shown(uri)} does not tell its polygons apart: {some(doubles)}",
            "another name for each",
            "choose another id_column, or leave it out to have them numbered",
        )
    return [str(int(v)) if isinstance(v, float) and v.is_integer() else str(v) for v in values]


def _refuse_others(frame: "GeoDataFrame", uri: str) -> None:
    """Lines and points cover no area; what is empty is no mistake."""
    odd = [
        f"{name} ({shape.geom_type})"
        for name, shape in zip(frame["polygon"], frame.geometry, strict=True)
        if shape is not None and not shape.is_empty and shape.geom_type not in ("Polygon", "MultiPolygon")
    ]
    if odd:
        raise InputError(
            f"{len(odd)} of {len(frame)} shapes of {shown(uri)} are no polygons: {some(odd)}",
            "polygons and multipolygons",
            "leave these out, or buffer them first",
            uri=shown(uri),
        )


def _valid(frame: "GeoDataFrame", uri: str, *, repair: bool) -> "GeoDataFrame":
    from shapely import is_valid_reason, make_valid
    from shapely.geometry import MultiPolygon

    bad = [i for i, g in enumerate(frame.geometry) if g is not None and not g.is_valid]
    if not bad:
        return frame
    if not repair:
        named = [f"{frame['polygon'][i]} ({is_valid_reason(frame.geometry[i])})" for i in bad]
        raise InputError(
            f"{len(bad)} of {len(frame)} polygons of {shown(uri)} are invalid: {some(named)}",
            "rings that do not cross themselves",
            "mend them, or have them mended with repair_invalid (--repair-invalid)",
            uri=shown(uri),
        )
    shapes = list(frame.geometry)
    for i in bad:
        mended = make_valid(shapes[i])
        # What is left of a spike is a line; only areas count.
        parts = [p for p in getattr(mended, "geoms", [mended]) if p.geom_type in ("Polygon", "MultiPolygon")]
        flat = [q for p in parts for q in getattr(p, "geoms", [p])]
        shapes[i] = MultiPolygon(flat)
    return frame.set_geometry(type(frame.geometry)(shapes, crs=frame.crs))


def _called(crs: Any) -> str:
    authority = crs.to_authority()
    return ":".join(authority) if authority else str(crs.name)
