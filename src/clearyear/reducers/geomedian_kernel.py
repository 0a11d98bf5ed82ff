"""The compiled kernels of the geometric median and of the deviations from it.

Newton's method on the sum of distances: its gradient is −Σ u, its Hessian Σ (I − u uᵀ) / r, u being the direction of a
sample and r its distance. Weiszfeld's step (1937) is taken where the Hessian is near singular or where a step of
Newton's did not make the sum smaller. A median that is itself a sample is a kink of the sum: once a sample is nearer
than the step it is tried, and the condition of Vardi and Zhang (PNAS 97, 2000) says whether it is the median.

Pixels stand in SIMD lanes, every sum runs in the order of the scenes, and nothing is reassociated: a pixel comes out
the same wherever it lies in a window and however wide the processor's vectors are.
"""

from functools import cache
from typing import Any

import numba
import numpy as np
from numba import types

from clearyear.reducers.kernels import BITS, MASK, SHARED, STEPS, mark_usable, read_only

_BLOCK_BYTES = 3 << 18
_MOST_ROUNDS = 1000
_f4, _i4 = np.float32, np.int32


@cache
def geomedian_kernel(dtype: str) -> Any:
    """Compile the kernel for samples of ``dtype``; see ``kernel`` in it."""
    shared, of, is_float = SHARED, np.dtype(dtype), dtype == "float32"
    bits = BITS[dtype]
    signature = types.void(
        *(read_only(bits), STEPS, read_only(bits), MASK, STEPS, types.int64),
        *(types.float32, types.float32[:, ::1], types.uint16[::1]),
    )

    @numba.njit(signature, nogil=True, cache=True, error_model="numpy")
    def kernel(samples, steps, invalid, mask, mask_steps, n_scenes, eps, median, count):  # type: ignore[no-untyped-def]
        """Fill median (B, P) with the point of least summed distance from the n valid samples, and count (P,) with n.

        It stops once a step is shorter than ``eps``. NaN where n is 0.
        """
        assert shared >= 0  # closed over, so that a change of the shared parts compiles this anew
        n_bands, n_pixels = median.shape
        values = samples.view(of)
        size = max(1, min(n_pixels, max(64, min(256, _BLOCK_BYTES // max(1, 4 * n_bands * n_scenes) // 64 * 64))))
        x = np.empty((n_bands, n_scenes, size), _f4)
        ok = np.empty((n_scenes, size), np.bool_)
        for start in range(0, n_pixels, size):
            w = min(size, n_pixels - start)
            n = count[start : start + w]
            n[:] = 0
            for t in range(n_scenes):
                okay = ok[t, :w]
                for band in range(n_bands):
                    mark_usable(okay, samples, steps, invalid, mask, mask_steps, t, band, start, band == 0)
                    at = t * steps[0] + band * steps[1] + start
                    value, put = values[at : at + w], x[band, t, :w]
                    for j in range(w):
                        put[j] = _f4(value[j])
                    if is_float:
                        for j in range(w):
                            okay[j] = okay[j] & (put[j] == put[j])
                for band in range(n_bands):
                    put = x[band, t, :w]
                    for j in range(w):
                        seen = put[j]
                        put[j] = seen if okay[j] else _f4(0)
                for j in range(w):
                    n[j] += okay[j]
            _solve(x, ok, w, n, eps, median[:, start : start + w])

    return kernel


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _solve(x, ok, w, n, eps, median):  # type: ignore[no-untyped-def]
    """Fill median (B, w) from x (B, T, ≥ w) and ok (T, ≥ w), which it spoils."""
    n_bands, _, size = x.shape
    # Each by itself: unpacked from one array they would lose that their items lie side by side.
    bands = (n_bands, size)
    here, before, safe = np.empty(bands, _f4), np.empty(bands, _f4), np.empty(bands, _f4)
    gradient, apart = np.empty(bands, _f4), np.empty(bands, _f4)
    hessian = np.empty((n_bands * (n_bands + 1) // 2, size), _f4)
    total, least, weight, near = np.empty(size, _f4), np.empty(size, _f4), np.empty(size, _f4), np.empty(size, _f4)
    squared, inverse, cubed = np.empty(size, _f4), np.empty(size, _f4), np.empty(size, _f4)
    same, nearest, tried = np.empty(size, _i4), np.empty(size, _i4), np.empty(size, _i4)
    is_safe, done = np.zeros(size, np.bool_), np.zeros(size, np.bool_)
    lane = np.arange(size)
    matrix, step = np.empty((n_bands, n_bands), _f4), np.empty(n_bands, _f4)
    _start(x, w, n, here)
    least[:], tried[:] = np.inf, -1
    for j in range(w):
        if n[j] == 0:
            done[j] = True
            median[:, j] = np.nan
    for rounds in range(_MOST_ROUNDS):
        active = 0
        for j in range(w):
            active += not done[j]
        if active == 0:
            break
        if 2 * active <= w:
            w = _close_ranks(x, ok, w, done, here, before, safe, least, tried, is_safe, lane)
        _evaluate(
            x, ok, w, _f4(0.01) * eps, here, apart, squared, inverse, cubed,
            gradient, hessian, total, weight, same, near, nearest,
        )  # fmt: skip
        last = rounds == _MOST_ROUNDS - 1
        for j in range(w):
            if done[j]:
                continue
            pull = _f4(0)
            for band in range(n_bands):
                pull += gradient[band, j] * gradient[band, j]
            pull = np.sqrt(pull)
            if pull <= same[j]:
                # A sample, and the others do not pull harder than its own weight; or no pull at all.
                done[j] = True
            elif total[j] > least[j] * _f4(1.000002) and not is_safe[j]:
                length = _f4(0)
                for band in range(n_bands):
                    here[band, j] = before[band, j] + safe[band, j]
                    length += safe[band, j] * safe[band, j]
                is_safe[j] = True
                done[j] = length < eps * eps
            else:
                least[j] = total[j]
                shrink = (_f4(1) - same[j] / pull) / weight[j]
                for band in range(n_bands):
                    before[band, j] = here[band, j]
                    safe[band, j] = step[band] = gradient[band, j] * shrink
                is_safe[j] = same[j] > 0 or not _newton(hessian, weight, gradient, j, matrix, step)
                length = _f4(0)
                for band in range(n_bands):
                    length += step[band] * step[band]
                close = near[j] * near[j] <= max(length, _f4(100) * eps * eps)
                if close and nearest[j] != tried[j] and (rounds > 1 or length < eps * eps):
                    tried[j] = nearest[j]
                    is_safe[j] = False
                    for band in range(n_bands):
                        here[band, j] = x[band, nearest[j], j]
                else:
                    for band in range(n_bands):
                        here[band, j] += step[band]
                    done[j] = length < eps * eps
            if done[j] or last:
                for band in range(n_bands):
                    median[band, lane[j]] = here[band, j]


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _start(x, w, n, here):  # type: ignore[no-untyped-def]
    """The mean; what is invalid stands as 0 in x."""
    for band in range(x.shape[0]):
        mean = here[band, :w]
        mean[:] = 0
        for t in range(x.shape[1]):
            row = x[band, t, :w]
            for j in range(w):
                mean[j] += row[j]
        for j in range(w):
            mean[j] /= _f4(max(n[j], 1))


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _evaluate(  # type: ignore[no-untyped-def]
    x, ok, w, tiny, here, apart, squared, inverse, cubed, gradient, hessian, total, weight, same, near, nearest
):
    """At ``here``: the sum of distances, the pull of the samples, Σ 1/r, Σ d dᵀ / r³, samples that coincide, the next.

    Samples nearer than ``tiny`` coincide and are counted in ``same`` alone.
    """
    n_bands = x.shape[0]
    gradient[:, :w], hessian[:, :w] = 0, 0
    total[:w], weight[:w], same[:w], near[:w], nearest[:w] = 0, 0, 0, np.inf, -1
    square, inv, inv3 = squared[:w], inverse[:w], cubed[:w]
    for t in range(x.shape[1]):
        okay = ok[t, :w]
        square[:] = 0
        for band in range(n_bands):
            row, point, difference = x[band, t, :w], here[band, :w], apart[band, :w]
            for j in range(w):
                d = row[j] - point[j]
                difference[j] = d
                square[j] += d * d
        _weigh(square, okay, tiny, inv, inv3, total[:w], weight[:w], same[:w])
        _nearest(square, inv, _i4(t), near[:w], nearest[:w])
        k = 0
        for band in range(n_bands):
            difference, pull = apart[band, :w], gradient[band, :w]
            for j in range(w):
                pull[j] += inv[j] * difference[j]
            for other in range(band + 1):
                across, entry = apart[other, :w], hessian[k, :w]
                for j in range(w):
                    entry[j] += inv3[j] * difference[j] * across[j]
                k += 1
    for j in range(w):
        near[j] = np.sqrt(near[j])


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _weigh(square, okay, tiny, inv, inv3, total, weight, same):  # type: ignore[no-untyped-def]
    for j in range(square.size):
        r = np.sqrt(square[j])
        good = okay[j] & (r > tiny)
        one_over = _f4(1) / r
        one_over = one_over if good else _f4(0)
        inv[j] = one_over
        inv3[j] = one_over * one_over * one_over
    for j in range(square.size):
        r = np.sqrt(square[j])
        total[j] += r if okay[j] else _f4(0)
        weight[j] += inv[j]
        same[j] += _i4(okay[j] & (r <= tiny))


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _nearest(square, inv, t, near, nearest):  # type: ignore[no-untyped-def]
    for j in range(square.size):
        closer = (inv[j] > _f4(0)) & (square[j] < near[j])
        was, index = near[j], nearest[j]
        near[j] = square[j] if closer else was
        nearest[j] = t if closer else index


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _newton(hessian, weight, gradient, j, matrix, step):  # type: ignore[no-untyped-def]
    """Put Newton's step of lane j into step (B,); False, and step as it was, where the Hessian is near singular.

    Cholesky's factor of w I − Σ d dᵀ / r³, relative to w: its pivots lie between 0 and 1.
    """
    n_bands = step.size
    k = 0
    for row in range(n_bands):
        for column in range(row + 1):
            entry = -hessian[k, j] / weight[j] + (_f4(1) if row == column else _f4(0))
            for i in range(column):
                entry -= matrix[row, i] * matrix[column, i]
            if row > column:
                matrix[row, column] = entry / matrix[column, column]
            elif entry > _f4(1e-3):
                matrix[row, row] = np.sqrt(entry)
            else:
                return False
            k += 1
    for row in range(n_bands):
        entry = gradient[row, j] / weight[j]
        for i in range(row):
            entry -= matrix[row, i] * step[i]
        step[row] = entry / matrix[row, row]
    for row in range(n_bands - 1, -1, -1):
        entry = step[row]
        for i in range(row + 1, n_bands):
            entry -= matrix[i, row] * step[i]
        step[row] = entry / matrix[row, row]
    return True


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _close_ranks(x, ok, w, done, here, before, safe, least, tried, is_safe, lane):  # type: ignore[no-untyped-def]
    """Move the lanes that are not done to the front, and say how many they are."""
    n_bands, n_scenes, _ = x.shape
    keep = np.empty(w, np.int64)
    active = 0
    for j in range(w):
        if not done[j]:
            keep[active] = j
            active += 1
    for t in range(n_scenes):
        for band in range(n_bands):
            row = x[band, t]
            for j in range(active):
                row[j] = row[keep[j]]
        for j in range(active):
            ok[t, j] = ok[t, keep[j]]
    for j in range(active):
        i = keep[j]
        for band in range(n_bands):
            here[band, j], before[band, j], safe[band, j] = here[band, i], before[band, i], safe[band, i]
        least[j], tried[j], is_safe[j], lane[j] = least[i], tried[i], is_safe[i], lane[i]
        done[j] = False
    return active
