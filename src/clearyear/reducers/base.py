"""What a reducer is, and the checks several of them share."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from clearyear.errors import InputError

Layers = dict[str, NDArray[np.generic]]


class Reducer(Protocol):
    """Turns a stack of scenes into layers. One instance serves all threads; it holds no state."""

    name: str
    """What a job calls it."""
    version: int
    """Part of every window's fingerprint: raise it whenever a pixel may come out differently."""
    layers: tuple[str, ...]
    """What it can deliver; ``composite`` always."""
    whole_samples: bool
    """Whether one invalid band makes the whole sample invalid (True) or each band stands alone."""
    default_nodata: tuple[float, ...]
    """Values that are nodata besides the scenes' own tag."""
    default_saturated: tuple[float, ...]
    """Values that are saturated unless the job says otherwise."""

    def check(self, *, n_bands: int, dtype: str, n_scenes: int) -> None:
        """Refuse a stack this reducer is not made for.

        Raises:
            InputError: with what it found and what it wants.
        """

    def reduce(
        self,
        stack: NDArray[np.generic],
        invalid_values: tuple[float, ...],
        nodata: float | None,
        *,
        valid: NDArray[np.bool_] | None = None,
    ) -> Layers:
        """Reduce over time.

        Args:
            stack: (T, B, H, W), T scenes in acquisition order; T may be 0.
            invalid_values: nodata and saturated values. A value the stack's dtype cannot hold is none; NaN is always
                invalid in floats.
            nodata: what a pixel without a valid sample becomes in ``composite``.
            valid: (T, 1 or B, H, W), True = may be used: a mask from elsewhere, on top of the values.

        Returns:
            ``composite`` (B, H, W) in the stack's dtype and every other layer of ``layers``, each (bands, H, W).
        """


def refuse(reducer: str, found: str, wanted: str) -> InputError:
    """The error of a stack that does not fit."""
    return InputError(
        f"{reducer} cannot use these scenes: they have {found}", wanted, "choose another reducer or scenes"
    )
