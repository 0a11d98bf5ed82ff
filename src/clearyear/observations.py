"""How many valid samples pixels had: what a composite's quality depends on, exact for any number of windows."""

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

FEW = 3
"""With fewer samples than that a median cannot leave out a single bad one."""

_STRIP_PIXELS = 1 << 14
"""Counted at once: NumPy makes integers of 8 bytes of them first."""

_MOST = 65_535


class Observations(BaseModel):
    """Valid samples of a pixel, over the pixels of finished windows that have any.

    Where bands are counted apart, that of the band seen most often.
    """

    model_config = ConfigDict(frozen=True)

    least: int
    median: float
    most: int
    few_share: float
    """Share of these pixels with fewer than three."""
    pixels: int
    """How many there are."""
    windows: int
    """Of how many finished windows this is told: those of earlier versions' records are not in it."""


def histogram(count: NDArray[Any]) -> dict[int, int]:
    """How many pixels have how many valid samples.

    Args:
        count: (B, H, W) uint16, valid samples of each pixel; of several bands the largest is taken. Of other types, as
            plug-ins may have them, parts of one are rounded up, and NaN is none.

    Returns:
        Valid samples, 0 as well → pixels, in order: no more entries than there are scenes, and one.
    """
    total: Counter[int] = Counter()
    rows = max(1, _STRIP_PIXELS // count.shape[2])
    for top in range(0, count.shape[1], rows):
        most = count[:, top : top + rows].max(axis=0).ravel()
        if most.dtype != np.uint16:
            most = np.ceil(np.nan_to_num(np.clip(most, 0, _MOST))).astype(np.uint16)
        found = np.bincount(most)
        total.update({int(n): int(found[n]) for n in found.nonzero()[0]})
    return dict(sorted(total.items()))


def summary(histograms: Iterable[Mapping[int, int]]) -> Observations | None:
    """All windows' histograms together, in any order; None where no pixel has a sample.

    Args:
        histograms: one of each finished window; an empty one is not known.
    """
    total: Counter[int] = Counter()
    windows = 0
    for one in histograms:
        total.update(one)
        windows += bool(one)
    counts = sorted(n for n in total if n > 0)
    if not counts:
        return None
    up_to = list(accumulate(total[n] for n in counts))
    pixels = up_to[-1]

    def at(place: int) -> int:
        """Of the pixel at this place, were they sorted."""
        return next(n for n, end in zip(counts, up_to, strict=True) if place < end)

    return Observations(
        least=counts[0],
        median=(at((pixels - 1) // 2) + at(pixels // 2)) / 2,
        most=counts[-1],
        few_share=round(sum(total[n] for n in counts if n < FEW) / pixels, 6),
        pixels=pixels,
        windows=windows,
    )
