"""What damage to a stored block is noticed: python benchmarks/silent.py [--step 3]

One block of a scene is damaged in every way below, byte by byte, and read. «wrong» is the number that matters: the read
went well and a pixel is not what it was. Both readers, for each compression; a reader that is never asked for a
kind of file is left out.
"""

import argparse
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine

from clearyear.grid import Grid, Window
from clearyear.reading import sources
from clearyear.reading.stack import read_stack
from clearyear.scenes.scene import Scene
from clearyear.stores import stat_uri

KINDS: dict[str, dict[str, Any]] = {
    "deflate": {"compress": "deflate", "predictor": 2},
    "zstd": {"compress": "zstd", "predictor": 2},
    "none": {},
    "lzw": {"compress": "lzw", "predictor": 2},
    "deflate, int16": {"compress": "deflate", "predictor": 2, "dtype": "int16"},
    "deflate, float32": {"compress": "deflate", "predictor": 3, "dtype": "float32"},
}


def make(path: Path, **options: Any) -> tuple[np.ndarray[Any, Any], list[tuple[int, int]]]:
    """A scene of 64 × 64 px in blocks of 32; its pixels and where each block lies."""
    rng = np.random.default_rng(3)
    dtype = options.get("dtype", "uint8")
    pixels = (rng.integers(0, 9, (3, 64, 64)) + np.arange(64)).astype(dtype)
    profile = {"driver": "GTiff", "count": 3, "width": 64, "height": 64, "dtype": dtype, "tiled": True,
               "blockxsize": 32, "blockysize": 32, "interleave": "pixel", "crs": "EPSG:32631",
               "transform": Affine(10, 0, 3e5, 0, -10, 49e5)}  # fmt: skip
    with rasterio.open(path, "w", **{**profile, **options}) as dataset:
        dataset.write(pixels)
    with rasterio.open(path) as dataset:
        blocks = []
        for row, col in np.ndindex(2, 2):
            names = (f"BLOCK_OFFSET_{col}_{row}", f"BLOCK_SIZE_{col}_{row}")
            blocks.append(tuple(int(dataset.get_tag_item(name, "TIFF", bidx=1)) for name in names))
    return pixels, blocks


def damages(data: bytes, blocks: list[tuple[int, int]], step: int) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of every damaged file."""
    start, size = blocks[1]
    for at in range(start, start + size, step):
        flipped = bytearray(data)
        flipped[at] ^= 1 << (at % 8)
        yield "one bit", bytes(flipped)
        zeroed = bytearray(data)
        zeroed[at : min(at + 64, start + size)] = bytes(min(64, start + size - at))
        if zeroed != data:
            yield "64 bytes of zeros", bytes(zeroed)
    for cut in range(1, size, step):
        shorter = bytearray(data)
        shorter[start + size - cut : start + size] = bytes(cut)
        if shorter != data:
            yield "the end is zeros", bytes(shorter)
    other, other_size = blocks[2]
    exchanged = bytearray(data)
    exchanged[start : start + min(size, other_size)] = data[other : other + min(size, other_size)]
    yield "another block's bytes", bytes(exchanged)
    redirected = data.replace(start.to_bytes(4, "little"), other.to_bytes(4, "little"), 1)
    redirected = redirected.replace(size.to_bytes(4, "little"), other_size.to_bytes(4, "little"), 1)
    yield "index points to another", redirected


def look(path: Path, pixels: np.ndarray[Any, Any]) -> str:
    """What reading the scene comes to."""
    entry = stat_uri(str(path))
    assert entry is not None
    when = np.datetime64("2023-01-01").astype(object)
    scene = Scene(id="s", datetime=f"{when}T00:00:00Z", assets={"data": str(path)}, version=entry.version, size=1)
    grid = Grid(crs="", transform=(1, 0, 0, 0, 1, 0), width=64, height=64, block=(32, 32))
    window = Window(col_off=0, row_off=0, width=64, height=64)
    try:
        stack, used, _ = read_stack([scene], grid, window, n_bands=3, dtype=str(pixels.dtype))
    except Exception as error:  # noqa: BLE001  counted by its name
        return type(error).__name__
    return "noticed" if not used else "harmless" if np.array_equal(stack[0], pixels) else "wrong"


def main() -> int:
    """Damage, read, count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--step", type=int, default=3, help="every so many bytes")
    step = parser.parse_args().step
    print(f"{'stored as':18} {'reader':7} {'damage':25} {'noticed':>8} {'harmless':>9} {'wrong':>7}")
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        for kind, options in KINDS.items():
            sound = Path(folder) / "sound.tif"
            pixels, blocks = make(sound, **options)
            data = sound.read_bytes()
            for reader in ("auto", "gdal"):
                os.environ["CLEARYEAR_READER"] = reader
                sources._source_of.cache_clear()
                by = type(sources.source_of(str(sound), stat_uri(str(sound)).version)).__name__.removesuffix("Source")
                if reader == "auto" and by != "Direct":
                    continue
                tally: dict[str, Counter[str]] = {}
                for number, (damage, harmed) in enumerate(damages(data, blocks, step)):
                    path = Path(folder) / f"{number}.tif"
                    path.write_bytes(harmed)
                    tally.setdefault(damage, Counter())[look(path, pixels)] += 1
                    path.unlink()
                for damage, found in tally.items():
                    wrong += found["wrong"]
                    print(f"{kind:18} {by:7} {damage:25} {found['noticed']:8} {found['harmless']:9} {found['wrong']:7}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
