"""The median of each band on its own."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from clearyear.reducers.base import Layers, refuse

_DTYPES = ("uint8", "uint16", "int16", "float32")


class BandMedian:
    """Each band's median over its valid samples; an even number gives the mean of the two middle ones.

    Integer output rounds half to even and is never truncated. Layers: ``composite`` (B, H, W) in the scenes' own
    dtype; ``count`` (B, H, W) uint16, valid samples of each band.
    """

    name = "band-median"
    version = 1
    layers: tuple[str, ...] = ("composite", "count")
    whole_samples = False
    default_nodata: tuple[float, ...] = ()
    default_saturated: tuple[float, ...] = ()

    def check(self, *, n_bands: int, dtype: str, n_scenes: int) -> None:
        """See Reducer."""
        if dtype not in _DTYPES:
            raise refuse(self.name, f"{n_bands} bands of {dtype}", f"one of {', '.join(_DTYPES)}")
        if n_scenes > np.iinfo(np.uint16).max:
            raise refuse(self.name, f"{n_scenes} acquisitions", "at most 65,535: the count layer is uint16")

    def reduce(self, stack: NDArray[np.generic], valid: NDArray[np.bool_], nodata: float | None) -> Layers:
        """See Reducer."""
        n_scenes, n_bands, height, width = stack.shape
        n_pixels = height * width
        composite = np.empty((n_bands, n_pixels), stack.dtype)
        count = np.empty((n_bands, n_pixels), np.uint16)
        for band in range(n_bands):
            # One band side by side: the kernel reads it in a straight line, and copying costs less than striding.
            samples = np.ascontiguousarray(stack[:, band]).reshape(n_scenes, n_pixels)
            usable = valid[:, band if valid.shape[1] > 1 else 0].reshape(n_scenes, n_pixels)
            lower, upper = _middle_pair(samples, usable, count[band])
            composite[band] = _mean(lower, upper)
        if nodata is not None:
            composite[count == 0] = nodata
        shape = (n_bands, height, width)
        return {"composite": composite.reshape(shape), "count": count.reshape(shape)}


def _middle_pair(
    samples: NDArray[np.generic], valid: NDArray[np.bool_], count: NDArray[np.uint16]
) -> tuple[NDArray[np.generic], NDArray[np.generic]]:
    """The two middle samples of (T, P), in their own dtype; fills ``count``."""
    from clearyear.reducers.kernels import rank_pair_kernel

    keys = _to_keys(samples)
    n_scenes = samples.shape[0]
    # A counter as wide as the key keeps the lanes equal; a uint8 one ends at 255 scenes.
    counter = "uint16" if n_scenes > 255 or keys.dtype.itemsize > 1 else "uint8"
    lower, upper = np.empty(keys.shape[1], keys.dtype), np.empty(keys.shape[1], keys.dtype)
    rank_pair_kernel(keys.dtype.name, counter)(keys, valid, lower, upper, count)
    return _from_keys(lower, samples.dtype), _from_keys(upper, samples.dtype)


def _to_keys(samples: NDArray[Any]) -> NDArray[Any]:
    """Unsigned integers in the same order: the sign bit flipped, negative floats turned over."""
    if samples.dtype == np.int16:
        return samples.view(np.uint16) ^ np.uint16(0x8000)
    if samples.dtype == np.float32:
        # The sign spread over all bits says what to turn over; in place, because the plan counts one copy of a strip.
        keys = (samples.view(np.int32) >> 31).view(np.uint32)
        keys |= np.uint32(0x80000000)
        keys ^= samples.view(np.uint32)
        return keys
    return samples


def _from_keys(keys: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    if dtype == np.int16:
        return (keys ^ np.uint16(0x8000)).view(np.int16)
    if dtype == np.float32:
        return np.where(keys >> 31 == 1, keys & np.uint32(0x7FFFFFFF), ~keys).view(np.float32)
    return keys


def _mean(lower: NDArray[np.generic], upper: NDArray[np.generic]) -> NDArray[np.generic]:
    """The mean of two, half to even for integers, in their own dtype."""
    if lower.dtype == np.float32:
        return ((lower.astype(np.float64) + upper.astype(np.float64)) / 2).astype(np.float32)
    total = lower.astype(np.int32) + upper.astype(np.int32)
    half = total >> 1
    return (half + (total & 1) * (half & 1)).astype(lower.dtype)
