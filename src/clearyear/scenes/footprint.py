"""Where an item says it lies, and whether that meets an area: in one piece, in two, or in one ring across 180°."""

from collections.abc import Mapping
from typing import Any

import numpy as np

_ROUND = np.array((360.0, 0.0))
"""Once round the Earth, eastward."""


def meets(document: Mapping[str, Any], region: Any) -> bool:
    """Whether an item's footprint meets the region; one that has none may, and its pixels will tell.

    Args:
        document: the item.
        region: a shapely geometry in degrees.
    """
    import shapely

    try:
        footprint = shapely.geometry.shape(document["geometry"])
        if footprint.is_valid and not footprint.is_empty:
            return bool(footprint.intersects(region)) or _meets_across(footprint, region)
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError, shapely.errors.ShapelyError):
        pass
    box = document.get("bbox")
    if box is None:
        return True
    west, south = box[:2]
    east, north = box[len(box) // 2 :][:2]
    # West of its east end a box lies as it should; else it crosses 180° and is two.
    parts = [(west, east)] if west <= east else [(west, 180.0), (-180.0, east)]
    return any(bool(shapely.box(left, south, right, north).intersects(region)) for left, right in parts)


def _meets_across(footprint: Any, region: Any) -> bool:
    """Whether a footprint that crosses 180° in one ring, from 179.7 to −179.98, meets the region."""
    import shapely

    west, _, east, _ = footprint.bounds
    if footprint.geom_type != "Polygon" or east - west <= 180:
        return False
    across = shapely.transform(footprint, lambda xy: xy + (xy[:, :1] < 0) * _ROUND)
    beyond = shapely.transform(region, lambda xy: xy + _ROUND)
    return bool(across.is_valid and (across.intersects(region) or across.intersects(beyond)))
