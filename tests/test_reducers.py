"""Both reducers against the oracle, at every pixel: few and many scenes, ties, gaps, signs, blocks and strips."""

from typing import Any

import numpy as np
import oracle
import pytest
from conftest import random_pixels
from numpy.typing import NDArray

from clearyear.errors import InputError
from clearyear.reducers import REDUCERS, get_reducer
from clearyear.reducers.base import Stack

DTYPES = ["uint8", "uint16", "int16", "float32"]
DEPTHS = [1, 2, 3, 30, 255, 256, 300, 2000]
BLOCK = 2048  # pixels the kernels take at once


def rgb_stack(n_scenes: int, height: int, width: int, *, invalid: float = 0.3) -> NDArray[np.uint8]:
    return random_pixels(np.random.default_rng(n_scenes), (n_scenes, 3, height, width), invalid=invalid)


def stack_of(dtype: str, shape: tuple[int, ...], *, seed: int = 0) -> NDArray[Any]:
    """Half its samples over the whole range of the type, half from a few values, so that ties are common."""
    rng = np.random.default_rng([seed, *shape])
    few = rng.integers(0, 6, shape).astype(dtype)
    if dtype == "float32":
        wide = (rng.standard_normal(shape) * 10 ** rng.uniform(-20, 20, shape)).astype(dtype)
    else:
        wide = rng.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, shape, dtype, endpoint=True)
    return np.where(rng.random(shape) < 0.5, few, wide)


def assert_luminance(stack: NDArray[np.uint8]) -> None:
    layers = get_reducer("luminance-median").reduce(Stack(stack, (0.0, 255.0), 0.0))
    composite, count, source = oracle.luminance_median(stack)
    assert {k: (str(v.dtype), v.shape[0]) for k, v in layers.items()} == {
        "composite": ("uint8", 3),
        "count": ("uint16", 1),
        "source": ("int16", 1),
    }
    assert np.array_equal(layers["count"][0], count)
    assert np.array_equal(layers["source"][0], source)
    assert np.array_equal(layers["composite"], composite)


def assert_bands(stack: NDArray[Any], valid: NDArray[np.bool_], nodata: float) -> NDArray[Any]:
    layers = get_reducer("band-median").reduce(Stack(stack, (), nodata, valid=valid))
    assert (str(layers["composite"].dtype), str(layers["count"].dtype)) == (str(stack.dtype), "uint16")
    assert np.array_equal(layers["count"], valid.sum(axis=0))
    expected = oracle.band_median(stack, valid, nodata)
    assert np.array_equal(layers["composite"], expected, equal_nan=stack.dtype.kind == "f")
    return layers["composite"]


# -- luminance median ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_scenes", DEPTHS)
def test_luminance_at_every_depth(n_scenes: int) -> None:
    assert_luminance(rgb_stack(n_scenes, 5, 8))


@pytest.mark.parametrize("invalid", [0.0, 0.9, 3.0])
@pytest.mark.parametrize("n_scenes", [1, 2, 30, 300])
def test_luminance_all_few_and_none_valid(n_scenes: int, invalid: float) -> None:
    assert_luminance(rgb_stack(n_scenes, 4, 9, invalid=invalid))


def test_luminance_rejects_if_any_band_is_0_or_255() -> None:
    stack = np.array([(9, 9, 0), (255, 1, 1), (8, 8, 8), (0, 0, 0)], np.uint8).reshape(4, 3, 1, 1)
    layers = reduce_rgb(stack)
    assert layers == ((8, 8, 8), 1, 2)


def test_luminance_takes_the_upper_of_two_and_an_observed_colour() -> None:
    assert reduce_rgb(rgb((10, 10, 10), (10, 20, 30))) == ((10, 20, 30), 2, 1)
    assert reduce_rgb(rgb((10, 20, 30), (10, 10, 10))) == ((10, 20, 30), 2, 0)
    assert reduce_rgb(rgb((1, 1, 1), (2, 2, 2), (3, 3, 3), (4, 4, 4))) == ((3, 3, 3), 4, 2)
    assert reduce_rgb(rgb((9, 9, 9), (2, 2, 2), (5, 5, 5))) == ((5, 5, 5), 3, 2)


