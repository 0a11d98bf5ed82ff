"""From numbers to physical values: what items say of scale and offset, brought to one law for all scenes.

Since processing baseline 04.00 (25 January 2022; older data made anew has it too) Sentinel-2 products hold
reflectance × 10,000 + 1,000: ESA's BOA_ADD_OFFSET and RADIO_ADD_OFFSET of −1000. Some copies have taken the 1,000 out
again, and not all items say so where one would look. Whether an item's numbers still hold it:

    boa_offset_applied    baseline     offset of the band    the numbers hold 1,000    added
    true                  any          any, −0.1 too         no                        0
    false                 ≥ 04.00      any                   yes                       −1000
    false                 < 04.00      any                   no                        0
    not said              ≥ 04.00      −0.1 or not said      yes                       −1000
    not said              ≥ 04.00      0                     contradiction: refused
    not said              < 04.00      0 or not said         no                        0
    not said              < 04.00      −0.1                  contradiction: refused
    false or not said     not said     −0.1                  yes                       −1000
    false or not said     not said     0                     no                        0
    false or not said     not said     not said              no, if made before that day; else refused

``boa_offset_applied`` is ``earthsearch:boa_offset_applied`` or ``sentinel:boa_offset_applied``; the baseline is
``s2:processing_baseline``, ``sentinel:processing_baseline`` or stands in the product's name (_N0509_). What is added is
added once, when pixels are read; number × 0.0001 is the reflectance afterwards, and no offset is left over.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from clearyear.errors import InputError
from clearyear.scenes.band_names import is_sentinel_2, number_of, told_by_band

_HELD = 1000
_SCALE = 1e-4
_FIRST_HELD = datetime(2022, 1, 25, tzinfo=UTC)
_FLAGS = ("earthsearch:boa_offset_applied", "sentinel:boa_offset_applied")
_BASELINES = ("s2:processing_baseline", "sentinel:processing_baseline", "processing:baseline")
_PRODUCTS = ("s2:product_uri", "sentinel:product_id", "title")
_MADE = ("s2:generation_time", "created", "updated")
_NEAR = 1e-9


@dataclass(frozen=True)
class Law:
    """(number + add) × scale + offset is the physical value; None where the item does not say."""

    scale: float | None = None
    offset: float | None = None
    add: int = 0


@dataclass(frozen=True)
class Harmony:
    """One law for all scenes."""

    add: dict[str, dict[str, int]]
    """Scene → band → what is added; zeros are left out."""
    scale: float | None
    offset: float | None
    is_told: bool
    """Whether the items say anything of their numbers, or these are to be taken as they are."""


def law_of(item: Mapping[str, Any], key: str) -> Law:
    """The law of one asset of one item; of a Sentinel-2 reflectance by the table above.

    Raises:
        ValueError: the item contradicts itself, or does not say what must be known.
    """
    scale, offset = _said(item["assets"][key])
    if not (is_sentinel_2(item) and number_of(item, key)):
        return Law(scale, offset)
    return Law(scale or _SCALE, 0.0, -_HELD if _holds(item, scale, offset) else 0)


def baseline_of(item: Mapping[str, Any]) -> tuple[int, int] | None:
    """The processing baseline as (4, 0); None where the item does not say."""
    properties = item.get("properties", {})
    for name in _BASELINES:
        if match := re.fullmatch(r"(\d{1,2})\.(\d{1,2})", str(properties.get(name) or "")):
            return int(match[1]), int(match[2])
    for text in (item["id"], *(properties.get(name) for name in _PRODUCTS)):
        if match := re.search(r"_N(\d\d)(\d\d)_", str(text or "")):
            return int(match[1]), int(match[2])
    return None


def harmonise(laws: Mapping[str, Mapping[str, Law]]) -> Harmony:
    """One law for all scenes of every band; where bands have different ones, none is named.

    Offsets that differ by a whole number of steps are brought to the offset most scenes have.

    Args:
        laws: scene → band → its law.

    Raises:
        InputError: two scenes have laws of which one cannot be made; both are named.
    """
    add: dict[str, dict[str, int]] = {scene: {} for scene in laws}
    shared = []
    for band in next(iter(laws.values()), {}):
        ours = {scene: by_band[band] for scene, by_band in laws.items()}
        usual = Counter((law.scale, law.offset) for law in ours.values()).most_common()
        # Of two that are equally common the order of the scenes must not decide.
        scale, offset = max((n, _sortable(law), law) for law, n in usual)[2]
        for scene, law in ours.items():
            steps = law.add + _steps(
                law, scale, offset, scene, band, next(s for s in ours if _is(ours[s], scale, offset))
            )
            if steps:
                add[scene][band] = steps
        shared.append((scale, offset))
    scale, offset = shared[0] if len(set(shared)) == 1 else (None, None)
    is_told = any(law != Law() for by_band in laws.values() for law in by_band.values())
    return Harmony(add, scale, offset, is_told)


def _is(law: Law, scale: float | None, offset: float | None) -> bool:
    return (law.scale, law.offset) == (scale, offset)


def _sortable(law: tuple[float | None, float | None]) -> tuple[float, float]:
    return (law[0] or 0.0, law[1] or 0.0)


def _steps(law: Law, scale: float | None, offset: float | None, scene: str, band: str, other: str) -> int:
    """What is added to a scene's numbers so that they follow the law most scenes have."""
    if _is(law, scale, offset):
        return 0
    if law.scale is not None and scale is not None and abs(law.scale - scale) <= _NEAR * scale:
        steps = ((law.offset or 0.0) - (offset or 0.0)) / scale
        if abs(steps - round(steps)) < 1e-6:
            return round(steps)
    raise InputError(
        f"The band {band} is number × {_shown(law.scale, law.offset)} in {scene}, "
        f"but number × {_shown(scale, offset)} in {other}",
        "scenes whose numbers mean the same, or differ by a whole number",
        "narrow the search to one kind, or set stac.harmonise: false to take the numbers as they are",
        scene=scene,
    )


