"""One window, read and reduced: ours against the floor and against what people do without us, in one run.

    python benchmarks/stack.py /tmp/stack
    python benchmarks/window.py /tmp/stack [--runs 5] [--peers] [--peer-runs 5] [--ways WAY …] [--save FILE]
    python benchmarks/window.py --table FILE

Every way runs in a process of its own, in turn, RUNS times; peers in locked environments of their own. The table gives
the median and the spread of the wall clock and of its ratio to the floor of the same round, and the peak memory of the
whole process. That they compute the same thing is checked value by value: the column "equal" says of how many.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from common import HERE, PEERS, child, machine, peer, spread
from numpy.typing import NDArray

Round = dict[str, dict[str, float]]
"""Of each way: seconds, cpu, peak, and differing, the values that are not as ours."""

OWN = {
    "floor": "*floor: inflate every block, look once at every value*",
    "luminance-median": "**clearyear, luminance-median**",
    "band-median": "**clearyear, band-median**",
    "fallback": "clearyear, luminance-median, GDAL's reader (the fallback)",
    "decode": "GDAL alone: read every scene, compute nothing",
}
THEIRS = {
    "bottleneck": "rasterio and bottleneck.nanmedian, 2 threads",
    "gdal-vrt": "GDAL's own VRT median (one thread, as GDAL runs it)",
    "gdal-vrt-halves": "the same, half the window in each of 2 threads",
    "odc-stac": "odc-stac + xarray, 2 dask threads",
    "odc-stac-numbagg": "the same with numbagg installed, which dask then uses",
    "numpy-bands": "rasterio in a loop, np.ma.median band by band",
    "numpy": "rasterio in a loop, np.ma.median of the whole stack",
}
LABELS = OWN | THEIRS
SCRIPTS: dict[str, tuple[str | None, str, tuple[str, ...]]] = {
    "bottleneck": ("odc-stac", "rasterio_bottleneck.py", ()),
    "gdal-vrt": ("gdal312", "gdal_vrt.py", ()),
    "gdal-vrt-halves": ("gdal312", "gdal_vrt.py", ("--threads", "2")),
    "odc-stac": ("odc-stac", "odc_stac.py", ()),
    "odc-stac-numbagg": ("odc-stac-numbagg", "odc_stac.py", ()),
    "numpy-bands": (None, "rasterio_numpy.py", ("--bands",)),
    "numpy": (None, "rasterio_numpy.py", ()),
}
"""A peer's environment (None: ours, whose rasterio and NumPy it uses), script and arguments."""
SETUP = ("scenes", "size", "stack_bytes", "machine")


def run_way(way: str, folder: Path, result: Path) -> dict[str, float]:
    """One way in a fresh process."""
    if way in SCRIPTS:
        environment, script, more = SCRIPTS[way]
        python = peer(environment) if environment else sys.executable
        return child([python, PEERS / script, folder, result, *more], {"PYTHONPATH": str(HERE)})
    reader = {"CLEARYEAR_READER": "gdal" if way == "fallback" else "auto"}
    own = "luminance-median" if way == "fallback" else way
    return child([sys.executable, HERE / "ways.py", own, folder, result], reader)


def differing(way: str, found: dict[str, NDArray[Any]]) -> int | None:
    """How many values of ``way`` are not what ours would be under its rule for halves; None where nothing compares.

    The exact median of uint8 ends in .0 or .5. Ours rounds halves to even, GDAL's rounds them up, the others keep them.
    """
    theirs, ours = found.get(way), found.get("luminance-median" if way == "fallback" else "band-median")
    if theirs is None or ours is None or way in {"luminance-median", "band-median"}:
        return None
    if theirs.dtype.kind == "f":
        return int(np.count_nonzero(np.rint(np.nan_to_num(theirs)) != ours))
    if not way.startswith("gdal"):
        return int(np.count_nonzero(theirs != ours))
    exact = next((array for array in found.values() if array.dtype.kind == "f"), None)
    if exact is not None:
        return int(np.count_nonzero(np.floor(np.nan_to_num(exact) + 0.5) != theirs))
    # Without an exact answer beside it: a half rounded up instead of to even is one more than an even number.
    return int(np.count_nonzero((theirs != ours) & ((theirs != ours + 1) | (ours % 2 == 1))))


