"""The catalogue of what is published below one destination: a static STAC catalogue, a collection for each product.

It is made of the items that lie there and of nothing else, so it can be made again at any time. The items stay where
their runs put them; all links are relative, so the whole may be moved.
"""

import json
import logging
import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import pystac
from pystac.utils import datetime_to_str, str_to_datetime

from clearyear import __version__
from clearyear.errors import ClearyearError, InputError
from clearyear.plan import Plan
from clearyear.stac import CATALOG, COLLECTION
from clearyear.stores import Store, open_store, shown

log = logging.getLogger(__name__)

_ITEM = re.compile(r"([^/]+)/[^/]+/[^/]+\.stac-item\.json")
_MARK = "clearyear:made_by"
"""Only what bears it is replaced: somebody's own catalogue may lie at the destination."""
_TRIES = 100
_WORLD = [-180.0, -90.0, 180.0, 90.0]


def write_catalog(out: str) -> dict[str, Any]:
    """Make the catalogue of everything published below ``out``.

    Several may do so at once, and runs may publish meanwhile: after writing, the items are listed again, and where they
    are others by then the catalogue is written again. So whoever writes last has seen all that lay there before.

    Args:
        out: what ``--out`` of the runs was.

    Returns:
        ``catalog``: its address; ``collections``: product → number of items.

    Raises:
        InputError: nothing is published there, or another catalogue lies in the way.
        ClearyearError: what lies there changed all the time.
    """
    store = open_store(out)
    if not _listed(store):
        raise InputError(
            f"{shown(out)} holds no published result",
            "items at <product>/<period>/*.stac-item.json below it",
            "give what --out of the runs was; `clearyear report` says what a run lacks",
            uri=out,
        )
    return _bring_up_to_date(store)


def refresh_catalog(plan: Plan) -> None:
    """Bring the catalogue above a plan's destination up to date; nothing where the folders were moved or renamed.

    Raises:
        InputError, StoreError, ClearyearError: as write_catalog.
    """
    out, separator, rest = open_store(plan.destination).root.rstrip("/").rpartition(f"/{plan.product.name}/")
    if separator and rest == plan.folder:
        store = open_store(out or "/")
        if _listed(store) or store.stat(CATALOG) is not None:
            _bring_up_to_date(store, product=plan.product.name)


def _bring_up_to_date(store: Store, *, product: str = "") -> dict[str, Any]:
    for _ in range(_TRIES):
        listed = _listed(store)
        counts = _write(store, listed, product)
        if _listed(store) == listed:
            store.sweep()
            return {"catalog": store.uri(CATALOG), "collections": counts}
    raise ClearyearError("What is published changes faster than the catalogue is written", transient=True)


def _listed(store: Store) -> dict[str, str]:
    """The items' names below the store and their versions."""
    return {entry.name: entry.version for entry in store.entries(lenient=True) if _ITEM.fullmatch(entry.name)}


def _write(store: Store, names: Mapping[str, str], product: str) -> dict[str, int]:
    """Collections first, so that the catalogue never leads to one that is not there."""
    items: dict[str, dict[str, pystac.Item]] = defaultdict(dict)
    for name in names:
        try:
            item = pystac.Item.from_dict(json.loads(store.read(name)), preserve_dict=False)
            _span(item), _box(item)  # what is wrong with them is to be known here
        except Exception as error:  # noqa: BLE001  what somebody put there must not keep the others out
            log.warning("%s is left out of the catalogue: it cannot be read (%s)", name, error)
            continue
        items[name.partition("/")[0]][name] = item
    for folder, found in sorted(items.items()):
        _put(store, f"{folder}/{COLLECTION}", _collection(folder, found))
    if product and product not in items:
        store.remove(f"{product}/{COLLECTION}")  # its last item was withdrawn
    _put(store, CATALOG, _catalog(sorted(items)))
    return {folder: len(found) for folder, found in sorted(items.items())}


def _put(store: Store, name: str, document: dict[str, Any]) -> None:
    if store.stat(name) is not None:
        try:
            ours = _MARK in json.loads(store.read(name))
        except (ValueError, TypeError, RecursionError):
            ours = False
        if not ours:
            raise InputError(
                f"{store.uri(name)} is not a catalogue of clearyear's",
                "a place of our own for the catalogue of what is published",
                "move it, or choose another --out",
                uri=store.uri(name),
            )
    store.write(name, (json.dumps({**document, _MARK: f"clearyear {__version__}"}, indent=1) + "\n").encode())


def _catalog(products: Sequence[str]) -> dict[str, Any]:
    catalog = pystac.Catalog("clearyear", "Composites and where each comes from.", title="Composites")
    catalog.clear_links()
    catalog.add_link(pystac.Link("root", f"./{CATALOG}", pystac.MediaType.JSON))
    for product in products:
        catalog.add_link(pystac.Link("child", f"./{product}/{COLLECTION}", pystac.MediaType.JSON, title=product))
    return catalog.to_dict(include_self_link=False, transform_hrefs=False)


def _collection(product: str, items: Mapping[str, pystac.Item]) -> dict[str, Any]:
    """The collection of a product's periods; its extents are those of the items."""
    ordered = sorted(items.items(), key=lambda pair: (_span(pair[1]), pair[0]))
    spans = [_span(item) for _, item in ordered]
    boxes = [box for _, item in ordered if (box := _box(item))]
    found = pystac.Collection(
        product,
        f"{product}: a composite for each period, with its preview, plan and report.",
        extent=pystac.Extent(
            pystac.SpatialExtent([_whole(boxes)]),
            pystac.TemporalExtent([[min(start for start, _ in spans), max(end for _, end in spans)]]),
        ),
        title=product,
        license="other",
    )
    found.clear_links()
    for relation in ("root", "parent"):
        found.add_link(pystac.Link(relation, f"../{CATALOG}", pystac.MediaType.JSON))
    for name, item in ordered:
        href = f"./{name.partition('/')[2]}"
        found.add_link(pystac.Link("item", href, pystac.MediaType.GEOJSON, title=item.properties.get("title")))
    return found.to_dict(include_self_link=False, transform_hrefs=False)


def _span(item: pystac.Item) -> tuple[datetime, datetime]:
    start, end = (item.properties.get(f"{which}_datetime") for which in ("start", "end"))
    moment = datetime_to_str(item.datetime) if item.datetime else ""
    begins, ends = str_to_datetime(start or moment), str_to_datetime(end or moment)
    if begins.tzinfo is None or ends.tzinfo is None:
        raise ValueError("its times have no time zone")
    return begins, ends


def _box(item: pystac.Item) -> list[float]:
    """West, south, east, north; heights are left out. Nothing where the item has no place."""
    box = [float(edge) for edge in item.bbox or ()]
    if len(box) not in (0, 4, 6) or not all(map(math.isfinite, box)):
        raise ValueError(f"its bbox is {item.bbox}")
    return box if len(box) < 6 else [*box[:2], *box[3:5]]


def _whole(boxes: Sequence[Sequence[float]]) -> list[float]:
    """The box round all boxes; round the whole Earth where one crosses 180° or none is known."""
    if not boxes:
        return _WORLD
    west, south, east, north = zip(*boxes, strict=True)
    if any(w > e for w, e in zip(west, east, strict=True)):
        return [-180.0, min(south), 180.0, max(north)]
    return [min(west), min(south), max(east), max(north)]
