"""From STAC items to scenes: doubles left out, bands found, numbers harmonised, files looked at."""

from collections.abc import Mapping, Sequence

from clearyear.area import Area
from clearyear.errors import InputError
from clearyear.periods import Period
from clearyear.scenes.band_names import asset_key, names_of
from clearyear.scenes.files import with_versions
from clearyear.scenes.fuse import Fuse, Look, group_of, look_of_item, newest
from clearyear.scenes.harmonise import Harmony, Law, harmonise, law_of
from clearyear.scenes.items import Item, asset_of, cloud_cover_of, nodata_of, place_of
from clearyear.scenes.scene import Found, Place, Scene
from clearyear.scenes.signing import signer
from clearyear.scenes.solar import Days
from clearyear.scenes.stac_query import StacQuery
from clearyear.scenes.stac_search import search_items
from clearyear.stores import shown

_SHOWN = 5


def find_items(
    query: StacQuery,
    *,
    period: Period,
    bands: Sequence[str] = (),
    masks: Sequence[str] = (),
    how: Fuse = "none",
    area: Area | None = None,
    days: Days = "utc",
) -> Found:
    """The scenes a search finds.

    Args:
        query: what is asked for.
        period: taken within [start, end).
        bands: which, by common name, asset key or number; none: the true-colour image, or the only raster there is.
        masks: the assets of masks, called likewise.
        how: what becomes of scenes that are one observation.
        area: where; None anywhere.
        days: whose the period's are.

    Returns:
        Scenes in acquisition order. ``assets`` have the names the bands were asked for by; one band alone, or a file
        that has them all, is ``data``.

    Raises:
        InputError: the catalogue, a collection or a band does not exist, nothing is found, an item cannot be used or a
            file may not be read.
        StoreError: a server does not answer; ``transient``.
    """
    items, looks = _without_doubles(search_items(query, period, area, days), how)
    bands = bands or _usual_bands(items)
    names = {band: ("data" if len(bands) == 1 else band) for band in bands} | {mask: mask for mask in masks}
    keys, addresses = _assets(items, names)
    _refuse_one_for_two(keys, {names[band]: band for band in bands})
    harmony = _harmony(items, keys, [names[band] for band in bands], wanted=query.harmonise)
    sign = signer(query.sign)  # refused now, and not by the first window
    scenes = [
        Scene(
            id=item.id,
            datetime=item.datetime,
            assets=addresses[item.id],
            version="",
            size=0,
            cloud_cover=cloud_cover_of(item),
            places=_places(item, keys[item.id]),
            add=harmony.add[item.id],
            sign=query.sign or "",
            group=group_of(item.datetime, look, how),
        )
        for item, look in zip(items, looks, strict=True)
    ]
    where = f"the search in {shown(query.url)}"
    nodata, nodata_unlike = _nodata(items, keys, [names[band] for band in bands])
    return Found(
        scenes=tuple(with_versions(scenes, where=where, sign=sign if query.sign else None)),
        assets=tuple(names[band] for band in bands),
        nodata=nodata,
        nodata_unlike=nodata_unlike,
        scale=harmony.scale,
        offset=harmony.offset,
        tells_law=harmony.is_told,
    )


def _without_doubles(items: Sequence[Item], how: Fuse) -> tuple[list[Item], list[Look]]:
    looks = [look_of_item(item.document, item.datetime) for item in items]
    kept = newest(looks) if how != "none" else range(len(items))
    return [items[i] for i in kept], [looks[i] for i in kept]


def _usual_bands(items: Sequence[Item]) -> list[str]:
    def is_there(name: str, item: Item) -> bool:
        try:
            asset_key(item.document, name)
        except LookupError:
            return False
        return True

    if all(is_there("visual", item) for item in items):
        return ["visual"]
    only = {names_of(item.document)[0].partition(" ")[0] for item in items if len(names_of(item.document)) == 1}
    if len(only) == 1 and all(len(names_of(item.document)) == 1 for item in items):
        return list(only)
    raise InputError(
        "No bands are named, and the items have no true-colour image",
        f"some of {', '.join(names_of(items[0].document)) or 'their rasters'}",
        "name them: --bands red,green,blue",
    )


def _assets(
    items: Sequence[Item], names: Mapping[str, str]
) -> tuple[dict[str, dict[str, str]], dict[str, dict[str, str]]]:
    """Of each item: what the bands are called → asset key, and → address.

    Raises:
        InputError: items lack a band; they are named, with what they have.
    """
    keys: dict[str, dict[str, str]] = {item.id: {} for item in items}
    addresses: dict[str, dict[str, str]] = {item.id: {} for item in items}
    lacking: list[str] = []
    for item in items:
        for asked, name in names.items():
            try:
                keys[item.id][name], addresses[item.id][name] = asset_of(item, asked)
            except LookupError as error:
                lacking.append(f"{item.id}: {error.args[0]}")
                break
    if lacking:
        more = f" … and {len(lacking) - _SHOWN} more" if len(lacking) > _SHOWN else ""
        raise InputError(
            f"{len(lacking)} of {len(items)} items do not have every band: {'; '.join(lacking[:_SHOWN])}{more}",
            f"the bands {', '.join(names)} in each",
            "correct --bands or --mask, or narrow the search to items that have them",
        )
    return keys, addresses


def _refuse_one_for_two(keys: Mapping[str, Mapping[str, str]], bands: Mapping[str, str]) -> None:
    for item, of in keys.items():
        first: dict[str, str] = {}
        for name, band in bands.items():
            other = first.setdefault(of[name], band)
            if other != band:
                raise InputError(
                    f"The bands {other} and {band} are one, the asset {of[name]} of {item}",
                    "each band once",
                    "correct --bands",
                    scene=item,
                )


def _harmony(
    items: Sequence[Item], keys: Mapping[str, Mapping[str, str]], bands: Sequence[str], *, wanted: bool
) -> Harmony:
    if not wanted:
        return Harmony({item.id: {} for item in items}, None, None, is_told=True)
    laws: dict[str, dict[str, Law]] = {}
    for item in items:
        try:
            laws[item.id] = {band: law_of(item.document, keys[item.id][band]) for band in bands}
        except ValueError as error:
            raise InputError(
                f"What the numbers of {item.id} mean cannot be told: {error}",
                "an item whose numbers are known to hold the offset of 1000 or not (earthsearch:boa_offset_applied, "
                "s2:processing_baseline)",
                "leave that item out, or set stac.harmonise: false to take all numbers as they are",
                scene=item.id,
            ) from error
    return harmonise(laws)


def _places(item: Item, keys: Mapping[str, str]) -> dict[str, Place]:
    found = {name: place_of(item, key) for name, key in keys.items()}
    return {name: place for name, place in found.items() if place is not None}


def _nodata(
    items: Sequence[Item], keys: Mapping[str, Mapping[str, str]], bands: Sequence[str]
) -> tuple[float | None, str]:
    """What the items say that say any; and where they contradict each other, who says what."""
    first: dict[float, str] = {}
    for item in items:
        for band in bands:
            value = nodata_of(item, keys[item.id][band])
            if value is not None:
                first.setdefault(value, f"{value:g} in {item.id} ({band})")
    # NaN is invalid wherever it stands, and contradicts nothing.
    numbers = [value for value in first if value == value]
    if len(numbers) > 1:
        return None, ", ".join(first[value] for value in numbers[:_SHOWN])
    return (next(iter(numbers or first)) if numbers or len(first) == 1 else None), ""
