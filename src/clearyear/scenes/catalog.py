"""STAC documents read one by one: saved searches, and static catalogues walked from link to link, with an end."""

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any

from clearyear.errors import InputError
from clearyear.scenes.items import Item, item_of, resolve
from clearyear.scenes.stac_io import WebIO, explained
from clearyear.stores import is_remote, open_store, parent_of, shown, split_uri, without_query
from clearyear.stores.address import WEB

_THREADS = 16
_MOST_BYTES = 1 << 30
MOST_DOCUMENTS = 100_000
"""Of one catalogue: 270 years of one granule. A larger one has collections to choose from, or an API."""
_MOST_DEPTH = 32
_FORM = "a STAC API, a Catalog, a Collection, an Item or an ItemCollection"


class Documents:
    """Reads the JSON documents of one catalogue, wherever it lies."""

    def __init__(self, root: str) -> None:
        self.root = root

    @cached_property
    def web(self) -> WebIO:
        """One session for all documents on the web."""
        return WebIO(self.root)

    def read(self, uri: str) -> Any:
        """One document.

        Raises:
            InputError: it is not there, is no JSON or is too large.
            StoreError: its server does not answer; ``transient``.
        """
        try:
            return json.loads(self._text(uri))
        except (ValueError, RecursionError) as error:
            raise InputError(
                f"{shown(uri)} is not JSON ({str(error)[:200]})", _FORM, "correct the address", uri=shown(uri)
            ) from error

    def _text(self, uri: str) -> str | bytes:
        if split_uri(uri)[0] in WEB:
            from pystac_client.exceptions import APIError

            try:
                return self.web.read_text(uri)
            except APIError as error:
                raise explained(error, uri) from error
        folder, name = parent_of(uri)
        store = open_store(folder)
        entry = store.stat(name)
        if entry is None or entry.size > _MOST_BYTES:
            found = "is not there" if entry is None else f"has {entry.size:,} bytes"
            raise InputError(f"{shown(uri)} {found}", f"{_FORM} of at most 1 GB", "correct the address", uri=shown(uri))
        return store.read(name)


def is_stac(document: Any) -> bool:
    """Whether a JSON document is STAC, of whatever kind, rather than a manifest."""
    if not isinstance(document, dict):
        return False
    kinds = ("FeatureCollection", "Feature", "Catalog", "Collection")
    return document.get("type") in kinds or "stac_version" in document


def is_api(document: dict[str, Any]) -> bool:
    """Whether the document is the root of an API that can be searched."""
    return "conformsTo" in document or any(link.get("rel") == "search" for link in links_of(document))


def links_of(document: Any) -> list[dict[str, Any]]:
    """Its links, those that are any."""
    links = document.get("links") if isinstance(document, dict) else None
    return [link for link in links or [] if isinstance(link, dict) and isinstance(link.get("href"), str)]


def saved_items(document: dict[str, Any], uri: str) -> list[Item]:
    """The items of an ItemCollection, or the one item that the document is.

    Raises:
        InputError: one of them is no item.
    """
    features = document.get("features", [document] if document.get("type") == "Feature" else None)
    if not isinstance(features, list):
        raise InputError(f"{shown(uri)} holds no items", _FORM, "correct the address", uri=shown(uri))
    items = []
    for feature in features:
        own = next((link["href"] for link in links_of(feature) if link.get("rel") == "self"), "")
        items.append(item_of(feature, resolve(own, uri) if own else uri, is_ours=not is_remote(uri)))
    return items


def walk(documents: Documents, root: dict[str, Any], collections: Sequence[str]) -> Iterator[Item]:
    """The items of a static catalogue, level by level.

    Args:
        documents: what reads them.
        root: the catalogue's document.
        collections: read no others; none named means all.

    Raises:
        InputError: a document cannot be read, a collection is not there, or there is no end to it.
    """
    level: list[tuple[str, Any]] = [(documents.root, root)]
    # Of a server's answers only the query may tell one from another.
    seen, names = {documents.root, without_query(documents.root)}, []
    for _ in range(_MOST_DEPTH):
        children: list[str] = []
        items: list[str] = []
        for uri, document in level:
            if not isinstance(document, dict):
                raise InputError(f"{shown(uri)} is no catalogue", _FORM, "mend the link to it", uri=shown(uri))
            if document.get("type") == "Collection" or "extent" in document:
                names.append(str(document.get("id")))
                if collections and names[-1] not in collections:
                    continue
            for rel, found in (("child", children), ("item", items)):
                hrefs = [resolve(link["href"], uri) for link in links_of(document) if link.get("rel") == rel]
                fresh = [href for href in dict.fromkeys(hrefs) if href not in seen]
                seen.update(fresh)
                found += fresh
        if len(seen) > MOST_DOCUMENTS:
            raise _endless(documents.root, f"more than {MOST_DOCUMENTS:,} documents")
        with ThreadPoolExecutor(_THREADS) as pool:
            yield from map(item_of, pool.map(documents.read, items), items)
            level = list(zip(children, pool.map(documents.read, children), strict=True))
        if not level:
            break
    else:
        raise _endless(documents.root, f"more than {_MOST_DEPTH} levels")
    absent = [name for name in collections if name not in names]
    if absent:
        raise no_collection(documents.root, absent[0], names)


def no_collection(uri: str, name: str, there: Sequence[str]) -> InputError:
    """What to say of a collection that does not exist."""
    some = ", ".join(sorted(there)[:30]) + (f" and {len(there) - 30} more" if len(there) > 30 else "")
    return InputError(
        f"{shown(uri)} has no collection {name!r}",
        f"one of {some}" if there else "a catalogue with collections",
        "correct --collection",
        uri=shown(uri),
    )


def _endless(uri: str, found: str) -> InputError:
    return InputError(
        f"The catalogue {shown(uri)} has {found}",
        "a catalogue that can be read whole",
        "name a --collection or a smaller catalogue below it, or search its API",
        uri=shown(uri),
    )
