"""What makes a sample valid, seen where it counts, in the count layer: all its bands, or each for itself."""

from typing import Any

import numpy as np
import oracle
import pytest
from numpy.typing import NDArray

from clearyear.masks import invalid_values_of
from clearyear.reducers import get_reducer
from clearyear.reducers.base import Stack
from clearyear.reducers.geomedian import Geomedian

WHOLE = [get_reducer("luminance-median"), Geomedian()]


def column(*values: Any, dtype: str = "uint8") -> NDArray[Any]:
    """A stack (1, B, 1, W) of one row; each argument is a pixel's bands."""
    return np.array(values, dtype).T[None, :, None, :]


def usable(stack: NDArray[Any], values: tuple[float, ...], valid: NDArray[np.bool_] | None = None) -> list[Any]:
    """Of a stack of one scene and one row: the bands' own validity."""
    counts: NDArray[Any] = get_reducer("band-median").reduce(Stack(stack, values, 7.0, valid=valid))["count"][:, 0] == 1
    return list(counts.tolist())


@pytest.mark.parametrize("reducer", WHOLE, ids=lambda r: r.name)
def test_one_bad_band_spoils_a_whole_sample(reducer: Any) -> None:
    stack = column((1, 2, 3), (0, 2, 3), (1, 0, 3), (1, 2, 0), (255, 2, 3), (1, 2, 255), (254, 1, 254), (0, 0, 0))
    count = reducer.reduce(Stack(stack, (0.0, 255.0), 0.0))["count"]
    assert count.shape == (1, 1, 8)
    assert count.ravel().tolist() == [1, 0, 0, 0, 0, 0, 1, 0]


def test_each_band_stands_alone() -> None:
    stack = column((1, 2), (0, 2), (1, 0), (0, 0), (255, 1))
    assert usable(stack, (0.0, 255.0)) == [[True, False, True, False, False], [True, True, False, False, True]]


@pytest.mark.parametrize("reducer", [*WHOLE, get_reducer("band-median")], ids=lambda r: r.name)
def test_nothing_is_invalid_when_nothing_is_said(reducer: Any) -> None:
    assert (reducer.reduce(Stack(column((0, 255, 9), (7, 0, 0)), (), 0.0))["count"] == 1).all()


@pytest.mark.parametrize("values", [(), (5.0,), (5.0, 6.0), (5.0, 6.0, 0.0), (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0)])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
def test_any_number_of_values(dtype: str, values: tuple[float, ...]) -> None:
    stack = column(*((v,) for v in range(10)), dtype=dtype)
    assert usable(stack, values) == [[v not in values for v in range(10)]]


@pytest.mark.parametrize(
    ("dtype", "values", "bad"),
    [
        ("uint8", (-9999.0, 256.0, 1e20), []),  # cannot occur, so must not wrap round to 241, 0 or anything
        ("uint8", (0.5, float("nan"), float("inf")), []),
        ("uint8", (255.0,), [255]),
        ("int16", (-32768.0,), [-32768]),
        ("int16", (32768.0, 65535.0), []),
        ("uint16", (65535.0, -1.0), [65535]),
    ],
)
def test_values_an_integer_cannot_hold(dtype: str, values: tuple[float, ...], bad: list[int]) -> None:
    info = np.iinfo(dtype)
    numbers = [info.min, info.min + 1, 0, 1, 241, 255 if info.max >= 255 else 1, info.max - 1, info.max]
    assert usable(column(*((n,) for n in numbers), dtype=dtype), values) == [[n not in bad for n in numbers]]
    assert invalid_values_of(values, np.dtype(dtype)).tolist() == bad


def test_nan_is_always_invalid_in_floats() -> None:
    stack = column((1.0, np.nan), (-np.nan, 2.0), (np.inf, -9999.0), dtype="float32")
    assert usable(stack, ()) == [[True, False, True], [False, True, True]]
    assert Geomedian().reduce(Stack(stack, (float("nan"), -9999.0), 0.0))["count"].ravel().tolist() == [0, 0, 0]


def test_float_nodata_is_compared_in_the_pixels_own_precision() -> None:
    """A tag is read as float64; 0.1 in a float32 file is not the float64 0.1."""
    stack = column((0.1,), (0.2,), (np.finfo("float32").min,), dtype="float32")
    assert usable(stack, (0.1, -3.4028234663852886e38)) == [[False, True, False]]


@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_both_zeros_of_a_float_are_nodata(zero: float) -> None:
    """They are equal, though their bits are not."""
    assert usable(column((0.0,), (-0.0,), (1.0,), dtype="float32"), (zero,)) == [[False, False, True]]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
def test_agrees_with_python_on_random_stacks(dtype: str) -> None:
    rng = np.random.default_rng(3)
    stack = rng.integers(0, 5, (4, 3, 5, 6)).astype(dtype)
    if dtype == "float32":
        stack[rng.random(stack.shape) < 0.1] = np.nan
    for mask in (None, rng.random((4, 1, 5, 6)) < 0.6, rng.random((4, 3, 5, 6)) < 0.6):
        each = oracle.valid_samples(stack, (0.0, 3.0)) & (True if mask is None else mask)
        count = get_reducer("band-median").reduce(Stack(stack, (0.0, 3.0), 0.0, valid=mask))["count"]
        assert np.array_equal(count, each.sum(axis=0))
        for reducer in WHOLE if dtype == "uint8" else WHOLE[1:]:
            whole = reducer.reduce(Stack(stack, (0.0, 3.0), 0.0, valid=mask))["count"]
            assert np.array_equal(whole[0], each.all(axis=1).sum(axis=0))


@pytest.mark.parametrize("reducer", [*WHOLE, get_reducer("band-median")], ids=lambda r: r.name)
def test_no_scenes(reducer: Any) -> None:
    layers = reducer.reduce(Stack(np.empty((0, 3, 2, 2), np.uint8), (0.0,), 0.0))
    assert (layers["count"] == 0).all()
    assert (layers["composite"] == 0).all()
