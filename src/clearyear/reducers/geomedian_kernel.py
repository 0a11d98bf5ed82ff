"""The compiled kernels of the geometric median and of the deviations from it.

Newton's method on the sum of distances: its gradient is −Σ u, its Hessian Σ (I − u uᵀ) / r, u being the direction of a
sample and r its distance. Weiszfeld's step (1937) is taken where the Hessian is near singular or where a step of
Newton's did not make the sum smaller. A median that is itself a sample is a kink of the sum: once a sample is nearer
than the step it is tried, and the condition of Vardi and Zhang (PNAS 97, 2000) says whether it is the median.

Pixels stand in SIMD lanes, four scenes at a time, every sum in one order, and nothing is left to the compiler to
reassociate: a pixel comes out the same wherever it lies in a window and however wide the processor's vectors are.
"""

from functools import cache
from typing import Any

import numba
import numpy as np
from numba import types

from clearyear.reducers.geomedian_kernel_parts import (
    BEFORE,
    HERE,
    LANES,
    LAST,
    LEAST,
    NEAR,
    PULL,
    SAFE,
    SAME,
    SUM,
    WEIGHT,
    close_ranks,
    evaluate,
    length_of,
    nearest_to,
    newton_step,
)
from clearyear.reducers.kernels import BITS, MASK, SHARED, STEPS, mark_usable, read_only

_MOST_ROUNDS = 1000
_MOST_TRIES = 8
"""Samples tried for one pixel: without an end, two of them could take turns for ever."""
_LIGHT_ROUNDS = 2
"""Weiszfeld's steps before the first of Newton's: from a mean drawn away by clouds his would overshoot."""
_f4 = np.float32


@cache
def geomedian_kernel(dtype: str) -> Any:
    """Compile the kernel for samples of ``dtype``; see ``kernel`` in it."""
    shared, of, most = SHARED, np.dtype(dtype), _f4(np.finfo(np.float32).max)
    bits = BITS[dtype]
    signature = types.void(
        *(read_only(bits), STEPS, read_only(bits), MASK, STEPS, types.int64),
        *(types.float32, types.float32[:, ::1], types.uint16[::1]),
    )

    @numba.njit(signature, nogil=True, cache=True, error_model="numpy")
    def kernel(samples, steps, invalid, mask, mask_steps, n_scenes, eps, median, count):  # type: ignore[no-untyped-def]
        """Fill median (B, P) with the point of least summed distance from the n valid samples, and count (P,) with n.

        It stops once a step of Newton's is shorter than ``eps``, or the next is sure to be, or one of Weiszfeld's is
        shorter than a tenth of it. NaN where n is 0. A sample
        that is not finite in every band is no sample.
        """
        assert shared >= 0  # closed over, so that a change of any part compiles this anew
        n_bands, n_pixels = median.shape
        values = samples.view(of)
        depth = (n_scenes + 3) // 4 * 4
        x = np.empty(n_bands * depth * LANES, _f4)
        ok = np.empty(depth * LANES, np.bool_)
        for start in range(0, n_pixels, LANES):
            w = min(LANES, n_pixels - start)
            n = count[start : start + w]
            n[:] = 0
            for t in range(depth):
                okay = ok[t * w : t * w + w]
                if t >= n_scenes:
                    okay[:] = False
                for band in range(n_bands if t < n_scenes else 0):
                    mark_usable(okay, samples, steps, invalid, mask, mask_steps, t, band, start, band == 0)
                    at, to = t * steps[0] + band * steps[1] + start, (band * depth + t) * w
                    value, put = values[at : at + w], x[to : to + w]
                    for j in range(w):
                        put[j] = _f4(value[j])
                        okay[j] = okay[j] & (abs(put[j]) <= most)
                for band in range(n_bands):
                    to = (band * depth + t) * w
                    put = x[to : to + w]
                    for j in range(w):
                        seen = put[j]
                        put[j] = seen if okay[j] else _f4(0)
                for j in range(w):
                    n[j] += okay[j]
            _solve(x, ok, depth, w, n, eps, median[:, start : start + w])

    return kernel


