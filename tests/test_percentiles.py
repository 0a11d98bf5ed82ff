"""Any percentile of each band against np.nanpercentile on float64, for every dtype, depth, mask and shape."""

from typing import Any

import numpy as np
import oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from test_reducers import DEPTHS, DTYPES, stack_of

from clearyear.errors import InputError
from clearyear.reducers import get_reducer
from clearyear.reducers.base import Stack
from clearyear.reducers.ranks import BandPercentiles

WANTED = (0.0, 2.0, 10.0, 25.0, 33.3, 50.0, 66.7, 90.0, 98.0, 100.0)


def assert_percentiles(stack: NDArray[Any], valid: NDArray[np.bool_], wanted: tuple[float, ...] = WANTED) -> None:
    layers = BandPercentiles(wanted).reduce(Stack(stack, (), 9.0, valid=valid))
    expected = oracle.percentiles(stack, valid, wanted, 9.0)
    assert (str(layers["composite"].dtype), str(layers["count"].dtype)) == (str(stack.dtype), "uint16")
    assert np.array_equal(layers["composite"], expected.reshape(-1, *stack.shape[2:]))
    assert np.array_equal(layers["count"], valid.sum(axis=0))


@pytest.mark.parametrize("n_scenes", DEPTHS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_depth(dtype: str, n_scenes: int) -> None:
    stack = stack_of(dtype, (n_scenes, 2, 3, 11))
    assert_percentiles(stack, np.random.default_rng(n_scenes).random(stack.shape) < 0.7)


@given(
    dtype=st.sampled_from(DTYPES),
    n_scenes=st.one_of(st.integers(1, 40), st.sampled_from([254, 255, 256, 257, 511, 600, 2000])),
    shape=st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 70)),
    share=st.floats(0, 1),
    wanted=st.lists(st.floats(0, 100), min_size=1, max_size=4, unique=True),
    seed=st.integers(0, 2**32 - 1),
)
def test_anything(
    dtype: str, n_scenes: int, shape: tuple[int, int, int], share: float, wanted: list[float], seed: int
) -> None:
    stack = stack_of(dtype, (n_scenes, *shape), seed=seed)
    assert_percentiles(stack, np.random.default_rng(seed).random(stack.shape) < share, tuple(wanted))


@pytest.mark.parametrize("n_scenes", [*DEPTHS, 4, 216])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_fiftieth_is_the_median(dtype: str, n_scenes: int) -> None:
    stack = stack_of(dtype, (n_scenes, 2, 3, 11), seed=1)
    stack[0, 0, 0] = np.inf if dtype == "float32" else np.iinfo(dtype).max
    valid = np.random.default_rng(n_scenes).random(stack.shape) < 0.7
    fiftieth = BandPercentiles((50.0,)).reduce(Stack(stack, (3.0,), 9.0, valid=valid))
    median = get_reducer("band-median").reduce(Stack(stack, (3.0,), 9.0, valid=valid))
    assert all(fiftieth[name].tobytes() == median[name].tobytes() for name in ("composite", "count"))


@pytest.mark.parametrize(
    ("samples", "percentile", "value"),
    [
        ((0, 1), 50, 0),  # 0.5
        ((1, 2), 50, 2),  # 1.5
        ((0, 10), 25, 2),  # 2.5
        ((0, 10), 35, 4),  # 3.5
        ((-3, 1), 12.5, -2),  # −2.5
        ((0, 10), 29, 3),  # 2.9, not truncated
        ((-10, 0), 29, -7),  # −7.1
        ((7, 7, 7), 42, 7),
        ((-32768, 32767), 100, 32767),
        ((-32768, 32767), 0, -32768),
    ],
)
def test_integers_round_half_to_even(samples: tuple[int, ...], percentile: float, value: int) -> None:
    stack = np.array(samples, np.int16).reshape(-1, 1, 1, 1)
    assert BandPercentiles((percentile,)).reduce(Stack(stack, (), None))["composite"].item() == value


def test_infinite_samples_have_a_place() -> None:
    """Between two equal infinities np.nanpercentile finds NaN; here a value on a sample is that sample."""
    stack = np.array([1, np.inf, np.inf, -np.inf], np.float32).reshape(4, 1, 1, 1)
    found = BandPercentiles((0, 100 / 3, 75, 100)).reduce(Stack(stack, (), None))["composite"]
    assert found.ravel().tolist() == [-np.inf, 1, np.inf, np.inf]


def test_bands_of_one_percentile_stand_together() -> None:
    stack = np.arange(5 * 2, dtype=np.uint8).reshape(5, 2, 1, 1)
    assert BandPercentiles((0, 50, 100)).reduce(Stack(stack, (), None))["composite"].ravel().tolist() == [
        0,
        1,
        4,
        5,
        8,
        9,
    ]


@pytest.mark.parametrize("percentiles", [(), (-1.0,), (50.0, 100.1), (float("nan"),), (50, 50.0)])
def test_what_is_no_percentile_is_refused(percentiles: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="Wanted: numbers from 0 to 100"):
        BandPercentiles(percentiles)


def test_stacks_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="percentiles cannot use these scenes: they have 3 bands of int32"):
        BandPercentiles().check(n_bands=3, dtype="int32", n_scenes=3)
    with pytest.raises(InputError, match="at most 65,535"):
        BandPercentiles().check(n_bands=3, dtype="uint8", n_scenes=65536)
    BandPercentiles().check(n_bands=3, dtype="float32", n_scenes=65535)
