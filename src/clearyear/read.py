"""Scenes × window → a stack, and which reads failed and why. Nothing that fails becomes nodata."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from clearyear.cog import rasterio_window
from clearyear.errors import ReadError
from clearyear.gdal import open_raster
from clearyear.grid import Grid, Window
from clearyear.scenes.scene import Scene


class FailedRead(BaseModel):
    """One scene that could not be read in one window."""

    model_config = ConfigDict(frozen=True)

    scene: str
    uri: str
    cause: str
    transient: bool = False


def read_stack(
    scenes: Sequence[Scene], grid: Grid, window: Window, *, n_bands: int, dtype: str
) -> tuple[NDArray[np.generic], list[int], list[FailedRead]]:
    """Read one window of every scene.

    Args:
        scenes: in acquisition order.
        grid: what every scene must still have.
        window: the rectangle to read.
        n_bands: bands every scene must have.
        dtype: NumPy name of the pixels' type.

    Returns:
        The stack (T', B, H, W) of the scenes that could be read, their indices in ``scenes`` (T' of them, rising),
        and the failures.
    """
    stack = np.empty((len(scenes), n_bands, window.height, window.width), dtype)
    used: list[int] = []
    failed: list[FailedRead] = []
    for index, scene in enumerate(scenes):
        try:
            _read_scene(scene.uri, grid, window, stack[len(used)])
        except ReadError as error:
            failed.append(FailedRead(scene=scene.id, uri=scene.uri, cause=error.found, transient=error.transient))
        else:
            used.append(index)
    return stack[: len(used)], used, failed


def _read_scene(uri: str, grid: Grid, window: Window, out: NDArray[np.generic]) -> None:
    """Fill ``out`` (B, H, W); whatever it held is overwritten or the read has failed."""
    with open_raster(uri) as dataset:
        found = (dataset.width, dataset.height, dataset.count, dataset.dtypes[0])
        wanted = (grid.width, grid.height, out.shape[0], str(out.dtype))
        if found != wanted:
            raise ReadError(f"has become {found[0]}×{found[1]} px, {found[2]} bands of {found[3]}", uri=uri)
        dataset.read(window=rasterio_window(window), out=out)
