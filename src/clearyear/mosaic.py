"""Windows → one COG for each layer. The extent is the plan's; a missing window stays nodata."""

import hashlib
import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import rasterio
from pydantic import BaseModel, ConfigDict

from clearyear.cog.assemble import Source, assemble
from clearyear.cog.geotiff import decode_tile, describe, fields, problems, profile, rasterio_window, write_cog
from clearyear.cog.layers import Layer, frame_of, layer_of
from clearyear.cog.parts import Differs
from clearyear.completeness import WindowStatus
from clearyear.display import VISUAL
from clearyear.errors import ClearyearError, StoreError
from clearyear.grid import Window
from clearyear.pictures import preview
from clearyear.plan import Plan
from clearyear.stores import Store
from clearyear.visual import write_visual
from clearyear.window import LayerFile

log = logging.getLogger(__name__)


class Mosaic(BaseModel):
    """The published files of one plan."""

    model_config = ConfigDict(frozen=True)

    layers: dict[str, LayerFile]
    """By the keys of ``Plan.published``."""


def build_mosaic(plan: Plan, store: Store, statuses: Sequence[WindowStatus]) -> Mosaic:
    """Join the windows that are there into one valid COG for each layer and publish them.

    Where the mosaic's blocks are the tiles' own, their bytes are put together (``assemble``). JPEG, masks, and tiles
    of another block size are put down in a scratch image on the destination's disk and encoded once. Memory stays at
    a few windows either way.

    Args:
        plan: what the extent, the names and the compression follow from.
        store: the plan's destination.
        statuses: one for each window; those not done stay nodata and are named in the metadata.

    Returns:
        Names, sizes and checksums of what was written; the composite's preview goes beside it.

    Raises:
        ClearyearError: a tile changed since it was checked, or the COG cannot be read back whole; nothing is
            published then.
    """
    cogs: dict[str, Path] = {}
    try:
        # All of them first: a layer that is refused must not find its neighbours replaced.
        for layer in plan.files:
            cogs[layer] = store.scratch() / f"cog-{plan.mosaic_name(layer)}"
            _build_layer(plan, store, statuses, layer, cogs[layer])
        if plan.product.display:
            cogs[VISUAL] = store.scratch() / f"cog-{plan.mosaic_name(VISUAL)}"
            write_visual(plan, cogs, cogs[VISUAL], tags=mosaic_tags(plan, statuses))
            _prove(VISUAL, cogs[VISUAL])
        files = {
            layer: LayerFile(name=plan.mosaic_name(layer), size=cog.stat().st_size, sha256=_file_digest(cog))
            for layer, cog in cogs.items()
        }
        store.write(plan.preview_name, preview(*(str(cogs[key]) for key in plan.shown)))
        for layer, cog in cogs.items():
            store.write_file(files[layer].name, cog)
        return Mosaic(layers=files)
    finally:
        for cog in cogs.values():
            cog.unlink(missing_ok=True)


def _build_layer(plan: Plan, store: Store, statuses: Sequence[WindowStatus], name: str, cog: Path) -> None:
    """Make one layer's COG at ``cog``, a scratch path, and read it back whole."""
    layer = layer_of(plan, name)
    # Where no value means nodata, a gap would pass for zeros that were seen: it needs a mask, as JPEG does.
    composite = plan.files[name][0] == "composite"
    unmarked = composite and layer.nodata is None and not all(status.is_done for status in statuses)
    masked = layer.compress == "jpeg" or unmarked
    if masked or not _joined(plan, store, statuses, layer, cog):
        _encode_once(plan, store, statuses, layer, cog, masked=masked)
    _prove(name, cog)


def _prove(name: str, cog: Path) -> None:
    if found := problems(str(cog)):
        raise ClearyearError(
            f"The {name} mosaic is not a valid COG: {'; '.join(found)}", "a COG that reads back whole", "report this"
        )


