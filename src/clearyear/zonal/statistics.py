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
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_KEPT = 4_000_000
"""Values kept for a median before equal ones are put together."""
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

    def add(self, values: Floats, weights: Floats, valid: NDArray[np.bool_]) -> None:
        """Take in a block: (N,) pixels, the share of each that is covered, and which of them have a value."""
        self.covered += float(weights.sum())
        x, w = values[valid], weights[valid]
        weight = float(w.sum())
        if weight <= 0:
            return
        mean = float(w @ x) / weight
        d = x - mean
        self._join(weight, mean, float(w @ d**2), float(w @ d**3))
        self.total += weight * mean
        self.least, self.most = min(self.least, float(x.min())), max(self.most, float(x.max()))
        if self.keep_values:
            self.values.append((x, w))
            self.kept += len(x)
            if self.kept > _KEPT:
                self._compact()

    def _join(self, weight: float, mean: float, m2: float, m3: float) -> None:
        """Pébay 2008, equations 2.1 (mean), 3.1 with p = 2 and p = 3."""
        a, b = self.weight, weight
        whole, delta = a + b, mean - self.mean
        self.m3 += m3 + delta**3 * a * b * (a - b) / whole**2 + 3 * delta * (a * m2 - b * self.m2) / whole
        self.m2 += m2 + delta**2 * a * b / whole
        self.mean += delta * b / whole
        self.weight = whole

    def _compact(self) -> None:
        """Put equal values together; where hardly any are equal, let more come before the next time."""
        x = np.concatenate([pair[0] for pair in self.values])
        w = np.concatenate([pair[1] for pair in self.values])
        distinct, index = np.unique(x, return_inverse=True)
        self.values = [(distinct, np.bincount(index, weights=w).astype(np.float64))]
        self.kept = max(0, len(distinct) - _KEPT // 2)

    def median(self) -> float:
        """See the module; NaN without values."""
        if not self.values:
            return math.nan
        self._compact()
        [(x, w)] = self.values
        below = np.cumsum(w)
        half = below[-1] / 2
        at = int(np.searchsorted(below, half * (1 - _HALF)))
        is_half = abs(below[at] - half) <= half * _HALF and at + 1 < len(x)
        return float((x[at] + x[at + 1]) / 2 if is_half else x[at])

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
