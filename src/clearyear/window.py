"""One window, end to end: read → mask → reduce → write → result. The heart."""

import hashlib
import logging
import time

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from clearyear.cog import encode_tile
from clearyear.errors import WindowError
from clearyear.grid import Window
from clearyear.masks import valid_samples
from clearyear.plan import Plan
from clearyear.read import FailedRead, read_stack
from clearyear.reducers import get_reducer
from clearyear.stores import Store

log = logging.getLogger(__name__)

LAYER_NODATA = {"count": None, "source": -1.0}


class LayerFile(BaseModel):
    """One written tile."""

    model_config = ConfigDict(frozen=True)

    name: str
    size: int
    sha256: str


class WindowResult(BaseModel):
    """What became of one window: small, JSON-able, kept beside its tiles as their record."""

    model_config = ConfigDict(frozen=True)

    id: str
    status: str
    """``ok``, ``empty`` (no pixel has a valid sample) or ``failed``."""
    fingerprint: str
    layers: dict[str, LayerFile] = {}
    valid_share: float = 0.0
    """Share of pixels with at least one valid sample."""
    scenes_used: int = 0
    failed_reads: tuple[FailedRead, ...] = ()
    cause: str = ""
    """Why it failed."""
    seconds: float = 0.0
    bytes_read: int = 0
    """About how many stored bytes were read."""


def compute_window(plan: Plan, window: Window, store: Store) -> WindowResult:
    """Compute one window and write its tiles, then its record.

    Args:
        plan: what to do.
        window: one of the plan's windows.
        store: the plan's destination.

    Returns:
        The result; equal inputs give equal tiles, byte for byte.

    Raises:
        WindowError: more scenes failed to read than the plan allows; they are named, and so does the record left
            at the destination. ``transient`` where one of the failures may pass.
        StoreError, InputError: the tiles could not be written.
    """
    started = time.monotonic()
    layers, used, failed = reduce_window(plan, window)
    fingerprint = plan.fingerprint(window)
    if len(failed) > plan.max_failed_reads or layers is None:
        error = _too_many_failed(plan, window, failed)
        record = WindowResult(
            id=window.id, status="failed", fingerprint=fingerprint, failed_reads=tuple(failed), cause=error.found
        )
        store.write(plan.record_name(window), record.model_dump_json(indent=1).encode())
        raise error
    seen = layers["count"].max(axis=0) > 0
    files = {name: _write_layer(plan, window, store, name, layers[name]) for name in plan.product.layers}
    result = WindowResult(
        id=window.id,
        status="ok" if seen.any() else "empty",
        fingerprint=fingerprint,
        layers=files,
        valid_share=round(float(seen.mean()), 6),
        scenes_used=used,
        failed_reads=tuple(failed),
        seconds=round(time.monotonic() - started, 3),
        bytes_read=plan.read_bytes(window),
    )
    store.write(plan.record_name(window), result.model_dump_json(indent=1).encode())
    return result


def reduce_window(plan: Plan, window: Window) -> tuple[dict[str, NDArray[np.generic]] | None, int, list[FailedRead]]:
    """Read and reduce one window, writing nothing.

    Returns:
        Layers (bands, H, W), None when no scene could be read; how many scenes were used; the failed reads.
    """
    product = plan.product
    stack, used, failed = read_stack(plan.scenes, plan.grid, window, n_bands=product.n_bands, dtype=product.dtype)
    if not used:
        return None, 0, failed
    reducer = get_reducer(product.reducer)
    strips = []
    for top in range(0, window.height, rows := plan.strip_rows(window)):
        part = stack[:, :, top : top + rows]
        valid = valid_samples(part, product.invalid_values, whole_samples=reducer.whole_samples)
        strips.append(reducer.reduce(part, valid, product.nodata))
    layers = {name: np.concatenate([strip[name] for strip in strips], axis=1) for name in strips[0]}
    if "source" in layers and len(used) < len(plan.scenes):
        # The reducer counted within the scenes it got; the plan's numbering has those that failed too.
        source = layers["source"]
        layers["source"] = np.where(source < 0, source, np.asarray(used, source.dtype)[source])
    return layers, len(used), failed


def _write_layer(plan: Plan, window: Window, store: Store, layer: str, array: NDArray[np.generic]) -> LayerFile:
    data = encode_tile(
        array,
        plan.grid,
        window,
        nodata=plan.product.nodata if layer == "composite" else LAYER_NODATA[layer],
        names=plan.product.band_names if layer == "composite" else (),
        tags={
            "CLEARYEAR_WINDOW": window.id,
            "CLEARYEAR_FINGERPRINT": plan.fingerprint(window),
            "CLEARYEAR_LAYER": layer,
        },
    )
    name = plan.tile_name(window, layer)
    store.write(name, data)
    return LayerFile(name=name, size=len(data), sha256=hashlib.sha256(data).hexdigest())


def _too_many_failed(plan: Plan, window: Window, failed: list[FailedRead]) -> WindowError:
    named = "; ".join(f"{f.scene} ({f.cause})" for f in failed[:5])
    more = f" … and {len(failed) - 5} more" if len(failed) > 5 else ""
    return WindowError(
        f"{len(failed)} of {len(plan.scenes)} scenes could not be read: {named}{more}",
        f"at most {plan.max_failed_reads} (max_failed_reads)",
        "mend or leave out these scenes, or allow that many failed reads",
        transient=any(f.transient for f in failed),
        window=window.id,
        scene=failed[0].scene if failed else None,
    )
