"""The median and percentiles of each band on its own, and the count of its valid samples, in one pass."""

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clearyear.errors import InputError
from clearyear.reducers.base import Inputs, LayerKind, Layers, Reducer, kernel_bytes, refuse
from clearyear.reducers.layout import lay_out, quantile_tables

DTYPES = ("uint8", "uint16", "int16", "float32")


def band_quantiles(
    stack: NDArray[np.generic],
    quantiles: tuple[float, ...],
    invalid_values: tuple[float, ...],
    nodata: float | None,
    *,
    valid: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[Any], NDArray[np.uint16]]:
    """The quantiles of each band's valid samples.

    Between two samples the value is interpolated linearly, as ``np.nanpercentile`` does it, in float64; integers are
    rounded half to even, never truncated. A value that lies on a sample, or between two equal ones, is that sample.

    Args:
        stack: (T, B, H, W) of uint8, uint16, int16 or float32; T at most 65,535.
        quantiles: Q of them, each 0 to 1.
        invalid_values: nodata and saturated values; NaN is always invalid.
        nodata: what a pixel without a valid sample becomes; None: the lowest value, NaN in floats.
        valid: (T, 1 or B, H, W), True = may be used: a mask beside the values.

    Returns:
        (Q, B, H, W) in the stack's dtype, and (B, H, W) uint16, the number of valid samples.
    """
    from clearyear.reducers.kernels import rank_kernel

    n_scenes, n_bands, height, width = stack.shape
    result = np.empty((len(quantiles), n_bands, height * width), stack.dtype)
    count = np.empty((n_bands, height * width), np.uint16)
    tables = quantile_tables(quantiles, n_scenes)
    fill = _fill(nodata, stack.dtype)
    rank_kernel(str(stack.dtype))(*lay_out(stack, invalid_values, valid), *tables, fill, result, count)
    return result.reshape(-1, n_bands, height, width), count.reshape(n_bands, height, width)


def _fill(nodata: float | None, dtype: np.dtype[Any]) -> Any:
    """``nodata`` in the stack's type."""
    fill = np.empty(1, dtype)
    if nodata is not None:
        fill[:] = nodata
    else:
        fill[:] = np.nan if dtype.kind == "f" else np.iinfo(dtype).min
    return fill[0]


def check_bands(reducer: str, *, n_bands: int, dtype: str, n_scenes: int) -> None:
    """Refuse what ``band_quantiles`` is not made for.

    Raises:
        InputError: another dtype, or more scenes than the count can say.
    """
    if dtype not in DTYPES:
        raise refuse(reducer, f"{n_bands} bands of {dtype}", f"one of {', '.join(DTYPES)}")
    if n_scenes > np.iinfo(np.uint16).max:
        raise refuse(reducer, f"{n_scenes} acquisitions", "at most 65,535: the count layer is uint16")


class BandMedian(Reducer):
    """Each band's median over its valid samples; an even number gives the mean of the two middle ones.

    Integer output rounds half to even and is never truncated. Layers: ``composite`` (B, H, W) in the scenes' own
    dtype; ``count`` (B, H, W) uint16, valid samples of each band.
    """

    name = "band-median"
    version = 1
    layers = ("composite", "count")

    def check(self, *, n_bands: int, dtype: str, n_scenes: int) -> None:
        """See Reducer."""
        check_bands(self.name, n_bands=n_bands, dtype=dtype, n_scenes=n_scenes)

    def scratch_bytes(self, *, n_scenes: int, n_bands: int, dtype: str, n_pixels: int) -> int:
        """See Reducer."""
        del n_bands, n_pixels
        return kernel_bytes(n_scenes=n_scenes, dtype=dtype)

    def reduce(
        self,
        stack: NDArray[np.generic],
        invalid_values: tuple[float, ...],
        nodata: float | None,
        *,
        valid: NDArray[np.bool_] | None = None,
        raw: NDArray[np.bool_] | None = None,
        wanted: Collection[str] | None = None,
    ) -> Layers:
        """See Reducer."""
        del raw, wanted
        (median,), count = band_quantiles(stack, (0.5,), invalid_values, nodata, valid=valid)
        return {"composite": median, "count": count}


class BandPercentiles(Reducer):
    """Percentiles of each band over its valid samples, interpolated linearly; see ``band_quantiles``.

    Layers: ``composite`` (Q × B, H, W) in the scenes' own dtype, all bands of the first percentile, then those of the
    next; ``count`` (B, H, W) uint16, valid samples of each band.
    """

    name = "percentiles"
    version = 1
    layers = ("composite", "count")

    def __init__(self, percentiles: tuple[float, ...] = (10.0, 50.0, 90.0)) -> None:
        """``percentiles``, each 0 to 100.

        Raises:
            InputError: there is none, one is outside 0 to 100 or there twice.
        """
        if not percentiles or not all(0 <= p <= 100 for p in percentiles) or len(set(percentiles)) < len(percentiles):
            raise InputError(
                f"The percentiles are {list(percentiles)}", "numbers from 0 to 100, each once", "correct them"
            )
        self.percentiles = tuple(percentiles)

    def check(self, *, n_bands: int, dtype: str, n_scenes: int) -> None:
        """See Reducer."""
        check_bands(self.name, n_bands=n_bands, dtype=dtype, n_scenes=n_scenes)

    def kind(self, layer: str, inputs: Inputs) -> LayerKind:
        """See Reducer."""
        usual = super().kind(layer, inputs)
        if layer != "composite":
            return usual
        names = tuple(f"p{p:g}_{name or i}" for p in self.percentiles for i, name in enumerate(inputs.band_names, 1))
        return replace(usual, n_bands=len(names), band_names=names, title="Percentiles of each band")

    def scratch_bytes(self, *, n_scenes: int, n_bands: int, dtype: str, n_pixels: int) -> int:
        """See Reducer."""
        del n_bands, n_pixels
        return kernel_bytes(n_scenes=n_scenes, dtype=dtype)

    def reduce(
        self,
        stack: NDArray[np.generic],
        invalid_values: tuple[float, ...],
        nodata: float | None,
        *,
        valid: NDArray[np.bool_] | None = None,
        raw: NDArray[np.bool_] | None = None,
        wanted: Collection[str] | None = None,
    ) -> Layers:
        """See Reducer."""
        del raw, wanted
        quantiles = tuple(p / 100 for p in self.percentiles)
        found, count = band_quantiles(stack, quantiles, invalid_values, nodata, valid=valid)
        return {"composite": found.reshape(-1, *found.shape[2:]), "count": count}
