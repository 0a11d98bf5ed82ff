"""The geometric median of whole samples, and how far they lie from it."""

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from clearyear.errors import InputError
from clearyear.reducers.base import Inputs, LayerKind, Layers, Reducer, Stack, refuse
from clearyear.reducers.layout import Laid, lay_out, quantile_tables
from clearyear.reducers.ranks import DTYPES, band_quantiles

_DEVIATIONS = {
    "smad": "Median cosine distance of the samples from the geometric median",
    "emad": "Median Euclidean distance of the samples from the geometric median",
    "bcmad": "Median Bray-Curtis distance of the samples from the geometric median",
}
_DEVIATION_PIXELS = 1 << 19
"""Scenes × pixels whose distances are kept at once, three float32 for each."""


class Geomedian(Reducer):
    """The point of least summed Euclidean distance from a pixel's valid samples, with its deviations.

    A sample counts only if all its bands are valid. Source: Roberts, Mueller, McIntyre 2017, High-dimensional pixel
    composites from Earth observation time series; as in ``geomad``, which odc-stats uses.
    Layers: ``composite`` (B, H, W) in the scenes' own dtype, integers rounded; ``count`` (1, H, W) uint16, valid
    samples; and float32 (1, H, W), NaN where there is none: ``smad``, the median cosine distance of the samples from
    the (unrounded) geometric median, ``emad``, the median Euclidean distance in the samples' units, ``bcmad``, the
    median Bray–Curtis distance.
    """

    name = "geomedian"
    version = 1
    layers = ("composite", "count", *_DEVIATIONS)
    whole_samples = True

    def __init__(self, eps: float | None = None) -> None:
        """``eps``: a step shorter than that ends the search; None = 0.1 for integers, 1e-5 (reflectance) for floats.

        Raises:
            InputError: it is no positive number.
        """
        if eps is not None and not 0 < eps < float("inf"):
            raise InputError(f"eps is {eps}", "a positive number, in the scenes' units", "correct it")
        self.eps = eps

    def check(self, *, n_bands: int, dtype: str, n_scenes: int) -> None:
        """See Reducer."""
        if dtype not in DTYPES:
            raise refuse(self.name, f"{n_bands} bands of {dtype}", f"one of {', '.join(DTYPES)}")
        if n_scenes > np.iinfo(np.uint16).max:
            raise refuse(self.name, f"{n_scenes} acquisitions", "at most 65,535: the count layer is uint16")

    def kind(self, layer: str, inputs: Inputs) -> LayerKind:
        """See Reducer."""
        if layer in _DEVIATIONS:
            return LayerKind(
                n_bands=1,
                dtype="float32",
                nodata=float("nan"),
                title=_DEVIATIONS[layer],
                is_distance=layer == "emad",  # the other two are ratios, without a unit
            )
        return super().kind(layer, inputs)

    def scratch_bytes(self, *, n_scenes: int, n_bands: int, dtype: str, n_pixels: int) -> int:
        """See Reducer."""
        depth = n_scenes + 3
        lanes = 256 * (n_bands * (4 * depth + 2 * n_bands + 18) + depth + 24) + 4096 * (2 * n_bands + 6)
        distances = 2 * 3 * 4 * n_scenes * min(n_pixels, max(64, _DEVIATION_PIXELS // n_scenes))
        # The median as it is found, rounded, filled, converted; of one band every sample as a float.
        copies = 4 * n_pixels * (4 * n_bands + len(_DEVIATIONS) + (n_scenes if n_bands == 1 else 0))
        return max(1 << 20, lanes, distances, 256 * n_scenes * (np.dtype(dtype).itemsize + 2)) + copies

    def core_seconds(self, *, n_scenes: int, n_bands: int, n_pixels: int, wanted: Collection[str]) -> float:
        """See Reducer. Measured with 12 to 216 scenes of 3 to 10 bands on two cores of a cloud machine."""
        distances = n_scenes / 45e6 if _DEVIATIONS.keys() & set(wanted) else 0.0
        return n_pixels * (n_bands * (2e-7 + 2.5e-9 * n_scenes) + distances)

    def reduce(self, stack: Stack, *, wanted: Collection[str] | None = None) -> Layers:
        """See Reducer."""
        dtype = stack.samples.dtype
        n_scenes, n_bands, height, width = stack.samples.shape
        laid = lay_out(stack)
        median, count = self.find(laid, str(dtype), n_scenes, n_bands, height * width)
        composite = (median if dtype.kind == "f" else np.rint(median)).reshape(n_bands, height, width)
        seen = (count > 0).reshape(1, height, width)
        fill = 0.0 if stack.nodata is None else stack.nodata
        layers: Layers = {
            "composite": np.where(seen, composite, fill).astype(dtype),
            "count": count.reshape(1, height, width),
        }
        if wanted is not None and not _DEVIATIONS.keys() & set(wanted):
            return layers
        deviations = _deviations(laid, str(dtype), n_scenes, median)
        layers.update((name, deviations[i].reshape(1, height, width)) for i, name in enumerate(_DEVIATIONS))
        return layers

    def find(
        self, laid: Laid, dtype: str, n_scenes: int, n_bands: int, n_pixels: int
    ) -> tuple[NDArray[np.float32], NDArray[np.uint16]]:
        """The median (B, P), unrounded, and the number of samples (P,)."""
        if n_bands == 1:
            return _one_band(laid, dtype, n_scenes, n_pixels)
        from clearyear.reducers.geomedian_kernel import geomedian_kernel

        eps = self.eps if self.eps is not None else 1e-5 if dtype == "float32" else 0.1
        median = np.empty((n_bands, n_pixels), np.float32)
        count = np.empty(n_pixels, np.uint16)
        geomedian_kernel(dtype)(*laid, n_scenes, np.float32(eps), median, count)
        return median, count


def _one_band(laid: Laid, dtype: str, n_scenes: int, n_pixels: int) -> tuple[NDArray[np.float32], NDArray[np.uint16]]:
    """On a line the geometric median is the median: exact, and no search among kinks."""
    from clearyear.reducers.kernels import rank_kernel

    result, count = np.empty((1, 1, n_pixels), np.float32), np.empty((1, n_pixels), np.uint16)
    invalid = np.append(laid.invalid.view(dtype).astype(np.float32), np.array([np.inf, -np.inf], np.float32))
    flat = laid._replace(
        samples=laid.samples.view(dtype).astype(np.float32).view(np.uint32), invalid=invalid.view(np.uint32)
    )
    tables = quantile_tables((0.5,), n_scenes)
    rank_kernel("float32")(*flat, *tables, np.float32(np.nan), result, count)
    return result[0], count[0]


def _deviations(laid: Laid, dtype: str, n_scenes: int, median: NDArray[np.float32]) -> NDArray[np.float32]:
    """The medians (3, P) of the samples' distances from ``median`` (B, P)."""
    from clearyear.reducers.distance_kernel import distance_kernel

    n_pixels = median.shape[1]
    found = np.empty((len(_DEVIATIONS), n_pixels), np.float32)
    size = max(64, _DEVIATION_PIXELS // max(1, n_scenes))
    for start in range(0, n_pixels, size):
        stop = min(start + size, n_pixels)
        distances = np.empty((n_scenes, len(_DEVIATIONS), stop - start), np.float32)
        distance_kernel(dtype)(*laid, start, median, distances)
        (middle,), _ = band_quantiles(Stack(distances[:, :, None], nodata=float("nan")), (0.5,))
        found[:, start:stop] = middle[:, 0]
    return found
