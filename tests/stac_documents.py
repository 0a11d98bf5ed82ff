"""Items as they were found, and one made up."""

import json
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

Document = dict[str, Any]


@cache
def documents(data: Path) -> list[Document]:
    """Every real item there is."""
    found = []
    for path in sorted((data / "stac").rglob("*json")):
        document = json.loads(path.read_text())
        if document["type"] in ("Feature", "FeatureCollection"):
            found += document.get("features", [document])
    assert len(found) == 36
    return found


def named(data: Path, start: str) -> Document:
    return deepcopy(next(d for d in documents(data) if d["id"].startswith(start)))


def sentinel(properties: Document | None = None, band: Document | None = None, item_id: str = "S2A_T31TCJ") -> Document:
    """A Sentinel-2 item that says what it is told to."""
    asset = {"href": "B04.tif", "type": "image/tiff", "raster:bands": [band]} if band else {"href": "B04.tif"}
    told = {"datetime": "2023-01-01T00:00:00Z", "platform": "sentinel-2a", "s2:product_type": "S2MSI2A"}
    return {"type": "Feature", "id": item_id, "properties": told | (properties or {}), "assets": {"red": asset}}
