"""A STAC item as it comes, a dict, taken apart: when, where, which file each band is, how that lies."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard
from urllib.parse import urljoin

from clearyear.errors import InputError
from clearyear.scenes.band_names import asset_key, is_raster, told_by_band
from clearyear.scenes.footprint import meets
from clearyear.scenes.fuse import longitude_of_item
from clearyear.scenes.scene import Place
from clearyear.scenes.solar import Span
from clearyear.scenes.stac_query import Condition
from clearyear.stores import is_remote, shown, split_uri, without_query

_MOST_SIDE = 1 << 24


@dataclass(frozen=True)
class Item:
    """One item, and the address its relative hrefs are meant from."""

    document: dict[str, Any]
    """Id, properties and assets are there and of their kinds."""
    base: str
    datetime: dt.datetime
    """UTC; the start where the item has an interval only."""
    is_ours: bool = False
    """Whether it was read from this machine, wherever it says it comes from: then it may name our files."""

    @property
    def id(self) -> str:
        """The item's."""
        return str(self.document["id"])


def item_of(document: Any, base: str, *, is_ours: bool = False) -> Item:
    """An item, if it is one.

    Args:
        document: what was read.
        base: the address its relative hrefs are meant from.
        is_ours: whether it was read from this machine though its base is elsewhere.

    Raises:
        InputError: it has no id, no date or no assets.
    """
    said = document.get("id") if isinstance(document, dict) else None
    parts = ("properties", "assets")
    if not isinstance(said, str) or not said or not all(isinstance(document.get(p), dict) for p in parts):
        raise _refusal(said or shown(base), "it has no id, no properties or no assets")
    broken = [key for key, a in document["assets"].items() if not isinstance(a, dict) or not a.get("href")]
    if broken:
        raise _refusal(said, f"its asset {broken[0]} has no href")
    properties = document["properties"]
    text = properties.get("datetime") or properties.get("start_datetime")
    try:
        moment = dt.datetime.fromisoformat(str(text))
    except ValueError:
        raise _refusal(said, f"its datetime is {text!r}") from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
    try:
        return Item(_plain(document), base, moment.astimezone(dt.UTC), is_ours)
    except OverflowError:
        raise _refusal(said, f"its datetime is {text!r}") from None


def _plain(document: dict[str, Any]) -> dict[str, Any]:
    """The item without what is of another kind than STAC says, so that nobody need look again."""
    assets = {key: _without_odd_bands(asset) for key, asset in document["assets"].items()}
    plain = {**document, "assets": assets, "properties": _without_odd_bands(document["properties"])}
    box: Any = plain.get("bbox")
    if not _are_numbers(box, 4) or len(box) not in (4, 6):
        plain.pop("bbox", None)
    return plain


def _without_odd_bands(owner: dict[str, Any]) -> dict[str, Any]:
    odd = [
        key
        for key in ("bands", "eo:bands", "raster:bands")
        if key in owner
        and not (isinstance(owner[key], list) and all(isinstance(band, dict | int) for band in owner[key]))
    ]
    return {key: value for key, value in owner.items() if key not in odd} if odd else owner


def is_in(item: Item, span: Span | None) -> bool:
    """Whether an item was taken in a span; None is all time."""
    return span is None or span.holds(item.datetime, lambda: longitude_of_item(item.document))


def keeps(item: Item, span: Span | None, region: Any, conditions: Sequence[Condition]) -> bool:
    """Whether an item is meant; asked of each, since some servers answer more than they were asked for.

    Args:
        item: the item.
        span: when; None is all time.
        region: a shapely geometry in degrees, or None.
        conditions: all must hold.
    """
    return (
        is_in(item, span)
        and all(condition.holds(item.document) for condition in conditions)
        and (region is None or meets(item.document, region))
    )