def _shown(scale: float | None, offset: float | None) -> str:
    return "something it does not say" if scale is None and offset is None else f"{scale or 1:g} + {offset or 0:g}"


def _holds(item: Mapping[str, Any], scale: float | None, offset: float | None) -> bool:
    properties = item.get("properties", {})
    flag = next((properties[name] for name in _FLAGS if isinstance(properties.get(name), bool)), None)
    baseline = baseline_of(item)
    held = None if offset is None else abs(offset + _HELD * (scale or _SCALE)) < _NEAR
    if flag is True:
        return False
    if baseline is not None:
        made_new = baseline >= (4, 0)
        if flag is None and held is not None and held is not made_new:
            raise ValueError(
                f"its baseline is {baseline[0]:02}.{baseline[1]:02}, yet its band says the offset is {offset:g}"
            )
        return made_new
    if held is not None:
        return held
    made = [m for m in (_moment(properties.get(name)) for name in _MADE) if m is not None]
    if made and min(made) < _FIRST_HELD:
        return False
    raise ValueError("it says neither its processing baseline nor whether the offset of 1000 has been taken out")


def _said(asset: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """Scale and offset of all its bands; where these have different ones, none."""
    said = {_said_by(places, asset) for places in told_by_band(asset)}
    return said.pop() if len(said) == 1 else (None, None)


def _said_by(places: Sequence[Mapping[str, Any]], asset: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """STAC 1.1 at the asset or its band, 1.0 in raster:bands; one missing where the other stands."""
    scale = offset = None
    for place in places:
        prefix = "" if place is not asset else "raster:"
        scale = _number(place.get("raster:scale", place.get(f"{prefix}scale")), scale)
        offset = _number(place.get("raster:offset", place.get(f"{prefix}offset")), offset)
    if (scale is None and offset is None) or scale == 0:
        return None, None
    return (1.0 if scale is None else scale), (0.0 if offset is None else offset)


def _number(value: Any, otherwise: float | None) -> float | None:
    is_one = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
    return float(value) if is_one else otherwise


def _moment(text: Any) -> datetime | None:
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
