"""Stacks as the kernels want them: flat, in unsigned bits, with the steps from scene to scene and from band to band."""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clearyear.masks import invalid_values_of
from clearyear.reducers.base import Stack

_BITS = {"uint8": "uint8", "uint16": "uint16", "int16": "uint16", "float32": "uint32"}
_NO_MASK = np.empty(0, np.bool_)


class Laid(NamedTuple):
    """A stack and what of it is invalid, in the order the kernels take them."""

    samples: NDArray[np.generic]
    """Flat: sample (t, b, p) stands at ``t * steps[0] + b * steps[1] + p``."""
    steps: tuple[int, int]
    invalid: NDArray[np.generic]
    """In pairs, as bits."""
    mask: NDArray[np.bool_]
    """Flat likewise; empty where there is none."""
    mask_steps: tuple[int, int]


def lay_out(stack: Stack) -> Laid:
    """Samples and mask without a copy where rows of pixels follow each other.

    A strip of a stack is laid out so; anything else (columns left out, turned axes) is copied.
    """
    dtype, valid = stack.samples.dtype, stack.valid
    bits = np.dtype(_BITS[str(dtype)])
    samples, steps = _flat(stack.samples)
    bad = _paired(invalid_values_of(stack.invalid_values, dtype))
    mask, mask_steps = (_NO_MASK, (0, 0)) if valid is None else _flat(valid)
    if valid is not None and valid.shape[1] == 1:
        mask_steps = (mask_steps[0], 0)
    return Laid(samples.view(bits), steps, bad.view(bits), mask, mask_steps)


def _flat(array: NDArray[Any]) -> tuple[NDArray[Any], tuple[int, int]]:
    """One axis over all that the array spans in memory, and the steps of its first two axes, in items."""
    _, _, height, width = array.shape
    size = array.itemsize
    scene, band, row, column = array.strides
    together = (width == 1 or column == size) and (height == 1 or row == width * size)
    if not together or min(scene, band) < 0 or scene % size or band % size:
        array = np.ascontiguousarray(array)
        scene, band = array.strides[:2]
    if not array.size:
        return np.empty(0, array.dtype), (0, 0)
    steps = (scene // size, band // size)
    span = (array.shape[0] - 1) * steps[0] + (array.shape[1] - 1) * steps[1] + height * width
    return np.lib.stride_tricks.as_strided(array, (span,), (size,)), steps


def _paired(values: NDArray[Any]) -> NDArray[Any]:
    """The values an even number of times; of a float zero both kinds, for it is bits that are compared."""
    if values.dtype.kind == "f":
        values = np.concatenate([values, -values[values == 0]])
    return np.concatenate([values, values[-1:]]) if len(values) % 2 else values


@lru_cache(maxsize=64)
def quantile_tables(quantiles: tuple[float, ...], n_scenes: int) -> tuple[NDArray[np.uint16], NDArray[np.float64]]:
    """Where each quantile lies among n valid samples in order, for every n from 0 to ``n_scenes``.

    Linear interpolation, position (n − 1) q, as NumPy's percentile has it (method ``linear``; Hyndman and Fan 1996,
    definition 7).

    Returns:
        The lower neighbour's rank and the share of the way to the next, each (Q, n_scenes + 1).
    """
    position = np.maximum(np.arange(n_scenes + 1) - 1, 0) * np.array(quantiles, np.float64)[:, None]
    ranks = np.floor(position)
    return ranks.astype(np.uint16), np.ascontiguousarray(position - ranks)
