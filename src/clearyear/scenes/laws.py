"""What files say their numbers mean, in their scale and offset tags: the same in all scenes, or a refusal."""

import logging
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

log = logging.getLogger(__name__)

TagLaw = tuple[float, float]
"""Scale and offset of one band: a number × scale + offset is the physical value."""

NONE: TagLaw = (1.0, 0.0)
"""What GDAL gives for a band without tags, too."""


def tag_laws(scales: Iterable[float], offsets: Iterable[float]) -> tuple[TagLaw, ...]:
    """The law of each band of a file, as GDAL gives its tags; a scale or an offset that cannot be one says nothing."""
    found = []
    for scale, offset in zip(scales, offsets, strict=True):
        is_one = scale != 0 and math.isfinite(scale) and math.isfinite(offset)
        found.append((float(scale), float(offset)) if is_one else NONE)
    return tuple(found)


def other_laws(laws: Mapping[str, Sequence[TagLaw]], taken: Sequence[int]) -> list[str]:
    """In words: which of these files mean something else by their numbers than most do.

    Args:
        laws: of some bands of each file, by the name a message is to use.
        taken: the numbers of these bands in their file, from 1; none: all.
    """
    # Of two that are equally common the first that is met, and scenes come in their order.
    usual = Counter(tuple(of) for of in laws.values()).most_common(1)[0][0]
    return [f"{name}: {_difference(of, usual, taken)}" for name, of in laws.items() if tuple(of) != usual]


def shared_law(laws: Sequence[TagLaw]) -> tuple[float | None, float | None]:
    """The one scale and offset of all bands; (None, None) where there is none, or where bands have different ones."""
    if len(set(laws)) > 1:
        some = ", ".join(_said(law) for law in dict.fromkeys(laws))
        log.warning("The bands have different scales or offsets (%s): the result's tags and its item say none", some)
    return laws[0] if len(set(laws)) == 1 and laws[0] != NONE else (None, None)


def _difference(laws: Sequence[TagLaw], usual: Sequence[TagLaw], taken: Sequence[int]) -> str:
    """The first band that differs; unnamed where all do alike."""
    pairs = list(zip(laws, usual, strict=True))
    number, (mine, theirs) = next(
        (n, pair) for n, pair in zip(taken or range(1, len(pairs) + 1), pairs, strict=True) if pair[0] != pair[1]
    )
    which = "" if len(set(pairs)) == 1 else f"band {number} "
    return f"{which}{_said(mine)} instead of {_said(theirs)}"


def _said(law: TagLaw) -> str:
    return "no scale" if law == NONE else f"scale {law[0]!r} offset {law[1]!r}"
