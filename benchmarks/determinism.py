"""The same job in several ways and Pythons: python benchmarks/determinism.py [--python PATH …]

12 made-up scenes of 512 × 512 px, three reducers, all layers, run in a process of its own for each way: other numbers
of windows at once and of threads a window, windows in another order, one processor only, interrupted in the middle, in
batches, and split over processes that know the plan by what lies at the destination, as shards do; and, in place of
other machines, kernels compiled for other processors, with NumPy kept to what these have. Within one environment every
tile, layer, mosaic and picture must have the same bytes, and every report and record say the same but for times. Each
--python is the interpreter of another environment with requirements/run.lock installed: there the pixels must be the
same, and it is listed which files' bytes are. Exit code 1 if any of that does not hold.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TIMES = {"figures", "created", "updated", "seconds"}
"""Keys of JSON documents that may differ between equal runs."""
WAYS: dict[str, list[str]] = {
    "one window at a time, one thread": [],
    "all of the below together": ["--workers", "4", "--threads", "3", "--reverse", "--one-processor", "--stop"],
    "again": [],
    "four windows at once": ["--workers", "4"],
    "three threads a window": ["--threads", "3"],
    "windows in reverse": ["--reverse"],
    "one processor": ["--one-processor"],
    "stopped halfway, gone on": ["--stop"],
    "batches of 5": ["--batch", "5"],
    "three shards, two windows at once": ["--shards", "3", "--workers", "2"],
    "seven shards, batches of 2": ["--shards", "7", "--batch", "2"],
    "a processor of 2013 (x86-64-v3)": ["--processor", "x86-64-v3"],
    "a processor of 2003 (SSE2)": ["--processor", "x86-64"],
}
WIDE = {"x86-64": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR", "x86-64-v3": "X86_V4 AVX512_ICL AVX512_SPR"}
"""What NumPy has code for that such a processor has not; its least is x86-64-v2."""


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """One way, in this process; what it left."""
    if arguments.one_processor:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    from clearyear.completeness import check_plan
    from clearyear.job import Job
    from clearyear.prepare import prepare
    from clearyear.publish import conclude, publish
    from clearyear.stores import open_store

    for reducer, layers in (
        ("luminance-median", ["count", "source"]),
        ("band-median", ["count"]),
        ("geomedian", ["count", "smad", "emad", "bcmad"]),
    ):
        values = {"scenes": arguments.scenes, "period": "2023", "out": arguments.out, "tile_size": 128}
        plan = prepare(Job.model_validate({**values, "reducer": reducer, "layers": layers}))
        store = open_store(plan.destination)
        windows = [window.id for window in plan.windows][:: -1 if arguments.reverse else 1]
        for part in (windows[: len(windows) // 2], windows) if arguments.stop else (windows,):
            pending = {s.id for s in check_plan(plan, store) if not s.is_done}
            share(plan.destination, plan.digest, [i for i in part if i in pending], arguments)
        statuses = check_plan(plan, store)
        conclude(plan, store, statuses, publish(plan, store, statuses))
    return left_in(Path(arguments.out))


def share(destination: str, digest: str, window_ids: list[str], arguments: argparse.Namespace) -> None:
    """Compute windows here or, in as many parts as there are to be shards, in processes of their own."""
    if arguments.shards == 1:
        shard(destination, digest, window_ids, arguments)
        return
    from multiprocessing import get_context

    parts = [window_ids[n :: arguments.shards] for n in range(arguments.shards)]
    with get_context("spawn").Pool(2) as pool:
        pool.starmap(shard, [(destination, digest, part, arguments) for part in parts])


def shard(destination: str, digest: str, window_ids: list[str], arguments: argparse.Namespace) -> None:
    """What window-batch does, without Prefect: batches of windows, some at once."""
    from concurrent.futures import ThreadPoolExecutor

    from clearyear.batch import compute_windows
    from clearyear.prepare import known_plan
    from clearyear.stores import open_store

    plan, store, size = known_plan(destination, digest), open_store(destination), arguments.batch
    windows = [plan.grid.window(window_id, plan.tile_size) for window_id in window_ids]
    batches = [windows[start : start + size] for start in range(0, len(windows), size)]
    with ThreadPoolExecutor(arguments.workers) as pool:
        list(pool.map(lambda batch: compute_windows(plan, batch, store, threads=arguments.threads), batches))
    store.sweep()


def left_in(out: Path) -> dict[str, Any]:
    """Name → digest of the bytes, of the pixels where there are some, and of what a document says but for times."""
    import numpy as np
    import rasterio

    found: dict[str, Any] = {}
    for path in sorted(p for p in out.rglob("*") if p.is_file()):
        data = path.read_bytes()
        entry = {"bytes": hashlib.sha256(data).hexdigest()}
        if path.suffix == ".tif":
            with rasterio.open(path) as dataset:
                shapes = [(dataset.count, dataset.height // f, dataset.width // f) for f in dataset.overviews(1)]
                levels = [dataset.read(), dataset.dataset_mask(), *(dataset.read(out_shape=s) for s in shapes)]
                entry["pixels"] = hashlib.sha256(
                    b"".join(np.ascontiguousarray(x).tobytes() for x in levels)
                ).hexdigest()
        elif path.suffix == ".json":
            entry["says"] = json.dumps(strip(json.loads(data)), sort_keys=True).replace(str(out), "OUT")
        elif path.name == "report.md":
            lines = [x for x in data.decode().splitlines() if not x.startswith(("| window seconds", "| made"))]
            entry["says"] = "\n".join(lines).replace(str(out), "OUT")
        found[path.relative_to(out).as_posix()] = entry
    return found


def strip(document: Any) -> Any:
    """A JSON document without the keys that tell times."""
    if isinstance(document, dict):
        return {key: strip(value) for key, value in document.items() if key not in TIMES}
    return [strip(value) for value in document] if isinstance(document, list) else document


def way(python: str, folder: Path, name: str, options: list[str]) -> dict[str, Any]:
    """Run one way in an environment; what it left."""
    out = folder / hashlib.sha256(f"{python} {name}".encode()).hexdigest()[:8]
    command = [python, __file__, "--scenes", str(folder / "scenes"), "--out", str(out), *options]
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CLEARYEAR_")} | {"PYTHONPATH": path}
    if "--processor" in options:
        # Read before Python comes to arguments. Empty features are those of the processor named, absent ones ours.
        kind = options[options.index("--processor") + 1]
        environment |= {"NUMBA_CPU_NAME": kind, "NUMBA_CPU_FEATURES": "", "NPY_DISABLE_CPU_FEATURES": WIDE[kind]}
        environment["NUMBA_CACHE_DIR"] = str(folder / "kernels")
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name} in {python} failed:\n{done.stderr}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def compare(first: dict[str, Any], second: dict[str, Any], kind: str) -> list[str]:
    """Names whose ``kind`` differs, or that only one has."""
    return sorted(
        name
        for name in first.keys() | second.keys()
        if (first.get(name) or {}).get(kind) != (second.get(name) or {}).get(kind)
    )


def differences(first: dict[str, Any], second: dict[str, Any]) -> list[str]:
    """What must not differ within one environment, and does."""
    wrong = [name for name in compare(first, second, "bytes") if not name.endswith((".json", "report.md"))]
    return wrong + compare(first, second, "says") + compare(first, second, "pixels")


def main() -> int:
    """Run all ways here, then one in each other environment; print what is the same."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", action="append", default=[])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), metavar="WAY", help="only these")
    for name in ("--scenes", "--out", "--processor"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    for name in ("--workers", "--threads", "--batch", "--shards"):
        parser.add_argument(name, type=int, default=1, help=argparse.SUPPRESS)
    for name in ("--reverse", "--one-processor", "--stop"):
        parser.add_argument(name, action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.out:
        print(json.dumps(run(arguments)))
        return 0
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="clearyear-same-") as name:
        folder = Path(name)
        code = (
            f"from clearyear.demo import make_scenes; make_scenes(Path({str(folder / 'scenes')!r}), count=12, size=512)"
        )
        subprocess.run([sys.executable, "-c", f"from pathlib import Path; {code}"], check=True)
        here: dict[str, Any] = {}
        for title in arguments.ways:
            options = WAYS[title]
            found = way(sys.executable, folder, title, options)
            here = here or found
            differ = differences(here, found)
            wrong += bool(differ)
            print(f"{title:34} {len(found)} files: {'all the same' if not differ else f'differ: {differ[:5]}'}")
        for python in arguments.python:
            found = way(python, folder, "elsewhere", [])
            code = "import platform, rasterio; print(platform.python_version(), 'GDAL', rasterio.__gdal_version__)"
            title = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
            pixels = compare(here, found, "pixels")
            rasters = [name for name in found if name.endswith(".tif")]
            same = len(rasters) - len(set(compare(here, found, "bytes")) & set(rasters))
            says = compare(here, found, "says")
            wrong += bool(pixels)
            verdict = f"differ: {pixels[:5]}" if pixels else "all the same"
            print(f"{title:34} pixels: {verdict}; bytes: {same} of {len(rasters)} rasters the same; ", end="")
            print(f"documents that differ: {says or 'none'}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