def resolve(href: str, base: str, *, is_ours: bool = False) -> str:
    """The address an href means.

    What lies elsewhere may name what lies elsewhere, never a file of this machine: it may be a stranger's.

    Args:
        href: whole, or relative to ``base``.
        base: the address of the document that has it.
        is_ours: whether that document lies on this machine, though relative hrefs are meant from elsewhere.

    Raises:
        InputError: the scheme is none that scenes have, or is not allowed there.
    """
    whole = "://" in href or href.startswith("/")
    if not is_remote(base) or (is_ours and whole):
        found = href if whole else f"{without_query(base).rpartition('/')[0] or '.'}/{href}"
        return found if "://" in found and not found.startswith("file://") else split_uri(found)[2]
    scheme, place, _ = split_uri(base)
    if scheme in ("gs", "s3") and "://" not in href:
        # urljoin knows how names climb, and leaves schemes alone that it does not know.
        joined = urljoin(f"https://{place}/{base.partition('://')[2].partition('/')[2]}", href)
        found = f"{scheme}://{joined.removeprefix('https://')}" if joined.startswith(f"https://{place}/") else href
    else:
        found = href if "://" in href else urljoin(base, href)
    if "://" not in found or "\\" in found or split_uri(found)[0] not in ("gs", "s3", "https", scheme):
        raise InputError(
            f"{shown(base)} names {shown(href)}, which is a file of this machine or of a kind that is not read",
            "addresses of gs://, s3:// or https://",
            "leave that item out, or copy the catalogue here if you trust it",
            uri=shown(base),
        )
    return found


def asset_of(item: Item, name: str) -> tuple[str, str]:
    """(key, address) of the asset a band or mask is.

    Raises:
        LookupError: the item has no such asset, or it is no raster; the message says what it has.
        InputError: its address may not be read.
    """
    key = asset_key(item.document, name)
    asset = item.document["assets"][key]
    if not is_raster(asset):
        raise LookupError(f"its {key!r} is {asset.get('type') or 'no GeoTIFF by its name'}")
    return key, resolve(str(asset["href"]), item.base, is_ours=item.is_ours)


def place_of(item: Item, key: str) -> Place | None:
    """How an asset lies, as the projection extension says it; None where that is not enough or makes no sense."""
    asset, properties = item.document["assets"][key], item.document["properties"]

    def said(name: str) -> Any:
        return asset.get(f"proj:{name}", properties.get(f"proj:{name}"))

    crs = said("code") or (f"EPSG:{said('epsg')}" if isinstance(said("epsg"), int) else said("wkt2"))
    shape, transform, box = said("shape"), said("transform"), said("bbox")
    if not isinstance(crs, str) or not _are_numbers(shape, 2):
        return None
    height, width = int(shape[0]), int(shape[1])
    if not (0 < height < _MOST_SIDE and 0 < width < _MOST_SIDE):
        return None
    if _are_numbers(transform, 6):
        a, b, c, d, e, f = (float(number) for number in transform[:6])
    elif _are_numbers(box, 4):
        west, south, east, north = (float(number) for number in box[:4])
        a, b, c, d, e, f = (east - west) / width, 0.0, west, 0.0, (south - north) / height, north
    else:
        return None
    if a * e == b * d:
        return None
    return Place(crs=crs, transform=(a, b, c, d, e, f), width=width, height=height)


def nodata_of(item: Item, key: str) -> float | None:
    """The nodata value an item says an asset has: STAC 1.1 at the asset or its band, 1.0 in raster:bands.

    None where it says none, or its bands have different ones.
    """
    said: dict[str, float] = {}
    for places in told_by_band(item.document["assets"][key]):
        values = (place.get("nodata") for place in places)
        value = next((float(v) for v in values if v == "nan" or is_number(v)), None)
        if value is not None:
            said[f"{value!r}"] = value
    return next(iter(said.values())) if len(said) == 1 else None


def is_number(value: Any) -> TypeGuard[float]:
    """Whether a value of a document is a finite number that a float holds."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def cloud_cover_of(item: Item) -> float | None:
    """Percent, where the item says so."""
    value = item.document["properties"].get("eo:cloud_cover")
    return float(value) if is_number(value) else None


def with_whole_addresses(item: Item) -> dict[str, Any]:
    """The item with addresses that mean the same wherever it is kept; signatures stay out, they would expire."""
    assets = {}
    for key, asset in item.document["assets"].items():
        try:
            assets[key] = {**asset, "href": without_query(resolve(str(asset["href"]), item.base, is_ours=item.is_ours))}
        except InputError:
            continue  # nothing of ours will read it
    links = [{"rel": "self", "href": item.base, "type": "application/geo+json"}] if is_remote(item.base) else []
    return {**item.document, "assets": assets, "links": links}


def _are_numbers(value: Any, least: int) -> bool:
    return (
        isinstance(value, list | tuple)
        and len(value) >= least
        and all(isinstance(v, int | float) and not isinstance(v, bool) and abs(v) < 1e12 for v in value)
    )


def _refusal(name: str, why: str) -> InputError:
    return InputError(
        f"The item {name} cannot be used: {why}",
        "STAC items with an id, a datetime and assets",
        "leave it out of the search, or have it mended",
    )
