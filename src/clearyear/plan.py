"""The plan: everything that will be done, as a value. What is missing is computed from it, never from a listing."""

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from clearyear import __version__
from clearyear.grid import Grid, Window
from clearyear.masks import Mask
from clearyear.naming import PLAIN
from clearyear.periods import Period
from clearyear.reducers import Inputs, LayerKind, Reducer, get_reducer
from clearyear.scenes.scene import Scene

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
"""What a product may be called: one file name's worth of plain characters."""

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
    compress: str = "deflate"
    """The mosaic's compression; tiles are always lossless."""
    assets: tuple[str, ...] = ("data",)
    """The files the bands come from: one that holds them all, or one for each band."""
    masks: tuple[Mask, ...] = ()
    """Which samples are invalid besides those of ``invalid_values``."""
    resampling: Literal["nearest", "bilinear", "cubic"] = "nearest"
    """How a scene is brought to the grid where its own is another. Class and bit bands are always ``nearest``."""
    options: dict[str, Any] = {}
    """The reducer's own: percentiles, eps."""
    scale: float | None = None
    """A composite's number × scale + offset is the physical value, where the scenes say so."""
    offset: float | None = None

    @property
    def decides(self) -> dict[str, Any]:
        """What pixels depend on; values that are the default since before there was a choice are left out."""
        later = {"assets", "masks", "resampling", "options"}
        known = self.model_dump(exclude={"name", "compress", "scale", "offset", *later})
        chosen = self.model_dump(mode="json", include=later, exclude_defaults=True)
        return known | chosen


class Plan(BaseModel):
    """Product + period + scenes + grid + windows, and where the result goes."""

    model_config = _FROZEN

    product: Product
    period: Period
    scenes: tuple[Scene, ...]
    """In acquisition order; a ``source`` layer's numbers are indices into this."""
    grid: Grid
    tile_size: int = Field(ge=1)
    max_failed_reads: int = 0
    min_completeness: float = 1.0
    created_by: str = f"clearyear {__version__}"
    name: str = Field(default="", pattern=f"^({PLAIN})?$")
    """What the user calls this period's folder and files; empty: as ``folder`` and ``stem`` have it."""
    destination: str = Field(default="", exclude=True)
    """Where this plan lies; not part of the file, so that a moved result stays readable."""

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """The plan with other values; pydantic's own would keep the windows and digests worked out before."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        return self.model_validate({**values, **(update or {})})

    @cached_property
    def windows(self) -> tuple[Window, ...]:
        """All windows, row by row."""
        return tuple(self.grid.windows(self.tile_size))

    @cached_property
    def id(self) -> str:
        """Two plans with one id do the same: the SHA-256 of all that decides what is written."""
        product = self.product.decides | self.product.model_dump(include={"name", "compress"})
        decides: dict[str, Any] = {"tile_size": self.tile_size, "product": product}
        decides |= {"name": self.name} if self.name else {}
        return _digest({"inputs": self._inputs, "period": self.period.model_dump(mode="json"), **decides})

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of all that a window is computed by, tolerances too: what a task knows the plan by."""
        return _digest(self.model_dump(mode="json", exclude={"min_completeness"}))

    def fingerprint(self, window: Window) -> str:
        """What the window's pixels depend on: algorithm version, product, grid, scenes with versions, window."""
        return _digest({"inputs": self._inputs, "window": window.model_dump()})

    @cached_property
    def _inputs(self) -> str:
        return _digest(
            {
                "algorithm": [self.product.reducer, self.reducer.version],
                "product": self.product.decides,
                "grid": self.grid.model_dump(mode="json", exclude={"block"}),
                "scenes": [[s.id, s.datetime.isoformat(), s.identity, s.version, *_more(s)] for s in self.scenes],
            }
        )

    @cached_property
    def reducer(self) -> Reducer:
        """The product's reducer, with its options."""
        return get_reducer(self.product.reducer, self.product.options)

    def kind(self, layer: str) -> LayerKind:
        """What one of the product's layers is like."""
        product = self.product
        names = product.band_names or tuple("" for _ in range(product.n_bands))
        return self.reducer.kind(layer, Inputs(dtype=product.dtype, nodata=product.nodata, band_names=names))

    # -- names below the destination ------------------------------------------------------------------

    @property
    def folder(self) -> str:
        """``<period>``: the folder's name below that of the product."""
        return self.name or self.period.label

    @property
    def stem(self) -> str:
        """``<product>_<period>``: how every file of this plan begins."""
        return self.name or f"{self.product.name}_{self.period.label}"

    def mosaic_name(self, layer: str = "composite") -> str:
        """The mosaic's file name."""
        return f"{self.stem}{_suffix(layer)}.tif"

    def tile_name(self, window: Window, layer: str = "composite") -> str:
        """The tile's name below the destination."""
        return f"tiles/{self.stem}_{window.id}{_suffix(layer)}.tif"

    def record_name(self, window: Window) -> str:
        """The window's record: its result, written after its tiles, the sign that they are whole."""
        return f"tiles/{self.stem}_{window.id}.json"

    @property
    def item_name(self) -> str:
        """The STAC item, written last."""
        return f"{self.stem}.stac-item.json"

    @property
    def preview_name(self) -> str:
        """The mosaic's picture."""
        return f"{self.stem}_preview.jpg"

    # -- what it costs ----------------------------------------------------------------------------------

    def stack_bytes(self, window: Window) -> int:
        """Bytes of the window's stack (T, B, H, W)."""
        return self.sample_bytes * window.n_pixels

    def read_bytes(self, window: Window) -> int:
        """About how many stored bytes the window's reads cost: its share of each scene's file."""
        share = window.n_pixels / (self.grid.width * self.grid.height)
        return round(share * sum(scene.size for scene in self.scenes))

    @property
    def sample_bytes(self) -> int:
        """Bytes of one pixel in all bands of all scenes."""
        return len(self.scenes) * self.product.n_bands * self.itemsize

    @property
    def itemsize(self) -> int:
        """Bytes of one sample."""
        return {"uint8": 1, "int8": 1, "uint16": 2, "int16": 2, "float32": 4, "int32": 4, "uint32": 4}.get(
            self.product.dtype, 8
        )

    # -- views ------------------------------------------------------------------------------------------

    def to_json(self) -> str:
        """The plan as it is kept in plan.json."""
        return json.dumps({"id": self.id, **self.model_dump(mode="json")}, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, destination: str = "") -> "Plan":
        """The plan of a plan.json lying at ``destination``.

        Raises:
            ValueError: it is no plan of this version of clearyear.
        """
        document = json.loads(text)
        if not isinstance(document, dict):
            raise ValueError("it is not a JSON object")
        known = document.pop("id", None)
        plan = cls.model_validate({**document, "destination": destination})
        if known is not None and known != plan.id:
            raise ValueError(
                "its id does not agree with its content, or it was made by another version of an algorithm"
            )
        return plan


def _more(scene: Scene) -> list[Any]:
    """What a scene's pixels depend on besides its files; nothing where it is what it was before there was a choice."""
    more = scene.model_dump(mode="json", include={"places", "add", "group"}, exclude_defaults=True)
    return [more] if more else []


def _suffix(layer: str) -> str:
    return "" if layer == "composite" else f"_{layer}"


def _digest(value: Any) -> str:
    """SHA-256 of canonical JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
