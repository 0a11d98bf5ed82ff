"""How a window is cut so that computing it keeps to a known amount of memory.

A window is read and reduced piece by piece. A piece is made of whole source blocks wherever one block of every scene
fits the limit, so that no block is read twice; only a stack too tall for that is cut inside blocks. A piece is reduced
in strips small enough for the processor's cache. None of this changes a pixel.
"""

import math
from itertools import pairwise

import numpy as np

from clearyear.coordinates import FIELD_BYTES
from clearyear.grid import Window
from clearyear.plan import Plan
from clearyear.settings import current_settings
from clearyear.stores import is_remote

_JOB_PIXEL_BYTES = 4
"""Of the window, while a file's validity is worked out: where it reaches, what it erases, and what of that is not."""

_MASK_ITEMSIZE = 4
"""Bytes of a mask band's value at most: they are of uint8 or uint16, a few of uint32."""

COMFORTABLE_BYTES = 192_000_000
"""A piece's stack is no larger than this unless one block of every scene is: 216 scenes of 512² × 3 are 170 MB."""

STRIP_SAMPLES = 1 << 22
"""Samples (T × B × pixels) reduced by one call: a millisecond or two, so that threads share a piece evenly."""


SOURCE_BYTES = 32_000_000
"""Of a file on another grid no more than this is held unpacked at once by a thread, a window being cut for it."""

MASK_BYTES = 4
"""A pixel of a mask band takes beside its value: what is erased, opened, dilated, and one more while that is done."""

RANGE_BYTES = 1 << 20
"""A range asked for in one request is no longer than this unless one block is. Longer ones gain nothing, since many
requests are under way at once."""


def pieces(plan: Plan, window: Window, window_bytes: int | None = None, *, threads: int = 1) -> list[Window]:
    """Cut a window into pieces, each read from every scene before the next.

    Args:
        plan: what the window is computed by.
        window: the rectangle to cut.
        window_bytes: all that computing the window may take; None leaves it to what is comfortable.
        threads: how many read and reduce the window.

    Returns:
        Rectangles in the grid's pixels that cover the window exactly once, row by row; where not even one row of a
        block fits, pieces of one row.
    """
    width, height = _piece_size(plan, window, window_bytes, threads)
    rows = _cuts(window.row_off, window.height, plan.grid.block[1], height)
    cols = _cuts(window.col_off, window.width, plan.grid.block[0], width)
    return [
        Window(col_off=left, row_off=top, width=right - left, height=bottom - top)
        for top, bottom in rows
        for left, right in cols
    ]


def times_read(plan: Plan, window: Window, window_bytes: int | None = None, *, threads: int = 1) -> float:
    """How often a block of the window is read at most: once unless it must be cut; infinite if nothing fits."""
    if window_bytes is not None and least_bytes(plan, window, threads=threads) > window_bytes:
        return math.inf
    return math.ceil(_cell(plan, window)[1] / _piece_size(plan, window, window_bytes, threads)[1])


def peak_bytes(plan: Plan, window: Window, window_bytes: int | None = None, *, threads: int = 1) -> int:
    """Bytes computing one window needs at most: a piece's stack, the kernels' rows, layers and their files.

    What the process holds for all windows together is not in it; see ``budget``.
    """
    largest = max(piece.n_pixels for piece in pieces(plan, window, window_bytes, threads=threads))
    return _bytes(plan, window, largest, threads)


def least_bytes(plan: Plan, window: Window, *, threads: int = 1) -> int:
    """The least ``window_bytes`` that can be kept: with one row of one block of every scene at a time."""
    return _bytes(plan, window, _cell(plan, window)[0], threads)


def in_flight_bytes(plan: Plan) -> int:
    """Bytes that reading scenes from elsewhere takes at most beside the stack, for all windows of a process together.

    A request under way holds its range twice while the last of it arrives; then comes one unpacked block. With 24
    requests and blocks of 512² × 3 bytes these are 69 MB.
    """
    if not any(is_remote(uri) for scene in plan.scenes for uri in scene.assets.values()):
        return 0
    block = plan.grid.block[0] * plan.grid.block[1] * plan.product.stored_bands * plan.itemsize
    return current_settings().requests * (2 * max(RANGE_BYTES, block) + block + _held_bytes(plan))


