"""Windows → one COG for each layer. The extent is the plan's; a missing window stays nodata."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import rasterio
from pydantic import BaseModel, ConfigDict

from clearyear.cog import decode_tile, problems, profile, rasterio_window, write_cog
from clearyear.completeness import WindowStatus
from clearyear.errors import ClearyearError, StoreError
from clearyear.pictures import preview
from clearyear.plan import Plan
from clearyear.stores import Store
from clearyear.window import LAYER_NODATA, LayerFile

_CHUNK = 1 << 22


class Mosaic(BaseModel):
    """The published layers of one plan."""

    model_config = ConfigDict(frozen=True)

    layers: dict[str, LayerFile]


def build_mosaic(plan: Plan, store: Store, statuses: Sequence[WindowStatus]) -> Mosaic:
    """Join the windows that are there into one valid COG for each layer and publish them.

    Memory stays at one window and GDAL's cache: the image is put down window by window in a scratch file on the
    destination's disk, then rewritten as a COG.

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
        for layer in plan.product.layers:
            cogs[layer] = store.scratch() / f"cog-{plan.mosaic_name(layer)}"
            _build_layer(plan, store, statuses, layer, cogs[layer])
        files = {
            layer: LayerFile(name=plan.mosaic_name(layer), size=cog.stat().st_size, sha256=_file_digest(cog))
            for layer, cog in cogs.items()
        }
        store.write(plan.preview_name, preview(str(cogs["composite"])))
        for layer, cog in cogs.items():
            store.write_file(files[layer].name, cog)
        return Mosaic(layers=files)
    finally:
        for cog in cogs.values():
            cog.unlink(missing_ok=True)


def _build_layer(plan: Plan, store: Store, statuses: Sequence[WindowStatus], layer: str, cog: Path) -> None:
    """Make one layer's COG at ``cog``, a scratch path, and read it back whole."""
    image = cog.with_name(f"image-{plan.mosaic_name(layer)}")
    composite = layer == "composite"
    lossy = composite and plan.product.compress == "jpeg"
    # Where no value means nodata, a gap would pass for zeros that were seen.
    unmarked = composite and plan.product.nodata is None and not all(status.is_done for status in statuses)
    try:
        _put_down(plan, store, statuses, layer, image, masked=lossy or unmarked)
        write_cog(
            image,
            cog,
            compress=plan.product.compress if composite or plan.product.compress != "jpeg" else "deflate",
            # The source layer holds indices: their mean is no scene.
            resampling="nearest" if layer == "source" else "average",
        )
    finally:
        image.unlink(missing_ok=True)
    if found := problems(str(cog)):
        raise ClearyearError(
            f"The {layer} mosaic is not a valid COG: {'; '.join(found)}", "a COG that reads back whole", "report this"
        )


def _put_down(
    plan: Plan, store: Store, statuses: Sequence[WindowStatus], layer: str, image: Path, *, masked: bool
) -> None:
    """Write every finished tile of ``layer`` into an uncompressed, sparse GeoTIFF."""
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK="YES"),
        _create(plan, layer, image, statuses, masked=masked) as dataset,
    ):
        for window, status in zip(plan.windows, statuses, strict=True):
            if not status.is_done:
                continue
            pixels = _tile(store, status, layer)
            dataset.write(pixels, window=rasterio_window(window))
            if masked:
                dataset.write_mask((pixels != plan.product.nodata).any(axis=0), window=rasterio_window(window))


def _create(plan: Plan, layer: str, image: Path, states: Sequence[WindowStatus], *, masked: bool) -> Any:
    composite = layer == "composite"
    bands = {"composite": plan.product.n_bands, "source": 1}.get(layer, plan.count_bands)
    dtype = {"composite": plan.product.dtype, "count": "uint16", "source": "int16"}[layer]
    nodata = plan.product.nodata if composite else LAYER_NODATA[layer]
    settings = profile(plan.grid, None, count=bands, dtype=dtype, nodata=None if masked else nodata)
    del settings["compress"], settings["predictor"]
    dataset = rasterio.open(image, "w", **settings, sparse_ok=True, bigtiff="IF_SAFER")
    dataset.update_tags(**mosaic_tags(plan, states))
    for index, name in enumerate(plan.product.band_names if composite else (), start=1):
        if name:
            dataset.set_band_description(index, name)
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


def _tile(store: Store, status: WindowStatus, layer: str) -> Any:
    """The tile's pixels, from exactly the bytes its record speaks of."""
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
    return decode_tile(data)


def _file_digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
