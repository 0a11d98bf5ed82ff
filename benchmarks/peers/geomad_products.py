"""geomad's median and its deviations from a given one: python geomad_products.py GIVEN.npz RESULT.npz EPS"""

import sys

import geomad
import numpy as np


def main() -> None:
    """Read stack (T, B, H, W) and median (B, H, W), write what geomad makes of them."""
    given, result, eps = sys.argv[1:]
    stored = np.load(given)
    stack = stored["stack"].astype(np.float32)
    # A sample counts only if all its bands do.
    stack[np.broadcast_to((stack == 0).any(axis=1, keepdims=True), stack.shape)] = np.nan
    last = np.ascontiguousarray(stack.transpose(2, 3, 1, 0))
    centre = np.ascontiguousarray(stored["median"].transpose(1, 2, 0))
    median = geomad.nangeomedian_pcm(last, num_threads=1, eps=float(eps), maxiters=1000, nocheck=True)
    np.savez(
        result,
        median=median.transpose(2, 0, 1),
        smad=geomad.smad_pcm(last, centre, num_threads=1),
        emad=geomad.emad_pcm(last, centre, num_threads=1),
        bcmad=geomad.bcmad_pcm(last, centre, num_threads=1),
    )


if __name__ == "__main__":
    main()
