"""The STAC item of a published composite: what it is, what it was made from, and whether it is whole."""

import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pystac
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.errors import RasterioError
from rasterio.warp import transform_geom

from clearyear import __version__
from clearyear.cog.layers import layer_of
from clearyear.display import VISUAL
from clearyear.grid import Grid
from clearyear.mosaic import Mosaic
from clearyear.periods import Period
from clearyear.plan import Plan
from clearyear.redact import redact
from clearyear.window import LayerFile

CATALOG, COLLECTION = "catalog.json", "collection.json"
"""``<out>/catalog.json`` and ``<out>/<product>/collection.json``: what leads to the items; see clearyear.catalog."""

EXTENSIONS = [
    "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
    "https://stac-extensions.github.io/file/v2.1.0/schema.json",
    "https://stac-extensions.github.io/processing/v1.2.0/schema.json",
]
_RASTER = "https://stac-extensions.github.io/raster/v2.0.0/schema.json"


def make_item(plan: Plan, mosaic: Mosaic, facts: Mapping[str, Any], *, extras: Mapping[str, str]) -> str:
    """The item as JSON.

    Args:
        plan: what was computed.
        mosaic: the published layers.
        facts: what is put under ``clearyear:<name>``: completeness, missing windows, failed reads.
        extras: further files beside the item: asset key → file name (preview, plan, report).

    Returns:
        STAC 1.1 JSON with projection, file and processing extensions; hrefs relative to the item.
    """
    place = place_of(plan.grid, plan.period)
    if plan.period.label == "all":
        place |= {"start_datetime": plan.scenes[0].datetime, "end_datetime": plan.scenes[-1].datetime}
    item = pystac.Item(
        id=plan.stem,
        **place,
        properties=_properties(plan, facts),
        stac_extensions=[*EXTENSIONS, *([_RASTER] if _is_scaled(plan) else [])],
    )
    item.collection_id = plan.product.name
    for relation, href in {"root": CATALOG, "parent": COLLECTION, "collection": COLLECTION}.items():
        item.add_link(pystac.Link(relation, f"../{'../' if href == CATALOG else ''}{href}", pystac.MediaType.JSON))
    for layer, file in mosaic.layers.items():
        item.add_asset(layer, _layer_asset(plan, layer, file))
    for key, name in extras.items():
        item.add_asset(key, _extra_asset(key, name))
    first = plan.product.assets[0]  # of several files one stands for the scene
    for scene in plan.scenes:
        href = scene.identity[first] if "://" in scene.assets[first] else Path(scene.assets[first]).as_uri()
        item.add_link(pystac.Link("derived_from", redact(href), media_type=pystac.MediaType.GEOTIFF, title=scene.id))
    return json.dumps(item.to_dict(include_self_link=False, transform_hrefs=False), indent=1, allow_nan=False) + "\n"


def wgs84_geometry(crs: str, ring: list[tuple[float, float]]) -> dict[str, Any] | None:
    """A ring in ``crs`` as a GeoJSON polygon in longitude and latitude; two of them if it crosses 180°.

    None without a CRS, with one that is not tied to the Earth, or where a corner has no place on it.
    """
    return wgs84_geometries(crs, [ring])[0]


def wgs84_geometries(crs: str, rings: Sequence[list[tuple[float, float]]]) -> list[dict[str, Any] | None]:
    """``wgs84_geometry`` of many rings in one call: for each by itself, rasterio's setting up costs the most."""
    reference = CRS.from_string(crs) if crs else None
    if reference is None or not (reference.is_projected or reference.is_geographic):
        return [None] * len(rings)
    polygons = [{"type": "Polygon", "coordinates": [ring]} for ring in rings]
    found = _transformed(reference, polygons)
    return [None if one is None else _geometry(one, ring) for one, ring in zip(found, rings, strict=True)]


