"""Masks as a job asks for them: by the kind of band, with what its users usually erase.

Where classes and bits stand:

- Sentinel-2 scene classification (SCL): ESA, Sentinel-2 Level-2A algorithm theoretical basis, table of classes.
- Landsat Collection 2 ``QA_PIXEL``: USGS LSDS-1619 (Landsat 8 and 9) and LSDS-1618 (4, 5 and 7, which have no cirrus).
- Landsat Collection 1 ``BQA``: USGS LSDS-1328 and LSDS-1873, Quality Assessment band.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from clearyear.errors import InputError
from clearyear.masks import Bits, Mask

HIGH = (3,)
"""Of a confidence of two bits: 0 none, 1 low, 2 medium, 3 high."""

_QA_PIXEL = {
    "fill": Bits(name="fill", shift=0),
    "dilated_cloud": Bits(name="dilated_cloud", shift=1),
    "cirrus": Bits(name="cirrus", shift=2),
    "cloud": Bits(name="cloud", shift=3),
    "cloud_shadow": Bits(name="cloud_shadow", shift=4),
    "snow": Bits(name="snow", shift=5),
    "clear": Bits(name="clear", shift=6),
    "water": Bits(name="water", shift=7),
    "cloud_confidence": Bits(name="cloud_confidence", shift=8, width=2, values=HIGH),
    "cloud_shadow_confidence": Bits(name="cloud_shadow_confidence", shift=10, width=2, values=HIGH),
    "snow_confidence": Bits(name="snow_confidence", shift=12, width=2, values=HIGH),
    "cirrus_confidence": Bits(name="cirrus_confidence", shift=14, width=2, values=HIGH),
}
_BQA = {
    "fill": Bits(name="fill", shift=0),
    "terrain_occlusion": Bits(name="terrain_occlusion", shift=1),
    "saturation": Bits(name="saturation", shift=2, width=2, values=(1, 2, 3)),
    "cloud": Bits(name="cloud", shift=4),
    "cloud_confidence": Bits(name="cloud_confidence", shift=5, width=2, values=HIGH),
    "cloud_shadow": Bits(name="cloud_shadow", shift=7, width=2, values=HIGH),
    "snow": Bits(name="snow", shift=9, width=2, values=HIGH),
    "cirrus": Bits(name="cirrus", shift=11, width=2, values=HIGH),
}


class Preset(BaseModel):
    """What a kind of mask band usually erases, and the names of its bits."""

    model_config = ConfigDict(frozen=True)

    classes: tuple[int, ...] = ()
    bits: tuple[str, ...] = ()
    table: Mapping[str, Bits] = {}
    opening: int = 0
    dilation: int = 0


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        # No data, shadow, cloud of medium and high probability, cirrus; the radii of DE Africa's geomedians.
        "sentinel-2-scl": Preset(classes=(0, 3, 8, 9, 10), opening=2, dilation=5),
        "landsat-qa-pixel": Preset(bits=("fill", "dilated_cloud", "cirrus", "cloud", "cloud_shadow"), table=_QA_PIXEL),
        "landsat-bqa": Preset(bits=("fill", "cloud", "cloud_shadow", "cirrus"), table=_BQA),
    }
)
_BY_NAME = {"scl": "sentinel-2-scl", "qa_pixel": "landsat-qa-pixel", "qa_pixel.tif": "landsat-qa-pixel",
            "bqa": "landsat-bqa", "bqa.tif": "landsat-bqa"}  # fmt: skip


def _numbers(value: Any) -> Any:
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


class JobMask(BaseModel):
    """One of the job's ``masks``."""

    model_config = ConfigDict(extra="forbid", frozen=True, title="Mask", populate_by_name=True)

    asset: str = Field(
        min_length=1, title="Band", description="An asset of the items (scl, qa_pixel), or a {band} of the files (BQA)."
    )
    source: str | None = Field(
        default=None,
        alias="from",
        min_length=1,
        title="Folder",
        description="Folder or prefix of the masks' files, one for each scene, matched by date and name.",
    )
    preset: Literal["sentinel-2-scl", "landsat-qa-pixel", "landsat-bqa"] | None = Field(
        default=None, title="Kind", description="Left out: told by the band's name (scl, qa_pixel, bqa)."
    )
    classes: Annotated[tuple[int, ...], BeforeValidator(_numbers)] | None = Field(
        default=None, title="Classes to erase", description="Values of a class band, instead of the preset's."
    )
    bits: Annotated[dict[str, list[int]] | list[str | Bits], BeforeValidator(_numbers)] | None = Field(
        default=None,
        title="Bits to erase",
        description="By name, instead of the preset's: [cloud, cloud_shadow], or with the values that erase "
        "{cloud_confidence: [2, 3]}.",
    )
    opening: int | None = Field(
        default=None, ge=0, le=64, title="Opening (px)", description="Specks narrower than that are dropped first."
    )
    dilation: int | None = Field(
        default=None, ge=0, le=64, title="Dilation (px)", description="What is left grows by that."
    )

    def mask(self) -> Mask:
        """What is done, with the preset's word where the job says nothing.

        Raises:
            InputError: neither a preset nor classes nor bits say what to erase, or a bit has no such name.
        """
        kind = self.preset or _BY_NAME.get(self.asset.casefold())
        preset = PRESETS[kind] if kind else Preset()
        asked = self.classes is not None or self.bits is not None
        if not kind and not asked:
            raise InputError(
                f"What the mask {self.asset} erases is not said",
                f"a preset ({', '.join(PRESETS)}), classes or bits",
                "say --mask-classes 3,8,9,10, or give the mask a preset in the job file",
            )
        return Mask(
            asset=self.asset,
            classes=self.classes or () if asked else preset.classes,
            bits=self._bits(preset, kind) if asked else tuple(preset.table[name] for name in preset.bits),
            opening=preset.opening if self.opening is None else self.opening,
            dilation=preset.dilation if self.dilation is None else self.dilation,
        )

    def _bits(self, preset: Preset, kind: str | None) -> tuple[Bits, ...]:
        named = self.bits or []
        given = {name: tuple(values) for name, values in named.items()} if isinstance(named, dict) else {}
        found = []
        for bits in named:
            if isinstance(bits, Bits):
                found.append(bits)
                continue
            if bits not in preset.table:
                raise InputError(
                    f"The mask {self.asset} has no bits called {bits!r}",
                    f"some of {', '.join(preset.table)}" if preset.table else "a bit band with a preset",
                    f"correct it ({kind})"
                    if preset.table
                    else "give the mask a preset: landsat-qa-pixel or landsat-bqa",
                )
            known = preset.table[bits]
            values = given.get(bits, known.values)
            if not values or not all(0 <= value < 1 << known.width for value in values):
                raise InputError(
                    f"The bits {bits} of the mask {self.asset} cannot have the values {list(values)}",
                    f"values from 0 to {(1 << known.width) - 1}",
                    "correct them",
                )
            found.append(known.model_copy(update={"values": values}))
        return tuple(found)


def named_mask(value: Any) -> Any:
    """The keys that ``scl`` or ``scl=/data/scl`` stands for; anything but text as it is."""
    if not isinstance(value, str):
        return value
    asset, equals, source = value.partition("=")
    return {"asset": asset, "from": source} if equals else {"asset": asset}


AnyMask = Annotated[JobMask, BeforeValidator(named_mask, json_schema_input_type=str | JobMask)]
"""A mask, or its name alone."""


def masks_of(asked: Sequence[JobMask]) -> tuple[Mask, ...]:
    """What a product's masks are.

    Raises:
        InputError: one cannot be understood, or two have one name.
    """
    masks = tuple(one.mask() for one in asked)
    names = [mask.asset for mask in masks]
    if len(set(names)) < len(names):
        raise InputError(f"Two masks are called {max(names, key=names.count)}", "one mask for a band", "join them")
    return masks