@numba.njit(nogil=True, error_model="numpy")
def _solve(x, ok, depth, w, n, eps, median):  # type: ignore[no-untyped-def]
    """Fill median (B, w) from x (B, depth, w) and ok (depth, w), both flat, which it spoils."""
    n_bands = median.shape[0]
    point, score = np.empty((4, n_bands, LANES), _f4), np.empty((6, LANES), _f4)
    hessian = np.empty((n_bands * (n_bands + 1) // 2, LANES), _f4)
    scratch = np.empty((2 * n_bands + 6, 4 * LANES), _f4)
    tried, tries, lane = np.full(LANES, -1), np.zeros(LANES, np.int64), np.arange(LANES)
    is_safe, done = np.zeros(LANES, np.bool_), np.zeros(LANES, np.bool_)
    matrix, step = np.empty((n_bands, n_bands), _f4), np.empty(n_bands, _f4)
    score[LEAST], score[LAST] = np.inf, 0
    for band in range(n_bands):
        mean = point[HERE, band, :w]
        mean[:] = 0
        for t in range(depth):
            row = x[(band * depth + t) * w : (band * depth + t + 1) * w]
            for j in range(w):
                mean[j] += row[j]
        for j in range(w):
            mean[j] /= _f4(n[j])  # NaN where there is no sample
    for j in range(w):
        done[j] = n[j] == 0
        median[:, j] = point[HERE, :, j]
    for rounds in range(_MOST_ROUNDS):
        active = w - np.sum(done[:w])
        if 2 * active <= w:
            w = close_ranks(x, ok, depth, w, done, point, score, tried, tries, is_safe, lane)
        if w == 0:
            break
        light = rounds < _LIGHT_ROUNDS
        evaluate(x, ok, depth, w, light, _f4(0.01) * eps, point, score, hessian, scratch)
        for j in range(w):
            if not done[j]:
                pull = length_of(point[PULL], j)
                if pull <= score[SAME, j]:
                    # On a sample, and the others pull no harder than it does; or nothing pulls at all.
                    done[j] = True
                    if score[SAME, j] > 0:
                        nearest = nearest_to(x, ok, depth, w, point, j, _f4(0))
                        for band in range(n_bands):
                            point[HERE, band, j] = x[(band * depth + nearest) * w + j]
                elif score[SUM, j] > score[LEAST, j] * _f4(1.000002) and not is_safe[j]:
                    for band in range(n_bands):
                        point[HERE, band, j] = point[BEFORE, band, j] + point[SAFE, band, j]
                    is_safe[j] = True
                    score[LAST, j] = 0
                    done[j] = length_of(point[SAFE], j) < _f4(0.1) * eps
                else:
                    shrink = (_f4(1) - score[SAME, j] / pull) / score[WEIGHT, j]
                    for band in range(n_bands):
                        point[BEFORE, band, j] = point[HERE, band, j]
                        point[SAFE, band, j] = step[band] = point[PULL, band, j] * shrink
                    score[LEAST, j] = score[SUM, j]
                    is_safe[j] = light or score[SAME, j] > 0 or not newton_step(hessian, score, point, j, matrix, step)
                    done[j] = _advance(x, ok, depth, w, rounds, eps, j, point, score, step, tried, tries, is_safe)
                if done[j] or rounds == _MOST_ROUNDS - 1:
                    for band in range(n_bands):
                        median[band, lane[j]] = point[HERE, band, j]


@numba.njit(nogil=True, error_model="numpy")
def _advance(x, ok, depth, w, rounds, eps, j, point, score, step, tried, tries, is_safe):  # type: ignore[no-untyped-def]
    """Move lane j by its step, or to a sample that lies nearer; say whether that was the last one."""
    length, near = _f4(0), np.sqrt(score[NEAR, j])
    for band in range(step.size):
        length += step[band] * step[band]
    length = np.sqrt(length)
    # Weiszfeld's steps are short near a sample, not only near the end: before one may be the last, the sample is tried.
    ends = length < (_f4(0.1) * eps if is_safe[j] else eps)
    crawls = is_safe[j] and length < eps
    if crawls or (near <= max(length, _f4(10) * eps) and (rounds > _LIGHT_ROUNDS + 1 or ends)):
        nearest = nearest_to(x, ok, depth, w, point, j, score[NEAR, j])
        if nearest != tried[j] and tries[j] < _MOST_TRIES:
            tries[j] += 1
            tried[j], is_safe[j], score[LAST, j] = nearest, False, 0
            for band in range(step.size):
                point[HERE, band, j] = x[(band * depth + nearest) * w + j]
            return False
    for band in range(step.size):
        point[HERE, band, j] += step[band]
    # Newton's steps shrink by the square: with one of 1 and one of 0.1 behind it, the next is about 0.001.
    shrinking = length / score[LAST, j]
    score[LAST, j] = 0 if is_safe[j] else length
    sure = length * shrinking * shrinking < _f4(0.02) * eps and shrinking < _f4(0.2) and near > _f4(20) * length
    # A light round has no Hessian to step by; the next ones have.
    return rounds >= _LIGHT_ROUNDS and (ends or (sure and not is_safe[j]))
