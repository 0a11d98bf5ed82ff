"""The geometric median against Weiszfeld in float64, and in the places where the sum of distances has a kink."""

from typing import Any

import numpy as np
import oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from clearyear.errors import InputError
from clearyear.reducers.base import Stack
from clearyear.reducers.geomedian import Geomedian
from clearyear.reducers.layout import lay_out

DTYPES = ["uint8", "uint16", "int16", "float32"]


def find(stack: NDArray[Any], invalid: tuple[float, ...] = (), *, eps: float | None = None) -> NDArray[np.float32]:
    """The unrounded median (B, P)."""
    n_scenes, n_bands, height, width = stack.shape
    laid = lay_out(Stack(stack, invalid))
    return Geomedian(eps).find(laid, str(stack.dtype), n_scenes, n_bands, height * width)[0]


def of(*samples: tuple[float, ...], dtype: str = "float32") -> NDArray[Any]:
    """One pixel's samples as a stack."""
    return np.array(samples, dtype).reshape(len(samples), -1, 1, 1)


def reflectance(n_scenes: int, n_bands: int, side: int = 6, *, seed: int = 0) -> NDArray[np.uint16]:
    """Land of about 300 to 1,700 with noise, a tenth thin cloud, a third 0."""
    rng = np.random.default_rng([seed, n_scenes, n_bands])
    land = rng.uniform(300, 1700, (1, n_bands, side, side))
    stack = land + rng.normal(0, 120, (n_scenes, n_bands, side, side))
    stack += np.where(rng.random((n_scenes, 1, side, side)) < 0.1, rng.uniform(200, 4000), 0)
    stack[np.broadcast_to(rng.random((n_scenes, 1, side, side)) < 0.33, stack.shape)] = 0
    return np.clip(stack, 0, 16000).astype(np.uint16)


def assert_least(stack: NDArray[Any], median: NDArray[Any], invalid: tuple[float, ...], *, within: float) -> None:
    """No pixel's sum of distances is more than that much above the least there is."""
    n_scenes, n_bands, height, width = stack.shape
    valid = oracle.valid_samples(stack, invalid, whole=True).reshape(n_scenes, n_bands, -1)[:, 0]
    samples = stack.reshape(n_scenes, n_bands, -1).astype(np.float64)
    for p in range(height * width):
        mine = samples[valid[:, p], :, p]
        if not len(mine):
            assert np.isnan(median[:, p]).all()
            continue
        least = oracle.summed_distance(mine, oracle.geometric_median(mine))
        assert oracle.summed_distance(mine, median[:, p]) <= least * (1 + within) + 1e-6


@pytest.mark.parametrize("n_bands", [1, 2, 3, 4, 10])
@pytest.mark.parametrize("n_scenes", [1, 2, 3, 5, 12, 60])
def test_the_sum_is_least(n_scenes: int, n_bands: int) -> None:
    stack = reflectance(n_scenes, n_bands)
    assert_least(stack, find(stack, (0.0,)), (0.0,), within=1e-6)


@pytest.mark.parametrize("n_bands", [3, 10])
def test_it_lies_nearer_than_a_step(n_bands: int) -> None:
    """Of a step of 0.1 nothing is left to go: Newton's error is far below its last step."""
    stack = reflectance(216, n_bands, 4)
    median = find(stack, (0.0,))
    samples = stack.reshape(216, n_bands, -1).astype(np.float64)
    for p in range(16):
        truth = oracle.geometric_median(samples[(samples[:, :, p] != 0).all(axis=1), :, p])
        assert np.abs(median[:, p] - truth).max() < 0.05


@given(
    n_scenes=st.integers(1, 25),
    n_bands=st.integers(1, 5),
    most=st.sampled_from([1, 2, 5, 30, 10_000]),
    width=st.integers(1, 12),
    seed=st.integers(0, 2**32 - 1),
)
def test_ties_lines_and_corners(n_scenes: int, n_bands: int, most: int, width: int, seed: int) -> None:
    """Few values: samples that coincide, lie on a line, are themselves the median."""
    stack = np.random.default_rng(seed).integers(0, most + 1, (n_scenes, n_bands, 1, width)).astype(np.int16)
    assert_least(stack, find(stack, (0.0,), eps=1e-4 * most), (0.0,), within=1e-6)


@pytest.mark.parametrize("value", [1, 7, 200])
@pytest.mark.parametrize("n_scenes", [1, 2, 7, 100])
def test_all_equal(n_scenes: int, value: int) -> None:
    for dtype in DTYPES:
        layers = Geomedian().reduce(Stack(np.full((n_scenes, 3, 2, 2), value, dtype), (), 0.0))
        assert (layers["composite"] == value).all()
        assert (layers["count"] == n_scenes).all()
        assert all(float(layers[name].max()) < 1e-6 for name in ("smad", "emad", "bcmad"))


def test_two_samples_meet_in_the_middle() -> None:
    assert find(of((1.0, 2.0, 3.0), (3.0, 6.0, 9.0))).ravel().tolist() == [2, 4, 6]


def test_on_a_line_the_middle_sample() -> None:
    line = [(t, 2.0 * t, 5.0 - t) for t in (0.0, 1.0, 2.5, 40.0, 41.0)]
    assert find(of(*line)).ravel().tolist() == [2.5, 5, 2.5]
    even = find(of(*line[:4])).ravel()  # anything between the two middle ones is least
    assert 1 <= even[0] <= 2.5
    assert np.allclose(even, (even[0], 2 * even[0], 5 - even[0]), atol=1e-4)