def strip_rows(plan: Plan, width: int, height: int) -> int:
    """Rows of a piece of that size reduced at once; at least one."""
    per_row = len(plan.scenes) * plan.product.n_bands * width
    return max(1, min(height, STRIP_SAMPLES // per_row))


def _bytes(plan: Plan, window: Window, largest: int, threads: int) -> int:
    """``peak_bytes`` with a largest piece of that many pixels; rises with it."""
    product, per_sample = plan.product, plan.itemsize
    block = plan.grid.block[0] * plan.grid.block[1] * product.stored_bands * per_sample
    kinds = [plan.kind(layer) for layer in {"composite", "count", *product.layers}]
    usual = product.n_bands * (per_sample + 2) + 2
    layers = window.n_pixels * max(usual, sum(kind.n_bands * np.dtype(kind.dtype).itemsize for kind in kinds))
    n_pixels = min(largest, max(window.width, STRIP_SAMPLES // (len(plan.scenes) * product.n_bands)))
    kernel = plan.reducer.scratch_bytes(
        n_scenes=len(plan.scenes), n_bands=product.n_bands, dtype=product.dtype, n_pixels=n_pixels
    )
    # Layers stand as arrays, as what GDAL compresses and as the file's bytes; the third copy covers the strips' own.
    beside = 0 if plan.is_plain else largest * _pixel_bytes(plan, threads) + threads * _held_bytes(plan)
    return plan.sample_bytes * largest + threads * (kernel + 2 * block) + 3 * layers + beside


def _pixel_bytes(plan: Plan, threads: int) -> int:
    """Bytes of one pixel beside the stack: the mask, the pixel's place in every other CRS, a job's own masks."""
    crss = {place.crs for scene in plan.scenes for place in scene.places.values()} - {plan.grid.crs}
    # While the places in one CRS are worked out, the points they come from stand beside them.
    fields = FIELD_BYTES * (len(crss) + 1) if crss else 0
    return len(plan.scenes) * plan.valid_bands * plan.valid_masks + fields + threads * _JOB_PIXEL_BYTES


def _held_bytes(plan: Plan) -> int:
    """Bytes of a file that one thread holds at most in order to resample it, or to work out a mask."""
    grid, product = plan.grid, plan.product
    sample = plan.itemsize * (product.n_bands if product.assets == ("data",) else 1)
    masks = {mask.asset for mask in product.masks}
    sizes = [0]
    for scene in plan.scenes:
        moved = [(a, p) for a, p in scene.places.items() if p.offset is None and a not in masks]
        # A mask inside the file stands beside its samples, as it is read (alpha: a sample) and as what it hides.
        sizes += [p.width * p.height * (sample + (plan.itemsize + 1) * (a in scene.hides)) for a, p in moved]
        held = [scene.places.get(asset, grid) for asset in masks]
        sizes += [place.width * place.height * (_MASK_ITEMSIZE + MASK_BYTES) for place in held]
    return min(SOURCE_BYTES, max(sizes))


def _piece_size(plan: Plan, window: Window, window_bytes: int | None, threads: int) -> tuple[int, int]:
    """Most (width, height) of a piece in pixels: the window, else whole blocks, else rows of one block."""
    most = 64 * COMFORTABLE_BYTES // plan.sample_bytes
    if window_bytes is not None:
        most = _most_pixels(plan, window, min(most, window.n_pixels), window_bytes, threads)
    comfortable = min(most, COMFORTABLE_BYTES // plan.sample_bytes)
    cell_width, cell_height = _cell(plan, window)
    if window.n_pixels <= comfortable:
        return window.width, window.height
    if window.width * cell_height <= comfortable:
        return window.width, comfortable // window.width
    if cell_width * cell_height <= comfortable:
        return comfortable // cell_height, cell_height
    # One block of every scene is more than is comfortable, but reading it twice is worse, as long as it fits.
    return cell_width, min(cell_height, max(1, most // cell_width))


def _most_pixels(plan: Plan, window: Window, high: int, window_bytes: int, threads: int) -> int:
    """The largest piece, up to ``high`` pixels, that keeps to ``window_bytes``; 0 if none does."""
    low = 0
    while low < high:
        middle = (low + high + 1) // 2
        if _bytes(plan, window, middle, threads) <= window_bytes:
            low = middle
        else:
            high = middle - 1
    return low


def _cell(plan: Plan, window: Window) -> tuple[int, int]:
    """(width, height) in pixels of the most that the window has of one block."""
    sides = zip((window.col_off, window.row_off), (window.width, window.height), plan.grid.block, strict=True)
    width, height = (max(b - a for a, b in pairwise(_edges(*side))) for side in sides)
    return width, height


def _edges(start: int, length: int, block: int) -> list[int]:
    """``start``, the blocks' edges within, and the end."""
    return [start, *range(start // block * block + block, start + length, block), start + length]


def _cuts(start: int, length: int, block: int, most: int) -> list[tuple[int, int]]:
    """[start, start + length) in parts no longer than ``most``: of whole blocks, or inside one that is longer."""
    cuts = [start]
    for left, right in pairwise(_edges(start, length, block)):
        if right - cuts[-1] > most:
            if left > cuts[-1]:
                cuts.append(left)
            cuts += range(cuts[-1] + most, right, most)
    return list(pairwise([*cuts, start + length]))