def one_round(ways: list[str], folder: Path) -> Round:
    """Every way once, and whether they agree."""
    done: Round = {}
    found: dict[str, NDArray[Any]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for way in ways:
            print(way, end=" ", file=sys.stderr, flush=True)
            result = Path(scratch) / f"{way}.npy"
            done[way] = run_way(way, folder, result)
            if result.exists():
                found[way] = np.load(result)
    print(file=sys.stderr)
    for way in ways:
        if (wrong := differing(way, found)) is not None:
            done[way]["differing"] = wrong
    return done


def setup_of(folder: Path) -> dict[str, Any]:
    """What was measured, and on what."""
    paths = sorted(folder.glob("T*.tif"))
    if not paths:
        raise SystemExit(f"no scenes in {folder}: make them with python benchmarks/stack.py {folder}")
    with rasterio.open(paths[0]) as scene:
        values = scene.count * scene.height * scene.width
        size = [scene.width, scene.height, scene.count]
    about = machine("numpy", "numba", "rasterio", "imagecodecs")
    return {"scenes": len(paths), "size": size, "stack_bytes": len(paths) * values, "machine": about}


def measure(folder: Path, ways: list[str], runs: int, peer_runs: int, save: Path | None) -> dict[str, Any]:
    """Take turns; what is measured is saved after every round, beside what was there before."""
    results: dict[str, Any] = {**setup_of(folder), "rounds": []}
    if save and save.exists():
        before = json.loads(save.read_text())
        if any(before[key] != results[key] for key in SETUP):
            raise SystemExit(f"{save} was measured on something else: name another file, or delete it")
        results = before
    for number in range(max(runs if way in OWN else peer_runs for way in ways)):
        turn = [way for way in ways if number < (runs if way in OWN else peer_runs)]
        load = round(os.getloadavg()[0], 2)
        results["rounds"].append({"load": load, "ways": one_round(turn, folder)})
        if save:
            save.parent.mkdir(parents=True, exist_ok=True)
            save.write_text(json.dumps(results, indent=1) + "\n")
    return results


def ratios(results: dict[str, Any], way: str, to: str) -> list[float]:
    """Wall clock of ``way`` over that of ``to``, in each round that has both."""
    rounds = [r["ways"] for r in results["rounds"]]
    return [r[way]["seconds"] / r[to]["seconds"] for r in rounds if way in r and to in r]


def table(results: dict[str, Any]) -> str:
    """The ways, in Markdown."""
    rounds = [r["ways"] for r in results["rounds"]]
    width, height, bands = results["size"]
    about = ", ".join(str(v) if k == "cpu" else f"{k} {v}" for k, v in results["machine"].items())
    lines = [
        f"{results['scenes']} scenes of {width} × {height} × {bands}, {results['stack_bytes'] / 1e6:.0f} MB of pixels, "
        f"{len(rounds)} rounds; {about}; load before a round {spread([r['load'] for r in results['rounds']])}.",
        "",
        "| way | rounds | s (least … most) | × floor (least … most) | CPU s | peak MB | equal |",
        "|---|---|---|---|---|---|---|",
    ]
    values = results["stack_bytes"] // results["scenes"]
    for way, label in LABELS.items():
        had = [r[way] for r in rounds if way in r]
        if not had:
            continue
        wrong = [h["differing"] for h in had if "differing" in h]
        equal = "" if not wrong else "all" if not any(wrong) else f"{values - max(wrong):,} of {values:,}"
        cpu, peak = (statistics.median(h[key] for h in had) for key in ("cpu", "peak"))
        wall, times = spread([h["seconds"] for h in had]), spread(ratios(results, way, "floor"))
        lines.append(f"| {label} | {len(had)} | {wall} | {times} | {cpu:.2f} | {peak / 1e6:,.0f} | {equal} |")
    return "\n".join(lines)


def bars(results: dict[str, Any]) -> str:
    """What was asked for and what is there, in Markdown."""
    stack = results["stack_bytes"] / 1e6

    def ratio(way: str, to: str) -> list[float]:
        return ratios(results, way, to)

    def peak(way: str) -> list[float]:
        return [r["ways"][way]["peak"] / 1e6 for r in results["rounds"] if way in r["ways"]]

    def beside(value: float) -> None:
        """Not asked for, but a reader will ask."""

    asked: list[tuple[str, list[float], str, Callable[[float], bool | None]]] = [
        ("luminance-median at most 2.2 × the floor", ratio("luminance-median", "floor"), ".2f", lambda v: v <= 2.2),
        ("band-median at most 2.2 × the floor", ratio("band-median", "floor"), ".2f", lambda v: v <= 2.2),
        ("the fallback at most 1.25 × GDAL alone", ratio("fallback", "decode"), ".2f", lambda v: v <= 1.25),
        ("at least 35 × odc-stac + xarray", ratio("odc-stac", "band-median"), ".0f", lambda v: v >= 35),
        ("… with numbagg installed", ratio("odc-stac-numbagg", "band-median"), ".0f", beside),
        ("at least 80 × np.ma.median", ratio("numpy", "band-median"), ".0f", lambda v: v >= 80),
        ("… band by band", ratio("numpy-bands", "band-median"), ".0f", beside),
        ("at least 15 × GDAL's VRT median", ratio("gdal-vrt", "band-median"), ".1f", lambda v: v >= 15),
        ("… given two threads", ratio("gdal-vrt-halves", "band-median"), ".1f", beside),
        (
            f"MB of memory at most half the stack + 200 ({stack / 2 + 200:.0f})",
            peak("luminance-median"),
            ".0f",
            lambda v: v <= stack / 2 + 200,
        ),
        (
            f"… in the fallback at most 1.3 × the stack ({stack * 1.3:.0f})",
            peak("fallback"),
            ".0f",
            lambda v: v <= stack * 1.3,
        ),
    ]
    lines = ["| bar | measured (least … most) | |", "|---|---|---|"]
    for name, values, form, holds in asked:
        if values:
            verdict = {True: "cleared", False: "**not cleared**", None: "beside it"}[holds(statistics.median(values))]
            lines.append(f"| {name} | {spread(values, form)} | {verdict} |")
    return "\n".join(lines)


def main() -> None:
    """Take turns, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="the scenes, from stack.py")
    parser.add_argument("--runs", type=int, default=5, help="rounds of our own ways")
    parser.add_argument("--peers", action="store_true", help="the peers too: minutes a round")
    parser.add_argument("--peer-runs", type=int, default=5, help="of these rounds, how many have the peers")
    parser.add_argument("--ways", nargs="+", choices=LABELS, metavar="WAY", help=f"only these of {', '.join(LABELS)}")
    parser.add_argument("--save", type=Path, help="a JSON file the rounds are added to")
    parser.add_argument("--table", type=Path, help="print what such a file holds and measure nothing")
    arguments = parser.parse_args()
    if arguments.table:
        results = json.loads(arguments.table.read_text())
    elif arguments.folder:
        ways = arguments.ways or [*OWN, *(THEIRS if arguments.peers else ())]
        results = measure(arguments.folder, ways, arguments.runs, arguments.peer_runs, arguments.save)
    else:
        parser.error("name the scenes' folder, or --table FILE")
    print(table(results), bars(results), sep="\n\n")


if __name__ == "__main__":
    main()
