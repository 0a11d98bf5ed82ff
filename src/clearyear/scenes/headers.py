"""The headers of all scenes: one grid, one band count and dtype for all, or a refusal that names who differs."""

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from rasterio.io import DatasetReader

from clearyear.errors import InputError, ReadError
from clearyear.gdal import open_raster
from clearyear.grid import Grid
from clearyear.scenes.scene import Scene
from clearyear.stores import shown

_THREADS = 16
_PAUSES = (0.1, 0.2, 0.4, 0.8, 1.6)
"""Seconds between tries: of a hundred scenes one connection in ten may break, and a run must still begin."""
_SHOWN = 5
_MOST_BANDS = 512
"""Hyperspectral scenes have 200 to 400; GDAL takes minutes over a header that claims 65,535."""
_MOST_BLOCK_BYTES = 1 << 28
"""GDAL unpacks a block as a whole, in every thread: one that claims gigabytes would take the machine down."""


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a scene's file says of itself."""

    grid: Grid
    count: int
    """Bands."""
    dtype: str
    """NumPy name, the same for all bands."""
    nodata: float | None
    """The nodata tag, or None."""
    band_names: tuple[str, ...]
    """Band descriptions; empty strings where there is none."""

    def differences(self, other: "Header") -> list[str]:
        """In words: how ``self`` differs from ``other`` in what must be equal."""
        pairs = {
            "size": (f"{self.grid.width}×{self.grid.height} px", f"{other.grid.width}×{other.grid.height} px"),
            "CRS": (self.grid.crs, other.grid.crs),
            "transform": (self.grid.transform, other.grid.transform),
            "bands": (self.count, other.count),
            "dtype": (self.dtype, other.dtype),
            "nodata": (self.nodata, other.nodata),
        }
        return [
            f"{name} {mine} instead of {theirs}" for name, (mine, theirs) in pairs.items() if str(mine) != str(theirs)
        ]


def read_header(uri: str) -> Header:
    """Open one scene and read no pixel.

    Raises:
        ReadError: it is not there, is not a GeoTIFF, or claims what no scene has.
    """
    with open_raster(uri) as dataset:
        _refuse_monsters(dataset, uri)
        transform = dataset.transform
        height, width = dataset.block_shapes[0]
        return Header(
            grid=Grid(
                crs=dataset.crs.to_string() if dataset.crs else "",
                transform=tuple(transform)[:6],
                width=dataset.width,
                height=dataset.height,
                block=(width, height),
            ),
            count=dataset.count,
            dtype=dataset.dtypes[0],
            nodata=dataset.nodata,
            band_names=tuple(d or "" for d in dataset.descriptions),
        )


def _refuse_monsters(dataset: DatasetReader, uri: str) -> None:
    """A header is taken at its word by whoever reads by it; one that is damaged or hostile claims anything."""
    if dataset.count > _MOST_BANDS:
        raise ReadError(f"it claims {dataset.count:,} bands, at most {_MOST_BANDS} are read", uri=uri)
    height, width = dataset.block_shapes[0]
    dtype = dataset.dtypes[0].replace("complex_int16", "complex64")  # the one name NumPy does not know
    samples = 1 if dataset.profile.get("interleave") == "band" else dataset.count
    size = width * height * samples * np.dtype(dtype).itemsize
    if size > _MOST_BLOCK_BYTES:
        raise ReadError(f"its blocks are of {size / 1e6:,.0f} MB, at most 268 MB are read: tile it", uri=uri)


def common_header(scenes: Sequence[Scene], *, max_unreadable: int = 0) -> Header:
    """The header all scenes share.

    Args:
        scenes: at least one.
        max_unreadable: how many scenes may fail to open; they stay scenes, and each window counts them.

    Returns:
        The header of most of them.

    Raises:
        InputError: more than ``max_unreadable`` cannot be opened, or some differ from the rest; all are named.
    """
    with ThreadPoolExecutor(_THREADS) as pool:
        outcomes = list(pool.map(_try_header, scenes))
    unreadable = [(s, o) for s, o in zip(scenes, outcomes, strict=True) if isinstance(o, ReadError)]
    headers = {s.id: o for s, o in zip(scenes, outcomes, strict=True) if isinstance(o, Header)}
    if len(unreadable) > max_unreadable or not headers:
        raise InputError(
            f"{len(unreadable)} of {len(scenes)} scenes cannot be opened: "
            + _some(f"{s.id} ({shown(s.uri)}: {e.found})" for s, e in unreadable),
            f"GeoTIFF files; at most {max_unreadable} may fail (max_failed_reads)",
            "replace or leave out these files, or allow that many failed reads",
        )
    keys = {scene_id: _key(header) for scene_id, header in headers.items()}
    usual = Counter(keys.values()).most_common(1)[0][0]
    reference = next(headers[i] for i, key in keys.items() if key == usual)
    odd = [f"{i}: {', '.join(headers[i].differences(reference))}" for i, key in keys.items() if key != usual]
    if odd:
        raise InputError(
            f"{len(odd)} of {len(scenes)} scenes differ from the others: {_some(odd)}",
            "one grid (size, CRS, transform), band count, dtype and nodata for all; nothing is resampled silently",
            "leave these out with a pattern or a manifest, or warp them to the common grid first",
        )
    return reference


@lru_cache(maxsize=8192)
def _known_header(uri: str, version: str) -> Header:
    """The header of one version of a scene, read once a process: command line and flow both plan."""
    del version  # it is the key
    return read_header(uri)


def _try_header(scene: Scene) -> Header | ReadError:
    """The header, or why there is none; GDAL itself does not try again after a connection that broke off."""
    for pause in (*_PAUSES, None):
        try:
            return _known_header(scene.uri, scene.version)
        except ReadError as error:
            if pause is None or not error.transient:
                return error
        time.sleep(pause)
    raise AssertionError("the last try returns")


def _key(header: Header) -> str:
    # Blocks may differ without changing a pixel; NaN nodata must equal itself, so compare as text.
    grid = header.grid
    return repr((grid.crs, grid.transform, grid.width, grid.height, header.count, header.dtype, header.nodata))


def _some(items: Iterable[str]) -> str:
    listed = list(items)
    more = f" … and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return "; ".join(listed[:_SHOWN]) + more
