"""Scenes × window → a stack, and which reads failed and why. Nothing that fails becomes nodata.

Two readers give the same pixels: `direct` for what it understands exactly, GDAL for everything else. Which one reads a
scene is settled at its first read, from its header, and kept for all windows.
"""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from clearyear.cog import rasterio_window
from clearyear.errors import ReadError
from clearyear.gdal import borrow_raster
from clearyear.grid import Grid, Window
from clearyear.scenes.scene import Scene
from clearyear.settings import Settings
from clearyear.stores import is_remote, split_uri, stat_uri
from clearyear.tiff import Unsupported
from clearyear.verify import check_blocks

log = logging.getLogger(__name__)


class FailedRead(BaseModel):
    """One scene that could not be read in one window."""

    model_config = ConfigDict(frozen=True)

    scene: str
    uri: str
    cause: str
    transient: bool = False


class Source(Protocol):
    """One scene's pixels."""

    def shape(self) -> tuple[int, int, int, str]:
        """(width, height, bands, dtype) of the file as it is now."""

    def read(self, piece: Window, out: NDArray[np.generic]) -> None:
        """Fill ``out`` (B, H, W) with ``piece``; raises ReadError, and then ``out`` may hold anything."""


class GdalSource:
    """Any GeoTIFF, through GDAL."""

    def __init__(self, uri: str, version: str) -> None:
        self.uri = uri
        self.version = version

    def shape(self) -> tuple[int, int, int, str]:
        """See Source."""
        with borrow_raster(self.uri, self.version) as dataset:
            return dataset.width, dataset.height, dataset.count, dataset.dtypes[0]

    def read(self, piece: Window, out: NDArray[np.generic]) -> None:
        """See Source."""
        with borrow_raster(self.uri, self.version) as dataset:
            dataset.read(window=rasterio_window(piece), out=out)
            if not is_remote(self.uri):
                check_blocks(dataset, split_uri(self.uri)[2], piece)


@lru_cache(maxsize=8192)
def source_of(uri: str, version: str) -> Source:
    """The reader of one version of a scene, its header read once a process.

    Raises:
        ReadError: it cannot be opened.
    """
    if Settings().reader == "auto" and split_uri(uri)[0] == "file":
        from clearyear.direct import DirectSource

        try:
            return DirectSource.open(uri)
        except Unsupported as reason:
            log.debug("%s is read by GDAL: %s", uri, reason)
        except OSError as error:
            raise ReadError(error.strerror or str(error), uri=uri) from error
    return GdalSource(uri, version)


def read_stack(
    scenes: Sequence[Scene],
    grid: Grid,
    window: Window,
    *,
    n_bands: int,
    dtype: str,
    buffer: NDArray[np.uint8] | None = None,
    pool: ThreadPoolExecutor | None = None,
) -> tuple[NDArray[np.generic], list[int], list[FailedRead]]:
    """Read one window of every scene.

    Args:
        scenes: in acquisition order.
        grid: what every scene must still have.
        window: the rectangle to read.
        n_bands: bands every scene must have.
        dtype: NumPy name of the pixels' type.
        buffer: memory to put the stack in; used again for the next window, it spares the page faults.
        pool: threads to read with; None reads one scene after the other.

    Returns:
        The stack (T', B, H, W) of the scenes that could be read, their indices in ``scenes`` (T' of them, rising),
        and the failures.
    """
    shape = (len(scenes), n_bands, window.height, window.width)
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = np.empty(size, np.uint8) if buffer is None else buffer[:size]
    stack = memory.view(dtype).reshape(shape)

    def read_one(index: int) -> FailedRead | None:
        return _try_read(scenes[index], grid, window, stack[index])

    outcomes = list((pool.map if pool else map)(read_one, range(len(scenes))))
    failed = [outcome for outcome in outcomes if outcome is not None]
    used = [index for index, outcome in enumerate(outcomes) if outcome is None]
    if failed:
        # The rows of what failed hold anything; the stack closes over them.
        for place, index in enumerate(used):
            stack[place] = stack[index]
    return stack[: len(used)], used, failed


def _try_read(scene: Scene, grid: Grid, window: Window, out: NDArray[np.generic]) -> FailedRead | None:
    try:
        _check_version(scene)
        source = source_of(scene.uri, scene.version)
        found = source.shape()
        if found != (grid.width, grid.height, out.shape[0], str(out.dtype)):
            raise ReadError(f"has become {found[0]}×{found[1]} px, {found[2]} bands of {found[3]}", uri=scene.uri)
        source.read(window, out)
    except ReadError as error:
        return FailedRead(scene=scene.id, uri=scene.uri, cause=error.found, transient=error.transient)
    return None


def _check_version(scene: Scene) -> None:
    """Refuse a local file written since the plan was made: windows of one plan must not mix two versions of a scene.

    A bucket is not asked, since that is a request a scene and window; what a run begins with is checked as a whole.
    """
    entry = stat_uri(scene.uri) if split_uri(scene.uri)[0] == "file" else None
    if entry is not None and entry.version != scene.version:
        raise ReadError("has changed since the plan was made", uri=scene.uri)