def _transformed(reference: CRS, polygons: Sequence[dict[str, Any]]) -> list[dict[str, Any] | None]:
    """Polygons in longitude and latitude; None for each of which a corner has no place on the Earth."""
    try:
        return list(transform_geom(reference, "EPSG:4326", polygons, precision=7))
    except (CPLE_BaseError, RasterioError, SystemError):
        # A geostationary picture's corners lie in space.
        if len(polygons) == 1:
            return [None]
        half = len(polygons) // 2
        return _transformed(reference, polygons[:half]) + _transformed(reference, polygons[half:])


def _geometry(found: Mapping[str, Any], before: Sequence[tuple[float, float]]) -> dict[str, Any] | None:
    parts = [found["coordinates"][0]] if found["type"] == "Polygon" else [part[0] for part in found["coordinates"]]
    if not all(math.isfinite(value) for part in parts for point in part for value in point):
        return None
    parts = parts if len(parts) > 1 else _cut(parts[0], before)
    if len(parts) == 1:
        return {"type": "Polygon", "coordinates": [_ring(parts[0])]}
    return {"type": "MultiPolygon", "coordinates": [[_ring(part)] for part in parts]}


def _cut(
    ring: Sequence[tuple[float, float]], before: Sequence[tuple[float, float]]
) -> list[Sequence[tuple[float, float]]]:
    """A ring in pieces of -180° to 180°, where PROJ has not cut it: it goes on beyond 180°, or begins anew there."""
    import shapely

    xs, whole = [x for x, _ in ring], ring
    if min(xs) >= -180 and max(xs) <= 180:
        whole = [(x + 360 if x < 0 else x, y) for x, y in ring]
        width = max(x for x, _ in whole) - min(x for x, _ in whole)
        # What is cut in two by the map's edge, but told as one, is inside out.
        same = [_twice_area(one) * _twice_area(before) > 0 for one in (ring, whole)]
        if same != [False, True] or max(xs) - min(xs) <= 180 or width >= 180:
            return [ring]
    shape, pieces = shapely.Polygon(whole), []
    if not shape.is_valid:
        return [ring]
    for turn in (-360, 0, 360):
        part = shapely.clip_by_rect(shape, turn - 180, -360, turn + 180, 360)
        pieces += [[(round(x - turn, 7), y) for x, y in p.exterior.coords] for p in shapely.get_parts(part) if p.area]
    return [[(x, round(y, 7)) for x, y in piece] for piece in pieces] or [ring]


def _ring(points: Sequence[tuple[float, float]]) -> list[list[float]]:
    """A closed ring, counterclockwise as GeoJSON wants an outer one."""
    ring = [[x, y] for x, y in points]
    return ring if _twice_area(ring) > 0 else ring[::-1]


def _twice_area(ring: Sequence[Sequence[float]]) -> float:
    """Twice a closed ring's area, negative where it runs clockwise."""
    return sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in pairwise(ring))


def place_of(grid: Grid, period: Period) -> dict[str, Any]:
    """Where an item lies, and when: arguments of ``pystac.Item``. STAC's spans include their end."""
    geometry = wgs84_geometry(grid.crs, grid.corners())
    return {
        "geometry": geometry,
        "bbox": bbox_of(geometry) if geometry else None,
        "datetime": None,
        "start_datetime": period.start,
        "end_datetime": period.end - timedelta(seconds=1),
    }


def common_properties(grid: Grid) -> dict[str, Any]:
    """What every item of ours says: its grid, by whom it was made, and when."""
    crs = CRS.from_string(grid.crs) if grid.crs else None
    authority = crs.to_authority() if crs else None
    return {
        "created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "proj:code": ":".join(authority) if authority else None,
        **({"proj:wkt2": crs.to_wkt(version="WKT2_2019")} if crs and not authority else {}),
        "proj:shape": [grid.height, grid.width],
        "proj:transform": list(grid.transform),
        "processing:software": {"clearyear": __version__},
    }