@pytest.mark.parametrize("scale", [1.0, 1e-4, 1000.0])
def test_a_sample_that_is_the_median(scale: float) -> None:
    """The others pull from all sides, or less than one sample's weight: Vardi and Zhang's condition, met exactly."""
    cross = np.array([(0, 0), (3, 0), (-5, 0), (0, 1), (0, -2)]) + 10
    assert np.array_equal(find(of(*(cross * scale))).ravel(), np.array([10 * scale] * 2, np.float32))
    wide = np.array([(0, 0), (10, 1), (-10, 1)]) + 20  # an angle of more than 120°
    assert np.array_equal(find(of(*(wide * scale))).ravel(), np.array([20 * scale] * 2, np.float32))
    heavy = np.array([(1, 2, 3)] * 4 + [(9, 9, 9), (90, 1, 4), (5, 80, 2)])
    assert np.array_equal(find(of(*(heavy * scale))).ravel(), (heavy[0] * scale).astype(np.float32))


def test_a_start_on_a_sample_that_is_not_the_median() -> None:
    """The mean is (0, 0), a sample; the sum is least elsewhere."""
    samples = of((0, 0), (12, 0), (-3, 1), (-3, -1), (-3, 0.5), (-3, -0.5))
    assert_least(samples, find(samples, eps=1e-4), (), within=1e-6)
    assert find(samples, eps=1e-4)[0, 0] < -2.5


def test_one_sample_and_none() -> None:
    stack = reflectance(1, 3)
    layers = Geomedian().reduce(Stack(stack, (0.0,), 9.0))
    seen = (stack[0] != 0).all(axis=0)
    assert np.array_equal(layers["composite"], np.where(seen, stack[0], 9))
    assert np.array_equal(layers["count"][0], seen)
    for name in ("smad", "emad", "bcmad"):
        assert np.array_equal(np.isnan(layers[name][0]), ~seen)
        assert (layers[name][0][seen] < 1e-6).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_layers(dtype: str) -> None:
    """Rounded, not truncated; deviations from the unrounded median; a median of distances for each pixel."""
    stack = reflectance(13, 4, 3).astype(np.float64)
    stack = (stack / 64).astype(dtype) if dtype in ("uint8", "float32") else stack.astype(dtype)
    layers = Geomedian().reduce(Stack(stack, (0.0,), 0.0))
    median = find(stack, (0.0,)).reshape(4, 3, 3).astype(np.float64)
    expected = median if dtype == "float32" else np.rint(median)
    assert np.array_equal(layers["composite"], expected.astype(dtype))
    assert {k: (str(v.dtype), v.shape) for k, v in layers.items()} == {
        "composite": (dtype, (4, 3, 3)),
        "count": ("uint16", (1, 3, 3)),
        **dict.fromkeys(("smad", "emad", "bcmad"), ("float32", (1, 3, 3))),
    }
    samples = np.where(oracle.valid_samples(stack, (0.0,), whole=True), stack.astype(np.float64), np.nan)
    product = (samples * median).sum(axis=1)
    cosine = 1 - product / np.sqrt((samples**2).sum(axis=1) * (median**2).sum(axis=0))
    bray_curtis = np.abs(samples - median).sum(axis=1) / np.abs(samples + median).sum(axis=1)
    assert np.allclose(layers["smad"][0], np.nanmedian(cosine, axis=0), rtol=1e-5, atol=1e-8)
    assert np.allclose(layers["emad"][0], np.nanmedian(np.sqrt(((samples - median) ** 2).sum(axis=1)), axis=0), 1e-5)
    assert np.allclose(layers["bcmad"][0], np.nanmedian(bray_curtis, axis=0), 1e-5)


def test_a_pixel_does_not_depend_on_its_neighbours() -> None:
    """Not on its place in a block, nor on what else is in it: bit for bit."""
    stack = reflectance(30, 3, 24)
    whole = Geomedian().reduce(Stack(stack, (0.0,), 0.0))
    for top, left, height, width in ((0, 0, 24, 7), (3, 5, 1, 1), (10, 1, 14, 23), (23, 23, 1, 1)):
        part = Geomedian().reduce(Stack(stack[:, :, top : top + height, left : left + width], (0.0,), 0.0))
        for name, array in part.items():
            assert array.tobytes() == whole[name][:, top : top + height, left : left + width].tobytes()


def test_infinite_samples_are_none() -> None:
    stack = of((1, 2), (3, 4), (np.inf, 1), (5, -np.inf))
    layers = Geomedian().reduce(Stack(stack, (), 0.0))
    assert layers["count"].item() == 2
    assert layers["composite"].ravel().tolist() == [2, 3]


def test_stacks_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="geomedian cannot use these scenes: they have 3 bands of int32"):
        Geomedian().check(n_bands=3, dtype="int32", n_scenes=3)
    with pytest.raises(InputError, match="at most 65,535"):
        Geomedian().check(n_bands=3, dtype="uint8", n_scenes=65536)
    Geomedian().check(n_bands=1, dtype="float32", n_scenes=65535)
