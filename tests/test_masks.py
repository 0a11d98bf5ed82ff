"""What makes a sample valid: any bad band of a whole sample, or each band for itself."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from clearyear.masks import valid_samples


def column(*values: Any, dtype: str = "uint8") -> NDArray[Any]:
    """A stack (1, B, 1, W) of one row; each argument is a pixel's bands."""
    return np.array(values, dtype).T[None, :, None, :]


def test_one_bad_band_spoils_a_whole_sample() -> None:
    stack = column((1, 2, 3), (0, 2, 3), (1, 0, 3), (1, 2, 0), (255, 2, 3), (1, 2, 255), (254, 1, 254), (0, 0, 0))
    valid = valid_samples(stack, (0.0, 255.0), whole_samples=True)
    assert valid.shape == (1, 1, 1, 8)
    assert valid.ravel().tolist() == [True, False, False, False, False, False, True, False]


def test_each_band_stands_alone() -> None:
    stack = column((1, 2), (0, 2), (1, 0), (0, 0), (255, 1))
    valid = valid_samples(stack, (0.0, 255.0), whole_samples=False)
    assert valid.shape == (1, 2, 1, 5)
    assert valid[0, :, 0].tolist() == [[True, False, True, False, False], [True, True, False, False, True]]


@pytest.mark.parametrize("whole", [True, False])
def test_nothing_is_invalid_when_nothing_is_said(whole: bool) -> None:
    stack = column((0, 255), (7, 0))
    assert valid_samples(stack, (), whole_samples=whole).all()


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
    stack = np.array(numbers, dtype).reshape(1, 1, 1, -1)
    valid = valid_samples(stack, values, whole_samples=False).ravel()
    assert [n for n, ok in zip(numbers, valid, strict=True) if not ok] == [n for n in numbers if n in bad]


def test_nan_is_always_invalid_in_floats() -> None:
    stack = column((1.0, np.nan), (np.nan, 2.0), (np.inf, -9999.0), dtype="float32")
    assert valid_samples(stack, (), whole_samples=False)[0, :, 0].tolist() == [[True, False, True], [False, True, True]]
    assert valid_samples(stack, (float("nan"), -9999.0), whole_samples=True).ravel().tolist() == [False] * 3


def test_float_nodata_is_compared_in_the_pixels_own_precision() -> None:
    """A tag is read as float64; 0.1 in a float32 file is not the float64 0.1."""
    stack = column((0.1,), (0.2,), (np.finfo("float32").min,), dtype="float32")
    valid = valid_samples(stack, (0.1, -3.4028234663852886e38), whole_samples=True)
    assert valid.ravel().tolist() == [False, True, False]


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
def test_agrees_with_python_on_random_stacks(dtype: str, whole: bool) -> None:
    rng = np.random.default_rng(3)
    stack = rng.integers(0, 5, (4, 3, 5, 6)).astype(dtype)
    if dtype == "float32":
        stack[rng.random(stack.shape) < 0.1] = np.nan
    valid = valid_samples(stack, (0.0, 3.0), whole_samples=whole)
    each = np.array([v == v and v not in (0, 3) for v in stack.ravel().tolist()]).reshape(stack.shape)
    assert np.array_equal(valid, each.all(axis=1, keepdims=True) if whole else each)


def test_strip_of_a_stack_needs_no_copy_and_is_not_changed() -> None:
    stack = np.random.default_rng(4).integers(0, 3, (3, 2, 8, 8), np.uint8)
    before = stack.copy()
    strip = valid_samples(stack[:, :, 3:5], (0.0,), whole_samples=False)
    assert np.array_equal(strip, (before != 0)[:, :, 3:5])
    assert np.array_equal(stack, before)


def test_no_scenes() -> None:
    assert valid_samples(np.empty((0, 3, 2, 2), np.uint8), (0.0,), whole_samples=True).shape == (0, 1, 2, 2)
