"""A search in a STAC API, by pystac-client; and where it finds nothing, why."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from pystac_client import Client, ItemSearch
from pystac_client.conformance import ConformanceClasses
from pystac_client.exceptions import APIError

from clearyear.errors import InputError, NoScenesError
from clearyear.scenes.catalog import Documents, links_of, no_collection
from clearyear.scenes.items import Item, is_in, item_of, resolve
from clearyear.scenes.solar import Span
from clearyear.scenes.stac_io import explained
from clearyear.scenes.stac_query import StacQuery
from clearyear.stores import shown

_PAGE = 100
MOST_ITEMS = 20_000
"""Where the job does not say: 50 years of a granule that is seen every day."""


def search(documents: Documents, query: StacQuery, span: Span, area: dict[str, Any] | None) -> Iterator[Item]:
    """The items an API answers with; by solar days those near the span's ends, too, that may lie in it.

    Args:
        documents: what reads them.
        query: the job's.
        span: when.
        area: ``bbox`` or ``intersects``, as the API takes them; None anywhere.

    Raises:
        InputError: a collection does not exist, or the API refuses the search.
        StoreError: the API does not answer; ``transient``.
    """
    try:
        client = _open(documents, query)
        if not query.collections:
            raise InputError(
                f"No collection of {shown(query.url)} is named", f"one of {_listed(client)}", "name one: --collection"
            )
        yield from _items(client, query, _asked(client, query, span, area))
    except APIError as error:
        _check_collections(documents, query)
        raise explained(error, query.url) from error


def why_nothing(documents: Documents, query: StacQuery, span: Span, area: dict[str, Any] | None) -> InputError:
    """What to say of a search without an answer, after some more questions."""
    _check_collections(documents, query)
    client = _open(documents, query)
    where, wanted = shown(query.url), "at least one item"
    named = ", ".join(query.collections)
    # A backfill may go on where it is only this period that has none.
    kind = NoScenesError if _first(client, query, None, area) else InputError
    if query.query and _first(client, query.model_copy(update={"query": []}), span, area):
        return kind(
            f"No item of {named} fulfils {' and '.join(query.query)}",
            wanted,
            "loosen or leave out a --query",
            uri=where,
        )
    bare = query.model_copy(update={"query": []})
    if found := _first(client, bare, None, area):
        date = f"{found.datetime:%Y-%m-%d}"
        return kind(
            f"{where} has nothing of {named} in {span.label}",
            f"{wanted}; there are some at other times, one of {date}",
            "choose another period",
            uri=where,
        )
    if area and _first(client, bare, None, None):
        return InputError(f"{where} has nothing of {named} in that area", wanted, "correct the box or area", uri=where)
    return InputError(f"{where} has no item of {named}", wanted, "choose another collection", uri=where)


def _open(documents: Documents, query: StacQuery) -> Client:
    client = Client.open(query.url, stac_io=documents.web)
    if not client.conforms_to(ConformanceClasses.ITEM_SEARCH):
        client.add_conforms_to("ITEM_SEARCH")  # it links to a search; old ones do not say by which rules
    return client


def _asked(client: Client, query: StacQuery, span: Span | None, area: dict[str, Any] | None) -> dict[str, Any]:
    """The search as pystac-client takes it."""
    asked: dict[str, Any] = {"collections": query.collections, "limit": min(_PAGE, query.max_items or _PAGE)}
    asked |= area or {}
    if span is not None and span.period.label != "all":
        period = span.in_utc
        # The API's interval has its end in it, ours has not.
        last = period.end - timedelta(milliseconds=1)
        asked["datetime"] = f"{_written(period.start)}/{_written(last)}"
    if query.query:
        # What an API cannot be asked is asked of its answers.
        if client.conforms_to(ConformanceClasses.QUERY):
            by_name: dict[str, dict[str, Any]] = {}
            for condition in query.conditions:
                by_name.setdefault(condition.name, {})[condition.operator] = condition.value
            asked["query"] = by_name
        elif client.conforms_to(ConformanceClasses.FILTER):
            asked["filter"] = {"op": "and", "args": [condition.cql2() for condition in query.conditions]}
    methods = {link.extra_fields.get("method", "GET") for link in client.get_links("search")}
    asked["method"] = "POST" if "POST" in methods else "GET"
    return asked


def _items(client: Client, query: StacQuery, asked: dict[str, Any], *, most: int = MOST_ITEMS) -> Iterator[Item]:
    found: ItemSearch = client.search(**asked)
    for number, document in enumerate(found.items_as_dicts()):
        if number >= most:
            raise InputError(
                f"The search in {shown(query.url)} has more than {most:,} answers",
                "fewer",
                "narrow it: a smaller area or period, a --query, or --max-items",
            )
        own = next((link["href"] for link in links_of(document) if link.get("rel") == "self"), "")
        yield item_of(document, resolve(own, query.url) if own else query.url)


def _first(client: Client, query: StacQuery, span: Span | None, area: dict[str, Any] | None) -> Item | None:
    one = {} if span is not None and span.days == "solar" else {"limit": 1, "max_items": 1}
    try:
        found = _items(client, query, _asked(client, query, span, area) | one)
        return next((item for item in found if is_in(item, span)), None)
    except APIError:
        return None


def _check_collections(documents: Documents, query: StacQuery) -> None:
    """Name a collection that does not exist, with those that do.

    Raises:
        InputError: there is one.
    """
    client = _open(documents, query)
    for name in query.collections:
        try:
            there = client.get_collection(name) is not None
        except Exception:  # noqa: BLE001  pystac has many ways to say that an answer is no collection
            there = True  # or it cannot be told: the search's own failure says more
        if not there:
            raise no_collection(query.url, name, _names(client))


def _names(client: Client) -> list[str]:
    try:
        return [collection.id for collection in client.get_collections()]
    except Exception:  # noqa: BLE001  as above; they are named for convenience only
        return []


def _listed(client: Client) -> str:
    return ", ".join(sorted(_names(client))[:30]) or "those it has"


def _written(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