def test_luminance_ties_go_by_acquisition() -> None:
    """Equal sums, different colours: n // 2 counts them in the order they were taken."""
    assert reduce_rgb(rgb((1, 2, 3), (3, 2, 1), (2, 2, 2))) == ((3, 2, 1), 3, 1)
    assert reduce_rgb(rgb((1, 2, 3), (3, 2, 1))) == ((3, 2, 1), 2, 1)
    assert reduce_rgb(rgb((9, 9, 9), (0, 3, 3), (3, 2, 1), (1, 2, 3), (1, 1, 1))) == ((1, 2, 3), 4, 3)


def test_luminance_is_the_plain_sum() -> None:
    """Not a weighted one, and not one that wraps at 256: 254 × 3 is the brightest."""
    assert reduce_rgb(rgb((254, 254, 254), (254, 254, 253), (1, 254, 1))) == ((254, 254, 253), 3, 1)
    assert reduce_rgb(rgb((1, 254, 1), (100, 100, 57), (254, 1, 3))) == ((100, 100, 57), 3, 1)


def test_luminance_nothing_valid_is_nodata() -> None:
    assert reduce_rgb(rgb((0, 9, 9), (9, 255, 9))) == ((0, 0, 0), 0, -1)


def rgb(*samples: tuple[int, int, int]) -> NDArray[np.uint8]:
    return np.array(samples, np.uint8).reshape(len(samples), 3, 1, 1)


def reduce_rgb(stack: NDArray[np.uint8]) -> tuple[tuple[int, ...], int, int]:
    layers = get_reducer("luminance-median").reduce(Stack(stack, (0.0, 255.0), 0.0))
    return tuple(layers["composite"].ravel().tolist()), int(layers["count"].item()), int(layers["source"].item())


# -- per-band median -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_scenes", DEPTHS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_bands_at_every_depth(dtype: str, n_scenes: int) -> None:
    stack = stack_of(dtype, (n_scenes, 2, 3, 11))
    valid = np.random.default_rng(n_scenes).random(stack.shape) < 0.7
    assert_bands(stack, valid, 9.0)


