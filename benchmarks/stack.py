"""Make the stack the benchmarks read: python benchmarks/stack.py FOLDER [--scenes 216] [--size 1024]

The demo's scenes, rewritten with 512-px blocks, DEFLATE level 6 and predictor 2, as Sentinel-2 COGs come.
"""

import argparse
from pathlib import Path

from rasterio.shutil import copy

from clearyear.demo import make_scenes


def make_stack(folder: Path, *, scenes: int, size: int) -> list[Path]:
    """The scenes of a benchmark; those that are there already are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for path in make_scenes(folder / "as-made", count=scenes, size=size):
        target = folder / path.name
        if not target.exists():
            scratch = target.with_suffix(".part")
            options = {"compress": "DEFLATE", "predictor": 2, "blocksize": 512, "level": 6}
            copy(path, scratch, driver="COG", overview_resampling="average", **options)
            scratch.rename(target)
        made.append(target)
    return made


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--scenes", type=int, default=216)
    parser.add_argument("--size", type=int, default=1024)
    arguments = parser.parse_args()
    make_stack(arguments.folder, scenes=arguments.scenes, size=arguments.size)