def _joined(plan: Plan, store: Store, statuses: Sequence[WindowStatus], layer: Layer, cog: Path) -> bool:
    """Put the layer together from its tiles' bytes, if they are what the mosaic is made of."""
    frame = frame_of(plan.grid, plan.tile_size)
    if not (frame.whole and layer.joined):
        return False
    settings = profile(plan.grid, None, count=layer.n_bands, dtype=layer.dtype, nodata=layer.nodata)
    tags = mosaic_tags(plan, statuses)
    sources = [_source(store, w, s, layer.name) for w, s in zip(plan.windows, statuses, strict=True)]
    try:
        assemble(
            cog,
            sources,
            layer=layer,
            frame=frame,
            fields=fields(
                settings,
                compress=layer.lossless,
                names=layer.band_names,
                tags=tags,
                scale=(layer.scale, layer.offset),
            ),
        )
    except Differs as difference:
        log.info("The %s tiles are decoded and encoded again: %s", layer.name, difference)
        return False
    return True


def _source(store: Store, window: Window, status: WindowStatus, layer: str) -> Source:
    if status.result is None or not status.is_done:
        return window, None, 0
    return window, partial(_tile, store, status, layer), status.result.layers[layer].size


def _encode_once(
    plan: Plan, store: Store, statuses: Sequence[WindowStatus], layer: Layer, cog: Path, *, masked: bool
) -> None:
    """Put every finished tile down in an uncompressed, sparse GeoTIFF and let GDAL make a COG of it."""
    image = cog.with_name(f"image-{cog.name}")
    try:
        with (
            rasterio.Env(GDAL_TIFF_INTERNAL_MASK="YES"),
            _create(plan, layer, image, statuses, masked=masked) as dataset,
        ):
            for window, status in zip(plan.windows, statuses, strict=True):
                if not status.is_done:
                    continue
                pixels = decode_tile(_tile(store, status, layer.name))
                dataset.write(pixels, window=rasterio_window(window))
                if masked:
                    dataset.write_mask((pixels != layer.nodata).any(axis=0), window=rasterio_window(window))
        write_cog(image, cog, compress=layer.compress, resampling=layer.resampling, level=layer.level)
    finally:
        image.unlink(missing_ok=True)


def _create(plan: Plan, layer: Layer, image: Path, states: Sequence[WindowStatus], *, masked: bool) -> Any:
    settings = profile(plan.grid, None, count=layer.n_bands, dtype=layer.dtype, nodata=None if masked else layer.nodata)
    dataset = rasterio.open(image, "w", **settings, bigtiff="IF_SAFER")
    tags, scale = mosaic_tags(plan, states), (layer.scale, layer.offset)
    describe(dataset, names=layer.band_names, tags=tags, scale=scale)
    return dataset


def mosaic_tags(plan: Plan, statuses: Sequence[WindowStatus]) -> dict[str, str]:
    """What a mosaic says of itself, whoever opens it: product, period, and whether it is whole."""
    absent = [s.id for s in statuses if not s.is_done]
    tags = {
        "CLEARYEAR_PRODUCT": plan.product.name,
        "CLEARYEAR_REDUCER": plan.product.reducer,
        "CLEARYEAR_PERIOD": plan.period.label,
        "CLEARYEAR_SCENES": str(len(plan.scenes)),
        "CLEARYEAR_PLAN": plan.id,
        "CLEARYEAR_COMPLETE": "NO" if absent else "YES",
        "CLEARYEAR_WINDOWS": f"{len(statuses) - len(absent)} of {len(statuses)}",
    }
    if absent:
        tags["CLEARYEAR_MISSING_WINDOWS"] = " ".join(absent)
    return tags


def _tile(store: Store, status: WindowStatus, layer: str) -> bytes:
    """Exactly the bytes that the tile's record speaks of."""
    assert status.result is not None  # is_done says so
    file = status.result.layers[layer]
    data = store.read(file.name)
    if hashlib.sha256(data).hexdigest() != file.sha256:
        raise StoreError(
            f"{file.name} has changed since it was checked",
            "the tile as it was written",
            "run it again",
            transient=True,
        )
    return data


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
