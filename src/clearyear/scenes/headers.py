"""The headers of all scenes: one grid, one band count and dtype for all, or a refusal that names who differs."""

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from affine import Affine
from rasterio.io import DatasetReader

from clearyear.coordinates import reproject
from clearyear.errors import InputError, ReadError
from clearyear.grid import Grid
from clearyear.reading.gdal import JPEG2000, has_alpha, open_raster
from clearyear.reading.inner_mask import mask_of
from clearyear.scenes.laws import TagLaw, tag_laws
from clearyear.scenes.names import pattern_for
from clearyear.scenes.scene import Place, Scene
from clearyear.scenes.signing import address_of
from clearyear.stores import shown

_THREADS, _SHOWN = 16, 5
_PAUSES = (0.1, 0.2, 0.4, 0.8, 1.6)
"""Seconds between tries: of a hundred scenes one connection in ten may break, and a run must still begin."""
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
    hides: bool = False
    """Whether an internal mask hides pixels."""
    alpha: bool
    """Whether the last band is called alpha."""
    laws: tuple[TagLaw, ...]
    """Scale and offset of each band, by its tags."""

    def differences(self, other: "Header", *, grid: bool = True) -> list[str]:
        """In words: how ``self`` differs from ``other`` in what must be equal; ``grid``: whether that must be."""
        places = {
            "size": (f"{self.grid.width}×{self.grid.height} px", f"{other.grid.width}×{other.grid.height} px"),
            "CRS": (self.grid.crs, other.grid.crs),
            "transform": (self.grid.transform, other.grid.transform),
        }
        pairs = (places if grid else {}) | {
            "bands": (self.count, other.count),
            "dtype": (self.dtype, other.dtype),
            "nodata": (self.nodata, other.nodata),
        }
        return [
            f"{name} {mine} instead of {theirs}" for name, (mine, theirs) in pairs.items() if str(mine) != str(theirs)
        ]


def read_header(uri: str) -> Header:
    """Open one scene and read no pixel; whether it ``hides`` any is not looked at.

    Raises:
        ReadError: it is not there, is not a GeoTIFF, or claims what no scene has.
    """
    with open_raster(uri) as dataset:
        refuse_monsters(dataset, uri)
        # Of a JPEG 2000 file without georeference rasterio gives whatever lay in memory.
        is_placed = dataset.crs or dataset.driver != JPEG2000
        transform = dataset.transform if is_placed else Affine.identity()
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
            alpha=has_alpha(dataset),
            laws=tag_laws(dataset.scales, dataset.offsets),
        )


def longitude_of(uri: str, version: str) -> float | None:
    """The longitude of a file's centre in degrees; None where it does not say where on Earth it lies.

    Raises:
        ReadError: it cannot be opened.
    """
    from pyproj.exceptions import ProjError  # pyproj takes its time

    header = _try_header(uri, version)
    if isinstance(header, ReadError):
        raise header
    grid = header.grid
    if not grid.crs:
        return None
    a, b, c, d, e, f = grid.transform
    column, row = grid.width / 2, grid.height / 2
    place = (a * column + b * row + c, d * column + e * row + f)
    try:
        longitude = float(reproject(*place, grid.crs, "EPSG:4326")[0])
    except ProjError:  # a plan of a site, not tied to the Earth
        return None
    return longitude if np.isfinite(longitude) else None


def refuse_monsters(dataset: DatasetReader, uri: str) -> None:
    """A header is taken at its word by whoever reads by it; one that is damaged or hostile claims anything.

    Raises:
        ReadError: it claims more bands, or larger blocks, than any scene has.
    """
    if dataset.count > _MOST_BANDS:
        raise ReadError(f"it claims {dataset.count:,} bands, at most {_MOST_BANDS} are read", uri=uri)
    height, width = dataset.block_shapes[0]
    dtype = dataset.dtypes[0].replace("complex_int16", "complex64")  # the one name NumPy does not know
    samples = 1 if dataset.profile.get("interleave") == "band" else dataset.count
    size = width * height * samples * np.dtype(dtype).itemsize
    if size > _MOST_BLOCK_BYTES:
        raise ReadError(f"its blocks are of {size / 1e6:,.0f} MB, at most 268 MB are read: tile it", uri=uri)


