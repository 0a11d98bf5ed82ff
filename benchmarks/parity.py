"""Products beside NumPy's and geomad's, value by value: python parity.py FOLDER [--peers]

Nothing is timed. FOLDER holds scenes on one grid, of whole numbers with 0 for nodata: Sentinel-2 reflectance, say.
"""

import argparse
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from common import PEERS, peer
from numpy.typing import NDArray

from clearyear.reducers import get_reducer
from clearyear.reducers.base import Stack
from clearyear.reducers.geomedian import Geomedian
from clearyear.reducers.layout import lay_out

DEVIATIONS = ("smad", "emad", "bcmad")
EPS = 0.01


def read(folder: Path) -> NDArray[Any]:
    """All scenes whole: (T, B, H, W)."""
    arrays = []
    for path in sorted(folder.glob("*.tif")):
        with rasterio.open(path) as dataset:
            arrays.append(dataset.read())
    return np.stack(arrays)


def row(what: str, beside: str, found: NDArray[Any], other: NDArray[Any]) -> str:
    """A row of the table, of what both have a value for."""
    apart = np.abs(found.astype(np.float64) - other)
    both = np.isfinite(apart)
    share = float((apart[both] > 0).mean())
    relative = float((apart[both] / np.maximum(np.abs(other[both]), 1e-30)).max())
    return f"| {what} | {beside} | {int(both.sum()):,} | {share:.2%} | {apart[both].max():.3g} | {relative:.2g} |"


def beside_numpy(stack: NDArray[Any]) -> Iterator[str]:
    """Medians and percentiles as NumPy has them, in float64, rounded as we round."""
    samples = np.where(stack == 0, np.nan, stack.astype(np.float64))
    median = get_reducer("band-median").reduce(Stack(stack, (0.0,), 0.0))["composite"]
    yield row("band-median", "np.nanmedian, rounded", median, np.rint(np.nanmedian(samples, axis=0)))
    wanted = [10, 50, 90]
    percentiles = get_reducer("percentiles", {"percentiles": wanted}).reduce(Stack(stack, (0.0,), 0.0))["composite"]
    theirs = np.rint(np.nanpercentile(samples, wanted, axis=0)).reshape(percentiles.shape)
    yield row("percentiles 10, 50, 90", "np.nanpercentile, rounded", percentiles, theirs)


def beside_geomad(stack: NDArray[Any]) -> Iterator[str]:
    """The median of the peer's own search; its deviations from our median."""
    scenes, bands, height, width = stack.shape
    reducer = Geomedian(EPS)
    found = reducer.find(lay_out(Stack(stack, (0.0,))), str(stack.dtype), scenes, bands, height * width)[0]
    median = found.reshape(bands, height, width)
    layers = reducer.reduce(Stack(stack, (0.0,), 0.0))
    with tempfile.TemporaryDirectory() as scratch:
        given, result = Path(scratch) / "given.npz", Path(scratch) / "result.npz"
        np.savez(given, stack=stack, median=median)
        command = [peer("geomad"), PEERS / "geomad_products.py", given, result, str(EPS)]
        subprocess.run([str(part) for part in command], check=True)
        theirs = dict(np.load(result))
    yield row(f"geomedian, unrounded, eps {EPS:g}", "geomad", median, theirs["median"])
    for name in DEVIATIONS:
        yield row(name, "geomad, from our median", layers[name][0], theirs[name])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--peers", action="store_true", help="geomad too, in its own environment")
    arguments = parser.parse_args()
    stack = read(arguments.folder)
    print(f"{len(stack)} scenes of {stack.shape[3]} × {stack.shape[2]} px, {stack.shape[1]} bands of {stack.dtype}\n")
    print("| product | beside | values | that differ | by at most | relative |\n|---|---|---|---|---|---|")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # pixels that nobody saw
        for line in beside_numpy(stack):
            print(line)
        if arguments.peers:
            for line in beside_geomad(stack):
                print(line)


if __name__ == "__main__":
    main()
