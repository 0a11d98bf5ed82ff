"""The product: what is computed and how it is written, and the files it is kept in."""

import re
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from clearyear.display import VISUAL, Display
from clearyear.masks import Mask
from clearyear.naming import NAME
from clearyear.reducers import LayerKind

Compression = Annotated[str, Field(pattern=r"^(deflate(:[1-9])?|zstd(:[1-9][0-9]?)?|lzw|jpeg)$")]

_OTHER_ASSETS = {"preview", "plan", "report", "tile_map"}
"""Keys of the item's assets that are no rasters of the product."""

FILES_ONLY = {"compress_layers", "outputs", "display"}
"""Of a product: how it is written, which no pixel of a window depends on."""

_FROZEN = ConfigDict(frozen=True, extra="forbid")


class Product(BaseModel):
    """What is computed, and how it is written."""

    model_config = _FROZEN

    # Both become parts of file names, and a plan is read from where others may write.
    name: str = Field(pattern=NAME)
    reducer: str
    layers: tuple[Annotated[str, Field(pattern=r"^[a-z]+$")], ...]
    """``composite`` and the optional ones asked for."""
    n_bands: int
    dtype: str
    band_names: tuple[str, ...] = ()
    invalid_values: tuple[float, ...]
    """Nodata and saturated values of the scenes."""
    nodata: float | None
    """What a composite pixel without a valid sample becomes; None where every sample is valid."""
    compress: Compression = "deflate"
    """The mosaic's compression, with a level or without; tiles are always lossless."""
    assets: tuple[str, ...] = ("data",)
    """The files the bands come from: one that holds them all, or one for each band."""
    bands: tuple[int, ...] = ()
    """Of a file that holds several bands those taken, by number from 1, in their order; none: all as they lie there."""
    file_bands: int = 0
    """How many such a file holds, where ``bands`` says which are taken."""
    alpha: bool = False
    """Whether a file's last band is no band but says what it hides: where it is 0."""
    masks: tuple[Mask, ...] = ()
    """Which samples are invalid besides those of ``invalid_values``."""
    resampling: Literal["nearest", "bilinear", "cubic"] = "nearest"
    """How a scene is brought to the grid where its own is another. Class and bit bands are always ``nearest``."""
    options: dict[str, Any] = {}
    """The reducer's own: percentiles, eps."""
    scale: float | None = None
    """A composite's number × scale + offset is the physical value, where the scenes say so."""
    offset: float | None = None
    compress_layers: dict[str, Compression] = {}
    """Layer → its mosaic's compression, where it is another than ``compress``."""
    outputs: Literal["stacked", "per-band"] = "stacked"
    """Whether a layer's bands lie in one file or in a file each."""
    display: Display | None = None
    """The picture that is made beside the mosaic."""

    @property
    def stored_bands(self) -> int:
        """Bands of a block as it is unpacked, where a file's bands are interleaved."""
        return self.file_bands or self.n_bands

    @property
    def decides(self) -> dict[str, Any]:
        """What pixels depend on; values that are the default since before there was a choice are left out."""
        later = {"assets", "bands", "alpha", "masks", "resampling", "options"}
        known = self.model_dump(exclude={"name", "compress", "scale", "offset", "file_bands", *FILES_ONLY, *later})
        chosen = self.model_dump(mode="json", include=later, exclude_defaults=True)
        return known | chosen


def files_of(product: Product, kind: Callable[[str], LayerKind]) -> dict[str, tuple[str, int | None]]:
    """What the product's layers are kept in: a file's key → its layer, and the band (from 0) if it has only one.

    A layer's own name is its key; with a file for each band, the band's name is (``count-B02`` in other layers).

    Args:
        product: whose layers they are.
        kind: what each is like.
    """
    found: dict[str, tuple[str, int | None]] = {}
    taken = {*product.layers, VISUAL, *_OTHER_ASSETS}
    for layer in product.layers:
        names, n_bands = kind(layer).band_names, kind(layer).n_bands
        if product.outputs == "stacked" or n_bands == 1:
            found[layer] = (layer, None)
            continue
        for band in range(n_bands):
            # The name is what a scene's file says: it must neither leave the folder nor name another file.
            name = re.sub(r"[^A-Za-z0-9.]+", "-", names[band] if names else "").strip("-.")
            key = (name or f"band-{band + 1}") if layer == "composite" else f"{layer}-{name or band + 1}"
            while key.lower() in taken:
                key = f"{key}-{band + 1}"
            taken.add(key.lower())
            found[key] = (layer, band)
    return found
