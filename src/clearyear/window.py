"""One window, end to end: read → mask → reduce → write → result. The heart."""

import hashlib
import logging
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from threading import local
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveInt

from clearyear.cog.geotiff import encode_tile
from clearyear.cog.layers import block_of, frame_of, layer_of
from clearyear.errors import WindowError
from clearyear.grid import Window
from clearyear.memory import pieces, strip_rows
from clearyear.observations import histogram
from clearyear.plan import Plan
from clearyear.reading.observe import Observed, observe
from clearyear.reading.stack import FailedRead
from clearyear.reducers.base import Layers
from clearyear.scenes.scene import Scene
from clearyear.stores import Store

log = logging.getLogger(__name__)

_thread = local()


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
    observations: dict[NonNegativeInt, PositiveInt] = {}
    """Valid samples → pixels that have so many; empty in records of versions that did not count them."""
    scenes_used: int = 0
    failed_reads: tuple[FailedRead, ...] = ()
    cause: str = ""
    """Why it failed."""
    seconds: float = 0.0
    bytes_read: int = 0
    """About how many stored bytes were read."""


def compute_window(
    plan: Plan, window: Window, store: Store, *, threads: int = 1, window_bytes: int | None = None
) -> WindowResult:
    """Compute one window and write its tiles, then its record.

    Args:
        plan: what to do.
        window: one of the plan's windows.
        store: the plan's destination.
        threads: how many read and reduce this one window.
        window_bytes: memory this may take; see ``budget``. No pixel depends on it.

    Returns:
        The result; equal inputs give equal tiles, byte for byte.

    Raises:
        WindowError: more scenes failed to read than the plan allows; they are named, and so does the record left
            at the destination. ``transient`` where one of the failures may pass.
        StoreError, InputError: the tiles could not be written.
    """
    from clearyear.completeness import check_window  # which knows windows, in turn

    started = time.monotonic()
    layers, used, failed = reduce_window(plan, window, threads=threads, window_bytes=window_bytes)
    fingerprint = plan.fingerprint(window)
    if len(failed) > plan.max_failed_reads or layers is None:
        error = _too_many_failed(plan, window, failed)
        record = WindowResult(
            id=window.id, status="failed", fingerprint=fingerprint, failed_reads=tuple(failed), cause=error.found
        )
        if not check_window(plan, window, store).is_done:  # another run may have done it
            store.write(plan.record_name(window), record.model_dump_json(indent=1).encode())
        raise error
    counted = histogram(layers["count"])
    seen = window.n_pixels - counted.get(0, 0)
    files = {
        file: write_layer(plan, window, store, file, layers[layer] if band is None else layers[layer][band : band + 1])
        for file, (layer, band) in plan.files.items()
    }
    result = WindowResult(
        id=window.id,
        status="ok" if seen else "empty",
        fingerprint=fingerprint,
        layers=files,
        valid_share=round(seen / window.n_pixels, 6),
        observations=counted,
        scenes_used=used,
        failed_reads=tuple(failed),
        seconds=round(time.monotonic() - started, 3),
        bytes_read=plan.read_bytes(window),
    )
    store.write(plan.record_name(window), result.model_dump_json(indent=1).encode())
    return result


def reduce_window(
    plan: Plan, window: Window, *, threads: int = 1, window_bytes: int | None = None
) -> tuple[Layers | None, int, list[FailedRead]]:
    """Read and reduce one window, writing nothing.

    The window is done piece by piece; a scene that fails in one piece is left out of all, so that the answer does not
    depend on how the window is cut.

    Returns:
        Layers (bands, H, W), None when too few scenes could be read; how many scenes were used; the failed reads.
    """
    parts = pieces(plan, window, window_bytes, threads=threads)
    failed: dict[str, FailedRead] = {}
    while True:
        scenes = [scene for scene in plan.scenes if scene.id not in failed]
        if len(failed) > plan.max_failed_reads or not scenes:
            return None, len(scenes), list(failed.values())
        layers, more = _reduce_pieces(plan, window, parts, scenes, threads)
        if layers is not None:
            if failed:
                # The reducer counted within the scenes it got; the plan's numbering has those that failed too.
                used = np.array([i for i, s in enumerate(plan.scenes) if s.id not in failed], np.int16)
                for name in (name for name in layers if plan.kind(name).is_index):
                    source: NDArray[Any] = layers[name]
                    layers[name] = np.where(source < 0, source, used[source]).astype(source.dtype)
            return layers, len(scenes), list(failed.values())
        failed |= {read.scene: read for read in more}


