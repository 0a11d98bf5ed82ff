"""The kernels alone, on one thread and on two, beside NumPy's and bottleneck's: python benchmarks/kernels.py [--runs 5]

216 scenes of 256² × 3 with 40 % invalid samples, as peers.md's table has them; bottleneck joins where it is installed.
A band-sample is one value of one scene; a pixel-sample one colour of one scene.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from clearyear.masks import valid_samples
from clearyear.reducers import get_reducer

SCENES, SIDE = 216, 256


def stack_of(dtype: str) -> Any:
    """(T, 3, H, W): 0 in 40 % of the samples, elsewhere 1 to 254."""
    rng = np.random.default_rng(1)
    stack = rng.integers(1, 255, (SCENES, 3, SIDE, SIDE)).astype(dtype)
    stack[np.broadcast_to(rng.random((SCENES, 1, SIDE, SIDE)) < 0.4, stack.shape)] = 0
    return stack


def rate(run: Callable[[], Any], samples: int, runs: int) -> str:
    """Million samples a second: median (least … most)."""
    run()
    rates = []
    for _ in range(runs):
        started = time.perf_counter()
        run()
        rates.append(samples / (time.perf_counter() - started) / 1e6)
    return f"{statistics.median(rates):,.0f} ({min(rates):,.0f} … {max(rates):,.0f})"


def strips(name: str, stack: Any, threads: int) -> Callable[[], Any]:
    """The reducer with its mask, strip by strip, as a window runs it."""
    reducer = get_reducer(name)
    invalid = (0.0, 255.0) if reducer.whole_samples else (0.0,)

    def one(top: int) -> None:
        part = stack[:, :, top : top + 32]
        reducer.reduce(part, valid_samples(part, invalid, whole_samples=reducer.whole_samples), 0.0)

    def run() -> None:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(one, range(0, SIDE, 32)))

    return run


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    samples = SCENES * SIDE * SIDE
    print("| kernel, its mask included | unit | 1 thread | 2 threads |\n|---|---|---|---|")
    for name, dtype, factor, unit in (
        ("luminance-median", "uint8", 1, "M pixel-samples/s"),
        ("band-median", "uint8", 3, "M band-samples/s"),
        ("band-median", "uint16", 3, "M band-samples/s"),
        ("band-median", "float32", 3, "M band-samples/s"),
    ):
        stack = stack_of(dtype)
        rates = [rate(strips(name, stack, threads), samples * factor, runs) for threads in (1, 2)]
        print(f"| {name} {dtype} | {unit} | {rates[0]} | {rates[1]} |")
    stack = stack_of("uint8")[:, 0]
    masked = np.ma.masked_equal(stack, 0)  # type: ignore[no-untyped-call]
    print(f"| np.ma.median uint8 | M band-samples/s | {rate(lambda: np.ma.median(masked, axis=0), samples, runs)} | |")
    try:
        import bottleneck
    except ImportError:
        return
    floats = np.where(stack == 0, np.nan, stack).astype(np.float32)
    theirs = rate(lambda: bottleneck.nanmedian(floats, 0), samples, runs)
    print(f"| bottleneck.nanmedian | M band-samples/s | {theirs} | |")


if __name__ == "__main__":
    main()
