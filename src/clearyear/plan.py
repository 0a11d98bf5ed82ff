"""The plan: everything that will be done, as a value. What is missing is computed from it, never from a listing."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field

from clearyear import __version__
from clearyear.display import VISUAL
from clearyear.grid import Grid, Window
from clearyear.naming import PLAIN
from clearyear.periods import Period
from clearyear.product import FILES_ONLY, files_of
from clearyear.product import Product as Product
from clearyear.reducers import Inputs, LayerKind, Reducer, get_reducer
from clearyear.scenes.names import granule_of
from clearyear.scenes.scene import Scene


class Plan(BaseModel):
    """Product + period + scenes + grid + windows, and where the result goes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

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
        written = self.product.model_dump(mode="json", include=FILES_ONLY, exclude_defaults=True)
        product = self.product.decides | self.product.model_dump(include={"name", "compress"}) | written
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
                "scenes": [[s.id, s.datetime.isoformat(), s.identity, s.version, *s.decides] for s in self.scenes],
            }
        )

    @cached_property
    def reducer(self) -> Reducer:
        """The product's reducer, with its options."""
        return get_reducer(self.product.reducer, self.product.options)

    def kind(self, file: str) -> LayerKind:
        """What one of ``files`` is like, or one of the reducer's layers, or the picture."""
        product = self.product
        if file == VISUAL and product.display is not None:
            return product.display.kind
        layer, band = self.files.get(file, (file, None))
        kind = self._kind(layer)
        if band is None:
            return kind
        name = kind.band_names[band] if kind.band_names else ""
        title = f"{kind.title}: {name or f'band {band + 1}'}"
        return replace(kind, n_bands=1, band_names=(name,) if name else (), title=title)

    def _kind(self, layer: str) -> LayerKind:
        product = self.product
        names = product.band_names or tuple("" for _ in range(product.n_bands))
        return self.reducer.kind(layer, Inputs(dtype=product.dtype, nodata=product.nodata, band_names=names))

    @cached_property
    def files(self) -> dict[str, tuple[str, int | None]]:
        """The product's files: see ``files_of``."""
        return files_of(self.product, self._kind)

    @property
    def published(self) -> tuple[str, ...]:
        """The keys of the mosaics: the files, and the picture where there is one."""
        return (*self.files, *([VISUAL] if self.product.display else []))

    @property
    def shown(self) -> tuple[str, ...]:
        """The keys of the mosaics that a preview is made of."""
        composite = tuple(key for key, (layer, _) in self.files.items() if layer == "composite")
        return (VISUAL,) if self.product.display else composite

    @cached_property
    def is_plain(self) -> bool:
        """Whether each scene is one file on the grid itself, with nothing beside it: what needs the least reading."""
        special = any(scene.places or scene.add or scene.hides or scene.group for scene in self.scenes)
        return self.product.assets == ("data",) and not self.product.masks and not special

    @cached_property
    def valid_bands(self) -> int:
        """Bands of the mask that goes beside a stack: none where values alone say what is valid; one; one a band.

        One a band where the bands of a scene do not reach equally far, hide pixels each on its own, or are fused so.
        """
        assets, masks = self.product.assets, self.product.masks
        placed = [{scene.places.get(asset) for asset in assets} for scene in self.scenes]
        groups = [scene.group for scene in self.scenes if scene.group]
        fused = len(set(groups)) < len(groups)
        hidden = any(scene.hides for scene in self.scenes)
        if not (masks or fused or hidden or any(places != {None} for places in placed)):
            return 0
        alone = hidden and len(assets) > 1
        apart = alone or any(len(places) > 1 for places in placed) or (fused and not self.reducer.whole_samples)
        return self.product.n_bands if apart else 1

    @cached_property
    def valid_masks(self) -> int:
        """How many such masks: one; two where the reducer wants to know it before opening and dilation too; or none."""
        grows = any(mask.opening or mask.dilation for mask in self.product.masks)
        wanted = 2 if grows and self.reducer.wants_raw else 1
        return wanted if self.valid_bands else 0

    # -- names below the destination ------------------------------------------------------------------

    @cached_property
    def label(self) -> str:
        """Product, period and, where all scenes are of one, granule: what people call a run."""
        return " ".join(part for part in (self.product.name, self.period.label, self.granule) if part)

    @cached_property
    def granule(self) -> str:
        """The tile that all scenes are named after, such as ``T31TCJ``; empty where they tell none."""
        return granule_of(scene.id for scene in self.scenes)

    @property
    def folder(self) -> str:
        """``<period>``: the folder's name below that of the product."""
        return self.name or self.period.label

    @property
    def stem(self) -> str:
        """``<product>_<period>``: how every file of this plan begins."""
        return self.name or f"{self.product.name}_{self.period.label}"

    def mosaic_name(self, file: str = "composite") -> str:
        """The mosaic's file name, of one of ``published``."""
        return f"{self.stem}{_suffix(file)}.tif"

    def tile_name(self, window: Window, file: str = "composite") -> str:
        """The tile's name below the destination, of one of ``files``."""
        return f"tiles/{self.stem}_{window.id}{_suffix(file)}.tif"

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
        if self.is_plain:
            return round(share * sum(scene.size for scene in self.scenes))
        first = self.product.assets[0]  # stands for all files of a scene
        places = [(scene.size, scene.places.get(first)) for scene in self.scenes]
        return round(sum(size * (place.share(self.grid, window) if place else share) for size, place in places))

    def reduce_seconds(self, windows: Sequence[Window]) -> float:
        """About what reducing these windows takes of one core beside reading them; 0 where reading takes far longer."""
        sizes = {"n_scenes": len(self.scenes), "n_bands": self.product.n_bands}
        n_pixels = sum(window.n_pixels for window in windows)
        return self.reducer.core_seconds(n_pixels=n_pixels, wanted=self.product.layers, **sizes)

    @property
    def sample_bytes(self) -> int:
        """Bytes of one pixel in all bands of all scenes."""
        return len(self.scenes) * self.product.n_bands * self.itemsize

    @property
    def itemsize(self) -> int:
        """Bytes of one sample."""
        sizes = {"uint8": 1, "int8": 1, "uint16": 2, "int16": 2, "float32": 4, "int32": 4, "uint32": 4}
        return sizes.get(self.product.dtype, 8)

    # -- views ------------------------------------------------------------------------------------------

    def to_json(self) -> str:
        """The plan as it is kept in plan.json."""
        return json.dumps({"id": self.id, **self.model_dump(mode="json")}, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, destination: str = "") -> "Plan":
        """The plan of a plan.json lying at ``destination``.

        Raises:
            ValueError: it is no plan of this version of clearyear. InputError: of more windows than a plan may have.
        """
        try:
            document = json.loads(text)
        except RecursionError as error:
            raise ValueError("it is nested too deeply") from error
        if not isinstance(document, dict):
            raise ValueError("it is not a JSON object")
        known = document.pop("id", None)
        plan = cls.model_validate({**document, "destination": destination})
        plan.grid.check_count(plan.tile_size, "the plan")
        if known is not None and known != plan.id:
            raise ValueError("its id does not agree with its content, or another version of an algorithm made it")
        return plan


def _suffix(file: str) -> str:
    return "" if file == "composite" else f"_{file}"


def _digest(value: Any) -> str:
    """SHA-256 of canonical JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