def _reduce_pieces(
    plan: Plan, window: Window, parts: Sequence[Window], scenes: Sequence[Scene], threads: int
) -> tuple[Layers | None, list[FailedRead]]:
    """All pieces of a window from exactly these scenes, or None and what failed in the first piece that did."""
    layers: Layers = {}
    with ExitStack() as stack_of:
        buffer = stack_of.enter_context(_buffer(plan.sample_bytes * max(part.n_pixels for part in parts)))
        pool = stack_of.enter_context(ThreadPoolExecutor(threads)) if threads > 1 else None
        for part in parts:
            seen = observe(plan, scenes, part, buffer=buffer, pool=pool)
            if seen.failed:
                return None, seen.failed
            place = (part.row_off - window.row_off, part.col_off - window.col_off)
            _reduce_piece(plan, seen, place, window, layers, pool)
    return layers, []


def _reduce_piece(
    plan: Plan,
    seen: Observed,
    place: tuple[int, int],
    window: Window,
    layers: Layers,
    pool: ThreadPoolExecutor | None,
) -> None:
    """Reduce one piece strip by strip and put the strips where they belong in ``layers``, made at the first."""
    reducer = plan.reducer
    _, _, height, width = seen.stack.shape
    rows = strip_rows(plan, width, height)

    def reduce_strip(top: int) -> tuple[int, Layers]:
        strip = seen.strip(slice(top, top + rows), plan.product)
        return top, reducer.reduce(strip, wanted=plan.product.layers)

    for top, found in (pool.map if pool else map)(reduce_strip, range(0, height, rows)):
        for name, array in found.items():
            if name not in layers:
                layers[name] = np.empty((array.shape[0], window.height, window.width), array.dtype)
            y, x = place[0] + top, place[1]
            layers[name][:, y : y + array.shape[1], x : x + width] = array


@contextmanager
def _buffer(size: int) -> Iterator[NDArray[np.uint8]]:
    """This thread's stack memory, kept for its next window: fresh pages cost more than the median.

    Not after an error: a time-out may strike where nobody can tell any more who still writes to it.
    """
    buffer: NDArray[np.uint8] | None = _thread.__dict__.pop("buffer", None)
    if buffer is None or len(buffer) < size:
        buffer = np.empty(size, np.uint8)
    yield buffer
    _thread.buffer = buffer


def write_layer(plan: Plan, window: Window, store: Store, name: str, array: NDArray[np.generic]) -> LayerFile:
    """Write a tile whose blocks, and those of its half-size level, are the mosaic's wherever that is possible."""
    layer, frame = layer_of(plan, name), frame_of(plan.grid, plan.tile_size)
    data = encode_tile(
        array,
        plan.grid,
        window,
        nodata=layer.nodata,
        names=layer.band_names,
        tags={
            "CLEARYEAR_WINDOW": window.id,
            "CLEARYEAR_FINGERPRINT": plan.fingerprint(window),
            "CLEARYEAR_LAYER": name,
        },
        compress=layer.lossless,
        block=block_of(frame, window),
        overview=layer.resampling if frame.halved and layer.joined else None,
        level=layer.level,
        scale=(layer.scale, layer.offset),
    )
    file = plan.tile_name(window, name)
    store.write(file, data)
    return LayerFile(name=file, size=len(data), sha256=hashlib.sha256(data).hexdigest())


def _too_many_failed(plan: Plan, window: Window, failed: list[FailedRead]) -> WindowError:
    named = "; ".join(f"{f.scene} ({f.cause})" for f in failed[:5])
    more = f" … and {len(failed) - 5} more" if len(failed) > 5 else ""
    return WindowError(
        f"{len(failed)} of {len(plan.scenes)} scenes could not be read: {named}{more}",
        f"at most {plan.max_failed_reads} (max_failed_reads)",
        "replace these files and run again with --overwrite, leave them out, or allow that many: "
        f"--max-failed-reads {len(failed)}",
        transient=any(f.transient for f in failed),
        window=window.id,
        scene=failed[0].scene if failed else None,
    )
