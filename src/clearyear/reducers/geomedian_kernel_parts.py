"""What the geometric median's kernel is put together from; compiled into it, not by itself."""

import numba
import numpy as np

LANES = 256
_f4 = np.float32
HERE, BEFORE, SAFE, PULL = 0, 1, 2, 3
"""Of a pixel: where it stands, where it stood, Weiszfeld's step from there, the sum of the directions from here."""
SUM, LEAST, WEIGHT, NEAR, SAME, LAST = 0, 1, 2, 3, 4, 5
"""Of a pixel: Σ r, the least so far, Σ 1/r, the least r² but for samples that coincide, those, Newton's last step."""


@numba.njit(nogil=True, error_model="numpy")
def length_of(vector, j):  # type: ignore[no-untyped-def]
    """Of lane j's vector (B, w)."""
    square = _f4(0)
    for band in range(vector.shape[0]):
        square += vector[band, j] * vector[band, j]
    return np.sqrt(square)


@numba.njit(nogil=True, error_model="numpy")
def nearest_to(x, ok, depth, w, point, j, square):  # type: ignore[no-untyped-def]
    """The scene whose sample lies nearest to lane j, of those no nearer than ``square``'s root."""
    least, nearest = _f4(np.inf), 0
    for t in range(depth):
        apart = _f4(0)
        for band in range(point.shape[1]):
            d = x[(band * depth + t) * w + j] - point[HERE, band, j]
            apart += d * d
        if ok[t * w + j] and square <= apart < least:
            least, nearest = apart, t
    return nearest


@numba.njit(nogil=True, error_model="numpy")
def evaluate(x, ok, depth, w, light, tiny, point, score, hessian, scratch):  # type: ignore[no-untyped-def]
    """At every lane's ``HERE``: its scores, its pull, and Σ d dᵀ / r³, lower triangle by rows.

    Samples nearer than ``tiny`` coincide and are counted in ``SAME`` alone.
    """
    n_bands, four = point.shape[1], 4 * w
    square, root, inverse, cubed, far, same = (
        scratch[0, :four], scratch[1, :four], scratch[2, :four], scratch[3, :four], scratch[4, :four], scratch[5, :four]
    )  # fmt: skip
    apart, here = scratch[6 : 6 + n_bands], scratch[6 + n_bands :]
    for row in (SUM, WEIGHT, SAME):
        score[row, :w] = 0
    score[NEAR, :w] = np.inf
    point[PULL, :, :w], hessian[:, :w] = 0, 0
    for band in range(n_bands):
        for k in range(4):
            here[band, k * w : k * w + w] = point[HERE, band, :w]
    for t in range(0, depth, 4):
        okay = ok[t * w : t * w + four]
        square[:] = 0
        for band in range(n_bands):
            row, centre, difference = x[(band * depth + t) * w :][:four], here[band, :four], apart[band, :four]
            for i in range(four):
                d = row[i] - centre[i]
                difference[i] = d
                square[i] += d * d
        for i in range(four):
            r = np.sqrt(square[i])
            coincides = okay[i] & (r <= tiny)
            usable = okay[i] & (r > tiny)
            over, distance, away = _f4(1) / r, r, square[i]
            over = over if usable else _f4(0)
            root[i] = distance if okay[i] else _f4(0)
            far[i] = away if usable else _f4(np.inf)
            same[i] = _f4(1) if coincides else _f4(0)
            inverse[i] = over
            cubed[i] = over * over * over
        _add(score[SUM], root, w)
        _add(score[WEIGHT], inverse, w)
        _add(score[SAME], same, w)
        near, a, b, c, d4 = score[NEAR, :w], far[:w], far[w : 2 * w], far[2 * w : 3 * w], far[3 * w :]
        for j in range(w):
            near[j] = min(near[j], min(min(a[j], b[j]), min(c[j], d4[j])))
        k = 0
        for band in range(n_bands):
            difference = apart[band, :four]
            _add_products(point[PULL, band], inverse, difference, w)
            if light:
                continue
            for i in range(four):
                root[i] = cubed[i] * difference[i]
            for other in range(band + 1):
                _add_products(hessian[k], root, apart[other, :four], w)
                k += 1


@numba.njit(nogil=True, error_model="numpy")
def _add(total, rows, w):  # type: ignore[no-untyped-def]
    total, a, b, c, d = total[:w], rows[:w], rows[w : 2 * w], rows[2 * w : 3 * w], rows[3 * w : 4 * w]
    for j in range(w):
        total[j] += (a[j] + b[j]) + (c[j] + d[j])


@numba.njit(nogil=True, error_model="numpy")
def _add_products(total, left, right, w):  # type: ignore[no-untyped-def]
    total, a, b, c, d = total[:w], left[:w], left[w : 2 * w], left[2 * w : 3 * w], left[3 * w : 4 * w]
    e, f, g, h = right[:w], right[w : 2 * w], right[2 * w : 3 * w], right[3 * w : 4 * w]
    for j in range(w):
        total[j] += (a[j] * e[j] + b[j] * f[j]) + (c[j] * g[j] + d[j] * h[j])


@numba.njit(nogil=True, error_model="numpy")
def newton_step(hessian, score, point, j, matrix, step):  # type: ignore[no-untyped-def]
    """Put Newton's step of lane j into step (B,); False, and step as it was, where the Hessian is near singular.

    Cholesky's factor of w I − Σ d dᵀ / r³, relative to w = Σ 1/r: its pivots lie between 0 and 1.
    """
    weight, k = score[WEIGHT, j], 0
    for row in range(step.size):
        for column in range(row + 1):
            entry = -hessian[k, j] / weight + (_f4(1) if row == column else _f4(0))
            for i in range(column):
                entry -= matrix[row, i] * matrix[column, i]
            if row > column:
                matrix[row, column] = entry / matrix[column, column]
            elif entry > _f4(1e-3):
                matrix[row, row] = np.sqrt(entry)
            else:
                return False
            k += 1
    for row in range(step.size):
        entry = point[PULL, row, j] / weight
        for i in range(row):
            entry -= matrix[row, i] * step[i]
        step[row] = entry / matrix[row, row]
    for row in range(step.size - 1, -1, -1):
        entry = step[row]
        for i in range(row + 1, step.size):
            entry -= matrix[i, row] * step[i]
        step[row] = entry / matrix[row, row]
    return True


@numba.njit(nogil=True, error_model="numpy")
def close_ranks(x, ok, depth, w, done, point, score, tried, tries, is_safe, lane):  # type: ignore[no-untyped-def]
    """Move the lanes that are not done to the front, and say how many they are."""
    keep = np.flatnonzero(~done[:w])
    active = keep.size
    for row in range(point.shape[1] * depth):
        for j in range(active):
            x[row * active + j] = x[row * w + keep[j]]
    for t in range(depth):
        for j in range(active):
            ok[t * active + j] = ok[t * w + keep[j]]
    for j in range(active):
        i = keep[j]
        point[:, :, j], score[:, j] = point[:, :, i], score[:, i]
        tried[j], tries[j], is_safe[j], lane[j], done[j] = tried[i], tries[i], is_safe[i], lane[i], False
    return active
