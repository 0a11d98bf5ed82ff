"""From a job, and what its scenes are like, to the product."""

from collections.abc import Sequence

import numpy as np

from clearyear.errors import InputError
from clearyear.job import Job
from clearyear.masks import Mask
from clearyear.product import Product
from clearyear.reducers import Inputs, Reducer, get_reducer
from clearyear.scenes.headers import Header, some
from clearyear.scenes.laws import shared_law
from clearyear.scenes.scene import Found


def product_of(
    job: Job,
    header: Header,
    found: Found,
    masks: Sequence[Mask] = (),
    *,
    bands: tuple[int, ...] = (),
    file_bands: int = 0,
) -> Product:
    """The product a job asks for.

    Args:
        job: what is asked for.
        header: what its scenes have in common.
        found: what their source says of them.
        masks: what of them must not be used.
        bands: which bands of a file, and the next, how many it holds; see Product.
        file_bands: see ``bands``.

    Raises:
        InputError: the reducer cannot use these scenes or has no such layer; or it cannot be written as asked for.
    """
    reducer = get_reducer(job.reducer, job.options)
    reducer.check(n_bands=header.count, dtype=header.dtype, n_scenes=len(found.scenes))
    _check_layers(job, reducer)
    tag = () if job.nodata is not None else _tag(header, found)
    nodata = tuple(job.nodata) if job.nodata is not None else (*reducer.default_nodata, *tag)
    saturated = tuple(job.saturated) if job.saturated is not None else reducer.default_saturated
    names = header.band_names
    if header.count == 3 and header.dtype == "uint8" and not any(names):
        names = ("red", "green", "blue")
    scale, offset = (found.scale, found.offset) if found.tells_law else shared_law(header.laws)
    is_masked = bool(masks) or any(scene.hides for scene in found.scenes)
    product = Product(
        name=job.product or reducer.name,
        reducer=job.reducer,
        layers=("composite", *sorted(set(job.layers))),
        n_bands=header.count,
        dtype=header.dtype,
        band_names=names,
        invalid_values=tuple(dict.fromkeys((*nodata, *saturated))),
        nodata=_fill(reducer, header.dtype, nodata, saturated, is_masked=is_masked),
        compress=job.compress if isinstance(job.compress, str) else "deflate",
        assets=found.assets,
        bands=bands,
        file_bands=file_bands,
        alpha=job.alpha == "mask",
        masks=tuple(masks),
        resampling=job.resampling,
        options=job.options,
        scale=scale,
        offset=offset,
        compress_layers=job.compress if isinstance(job.compress, dict) else {},
        outputs=job.outputs,
        display=job.display,
    )
    _check_hidden(product, found)
    _check_files(product, reducer)
    return product


def _check_layers(job: Job, reducer: Reducer) -> None:
    unknown = sorted(set(job.layers) - set(reducer.layers))
    if unknown:
        raise InputError(
            f"{reducer.name} has no layer {', '.join(unknown)}",
            f"none, or {', '.join(reducer.layers[1:])}",
            "leave it out",
        )


def _tag(header: Header, found: Found) -> tuple[float, ...]:
    """The nodata value of the files, or else the one their source says."""
    if header.nodata is not None:
        return (header.nodata,)
    if found.nodata_unlike:
        raise InputError(
            f"The items do not agree on what nodata is, and their files do not say: {found.nodata_unlike}",
            "one nodata value for all scenes and bands",
            "say it (--nodata 0, or none), or narrow the search to items of one kind",
        )
    return () if found.nodata is None else (found.nodata,)


def _fill(
    reducer: Reducer, dtype: str, nodata: tuple[float, ...], saturated: tuple[float, ...], *, is_masked: bool
) -> float | None:
    """What a composite's pixel without a valid sample becomes; None where every sample is valid."""
    if reducer.default_nodata:
        return reducer.default_nodata[0]
    if nodata:
        return nodata[0]
    if dtype.startswith("float"):
        return float("nan")
    if saturated:
        return saturated[0]
    # A mask may leave a pixel without a sample though every value counts; the lowest one is the least likely.
    return float(np.iinfo(dtype).min) if is_masked else None


def _check_hidden(product: Product, found: Found) -> None:
    """Refuse an interpolation that would mix what a mask hides with what is seen.

    Raises:
        InputError: no value of these scenes says that a sample is invalid.
    """
    if product.resampling == "nearest" or product.invalid_values or not product.dtype.startswith(("int", "uint")):
        return
    odd = [s.id for s in found.scenes if any((place := s.places.get(a)) and place.offset is None for a in s.hides)]
    if odd:
        raise InputError(
            f"{len(odd)} scenes hide pixels by a mask inside the file and have no nodata value ({some(odd)}): "
            f"{product.resampling} would mix what is hidden with what is seen",
            "the resampling nearest, or a number that no valid sample has",
            "take --resampling nearest, or say --nodata 0, say",
        )


def _check_files(product: Product, reducer: Reducer) -> None:
    """Refuse what cannot be written so.

    Raises:
        InputError: JPEG of what it cannot hold, a compression for a layer that is not asked for, a band to show that
            there is not.
    """
    names = product.band_names or ("",) * product.n_bands
    kind = reducer.kind("composite", Inputs(dtype=product.dtype, nodata=product.nodata, band_names=names))
    if "jpeg" in product.compress_layers.values() or product.compress == "jpeg":
        others = [layer for layer, name in product.compress_layers.items() if name == "jpeg" and layer != "composite"]
        if others or (kind.n_bands, kind.dtype, product.outputs) != (3, "uint8", "stacked"):
            what = f"the layer {others[0]}" if others else f"{kind.n_bands} bands of {kind.dtype}"
            where = "" if product.outputs == "stacked" else " in a file each"
            raise InputError(f"JPEG cannot hold {what}{where}", "three bands of uint8 in one file", "use deflate")
    absent = sorted(product.compress_layers.keys() - set(product.layers))
    if absent:
        raise InputError(
            f"compress names the layers {', '.join(absent)}", f"some of {', '.join(product.layers)}", "correct it"
        )
    if product.display:
        product.display.indices(kind.band_names, kind.n_bands)
