"""The items a job's STAC search means: from an API, a static catalogue or a saved search, by one set of rules."""

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from clearyear.area import Area
from clearyear.errors import InputError, NoScenesError
from clearyear.periods import Period
from clearyear.scenes import stac_api
from clearyear.scenes.catalog import Documents, is_api, is_stac, saved_items, walk
from clearyear.scenes.items import Item, is_in, keeps, with_whole_addresses
from clearyear.scenes.solar import Days, Span
from clearyear.scenes.stac_query import StacQuery
from clearyear.stores import is_remote, open_store, parent_of, shown

log = logging.getLogger(__name__)


def search_items(query: StacQuery, period: Period, area: Area | None = None, days: Days = "utc") -> list[Item]:
    """The items that are meant, each once, in acquisition order; saved, where the job says so.

    Args:
        query: what is asked for.
        period: taken within [start, end).
        area: where; None anywhere.
        days: whose the period's are.

    Raises:
        InputError: the catalogue or a collection does not exist, nothing is found, or an item cannot be used.
        StoreError: a server does not answer; ``transient``.
    """
    documents = Documents(query.url)
    document = documents.read(query.url)
    if not is_stac(document) and not (isinstance(document, dict) and is_api(document)):
        raise InputError(
            f"{shown(query.url)} is JSON, but not STAC",
            "a STAC API, a Catalog, a Collection, an Item or an ItemCollection",
            "correct the address",
            uri=shown(query.url),
        )
    asked = _asked(area)
    region, span = _geometry(area), Span(period, days)
    api = is_api(document) and is_remote(query.url)
    if api:
        candidates = list(_first_of(stac_api.search(documents, query, span, asked), query, span, region))
    else:
        features = document.get("type") in ("FeatureCollection", "Feature")
        candidates = (
            saved_items(document, query.url) if features else list(walk(documents, document, query.collections))
        )
    wanted: set[str | None] = set(() if api or document.get("type") == "Feature" else query.collections)
    if wanted and document.get("type") != "FeatureCollection":
        wanted.add(None)  # who is linked from a catalogue need not say
    meant = [
        item
        for item in candidates
        if keeps(item, span, region, query.conditions) and (not wanted or item.document.get("collection") in wanted)
    ]
    if not meant:
        raise (
            stac_api.why_nothing(documents, query, span, asked) if api else _nothing(candidates, query, span, region)
        )
    meant = sorted(_once(meant, query), key=lambda item: (item.datetime, item.id))
    if query.max_items and len(meant) > query.max_items:
        log.warning("The search has %d items; the first %d are taken (max_items)", len(meant), query.max_items)
        meant = meant[: query.max_items]
    if query.save_items:
        _save(meant, query)
    log.info("%d items found in %s", len(meant), shown(query.url))
    return meant


def _first_of(found: Iterable[Item], query: StacQuery, span: Span, region: Any) -> Iterator[Item]:
    """Of an API's answer as many as are wanted, without those that it was not asked for."""
    taken = 0
    for item in found:
        if query.max_items and taken >= query.max_items:
            log.warning("The search has more than %d items; the rest is left out (max_items)", query.max_items)
            return
        if keeps(item, span, region, query.conditions):
            taken += 1
            yield item


def _once(items: Sequence[Item], query: StacQuery) -> list[Item]:
    """Each item once; two that are not the same under one id are refused."""
    by_id: dict[str, Item] = {}
    for item in items:
        before = by_id.setdefault(item.id, item)
        if before is not item and _content(before) != _content(item):
            raise InputError(
                f"Two different items of {shown(query.url)} are called {item.id}",
                "one item for a name",
                "name one collection with --collection",
            )
    return list(by_id.values())


def _content(item: Item) -> tuple[Any, Any]:
    return item.document["properties"], item.document["assets"]


def _geometry(area: Area | None) -> Any:
    import shapely

    return None if area is None else shapely.union_all([shapely.Polygon(ring) for ring in area.rings])


def _asked(area: Area | None) -> dict[str, Any] | None:
    """``bbox`` or ``intersects``, as an API takes them; None where anywhere will do."""
    if area is None:
        return None
    corners = {(float(x), float(y)) for ring in area.rings for x, y in ring}
    west, south, east, north = area.bbox
    if corners == {(west, south), (west, north), (east, north), (east, south)}:
        return {"bbox": [west, south, east, north]}
    rings = [[[[float(x), float(y)] for x, y in ring]] for ring in area.rings]
    return {"intersects": {"type": "MultiPolygon", "coordinates": rings}}


def _nothing(candidates: Sequence[Item], query: StacQuery, span: Span, region: Any) -> InputError:
    where = shown(query.url)
    # A backfill may go on where it is only this period that has none.
    at_other_times = any(keeps(item, None, region, query.conditions) for item in candidates)
    kind = NoScenesError if at_other_times else InputError
    steps: list[tuple[str, str, Callable[[Item], bool]]] = [
        (f"was taken in {span.label}", "ask for another period", lambda item: is_in(item, span)),
        ("lies in that area", "ask for another area", lambda item: keeps(item, None, region, ())),
        (
            f"fulfils {' and '.join(query.query)}",
            "loosen or leave out a --query",
            lambda item: keeps(item, None, None, query.conditions),
        ),
        (
            f"is of {', '.join(query.collections)}",
            "name another --collection",
            lambda item: item.document.get("collection") in query.collections,
        ),
    ]
    for words, do, holds in steps:
        if candidates and not any(holds(item) for item in candidates):
            dates = sorted(item.datetime for item in candidates)
            others = f"; those found were taken from {dates[0]:%Y-%m-%d} to {dates[-1]:%Y-%m-%d}"
            return kind(
                f"None of the {len(candidates)} items of {where} {words}",
                f"at least one{others}",
                do,
                uri=where,
            )
    found = "none is all that was asked for at once" if candidates else "it has no items"
    return kind(
        f"Nothing found in {where}: {found}",
        "at least one item",
        "ask for a longer period or a larger area, or leave out a --query",
        uri=where,
    )


def _save(items: Sequence[Item], query: StacQuery) -> None:
    """Write an ItemCollection that finds the same items without the catalogue."""
    assert query.save_items is not None
    folder, name = parent_of(query.save_items)
    collection = {"type": "FeatureCollection", "features": [with_whole_addresses(item) for item in items]}
    open_store(folder).write(name, (json.dumps(collection, indent=1) + "\n").encode())