@pytest.mark.parametrize("n_scenes", [1, 2, 255, 256])
@pytest.mark.parametrize("dtype", DTYPES)
def test_bands_all_one_and_none_valid(dtype: str, n_scenes: int) -> None:
    stack = stack_of(dtype, (n_scenes, 3, 2, 7))
    valid = np.zeros(stack.shape, np.bool_)
    valid[:, 0] = True
    valid[n_scenes // 2, 1] = True
    composite = assert_bands(stack, valid, 9.0)
    assert np.array_equal(composite[1], stack[n_scenes // 2, 1])
    assert (composite[2] == 9).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_bands_extremes_of_the_type(dtype: str) -> None:
    """The type's largest value is what the kernel takes for invalid samples, and its ends overflow when added."""
    limits = np.finfo(dtype) if dtype == "float32" else np.iinfo(dtype)
    samples = np.array([limits.max, limits.max, limits.max, limits.min, limits.min, 1], dtype)
    stack = np.stack([np.roll(samples, k) for k in range(6)], axis=1).reshape(6, 1, 1, 6)
    for n_valid in range(7):
        valid = np.zeros(stack.shape, np.bool_)
        valid[:n_valid] = True
        assert_bands(stack, valid, 0.0)


@pytest.mark.parametrize(
    ("samples", "median"),
    [((1, 2), 2), ((2, 3), 2), ((3, 4), 4), ((-1, 0), 0), ((-2, -1), -2), ((-3, -2), -2), ((-4, -3), -4), ((-5, 8), 2)],
)
def test_bands_halves_go_to_the_even(samples: tuple[int, int], median: int) -> None:
    stack = np.array(samples, np.int16).reshape(2, 1, 1, 1)
    layers = get_reducer("band-median").reduce(Stack(stack, (), None))
    assert layers["composite"].item() == median


def test_bands_floats_are_averaged_not_rounded() -> None:
    stack = np.array([1.5, -3.25, 2.0, 1.0], np.float32).reshape(4, 1, 1, 1)
    layers = get_reducer("band-median").reduce(Stack(stack, (), None))
    assert layers["composite"].item() == 1.25


@pytest.mark.parametrize("n_scenes", [1, 2, 5, 300])
def test_bands_nan_is_no_sample(n_scenes: int) -> None:
    stack = stack_of("float32", (n_scenes, 2, 3, 5))
    stack[np.random.default_rng(1).random(stack.shape) < 0.4] = np.nan
    stack[:, :, 0, 0] = np.nan
    composite = assert_bands(stack, oracle.valid_samples(stack, ()), float("nan"))
    assert np.isnan(composite[:, 0, 0]).all()


def test_bands_one_mask_for_all_bands() -> None:
    stack = stack_of("uint16", (5, 3, 4, 4))
    valid = np.random.default_rng(5).random((5, 1, 4, 4)) < 0.6
    layers = get_reducer("band-median").reduce(Stack(stack, (), 0.0, valid=valid))
    whole = np.broadcast_to(valid, stack.shape)
    assert np.array_equal(layers["composite"], oracle.band_median(stack, whole, 0.0))


# -- how the pixels lie --------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 3])
def test_widths_around_the_kernels_block(width: int) -> None:
    assert_luminance(rgb_stack(4, 1, width))
    for dtype in DTYPES:
        stack = stack_of(dtype, (4, 1, 1, width))
        assert_bands(stack, np.random.default_rng(2).random(stack.shape) < 0.7, 9.0)


@pytest.mark.parametrize("lay", ["rows", "columns", "turned", "scenes"])
def test_inputs_that_are_not_contiguous(lay: str) -> None:
    """A strip is a slice of a stack; nothing may depend on how the pixels lie in memory."""

    def laid(stack: NDArray[Any]) -> NDArray[Any]:
        views = {
            "rows": stack[:, :, 3:7],
            "columns": stack[:, :, :, 1::2],
            "turned": stack.transpose(0, 1, 3, 2),
            "scenes": stack[::-2],
        }
        assert not views[lay].flags.c_contiguous
        return views[lay]

    assert_luminance(laid(rgb_stack(7, 12, 10)))
    for dtype in DTYPES:
        stack = laid(stack_of(dtype, (7, 2, 12, 10)))
        assert_bands(stack, laid(np.random.default_rng(2).random((7, 2, 12, 10)) < 0.7), 9.0)


@pytest.mark.parametrize("name", sorted(REDUCERS))
def test_inputs_are_left_as_they_were(name: str) -> None:
    stack = rgb_stack(5, 4, 6)
    valid = np.random.default_rng(6).random((5, 1, 4, 6)) < 0.5
    kept = stack.copy(), valid.copy()
    for array in (stack, valid):
        array.flags.writeable = False
    get_reducer(name).reduce(Stack(stack, (0.0, 255.0), 0.0, valid=valid))
    assert np.array_equal(stack, kept[0])
    assert np.array_equal(valid, kept[1])


# -- the registry --------------------------------------------------------------------------------------------


def test_registry() -> None:
    assert set(REDUCERS) == {"luminance-median", "band-median", "geomedian", "percentiles", "clear-count"}
    made = {name: get_reducer(name) for name in REDUCERS}
    assert all(reducer.name == name and reducer.layers[0] == "composite" for name, reducer in made.items())
    with pytest.raises(InputError, match=r"There is no reducer 'mean'\. Wanted: one of luminance-median, band-median"):
        get_reducer("mean")


@pytest.mark.parametrize(
    ("name", "dtype", "n_scenes", "words"),
    [
        ("luminance-median", "uint8", 32768, "32768 acquisitions. Wanted: at most 32,767"),
        ("band-median", "uint8", 65536, "65536 acquisitions. Wanted: at most 65,535"),
        ("band-median", "int32", 3, "3 bands of int32. Wanted: one of uint8, uint16, int16, float32"),
        ("luminance-median", "int16", 3, "3 bands of int16. Wanted: three bands of uint8"),
    ],
)
def test_more_than_the_layers_can_hold_is_refused(name: str, dtype: str, n_scenes: int, words: str) -> None:
    with pytest.raises(InputError, match=words):
        get_reducer(name).check(n_bands=3, dtype=dtype, n_scenes=n_scenes)
    get_reducer(name).check(n_bands=3, dtype="uint8", n_scenes=30)
