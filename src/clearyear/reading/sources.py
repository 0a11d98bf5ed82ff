"""Who reads a scene: `direct` what it understands exactly, GDAL everything else. Both give the same pixels.

Which one it is is settled at a scene's first read, from its header, and kept for all windows.
"""

import logging
from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache, partial
from threading import Lock
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from rasterio.io import DatasetReader

from clearyear.cog.geotiff import rasterio_window
from clearyear.errors import ReadError
from clearyear.grid import Window
from clearyear.reading.gdal import JPEG2000, borrow_raster
from clearyear.reading.inner_mask import mask_of
from clearyear.reading.tiff import Unsupported
from clearyear.reading.verify import check_blocks
from clearyear.scenes.headers import refuse_monsters
from clearyear.settings import current_settings
from clearyear.stores import is_remote, shown, split_uri
from clearyear.stores.pieces import range_file
from clearyear.stores.remote import RemoteFile

log = logging.getLogger(__name__)

_opening = [Lock() for _ in range(1021)]
"""Two windows that begin at once must not both ask for a scene's header. A lock may stand for several scenes."""

_box = lru_cache(maxsize=64)(rasterio_window)
"""Rasterio checks a window at length; all scenes read the same one."""

Step = Callable[[], None]
"""A part of a read; see Source."""


class Source(Protocol):
    """One scene's pixels."""

    def shape(self) -> tuple[int, int, int, str]:
        """(width, height, bands, dtype) of the file as it is now."""

    def steps(self, piece: Window, out: NDArray[np.generic], bands: Sequence[int] = ()) -> list[Step]:
        """Calls that together fill ``out`` (B, H, W) with ``piece``, in any order, by any thread.

        ``bands``: which of the file's, by number from 1; none: all. Each call raises ReadError, and then ``out`` may
        hold anything.
        """


class GdalSource:
    """Any GeoTIFF, through GDAL."""

    def __init__(self, uri: str, version: str) -> None:
        self.uri = uri
        self.version = version

    def shape(self) -> tuple[int, int, int, str]:
        """See Source; of this version, so that it is asked for once."""
        return self._shape

    @cached_property
    def _shape(self) -> tuple[int, int, int, str]:
        with borrow_raster(self.uri, self.version) as dataset:
            return dataset.width, dataset.height, dataset.count, dataset.dtypes[0]

    def steps(self, piece: Window, out: NDArray[np.generic], bands: Sequence[int] = ()) -> list[Step]:
        """See Source; one call."""
        return [partial(self.read, piece, out, bands)]

    def read(self, piece: Window, out: NDArray[np.generic], bands: Sequence[int] = ()) -> None:
        """Fill ``out`` (B, H, W) with ``piece`` of these bands."""
        try:
            with borrow_raster(self.uri, self.version) as dataset:
                numbers = list(bands or dataset.indexes)
                if dataset.driver == JPEG2000:
                    _read_block_by_block(dataset, piece, out, numbers)
                else:
                    dataset.read(numbers, window=_box(piece), out=out)
                checked = check_blocks(dataset, range_file(self.uri, self.version), piece, numbers)
        except ReadError as error:
            if error.transient:
                _check_remote(self.uri, self.version)
            raise
        # GDAL cannot be told which version to read. What lies there after the read has lain there during it.
        if not checked:
            _check_remote(self.uri, self.version)


def read_hidden(uri: str, version: str, piece: Window, size: tuple[int, int]) -> NDArray[np.bool_]:
    """What the internal mask of a file of ``size`` (width, height) hides of ``piece``.

    Returns:
        (H, W), True = hidden.

    Raises:
        ReadError: the mask is gone, of another size, damaged, or none of this version.
    """
    directory = mask_of(uri, version)
    if not directory:
        raise ReadError("its internal mask is gone", uri=shown(uri))
    with borrow_raster(uri, version, directory) as mask:
        if (mask.width, mask.height) != size:
            raise ReadError(f"its internal mask is of {mask.width}×{mask.height} px", uri=shown(uri))
        refuse_monsters(mask, shown(uri))
        hidden: NDArray[np.bool_] = mask.read(1, window=_box(piece)) == 0
        checked = check_blocks(mask, range_file(uri, version), piece)
    if not checked:
        _check_remote(uri, version)
    return hidden


def _read_block_by_block(dataset: DatasetReader, piece: Window, out: NDArray[np.generic], numbers: list[int]) -> None:
    """Of several JPEG 2000 blocks GDAL decodes each in a thread of its own, and does not say when one fails."""
    height, width = dataset.block_shapes[0]
    bottom, right = piece.row_off + piece.height, piece.col_off + piece.width
    for row in range(piece.row_off // height * height, bottom, height):
        for col in range(piece.col_off // width * width, right, width):
            top, left = max(row, piece.row_off), max(col, piece.col_off)
            part = Window(
                col_off=left,
                row_off=top,
                width=min(col + width, right) - left,
                height=min(row + height, bottom) - top,
            )
            y, x = top - piece.row_off, left - piece.col_off
            dataset.read(numbers, window=_box(part), out=out[:, y : y + part.height, x : x + part.width])


def source_of(uri: str, version: str) -> Source:
    """The reader of one version of a scene, its header read once a process, whoever asks at the same time.

    Raises:
        ReadError: it cannot be opened.
    """
    with _opening[hash((uri, version)) % len(_opening)]:
        return _source_of(uri, version)


@lru_cache(maxsize=8192)
def _source_of(uri: str, version: str) -> Source:
    if current_settings().reader == "auto":
        from clearyear.reading.direct import DirectSource
        from clearyear.reading.index_cache import read_index_once

        try:
            if not is_remote(uri):
                return DirectSource.open(split_uri(uri)[2])
            file = RemoteFile.of(uri, version)
            return DirectSource.of(file, read_index_once(file, version))
        except Unsupported as reason:
            log.debug("%s is read by GDAL: %s", shown(uri), reason)
        except OSError as error:
            raise ReadError(error.strerror or str(error), uri=uri) from error
    return GdalSource(uri, version)


def _check_remote(uri: str, version: str) -> None:
    """Refuse what lies elsewhere if it is gone, closed or of another version; asks nothing about local files."""
    if is_remote(uri):
        RemoteFile.of(uri, version).fetch(0, 1)
