"""Scenes brought to one grid, beside odc-stac, pixel by pixel: python grid.py ../shared/data/landsat/L8NY18 [--peers]

Nothing is timed. FOLDER holds scenes of which each has a grid of its own and each band is a file (`LC08_*_B4.TIF`), 0
being nodata. odc-stac has GDAL warp them, which places pixels by interpolation between points and, away from nearest,
takes what is left of a kernel at nodata; ours places each pixel by its own coordinates.
"""

import argparse
import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from common import PEERS, peer
from numpy.typing import NDArray

from clearyear.grid import Window
from clearyear.job import make_job
from clearyear.plan import Plan
from clearyear.prepare import make_plan
from clearyear.window import reduce_window

BANDS = ["B4", "B3", "B2"]
WAYS = ("nearest", "bilinear", "cubic")


def plan_of(folder: Path, resampling: str) -> Plan:
    """All scenes on a grid of 3 km in UTM 18N, with nothing masked."""
    asked = {"scenes": str(folder), "pattern": "LC08_*_{band}.TIF", "bands": BANDS, "period": "all", "out": "unused"}
    grid = {"crs": "EPSG:32618", "resolution": 3000, "resampling": resampling, "nodata": [0]}
    return make_plan(make_job({**asked, **grid, "reducer": "band-median"}))


def ours(plan: Plan) -> NDArray[Any]:
    """(T, B, H, W): the median of one scene is that scene."""
    whole = Window(col_off=0, row_off=0, width=plan.grid.width, height=plan.grid.height)
    found = []
    for scene in plan.scenes:
        layers, _, _ = reduce_window(plan.model_copy(update={"scenes": (scene,)}), whole)
        assert layers is not None, scene.id
        found.append(layers["composite"])
    return np.stack(found)


def theirs(plan: Plan, resampling: str) -> NDArray[Any]:
    """The same by odc-stac, in its own environment."""
    files = [[scene.assets[band] for band in plan.product.assets] for scene in plan.scenes]
    grid = {"crs": plan.grid.crs, "transform": plan.grid.transform, "shape": [plan.grid.height, plan.grid.width]}
    with tempfile.TemporaryDirectory() as scratch:
        given, result = Path(scratch) / "given.json", Path(scratch) / "result.npy"
        given.write_text(json.dumps({**grid, "resampling": resampling, "scenes": files}))
        subprocess.run([str(peer("odc-stac")), str(PEERS / "odc_grid.py"), str(given), str(result)], check=True)
        found: NDArray[Any] = np.load(result)
    return found


def row(resampling: str, mine: NDArray[Any], other: NDArray[Any]) -> str:
    """A row of the table, of what both have a value for."""
    both, only = (mine > 0) & (other > 0), (mine > 0) ^ (other > 0)
    apart = np.abs(mine.astype(np.int64) - other)[both]
    relative = apart / other[both]
    middle, most = np.quantile(relative, [0.5, 0.99])
    cells = [f"{both.sum():,}", f"{only.mean():.2%}", f"{(apart > 0).mean():.1%}", f"{middle:.2%}", f"{most:.1%}"]
    return f"| {resampling} | {' | '.join(cells)} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--peers", action="store_true", help="odc-stac, in its own environment; else only ours is made")
    arguments = parser.parse_args()
    plan = plan_of(arguments.folder, "nearest")
    print(f"{len(plan.scenes)} scenes, {len(BANDS)} bands, {plan.grid.width} × {plan.grid.height} px of 3 km\n")
    print("| resampling | values of both | of one alone | that differ | by, in the middle | by, 99 of 100 |")
    print("|---|---|---|---|---|---|")
    for resampling in WAYS:
        plan = plan_of(arguments.folder, resampling)
        mine = ours(plan)
        print(row(resampling, mine, theirs(plan, resampling) if arguments.peers else mine))


if __name__ == "__main__":
    main()
