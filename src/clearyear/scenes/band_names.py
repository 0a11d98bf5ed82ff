"""What a band is called: by an item's own asset keys and band names, and by the names its sensor's users know.

Numbers and common names: STAC's EO extension (``eo:common_name``); ESA's Sentinel-2 user handbook; USGS LSDS-1574 and
LSDS-1618 for the bands of Landsat 8/9 and 4/5/7; ``nbart_…``: Digital Earth Australia.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

_SENTINEL_2 = (
    ("B01", "coastal", "nbart_coastal_aerosol"),
    ("B02", "blue", "nbart_blue"),
    ("B03", "green", "nbart_green"),
    ("B04", "red", "nbart_red"),
    ("B05", "rededge1", "rededge071", "nbart_red_edge_1"),
    ("B06", "rededge2", "rededge075", "nbart_red_edge_2"),
    ("B07", "rededge3", "rededge078", "nbart_red_edge_3"),
    ("B08", "nir", "nbart_nir_1"),
    ("B8A", "nir08", "nbart_nir_2"),
    ("B09", "nir09"),
    ("B10", "cirrus"),
    ("B11", "swir16", "nbart_swir_2"),
    ("B12", "swir22", "nbart_swir_3"),
    ("SCL", "scl"),
    ("TCI", "visual"),
)
_LANDSAT = {
    "oli": ("coastal", "blue", "green", "red", "nir08", "swir16", "swir22"),
    "tm": ("blue", "green", "red", "nir08", "swir16", "", "swir22"),
}
_DEA = {"coastal": "coastal_aerosol", "nir08": "nir", "swir16": "swir_1", "swir22": "swir_2"}
_RASTER = ("image/tiff", "image/vnd.stac.geotiff", "image/x.geotiff", "image/geotiff", "image/jp2")
_SUFFIXES = (".tif", ".tiff", ".jp2")


def is_raster(asset: Mapping[str, Any]) -> bool:
    """Whether an asset is of a kind that scenes have: GeoTIFF or JPEG 2000, by its type or else by its name."""
    kind = str(asset.get("type") or "").lower()
    name = str(asset.get("href") or "").partition("?")[0].lower()
    return kind.startswith(_RASTER) if kind else name.endswith(_SUFFIXES)


def asset_key(item: Mapping[str, Any], name: str) -> str:
    """The key of the asset that a user means by ``name``.

    In this order: an asset's key; the name, then the common name of an asset's only band; any of these by another name
    the item's sensor knows it by. Upper and lower case count alike where nothing agrees exactly.

    Raises:
        LookupError: there is none, or there are several; the message says what there is.
    """
    assets: Mapping[str, Any] = item["assets"]
    for wanted in (name, *_synonyms(item, name)):
        for exactly in (True, False):
            found = _matching(item, assets, wanted, exactly=exactly)
            if len(found) > 1:
                raise LookupError(f"{name!r} may be {', '.join(found)}")
            if found:
                return found[0]
    raise LookupError(f"no {name!r}; it has {', '.join(names_of(item)) or 'no raster at all'}")


def names_of(item: Mapping[str, Any]) -> list[str]:
    """How the item's rasters are called: their keys, with the common name where it is another."""
    said = []
    for key, asset in item["assets"].items():
        if is_raster(asset):
            names = {common for _, common in _bands(item, asset) if common and common != key}
            said.append(f"{key} ({names.pop()})" if len(names) == 1 else key)
    return said


def told_by_band(asset: Mapping[str, Any]) -> list[list[Mapping[str, Any]]]:
    """For each band of an asset what speaks of it: the asset, STAC 1.1's ``bands``, 1.0's ``raster:bands``.

    The last is the nearest. A list that is too short means all by its first.
    """
    lists = [of for key in ("bands", "raster:bands") if (of := asset.get(key))]
    return [
        [asset, *(told for of in lists if isinstance(told := of[n if n < len(of) else 0], dict))]
        for n in range(max(map(len, lists), default=1))
    ]


def is_sentinel_2(item: Mapping[str, Any]) -> bool:
    """Whether an item is a product of ESA's Sentinel-2 or made of one band by band, rather than of another law."""
    properties = item.get("properties", {})
    told = any(key.startswith(("s2:", "sentinel:", "earthsearch:boa_")) for key in properties)
    return _sensor(item) == "sentinel-2" and (told or re.match(r"S2[A-D]_", item["id"]) is not None)


def number_of(item: Mapping[str, Any], key: str) -> str:
    """The Sentinel-2 band an asset is, as B04; empty where it is none of the reflectances."""
    names = {key.casefold(), *(n.casefold() for pair in _bands(item, item["assets"][key]) for n in pair if n)}
    found = [row[0] for row in _SENTINEL_2[:-2] if names & {n.casefold() for n in row}]
    return found[0] if len(found) == 1 and len(_bands(item, item["assets"][key])) <= 1 else ""


def _matching(item: Mapping[str, Any], assets: Mapping[str, Any], wanted: str, *, exactly: bool) -> list[str]:
    def same(text: str) -> bool:
        return text == wanted if exactly else text.casefold() == wanted.casefold()

    if keys := [key for key in assets if same(key)]:
        return keys
    for place in (0, 1):
        found = []
        for key, asset in assets.items():
            bands = _bands(item, asset) if is_raster(asset) else []
            if len(bands) == 1 and same(bands[0][place]):
                found.append(key)
        tiffs = [key for key in found if "jp2" not in str(assets[key].get("type"))]
        if found:
            return tiffs or found
    return []


def _bands(item: Mapping[str, Any], asset: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(name, common name) of an asset's bands: STAC 1.1 ``bands``, 1.0 ``eo:bands``, 0.9's numbers of the item's."""
    shared = item.get("properties", {}).get("eo:bands", [])
    found = []
    for band in asset.get("bands") or asset.get("eo:bands") or []:
        known = shared[band] if isinstance(band, int) and 0 <= band < len(shared) else band
        if isinstance(known, dict):
            common = known.get("eo:common_name") or known.get("common_name") or ""
            found.append((str(known.get("name") or ""), str(common)))
    return found


def _sensor(item: Mapping[str, Any]) -> str:
    properties = item.get("properties", {})
    words = " ".join(
        str(properties.get(k) or "") for k in ("constellation", "platform", "eo:platform", "eo:constellation")
    )
    plain = re.sub(r"[^a-z0-9]", "", words.lower())
    if "sentinel2" in plain or re.match(r"S2[A-D]_", item["id"]):
        return "sentinel-2"
    match = re.match(r"L[COTEM]0?([45789])_", item["id"]) or re.search(r"landsat([45789])", plain)
    if match:
        return "oli" if match[1] in "89" else "tm"
    return ""


def _synonyms(item: Mapping[str, Any], name: str) -> Sequence[str]:
    sensor, wanted = _sensor(item), name.casefold()
    rows: list[tuple[str, ...]] = [("fmask", "oa_fmask"), ("qa_pixel", "QA_PIXEL.TIF"), ("bqa", "BQA.TIF")]
    if sensor == "sentinel-2":
        rows += _SENTINEL_2
    for number, common in enumerate(_LANDSAT.get(sensor, ()), start=1):
        if common:
            band = f"B{number}"
            others = ("nir",) if common == "nir08" else ()
            rows.append((common, band, f"SR_{band}", f"SR_{band}.TIF", f"{band}.TIF",
                         f"nbart_{_DEA.get(common, common)}", *others))  # fmt: skip
    return [other for row in rows if wanted in {n.casefold() for n in row} for other in row if other != name]
