"""The area of a job: a box in longitude and latitude, or the polygons of a GeoJSON file."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clearyear.coordinates import reproject
from clearyear.errors import InputError

LONGITUDE_LATITUDE = "EPSG:4326"
_POINTS_AN_EDGE = 32
"""A straight edge in degrees is none in metres: points along it tell how far it bulges."""

Ring = NDArray[np.float64]
"""(n, 2): longitude, latitude."""


class Area:
    """Where a composite is wanted. Only the box round it counts: pixels inside the box are never masked."""

    def __init__(self, rings: Sequence[Ring], said: str) -> None:
        self.rings = tuple(rings)
        self.said = said
        """As the user gave it."""

    @property
    def bbox(self) -> tuple[float, float, float, float]:
        """(west, south, east, north) in degrees."""
        points = np.concatenate(self.rings)
        (west, south), (east, north) = points.min(axis=0), points.max(axis=0)
        return float(west), float(south), float(east), float(north)

    def points(self, crs: str) -> NDArray[np.float64]:
        """Points all round it in ``crs``, (n, 2).

        Raises:
            InputError: the CRS does not reach there.
        """
        points = np.concatenate([densified(ring) for ring in self.rings])
        x, y = reproject(points[:, 0], points[:, 1], LONGITUDE_LATITUDE, crs)
        if not (np.isfinite(x).all() and np.isfinite(y).all()):
            raise InputError(
                f"The area {self.said} has no place in {crs}", "an area where that CRS holds", "correct it"
            )
        return np.stack([x, y], axis=1)


def densified(ring: Ring) -> Ring:
    """A ring with points along each of its edges."""
    steps = np.arange(_POINTS_AN_EDGE)[:, None, None] / _POINTS_AN_EDGE
    between = ring[:-1] + steps * (ring[1:] - ring[:-1])
    return np.concatenate([between.transpose(1, 0, 2).reshape(-1, 2), ring[-1:]])


def read_area(value: str | Sequence[float] | Mapping[str, Any]) -> Area:
    """An area as a job gives it: west, south, east, north (text or numbers), GeoJSON or the name of its file.

    Raises:
        InputError: it is neither, or encloses nothing.
    """
    if isinstance(value, Mapping):
        return Area(list(_rings(value, "of the job")), "of the job")
    said = value if isinstance(value, str) else ",".join(f"{number:g}" for number in value)
    try:
        numbers = [float(part) for part in said.split(",")]
    except ValueError:
        return Area(list(_rings(_geojson(said), said)), said)
    if len(numbers) != 4 or not np.isfinite(numbers).all():
        raise _wrong(f"The area {said} has {len(numbers)} numbers")
    west, south, east, north = numbers
    if not (west < east and south < north):
        raise _wrong(f"The area {said} encloses nothing: it ends where it begins, or before")
    if not (west >= -180 and east <= 180 and south >= -90 and north <= 90):
        raise _wrong(f"The area {said} is not in degrees")
    return Area([np.array([(west, south), (west, north), (east, north), (east, south), (west, south)])], said)


def _geojson(path: str) -> Any:
    try:
        return json.loads(Path(path).read_text())
    except OSError as error:
        raise _wrong(f"The area {path} is neither four numbers nor a file ({error.strerror})") from error
    except ValueError as error:
        raise _wrong(f"The area {path} is no JSON ({error})") from error


def _rings(document: Any, path: str) -> Iterator[Ring]:
    """The outer rings of all polygons."""
    kind = document.get("type") if isinstance(document, Mapping) else None
    try:
        if kind in ("FeatureCollection", "GeometryCollection"):
            parts = document["features" if kind == "FeatureCollection" else "geometries"]
            rings = [ring for part in parts for ring in _rings(part, path)]
        elif kind == "Feature":
            rings = list(_rings(document["geometry"], path))
        elif kind in ("Polygon", "MultiPolygon"):
            polygons = [document["coordinates"]] if kind == "Polygon" else document["coordinates"]
            rings = [np.array(polygon[0], np.float64)[:, :2] for polygon in polygons]
        else:
            raise _wrong(f"The area {path} holds {kind or type(document).__name__}")
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise _wrong(f"The area {path} is no GeoJSON of polygons ({error})") from error
    if not rings or not all(len(ring) > 3 and (np.abs(ring) <= (180, 90)).all() for ring in rings):
        raise _wrong(f"The area {path} encloses nothing, or is not in degrees")
    yield from rings


def _wrong(found: str) -> InputError:
    return InputError(
        found,
        "west,south,east,north in degrees (14.1,45.9,14.4,46.1), or a GeoJSON file of polygons",
        "correct it; an area across 180° is two jobs",
    )
