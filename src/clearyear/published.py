"""What is published of a plan, looked at byte for byte, and what is mended of it."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from clearyear.completeness import WindowStatus
from clearyear.errors import ReadError, StoreError
from clearyear.mosaic import Mosaic
from clearyear.pictures import preview
from clearyear.plan import Plan
from clearyear.stac import LAW_FIELDS, law_fields
from clearyear.stores import Store, gdal_path
from clearyear.stores.pieces import digest_of
from clearyear.window import LayerFile


def published(
    plan: Plan, store: Store, statuses: Sequence[WindowStatus], *, of_these_tiles: bool = False
) -> tuple[Mosaic | None, str]:
    """What is published of this plan, byte for byte, or None and why not.

    A mosaic that lacks a window which is done, or holds another tile of one, is not the result any more. One that
    holds a tile that has been lost since still is, unless ``of_these_tiles`` asks for exactly those that are done.
    """
    if store.stat(plan.item_name) is None:
        return None, "no mosaic is published"
    try:
        item = json.loads(store.read(plan.item_name))
        if item["properties"]["clearyear:plan"] != plan.id:
            return None, "the published mosaic is another plan's"
        if not _is_of(item["properties"], statuses, exactly=of_these_tiles):
            return None, "the published mosaic is made of other tiles than lie there now"
        assets = {layer: item["assets"][layer] for layer in plan.published}
        if any({k: a[k] for k in LAW_FIELDS if k in a} != law_fields(plan, key) for key, a in assets.items()):
            return None, "the published mosaic says another scale or offset than the plan"
        files = {
            k: LayerFile(name=a["href"].removeprefix("./"), size=a["file:size"], sha256=a["file:checksum"][4:])
            for k, a in assets.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None, f"{plan.item_name} cannot be read"
    for layer, file in files.items():
        if file.name != plan.mosaic_name(layer):
            return None, f"{plan.item_name} names {file.name!r} as its {layer}, which is none of this plan's"
        try:
            entry = store.stat(file.name)
            if entry is None:
                return None, f"the published {file.name} is gone"
            if digest_of(entry) != file.sha256:
                return None, f"the published {file.name} is damaged: its SHA-256 differs"
        except (ReadError, StoreError) as error:
            return None, f"the published {file.name} cannot be read: {error.found}"
    return Mosaic(layers=files), ""


def _is_of(said: dict[str, Any], statuses: Sequence[WindowStatus], *, exactly: bool) -> bool:
    """Whether a mosaic whose item says this is made of the tiles that are done."""
    if said["clearyear:tiles"] == tiles_digest(statuses):
        return True
    done = {status.id for status in statuses if status.is_done}
    return not exactly and len(done) < len(statuses) and not done & set(said["clearyear:missing_windows"])


def tiles_digest(statuses: Sequence[WindowStatus]) -> str:
    """One SHA-256 for the bytes of all tiles that are done."""
    digest = hashlib.sha256()
    for status in statuses:
        if status.is_done and status.result is not None:
            digest.update("".join(file.sha256 for _, file in sorted(status.result.layers.items())).encode())
    return digest.hexdigest()


def mend(plan: Plan, store: Store, mosaic: Mosaic) -> None:
    """Make anew what goes beside a published mosaic and is not as it should be: its picture, its checksums."""
    sums = "".join(f"{file.sha256}  {file.name}\n" for file in mosaic.layers.values()).encode()
    if _content(store, f"{plan.stem}.sha256") != sums:
        store.write(f"{plan.stem}.sha256", sums)
    picture = _content(store, plan.preview_name)
    if not (picture.startswith(b"\xff\xd8") and picture.endswith(b"\xff\xd9")):
        rasters = [gdal_path(store.uri(plan.mosaic_name(key))) for key in plan.shown]
        store.write(plan.preview_name, preview(*rasters))


def _content(store: Store, name: str) -> bytes:
    return b"" if store.stat(name) is None else store.read(name)


def is_still_there(store: Store, mosaic: Mosaic) -> bool:
    """Whether its files have the sizes they were written with: another run may put its own in their place."""
    entries = [(store.stat(file.name), file.size) for file in mosaic.layers.values()]
    return all(entry is not None and entry.size == size for entry, size in entries)
