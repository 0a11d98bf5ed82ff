"""Observations, clear and kept ones, against plain counting."""

import numpy as np
import pytest

from clearyear.errors import InputError
from clearyear.reducers import get_reducer
from clearyear.reducers.base import Stack

RNG = np.random.default_rng(5)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
@pytest.mark.parametrize("n_mask_bands", [1, 3])
def test_three_counts(dtype: str, n_mask_bands: int) -> None:
    stack = RNG.integers(0, 4, (9, 3, 5, 7)).astype(dtype)
    if dtype == "float32":
        stack[2, 1, 3] = np.nan
    raw = RNG.random((9, n_mask_bands, 5, 7)) < 0.7
    valid = raw & (RNG.random(raw.shape) < 0.8)
    layers = get_reducer("clear-count").reduce(Stack(stack, (0.0, -9999.0), None, valid=valid, raw=raw))
    seen = ((stack != 0) & ~np.isnan(stack.astype(float))).all(axis=1)
    expected = [seen, seen & raw.all(axis=1), seen & valid.all(axis=1)]
    assert layers["composite"].dtype == layers["count"].dtype == np.uint16
    assert np.array_equal(layers["composite"], [each.sum(axis=0) for each in expected])
    assert np.array_equal(layers["count"][0], expected[2].sum(axis=0))


def test_without_a_mask_every_observation_is_clear() -> None:
    stack = RNG.integers(0, 3, (6, 2, 4, 4)).astype("uint16")
    counts = get_reducer("clear-count").reduce(Stack(stack, (0.0,), None))["composite"]
    assert np.array_equal(counts[0], counts[1])
    assert np.array_equal(counts[0], counts[2])
    valid = np.zeros((6, 1, 4, 4), np.bool_)
    counts = get_reducer("clear-count").reduce(Stack(stack, (0.0,), None, valid=valid))["composite"]
    assert counts[0].any()
    assert not counts[1:].any()


def test_scenes_of_one_group_are_one_observation() -> None:
    """Of a group no pixel is valid in two scenes; what none of them has seen is no observation."""
    stack = RNG.integers(0, 2, (6, 1, 8, 8)).astype("uint8")
    groups = ("", "a", "a", "", "b", "b")
    seen = stack[:, 0] > 0
    valid = np.ones((6, 1, 8, 8), np.bool_)
    valid[2, 0] &= ~seen[1]
    valid[5, 0] &= ~seen[4]
    counts = get_reducer("clear-count").reduce(Stack(stack, (0.0,), valid=valid, groups=groups))["composite"]
    days = np.array([seen[0], seen[1] | seen[2], seen[3], seen[4] | seen[5]]).sum(axis=0)
    assert np.array_equal(counts, [days, days, days])


def test_more_scenes_than_a_count_can_say() -> None:
    with pytest.raises(InputError, match="at most 65,535"):
        get_reducer("clear-count").check(n_bands=1, dtype="float64", n_scenes=65536)
