"""The median and percentiles of each band on its own, and the count of its valid samples, in one pass."""

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clearyear.errors import InputError
from clearyear.reducers.base import Inputs, LayerKind, Layers, Reducer, Stack, kernel_bytes, refuse
from clearyear.reducers.layout import lay_out, quantile_tables

DTYPES = ("uint8", "uint16", "int16", "float32")


def band_quantiles(stack: Stack, quantiles: tuple[float, ...]) -> tuple[NDArray[Any], NDArray[np.uint16]]:
    """The quantiles of each band's valid samples.

    Between two samples the value is interpolated linearly, as ``np.nanpercentile`` does it, in float64; integers are
    rounded half to even, never truncated. A value that lies on a sample, or between two equal ones, is that sample.

    Args:
        stack: of uint8, uint16, int16 or float32; T at most 65,535. Without a nodata a pixel that has no valid sample
            becomes the lowest value, NaN in floats.
        quantiles: Q of them, each 0 to 1.

    Returns:
        (Q, B, H, W) in the stack's dtype, and (B, H, W) uint16, the number of valid samples.
    """
    from clearyear.reducers.kernels import rank_kernel

    dtype = stack.samples.dtype
    n_scenes, n_bands, height, width = stack.samples.shape
    result = np.empty((len(quantiles), n_bands, height * width), dtype)
    count = np.empty((n_bands, height * width), np.uint16)
    tables = quantile_tables(quantiles, n_scenes)
    rank_kernel(str(dtype))(*lay_out(stack), *tables, _fill(stack.nodata, dtype), result, count)
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

    def reduce(self, stack: Stack, *, wanted: Collection[str] | None = None) -> Layers:
        """See Reducer."""
        del wanted
        (median,), count = band_quantiles(stack, (0.5,))
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

    def reduce(self, stack: Stack, *, wanted: Collection[str] | None = None) -> Layers:
        """See Reducer."""
        del wanted
        found, count = band_quantiles(stack, tuple(p / 100 for p in self.percentiles))
        return {"composite": found.reshape(-1, *found.shape[2:]), "count": count}
