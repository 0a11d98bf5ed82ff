"""How a window is cut so that computing it keeps to a known amount of memory.

A window is read and reduced piece by piece. A piece is made of whole source blocks wherever one block of every scene
fits the limit, so that no block is read twice; only a stack too tall for that is cut inside blocks. A piece is reduced
in strips small enough for the processor's cache. None of this changes a pixel.
"""

from itertools import pairwise

from clearyear.grid import Window
from clearyear.plan import Plan
from clearyear.settings import current_settings
from clearyear.stores import is_remote

COMFORTABLE_BYTES = 192_000_000
"""A piece's stack is no larger than this unless one block of every scene is: 216 scenes of 512² × 3 are 170 MB."""

STRIP_SAMPLES = 1 << 22
"""Samples (T × B × pixels) reduced at once: their masks and keys stay near the cache."""


RANGE_BYTES = 1 << 20
"""A range asked for in one request is no longer than this unless one block is. Longer ones gain nothing, since many
requests are under way at once."""


def pieces(plan: Plan, window: Window) -> list[Window]:
    """Cut a window into pieces, each read from every scene before the next.

    Returns:
        Rectangles in the grid's pixels that cover the window exactly once, row by row.
    """
    limit = plan.window_bytes or COMFORTABLE_BYTES * 64
    width, height = _piece_size(plan, window, min(COMFORTABLE_BYTES, limit), limit)
    rows = _cuts(window.row_off, window.height, plan.grid.block[1], height)
    cols = _cuts(window.col_off, window.width, plan.grid.block[0], width)
    return [
        Window(col_off=left, row_off=top, width=right - left, height=bottom - top)
        for top, bottom in rows
        for left, right in cols
    ]


def peak_bytes(plan: Plan, window: Window) -> int:
    """Bytes computing one window needs at most: a piece's stack, a strip's masks and keys, layers and their files."""
    largest = max(piece.n_pixels for piece in pieces(plan, window))
    per_sample = plan.itemsize
    strip = min(STRIP_SAMPLES, largest * len(plan.scenes) * plan.product.n_bands)
    block = plan.grid.block[0] * plan.grid.block[1] * plan.product.n_bands * per_sample
    layers = window.n_pixels * (plan.product.n_bands * (per_sample + 2) + 2)
    # Layers stand as arrays, as what GDAL compresses and as the file's bytes.
    # A mask for every sample; ordered keys for one band at a time.
    beside = strip + 2 * per_sample * strip // plan.product.n_bands
    return plan.sample_bytes * largest + beside + 2 * block + 3 * layers + in_flight_bytes(plan)


def in_flight_bytes(plan: Plan) -> int:
    """Bytes that reading scenes from elsewhere takes at most beside the stack, for all windows of a process together.

    A request under way holds its range twice while the last of it arrives; then comes one unpacked block. With 24
    requests and blocks of 512² × 3 bytes these are 69 MB.
    """
    if not any(is_remote(scene.uri) for scene in plan.scenes):
        return 0
    block = plan.grid.block[0] * plan.grid.block[1] * plan.product.n_bands * plan.itemsize
    return current_settings().requests * (2 * max(RANGE_BYTES, block) + block)


def strip_rows(plan: Plan, width: int, height: int) -> int:
    """Rows of a piece of that size reduced at once; at least one."""
    per_row = len(plan.scenes) * plan.product.n_bands * width
    return max(1, min(height, STRIP_SAMPLES // per_row))


def _piece_size(plan: Plan, window: Window, comfortable: int, limit: int) -> tuple[int, int]:
    """(width, height) of a piece in pixels: the window, else whole block rows, whole blocks, or rows of one block."""
    block_width, block_height = (min(b, n) for b, n in zip(plan.grid.block, (window.width, window.height), strict=True))
    most = comfortable // plan.sample_bytes
    if window.n_pixels <= most:
        return window.width, window.height
    if window.width * block_height <= most:
        return window.width, most // (window.width * block_height) * block_height
    if block_width * block_height <= most:
        return most // (block_width * block_height) * block_width, block_height
    # One block of every scene is more than is comfortable, but reading it twice is worse, as long as it fits.
    return block_width, min(block_height, max(1, limit // plan.sample_bytes // block_width))


def _cuts(start: int, length: int, block: int, step: int) -> list[tuple[int, int]]:
    """[start, start + length) cut every ``step``; where steps are whole blocks the cuts lie on the blocks' edges."""
    end = start + length
    first = start // block * block if step % block == 0 else start
    edges = [start, *(edge for edge in range(first + step, end, step) if edge > start), end]
    return list(pairwise(edges))
