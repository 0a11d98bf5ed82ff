"""From unlike scenes to one grid, and to the place of every file on it."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from clearyear.coordinates import pixels_of
from clearyear.errors import InputError
from clearyear.geobox import Wish, called, grid_of, one_name_a_crs, outline, outside
from clearyear.grid import Grid
from clearyear.masks import Mask, can_erase
from clearyear.scenes.chosen import chosen_bands, refuse_no_alpha, refuse_other_order, taken_of
from clearyear.scenes.headers import Header, agree, read_headers, some
from clearyear.scenes.laws import TagLaw, other_laws
from clearyear.scenes.scene import UNKNOWN, Found, Place, Scene

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Layout:
    """One grid, and the scenes with their places on it."""

    grid: Grid
    scenes: tuple[Scene, ...]
    header: Header
    """What all bands share: count, dtype, nodata, names; of the bands that are taken."""
    bands: tuple[int, ...] = ()
    """The numbers of those, from 1, where not all of a file are."""
    file_bands: int = 0
    """How many a file holds then."""


def lay_out(
    found: Found,
    *,
    masks: Sequence[Mask] = (),
    wish: Wish | None = None,
    max_unreadable: int = 0,
    alpha: bool = False,
) -> Layout:
    """Read the headers of all files, settle the grid and find every file's place on it.

    Args:
        found: the scenes; their ``places`` are used for files without georeference.
        masks: whose bands are wanted of each scene; they may lie on any grid.
        wish: what the job says of the grid.
        max_unreadable: how many scenes may fail to open.
        alpha: whether the last band of each file hides pixels, and is no band.

    Returns:
        Scenes that lie wholly beside the grid are left out. ``places`` have those files only that do not lie on it
        pixel for pixel.

    Raises:
        InputError: a scene lacks a file; files cannot be opened or do not fit together; the wish cannot be fulfilled.
    """
    wish = wish or Wish()
    mask_assets = tuple(dict.fromkeys(mask.asset for mask in masks))
    _refuse_absent(found.scenes, (*found.assets, *mask_assets))
    headers = read_headers(found.scenes, (*found.assets, *mask_assets), max_unreadable=max_unreadable)
    headers = one_name_a_crs(headers) if wish.is_given or mask_assets else headers
    bands = {
        called(scene_id, asset): header
        for scene_id, of in headers.items()
        for asset, header in of.items()
        if asset in found.assets
    }
    many = len(found.assets) > 1
    of = f"{len(bands)} files of {len(found.scenes)} scenes" if many else f"{len(found.scenes)} scenes"
    header = agree(bands, of, grid=not wish.is_given)
    if many:
        _refuse_stacks(header, found.assets)
        header = replace(header, count=len(found.assets), band_names=found.assets)
    if alpha:
        refuse_no_alpha(bands)
    if not found.bands:
        refuse_other_order(bands)
    taken, n_stored = chosen_bands(bands, found.bands, alpha=alpha), header.count
    if taken:
        header = replace(header, count=len(taken), band_names=taken_of(header.band_names, taken))
    header = replace(header, laws=() if found.tells_law else _laws(headers, found.assets, taken, of))
    _refuse_no_classes(headers, mask_assets)
    _refuse_no_match(headers, masks)
    grid = grid_of(wish, headers, bands) if wish.is_given else header.grid
    scenes = [_placed(scene, headers.get(scene.id), grid, wish, mask_assets, alpha=alpha) for scene in found.scenes]
    within = tuple(scene for scene in scenes if _meets(scene, grid, found.assets))
    if not within:
        raise outside(wish, bands)
    if len(within) < len(scenes):
        log.info("%d of %d scenes lie beside the area", len(scenes) - len(within), len(scenes))
    return Layout(grid=grid, scenes=within, header=header, bands=taken, file_bands=n_stored if taken else 0)


# -- what must be there ------------------------------------------------------------------------------------------


def _refuse_absent(scenes: Sequence[Scene], assets: Sequence[str]) -> None:
    absent = [called(scene.id, asset) for scene in scenes for asset in assets if asset not in scene.assets]
    if absent:
        raise InputError(
            f"{len(absent)} files are not there: {some(absent)}",
            f"{', '.join(assets)} of every scene; none is left unmasked or without a band silently",
            "leave these scenes out, or add the files",
        )


def _refuse_stacks(header: Header, assets: Sequence[str]) -> None:
    if header.count != 1:
        raise InputError(
            f"The files of {', '.join(assets)} have {header.count} bands each", "one band a file", "name other files"
        )


def _laws(
    headers: Mapping[str, Mapping[str, Header]], assets: Sequence[str], taken: Sequence[int], all_of: str
) -> tuple[TagLaw, ...]:
    """Scale and offset of each band, which a band must have in all scenes.

    Raises:
        InputError: files differ in them; they are named.
    """
    laws = [{called(i, asset): taken_of(of[asset].laws, taken) for i, of in headers.items()} for asset in assets]
    odd = [text for by_name in laws for text in other_laws(by_name, taken)]
    if odd:
        raise InputError(
            f"{len(odd)} of {all_of} do not mean the same by their numbers: {some(odd)}",
            "one scale and offset for a band in all scenes; none is converted silently",
            "leave these out with a pattern or a manifest, bring their numbers to the others' scale, or, if only the "
            "tags are wrong, write those that hold (gdal_edit.py -scale 0.0001 -offset 0)",
        )
    return tuple(law for by_name in laws for law in next(iter(by_name.values())))


def _refuse_no_classes(headers: Mapping[str, Mapping[str, Header]], assets: Sequence[str]) -> None:
    odd = [
        f"{called(scene_id, asset)}: {of[asset].count} bands of {of[asset].dtype}"
        for scene_id, of in headers.items()
        for asset in assets
        if of[asset].count != 1 or np.dtype(of[asset].dtype).kind not in "ui"
    ]
    if odd:
        raise InputError(
            f"{len(odd)} files cannot be masks: {some(odd)}",
            "one band of integers: classes or bits",
            "name other files",
        )


def _refuse_no_match(headers: Mapping[str, Mapping[str, Header]], masks: Sequence[Mask]) -> None:
    odd = sorted({
        f"{mask.asset} of {of[mask.asset].dtype}"
        for of in headers.values()
        for mask in masks
        if not can_erase(mask, np.dtype(of[mask.asset].dtype))
    })  # fmt: skip
    if odd:
        raise InputError(
            f"Masks ask for bits or classes that their files' numbers cannot have: {some(odd)}",
            "bits and classes of the files' type",
            "correct the mask, or the kind it is said to be of",
        )


# -- places ------------------------------------------------------------------------------------------------------


def _placed(
    scene: Scene,
    headers: Mapping[str, Header] | None,
    grid: Grid,
    wish: Wish,
    mask_assets: Sequence[str],
    *,
    alpha: bool,
) -> Scene:
    """The scene with the places of those files that do not lie on the grid pixel for pixel."""
    if headers is None:
        # Nobody has seen where it lies, what its numbers mean, in which order its bands stand or whether it has a mask.
        return scene.model_copy(update={"places": dict.fromkeys(scene.assets, UNKNOWN), "hides": ()})
    moved = headers if wish.is_given else mask_assets  # else all bands have the one grid
    places = {asset: _place(grid, headers[asset].grid, called(scene.id, asset)) for asset in moved}
    hides = tuple(a for a, header in headers.items() if (header.hides or alpha) and a not in mask_assets)
    return scene.model_copy(update={"places": {a: place for a, place in places.items() if place}, "hides": hides})


def _place(grid: Grid, file: Grid, name: str) -> Place | None:
    offset = grid.offset_of(file)
    if offset == (0, 0) and (file.width, file.height) == (grid.width, grid.height):
        return None
    if not (file.is_placed and grid.is_placed):
        raise InputError(
            f"{name} has no georeference, and {file.width}×{file.height} px instead of {grid.width}×{grid.height}",
            "a CRS and a transform in the file or in its STAC item, or the pixels of the scenes",
            "leave it out, or give it its georeference",
        )
    return Place(crs=file.crs, transform=file.transform, width=file.width, height=file.height, offset=offset)


def _meets(scene: Scene, grid: Grid, assets: Sequence[str]) -> bool:
    """Whether any of the scene's bands has a pixel on the grid; one that cannot be opened stays, to be named."""
    return any(_place_meets(scene.places.get(asset), grid) for asset in assets)


def _place_meets(place: Place | None, grid: Grid) -> bool:
    left, top, right, bottom = box_on(place, grid)
    return left < grid.width and top < grid.height and right > 0 and bottom > 0


def box_on(place: Place | None, grid: Grid) -> tuple[float, float, float, float]:
    """(left, top, right, bottom) of a file in the grid's pixels, a box round it where it is turned.

    Infinite where nobody knows, and for a part of it that the grid's CRS does not reach.
    """
    if place is None:
        return 0, 0, grid.width, grid.height
    if place.offset is not None:
        left, top = place.offset
        return left, top, left + place.width, top + place.height
    everywhere = (-math.inf, -math.inf, math.inf, math.inf)
    if place == UNKNOWN:
        return everywhere
    file = Grid(**place.model_dump(exclude={"offset"}), block=(1, 1))
    cols, rows = pixels_of(grid.transform, *outline(file, grid.crs).T)
    if not (np.isfinite(cols).all() and np.isfinite(rows).all()):
        return everywhere
    return float(cols.min()), float(rows.min()), float(cols.max()), float(rows.max())