def read_headers(
    scenes: Sequence[Scene], assets: Sequence[str] = ("data",), *, max_unreadable: int = 0
) -> dict[str, dict[str, Header]]:
    """The headers of these files of all scenes, each read once a process.

    Args:
        scenes: at least one; each has these assets.
        assets: which of their files.
        max_unreadable: how many scenes may fail to open; they stay scenes, and each window counts them.

    Returns:
        Scene id → asset → header; a scene of which one file cannot be opened is not among them. Where a file has no
        georeference of its own, what the source says of it (``Scene.places``) stands in the header.

    Raises:
        InputError: more than ``max_unreadable`` cannot be opened; all are named.
    """
    files = [(scene, asset, uri, version) for scene in scenes for asset, uri, version in scene.files(assets)]
    with ThreadPoolExecutor(_THREADS) as pool:
        outcomes = list(pool.map(lambda file: _header_of(file[0], file[1]), files))
    unreadable: dict[str, str] = {}
    headers: dict[str, dict[str, Header]] = {scene.id: {} for scene in scenes}
    for (scene, asset, uri, _), outcome in zip(files, outcomes, strict=True):
        if isinstance(outcome, ReadError):
            unreadable.setdefault(scene.id, f"{scene.id} ({shown(uri)}: {outcome.found})")
        else:
            headers[scene.id][asset] = _located(outcome, scene.places.get(asset))
    if len(unreadable) > max_unreadable or len(unreadable) == len(scenes):
        raise InputError(
            f"{len(unreadable)} of {len(scenes)} scenes cannot be opened: {some(unreadable.values())}",
            f"GeoTIFF files; at most {max_unreadable} may fail (max_failed_reads)",
            "replace or leave out these files, or allow that many failed reads",
        )
    return {scene_id: found for scene_id, found in headers.items() if scene_id not in unreadable}


def _located(header: Header, said: Place | None) -> Header:
    """The header with the georeference a source gives where the file has none; the file knows better.

    A source may speak of the file in its full size while a smaller one lies there: the extent is what both share.
    """
    if header.grid.crs or said is None:
        return header
    a, b, c, d, e, f = said.transform
    x, y = said.width / header.grid.width, said.height / header.grid.height
    place = {"crs": said.crs, "transform": (a * x, b * y, c, d * x, e * y, f)}
    return replace(header, grid=header.grid.model_copy(update=place))


def agree(headers: Mapping[str, Header], all_of: str, *, grid: bool = True) -> Header:
    """The header most have, which all must have.

    Args:
        headers: by the name a message is to use.
        all_of: how a message calls them all: 7 scenes, 38 files of 19 scenes.
        grid: whether size, CRS and transform must be equal too.

    Raises:
        InputError: some differ from the rest; they are named.
    """
    keys = {name: _key(header, grid=grid) for name, header in headers.items()}
    kinds, of_kind = Counter(keys.values()), {key: headers[name] for name, key in reversed(keys.items())}
    usual = max(kinds, key=lambda kind: (kinds[kind], of_kind[kind].count))  # of as many, pictures before masks
    reference = of_kind[usual]
    odd = sorted((name for name in headers if keys[name] != usual), key=lambda name: kinds[keys[name]])
    if not odd:
        return reference
    said = [f"{name}: {', '.join(headers[name].differences(reference, grid=grid))}" for name in odd]
    found = f"{len(odd)} of {all_of} differ from the others: {some(said)}"
    do = f"leave these out with {pattern_for([name for name in headers if keys[name] == usual], odd)} or a manifest"
    if not grid:
        raise InputError(found, "one band count, dtype and nodata for all", do)
    raise InputError(
        found,
        "one grid (size, CRS, transform), band count, dtype and nodata for all; nothing is resampled silently",
        f"{do}; or name the grid they are to be brought to: --resolution in "
        "units of the CRS or the name of a band whose pixels it has, --crs where they have several, --area where "
        "their pixels coincide and only a part is wanted",
    )


@lru_cache(maxsize=8192)
def _known_header(uri: str, version: str) -> Header:
    """The header of one version of a file, read once a process: command line and flow both plan."""
    return replace(read_header(uri), hides=mask_of(uri, version) > 0)


def _try_header(uri: str, version: str) -> Header | ReadError:
    """The header, or why there is none; GDAL itself does not try again after a connection that broke off."""
    for pause in (*_PAUSES, None):
        try:
            return _known_header(uri, version)
        except ReadError as error:
            if pause is None or not error.transient:
                return error
        time.sleep(pause)
    raise AssertionError("the last try returns")


def _header_of(scene: Scene, asset: str) -> Header | ReadError:
    try:
        return _try_header(address_of(scene, asset), scene.version_of(asset))
    except ReadError as error:
        return error


def _key(header: Header, *, grid: bool) -> str:
    # Blocks may differ without changing a pixel; NaN nodata must equal itself, so compare as text.
    of = header.grid
    where = (of.crs, of.transform, of.width, of.height) if grid else ()
    return repr((*where, header.count, header.dtype, header.nodata))


def some(items: Iterable[str]) -> str:
    """The first few, and how many more there are."""
    listed = list(items)
    more = f" … and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return "; ".join(listed[:_SHOWN]) + more