def raster_fields(names: Sequence[str], dtype: str, nodata: float | None, *, size: int, sha256: str) -> dict[str, Any]:
    """What an asset says of its raster: bands (``band-1`` for one without a name), type, nodata, size and checksum."""
    fields: dict[str, Any] = {
        "bands": [{"name": name or f"band-{number}"} for number, name in enumerate(names, start=1)],
        "data_type": dtype,
        "file:size": size,
        "file:checksum": f"1220{sha256}",  # multihash: 0x12 = sha2-256, 0x20 = 32 bytes
    }
    if nodata is not None:
        fields["nodata"] = _number(nodata)
    return fields


def _number(value: float) -> float | str:
    """As STAC has it: JSON knows no NaN and no infinity, so they are text."""
    return value if math.isfinite(value) else str(float(value))


def _properties(plan: Plan, facts: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "title": f"{plan.product.name}, {plan.period.label}",
        **common_properties(plan.grid),
        "processing:level": "L3",
        "processing:lineage": f"{plan.product.reducer} of {len(plan.scenes)} scenes, "
        f"{plan.scenes[0].datetime:%Y-%m-%d} to {plan.scenes[-1].datetime:%Y-%m-%d}",
        "clearyear:plan": plan.id,
        "clearyear:reducer": plan.product.reducer,
        "clearyear:invalid_values": [_number(value) for value in plan.product.invalid_values],
        **{f"clearyear:{key}": value for key, value in facts.items()},
    }


def _is_scaled(plan: Plan) -> bool:
    return plan.product.scale is not None or plan.product.offset is not None


LAW_FIELDS = ("raster:scale", "raster:offset")


def law_fields(plan: Plan, layer: str) -> dict[str, float]:
    """Scale and offset of one of ``Plan.published``, as its asset says them; nothing where there are none."""
    about = layer_of(plan, layer)
    if about.scale is None and about.offset is None:
        return {}
    return dict(zip(LAW_FIELDS, (1.0 if about.scale is None else about.scale, about.offset or 0.0), strict=True))


def _layer_asset(plan: Plan, layer: str, file: LayerFile) -> pystac.Asset:
    kind = plan.kind(layer)
    names = kind.band_names or ((layer,) if kind.n_bands == 1 and layer != "composite" else ("",) * kind.n_bands)
    fields = raster_fields(names, kind.dtype, kind.nodata, size=file.size, sha256=file.sha256)
    fields |= law_fields(plan, layer)
    picture = layer == VISUAL and plan.product.display is not None
    colours = layer == "composite" and kind.n_bands == 3 and kind.dtype == "uint8"
    return pystac.Asset(
        href=f"./{file.name}",
        title=kind.title,
        media_type=pystac.MediaType.COG,
        roles=["visual"] if picture else ["data", "visual"] if colours else ["data"],
        extra_fields=fields,
    )


def _extra_asset(key: str, name: str) -> pystac.Asset:
    kinds = {"jpg": (pystac.MediaType.JPEG, "thumbnail"), "png": (pystac.MediaType.PNG, "overview")}
    media_type, role = kinds.get(name.rpartition(".")[2], (pystac.MediaType.JSON, "metadata"))
    return pystac.Asset(href=f"./{name}", title=key.replace("_", " "), media_type=media_type, roles=[role])


def bbox_of(geometry: Mapping[str, Any]) -> list[float]:
    """West, south, east, north; across 180° west is the greater one, as GeoJSON wants it."""
    whole = geometry["type"] == "Polygon"
    rings = [geometry["coordinates"][0]] if whole else [part[0] for part in geometry["coordinates"]]
    xs, ys = zip(*(point for ring in rings for point in ring), strict=True)
    if whole:
        return [min(xs), min(ys), max(xs), max(ys)]
    west = min(x for ring in rings for x, _ in ring if sum(x for x, _ in ring) > 0)
    east = max(x for ring in rings for x, _ in ring if sum(x for x, _ in ring) < 0)
    return [west, min(ys), east, max(ys)] if west > east else [-180.0, min(ys), 180.0, max(ys)]
