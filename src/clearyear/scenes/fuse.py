"""Scenes that are one observation: the same data processed twice, or one pass cut into several products.

``newest-processing``: of the scenes of one granule and one sensing the one processed last stays. The sensing is the
datastrip's where an item names it, since the two parts of a granule that one pass delivers in two datastrips are no
doubles; else it is the moment, to the second. Processed last: the higher processing baseline, then the later time of
processing, then the later name. A scene whose granule is not told stays. In ESA's product names the sensing is the
datatake's, which both parts of a granule share: by their names products of one baseline are no doubles.

``solar-day``: what ``newest-processing`` does, and then scenes of one platform and one solar day are one observation:
at each pixel the first valid one counts. The solar day is the date in solar time; see ``solar``. Two platforms on one
day are two observations.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from clearyear.scenes.harmonise import baseline_of
from clearyear.scenes.scene import Scene
from clearyear.scenes.solar import solar_time

Fuse = Literal["none", "solar-day", "newest-processing"]

_TILE = re.compile(r"(?:^|_)T?(\d\d[C-X][A-Z]{2})(?:_|$)")
_SENTINEL_NAME = re.compile(
    r"(S2[A-D])_MSIL.._(\d{8}T\d{6})_(?:N(\d\d)(\d\d)_)?R\d{3}_T(\d\d[C-X][A-Z]{2})_(\d{8}T\d{6})"
)
_LANDSAT_NAME = re.compile(r"(L[COTEM]\d\d)_[A-Z0-9]{4}_(\d{6})_(\d{8})_(\d{8})_\d\d_(?:T1|T2|RT)")
_DATASTRIP = re.compile(r"_S(\d{8}T\d{6})_")


@dataclass(frozen=True, kw_only=True)
class Look:
    """What of a scene tells whether another is the same observation."""

    platform: str = ""
    granule: str = ""
    """Tile or path and row; empty where it is not told."""
    sensed: str = ""
    processed: tuple[Any, ...] = ()
    """Larger is newer; the processing baseline first."""
    may_be_part: bool = False
    """Whether another of one granule, sensing and baseline may be the other part of it."""
    longitude: float | None = None
    """Degrees, of the scene's centre."""


def look_of_item(item: Mapping[str, Any], moment: datetime) -> Look:
    """What a STAC item tells."""
    properties = item.get("properties", {})
    strip = _DATASTRIP.search(str(properties.get("s2:datastrip_id") or ""))
    times = [str(properties.get(name) or "") for name in ("s2:generation_time", "created", "updated")]
    platform = str(properties.get("platform") or properties.get("constellation") or "")
    # Of a path and row a platform sees one scene a day; the second it is dated by is computed anew each time.
    step = "%Y%m%d" if "landsat:wrs_path" in properties else "%Y%m%dT%H%M%S"
    return Look(
        platform=re.sub(r"[\s_]+", "-", platform.lower()),
        granule=_granule(item["id"], properties),
        sensed=strip[1] if strip else moment.strftime(step),
        processed=(baseline_of(item) or (0, 0), *times, item["id"]),
        longitude=longitude_of_item(item),
    )


def longitude_of_item(item: Mapping[str, Any]) -> float | None:
    """The longitude of an item's centre in degrees: of its box, or else of its footprint; None without either."""
    box = item.get("bbox") or []
    if len(box) in (4, 6) and box[len(box) // 2] - box[0] <= 180:
        return _middle(box[0], box[len(box) // 2])
    # Some write the box of what crosses 180° as one round the whole Earth; the footprint has two parts then.
    found = _longitudes(item.get("geometry"))
    if found and max(found) - min(found) > 180:
        found = [x % 360 for x in found]
    return _middle(min(found), max(found)) if found else None


def _longitudes(geometry: Any) -> list[float]:
    import shapely

    try:
        return [float(x) for x in shapely.get_coordinates(shapely.geometry.shape(geometry))[:, 0]]
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError, shapely.errors.ShapelyError):
        return []


def look_of_name(name: str, moment: datetime, longitude: float | None = None) -> Look:
    """What the name of a scene's file tells: ESA's and USGS's product names tell all of it."""
    if match := _SENTINEL_NAME.search(name):
        platform, sensed, major, minor, tile, made = match.groups()
        processed = ((int(major or 0), int(minor or 0)), made, name)
        return Look(
            platform=platform,
            granule=tile,
            sensed=sensed,
            processed=processed,
            may_be_part=True,
            longitude=longitude,
        )
    if match := _LANDSAT_NAME.search(name):
        platform, granule, sensed, made = match.groups()
        return Look(
            platform=platform, granule=granule, sensed=sensed, processed=((0, 0), made, name), longitude=longitude
        )
    prefix = re.match(r"(S2[A-D]|L[COTEM]0\d)_", name)
    return Look(
        platform=prefix[1] if prefix else "",
        sensed=f"{moment:%Y%m%dT%H%M%S}",
        processed=((0, 0), name),
        longitude=longitude,
    )


def fuse(scenes: Sequence[Scene], looks: Sequence[Look], how: Fuse) -> list[Scene]:
    """The scenes that are left, with their groups.

    Args:
        scenes: in any order.
        looks: of each scene.
        how: none, solar-day or newest-processing.

    Returns:
        Scenes in their own order; of doubles one.
    """
    kept = newest(looks) if how != "none" else range(len(scenes))
    return [scenes[i].model_copy(update={"group": group_of(scenes[i].datetime, looks[i], how)}) for i in kept]


def newest(looks: Sequence[Look]) -> list[int]:
    """The indices of those that stay, in order: of scenes of one granule and sensing the one processed last."""
    found: dict[Any, list[int]] = {}
    for index, look in enumerate(looks):
        # What does not tell its granule is a double of nothing but itself.
        key = (look.platform.upper(), look.granule, look.sensed) if look.granule else index
        others = found.setdefault(key, [])
        before = looks[others[0]] if others else None
        if before and look.may_be_part and before.may_be_part and before.processed[0] == look.processed[0]:
            others.append(index)
        elif before is None or before.processed < look.processed:
            found[key] = [index]
    return sorted(index for indices in found.values() for index in indices)


def group_of(moment: datetime, look: Look, how: Fuse) -> str:
    """Scene.group; empty unless ``how`` is solar-day."""
    if how != "solar-day":
        return ""
    return f"{solar_time(moment, look.longitude or 0):%Y-%m-%d} {look.platform}".strip()


def _granule(name: str, properties: Mapping[str, Any]) -> str:
    for key in ("s2:mgrs_tile", "grid:code", "odc:region_code"):
        if properties.get(key):
            return str(properties[key]).removeprefix("MGRS-")
    path, row = (str(properties.get(f"landsat:wrs_{name}") or "") for name in ("path", "row"))
    if path.isdecimal() and row.isdecimal():
        return f"{int(path):03}{int(row):03}"
    match = _TILE.search(name)
    return match[1] if match else ""


def _middle(west: float, east: float) -> float:
    middle = (west + east + (360 if west > east else 0)) / 2
    return middle - 360 if middle > 180 else middle
