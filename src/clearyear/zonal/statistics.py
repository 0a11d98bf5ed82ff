"""Weighted statistics of pixels, gathered block by block: the same for any cut, and in bounded memory.

A pixel's weight w is the share of it that the polygon covers, 0 to 1 (exactextract's coverage fraction). Over the
pixels that have a value x, with W = Σw:

    count        W: how many pixels' worth of area has a value
    sum          Σ w x
    mean         μ = Σ w x / W
    stddev       √(Σ w (x − μ)² / W), of the population
    skew         (Σ w (x − μ)³ / W) / stddev³, of the population (Fisher's g₁); none where stddev is 0
    min, max     over all pixels of which a share of 1e-7 or more is covered
    median       the least x up to which half of W lies; where that is exactly W/2, midway between it and the next

and, apart from these,

    nodata_share   1 − W / Σ w over all pixels of the raster the polygon covers, valid or not
    outside_share  the share of the polygon's area that lies outside the raster

Sources: moments and how two blocks' are joined: Pébay 2008, Formulas for robust, one-pass parallel computation of
covariances and arbitrary-order statistical moments (SAND2008-6212), with weights for counts; the weighted median:
Cormen et al., Introduction to Algorithms, problem 9-2, its lower and upper one averaged as of plain numbers.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_KEPT = 1_000_000
"""Values kept for a median before equal ones are put together."""
_BINS = 1 << 16
_ROUNDS = 3
"""How often a range is cut in 65,536; what is left then is kept in any case."""
_HALF = 1e-7
"""exactextract's shares are of single precision: what is that near to a half, relative to the whole, is a half."""


@dataclass
class Gathered:
    """What is known of one polygon and band so far."""

    weight: float = 0.0
    covered: float = 0.0
    """Weight of all pixels, those without a value too."""
    mean: float = 0.0
    m2: float = 0.0
    m3: float = 0.0
    total: float = 0.0
    least: float = math.inf
    most: float = -math.inf
    keep_values: bool = True
    """Whether a median is asked for; it alone needs the values."""
    values: list[tuple[Floats, Floats]] = field(default_factory=list)
    kept: int = 0
    too_many: bool = False
    """There are too many different values to keep: the median needs another look, see ``far_median``."""
    middle: float = math.nan
    """The median, where ``far_median`` has found it."""

    def add(self, values: Floats, weights: Floats, valid: NDArray[np.bool_]) -> None:
        """Take in a block: (N,) pixels, the share of each that is covered, and which of them have a value."""
        self.covered += float(weights.sum())
        x, w = values[valid], weights[valid]
        weight = float(w.sum())
        if weight <= 0:
            return
        # Sums, not products of vectors: BLAS would start threads for each polygon, and add in another order each time.
        mean = float((w * x).sum()) / weight
        d = x - mean
        moment = w * d * d
        self._join(weight, mean, float(moment.sum()), float((moment * d).sum()))
        self.total += weight * mean
        self.least, self.most = min(self.least, float(x.min())), max(self.most, float(x.max()))
        if self.keep_values and not self.too_many:
            self.values.append((x, w))
            self.kept += len(x)
            if self.kept > _KEPT:
                self._compact()
                self.too_many = self.kept > _KEPT // 2
                self.values = [] if self.too_many else self.values

    def _join(self, weight: float, mean: float, m2: float, m3: float) -> None:
        """Pébay 2008, equations 2.1 (mean), 3.1 with p = 2 and p = 3."""
        a, b = self.weight, weight
        whole, delta = a + b, mean - self.mean
        self.m3 += m3 + delta**3 * a * b * (a - b) / whole**2 + 3 * delta * (a * m2 - b * self.m2) / whole
        self.m2 += m2 + delta**2 * a * b / whole
        self.mean += delta * b / whole
        self.weight = whole

    def _compact(self) -> None:
        """Put equal values together."""
        self.values = [together(self.values)]
        self.kept = len(self.values[0][0])

    def median(self) -> float:
        """See the module; NaN without values."""
        if not self.values:
            return self.middle
        x, w = together(self.values)
        return _middle(x, np.cumsum(w), float(w.sum()) / 2)

    def result(self) -> dict[str, float]:
        """All statistics but outside_share; NaN where there is no pixel to tell."""
        share = 1 - self.weight / self.covered if self.covered else math.nan
        found = {"count": self.weight, "nodata_share": min(1.0, max(0.0, share)) if self.covered else math.nan}
        if not self.weight:
            return found
        variance = self.m2 / self.weight
        spread = math.sqrt(variance) if variance > 0 else 0.0
        # Of a constant, rounding leaves some 1e-16 of the value squared; a skew of that would be noise.
        flat = variance <= (8 * np.finfo(float).eps * max(abs(self.least), abs(self.most))) ** 2
        return {
            **found,
            "min": self.least,
            "max": self.most,
            "mean": self.mean,
            "stddev": 0.0 if flat else spread,
            "skew": math.nan if flat else self.m3 / self.weight / spread**3,
            "sum": self.total,
            "median": self.median() if self.keep_values else math.nan,
        }


def together(parts: list[tuple[Floats, Floats]]) -> tuple[Floats, Floats]:
    """All values of these (values, weights), sorted, each once, with the sum of its weights."""
    x, w = (np.concatenate(each) for each in zip(*parts, strict=True))
    distinct, index = np.unique(x, return_inverse=True)
    return distinct, np.bincount(index, weights=w).astype(np.float64)


def _middle(x: Floats, below: Floats, half: float) -> float:
    """The weighted median of sorted values, ``below`` being the weight of each and all before it."""
    at = min(int(np.searchsorted(below, half * (1 - _HALF))), len(x) - 1)
    is_half = abs(below[at] - half) <= half * _HALF and at + 1 < len(x)
    return float((x[at] + x[at + 1]) / 2 if is_half else x[at])


def far_median(look: Callable[[], Iterable[tuple[Floats, Floats]]], known: Gathered) -> float:
    """The median of more values than may be kept, the same as of all at once: narrow it down, then keep those near.

    Args:
        look: goes over all (values, weights) once more, the same each time.
        known: of the same values: their weight, least and greatest.
    """
    half, low, high, before = known.weight / 2, known.least, known.most, 0.0
    for _ in range(_ROUNDS):
        edges = np.linspace(low, high, _BINS + 1)
        weights, counts = np.zeros(_BINS), np.zeros(_BINS, np.int64)
        for x, w in look():
            inside = (x >= low) & (x <= high)
            index = np.minimum(np.searchsorted(edges, x[inside], side="right") - 1, _BINS - 1)
            weights += np.bincount(index, weights=w[inside], minlength=_BINS)
            counts += np.bincount(index, minlength=_BINS)
        below = before + np.cumsum(weights)
        first = min(int(np.searchsorted(below, half * (1 - _HALF))), _BINS - 1)
        last = min(int(np.searchsorted(below, half * (1 + _HALF), side="right")), _BINS - 1)
        low, high, before = edges[first], edges[last + 1], float(below[first] - weights[first])
        if counts[first : last + 1].sum() <= _KEPT:
            break
    parts = [(x[near], w[near]) for x, w in look() if (near := (x >= low) & (x <= high)).any()]
    x, w = together(parts)
    return _middle(x, before + np.cumsum(w), half)
