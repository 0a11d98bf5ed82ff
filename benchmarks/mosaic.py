"""The mosaic of one Sentinel-2 tile from its windows: ours against what GDAL and rasterio offer, in one run.

    python benchmarks/mosaic.py FOLDER [--rounds 5] [--size 10980]

10,980² × 3 uint8 from 121 windows of 1,024: the demo's land from six seeds, turned and mirrored, an edge of the swath
through it. Every way starts from 121 files on disk and ends with a COG of 512-px blocks, DEFLATE level 6, predictor 2,
averaged overviews. Ours reads the product's own tiles and also checks their SHA-256, reads the result back whole, makes
the preview and the digest; the others read tiles that GDAL has written and check nothing. Each runs in a process of its
own, in turn, ROUNDS times. What the tiles cost to encode is measured apart, ours and GDAL's, on one thread.
"""

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from common import child, spread

TILE, BLOCK = 1024, 512
WAYS = {
    "ours": "clearyear: bytes put together, checked, read back",
    "vrt": "VRT + COG driver, NUM_THREADS=ALL_CPUS",
    "merge": "rasterio.merge + COG driver, NUM_THREADS=ALL_CPUS",
    "tiles": "(beside it) the 121 tiles encoded by clearyear, half-size level included",
    "plain": "(beside it) the 121 tiles encoded by GDAL, without one",
}
COG = {"driver": "COG", "compress": "DEFLATE", "level": 6, "predictor": 2, "blocksize": BLOCK}
COG |= {"overview_resampling": "average", "num_threads": "ALL_CPUS", "bigtiff": "IF_SAFER"}


def windows(size: int) -> Iterator[tuple[int, int, int, int]]:
    """(column, row, width, height)."""
    for row in range(0, size, TILE):
        for col in range(0, size, TILE):
            yield col, row, min(TILE, size - col), min(TILE, size - row)


def picture(folder: Path, size: int) -> Any:
    """The window's pixels as a function of its place; the land is made once."""
    import rasterio

    from clearyear.demo import make_scenes

    land = []
    for seed in range(6):
        (path,) = make_scenes(folder / f"land-{seed}", count=1, seed=seed)
        with rasterio.open(path) as dataset:
            land.append(dataset.read())

    def pixels(col: int, row: int, width: int, height: int) -> Any:
        k = row // TILE * 7 + col // TILE * 3
        whole = np.rot90(land[k % 6], k // 6 % 4, axes=(1, 2))[:, :: -1 if k % 5 < 2 else 1]
        part = whole[:, :height, :width].copy()
        y, x = np.ogrid[row : row + height, col : col + width]
        part[:, x + 0.23 * y < 0.08 * size] = 0
        return part

    return pixels


def plan_of(folder: Path, size: int) -> Any:
    """A plan as the product would make it; its one scene is never read."""
    from datetime import UTC, datetime

    from clearyear.grid import Grid
    from clearyear.periods import parse_period
    from clearyear.plan import Plan, Product
    from clearyear.scenes.scene import Scene

    transform = (10.0, 0.0, 300000.0, 0.0, -10.0, 4900020.0)
    product: Any = {"name": "luminance-median", "reducer": "luminance-median", "layers": ("composite",), "n_bands": 3}
    product |= {"dtype": "uint8", "band_names": ("red", "green", "blue"), "invalid_values": (0.0, 255.0), "nodata": 0.0}
    day = datetime(2023, 6, 1, tzinfo=UTC)
    return Plan(
        product=Product(**product),
        period=parse_period("2023"),
        scenes=(Scene(id="s", datetime=day, assets={"data": "s.tif"}, version="1", size=1),),
        grid=Grid(crs="EPSG:32631", transform=transform, width=size, height=size, block=(512, 512)),
        tile_size=TILE,
        destination=str(folder / "out"),
    )


def statuses_of(plan: Any) -> Any:
    """What the tiles that lie there are, checked."""
    from clearyear.completeness import check_plan
    from clearyear.stores import open_store

    return check_plan(plan, open_store(plan.destination))


def make_tiles(folder: Path, size: int, images: Any) -> float:
    """Ours, with their records; returns the seconds it took to encode and write them."""
    from clearyear.grid import Window
    from clearyear.stores import open_store
    from clearyear.window import WindowResult, write_layer

    plan = plan_of(folder, size)
    store, seconds = open_store(plan.destination), 0.0
    for index, place in enumerate(windows(size)):
        col, row, width, height = place
        window = Window(col_off=col, row_off=row, width=width, height=height)
        array = images(*place)
        started = time.perf_counter()
        files = {"composite": write_layer(plan, window, store, "composite", array)}
        # The first compiles or loads the overview kernel, which a run does once.
        seconds += (time.perf_counter() - started) * (index > 0)
        record = WindowResult(id=window.id, status="ok", fingerprint=plan.fingerprint(window), layers=files)
        store.write(plan.record_name(window), record.model_dump_json().encode())
    return seconds


def make_plain(folder: Path, size: int, images: Any) -> float:
    """As the window task wrote them before, by GDAL."""
    import rasterio

    from clearyear.stores import open_store

    store, seconds = open_store(str(folder / "plain")), 0.0
    profile = {"driver": "GTiff", "count": 3, "dtype": "uint8", "crs": "EPSG:32631", "nodata": 0, "tiled": True}
    profile |= {"blockxsize": BLOCK, "blockysize": BLOCK, "compress": "deflate", "predictor": 2, "photometric": "RGB"}
    for index, place in enumerate(windows(size)):
        col, row, width, height = place
        array = images(*place)
        corner = rasterio.Affine(10, 0, 300000 + 10 * col, 0, -10, 4900020 - 10 * row)
        started = time.perf_counter()
        with rasterio.MemoryFile() as memory:
            with memory.open(**profile, width=width, height=height, transform=corner, interleave="pixel") as dataset:
                dataset.write(array)
            store.write(f"{col}_{row}.tif", bytes(memory.getbuffer()))
        seconds += (time.perf_counter() - started) * (index > 0)
    return seconds


def ours(folder: Path, size: int) -> dict[str, float]:
    """The product's own function, its parts timed from outside."""
    from clearyear import mosaic
    from clearyear.stores import open_store

    plan = plan_of(folder, size)
    statuses, parts = statuses_of(plan), {}

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **named: Any) -> Any:
            started = time.perf_counter()
            result = function(*arguments, **named)
            parts[name] = time.perf_counter() - started
            return result

        return run

    for name in ("assemble", "problems", "preview"):
        setattr(mosaic, name, timed(name, getattr(mosaic, name)))
    timed("seconds", mosaic.build_mosaic)(plan, open_store(plan.destination), statuses)
    return parts


def vrt(folder: Path, size: int) -> dict[str, float]:
    """A VRT over the tiles, and the COG driver."""
    from rasterio.shutil import copy

    started = time.perf_counter()
    lines = [f'<VRTDataset rasterXSize="{size}" rasterYSize="{size}"><SRS>EPSG:32631</SRS>']
    lines.append("<GeoTransform>300000,10,0,4900020,0,-10</GeoTransform>")
    for band, colour in enumerate(("Red", "Green", "Blue"), start=1):
        lines.append(f'<VRTRasterBand dataType="Byte" band="{band}"><NoDataValue>0</NoDataValue>')
        lines.append(f"<ColorInterp>{colour}</ColorInterp>")
        for col, row, width, height in windows(size):
            rectangle = f'xSize="{width}" ySize="{height}"'
            lines.append(f"<SimpleSource><SourceFilename>{folder}/plain/{col}_{row}.tif</SourceFilename>")
            lines.append(f"<SourceBand>{band}</SourceBand>")
            lines.append(f'<SourceProperties RasterXSize="{width}" RasterYSize="{height}" DataType="Byte" ')
            lines.append(f'BlockXSize="{BLOCK}" BlockYSize="{BLOCK}"/><SrcRect xOff="0" yOff="0" {rectangle}/>')
            lines.append(f'<DstRect xOff="{col}" yOff="{row}" {rectangle}/></SimpleSource>')
        lines.append("</VRTRasterBand>")
    (folder / "mosaic.vrt").write_text("".join(lines) + "</VRTDataset>")
    copy(folder / "mosaic.vrt", folder / "vrt.tif", **COG)
    return {"seconds": time.perf_counter() - started}


def merge(folder: Path, size: int) -> dict[str, float]:
    """rasterio.merge to a file, and the COG driver."""
    from rasterio.merge import merge as rasterio_merge
    from rasterio.shutil import copy

    started = time.perf_counter()
    paths = [folder / "plain" / f"{col}_{row}.tif" for col, row, *_ in windows(size)]
    rasterio_merge(paths, dst_path=folder / "merged.tif", dst_kwds={"tiled": True, "compress": None, "predictor": 1})
    copy(folder / "merged.tif", folder / "merge.tif", **COG)
    (folder / "merged.tif").unlink()
    return {"seconds": time.perf_counter() - started}


def measure(way: str, folder: Path, size: int) -> None:
    """In the child."""
    if way in ("tiles", "plain"):
        make = make_tiles if way == "tiles" else make_plain
        found = {"seconds": make(folder, size, picture(folder, size))}
    else:
        found = {"ours": ours, "vrt": vrt, "merge": merge}[way](folder, size)
    print(json.dumps(found | {"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))


def results(folder: Path, size: int) -> dict[str, Path]:
    """Where each way's COG lies."""
    plan = plan_of(folder, size)
    return {"ours": folder / "out" / plan.mosaic_name(), "vrt": folder / "vrt.tif", "merge": folder / "merge.tif"}


def compare(folder: Path, size: int) -> None:
    """In a child: is each file strictly valid, and is every pixel of every level the VRT way's?"""
    import rasterio
    from rio_cogeo.cogeo import cog_validate

    paths, found = results(folder, size), {}
    for way, path in paths.items():
        with rasterio.open(path) as dataset:
            levels = len(dataset.overviews(1))
        differing = 0
        for level in range(-1, levels):
            extra = {} if level < 0 else {"overview_level": level}
            with rasterio.open(path, **extra) as one, rasterio.open(paths["vrt"], **extra) as other:
                for _, window in one.block_windows(1):
                    differing += int(np.count_nonzero(one.read(window=window) != other.read(window=window)))
        valid = cog_validate(path, strict=True, quiet=True) == (True, [], [])
        found[way] = {"valid": valid, "levels": levels, "differing": differing, "size": path.stat().st_size}
    print(json.dumps(found))


def main() -> None:
    """Take turns, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, default=10980)
    parser.add_argument("--one", choices=[*WAYS, "compare"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    folder, size = arguments.folder.resolve(), arguments.size
    if arguments.one:
        if arguments.one == "compare":
            compare(folder, size)
        else:
            measure(arguments.one, folder, size)
        return

    def run(way: str) -> Any:
        return child([sys.executable, __file__, folder, "--size", str(size), "--one", way])

    for way in ("tiles", "plain"):  # makes the tiles and compiles the kernels
        run(way)
    rounds = [{way: run(way) for way in WAYS} for _ in range(arguments.rounds)]
    show(rounds, run("compare"), size)


def show(rounds: list[dict[str, dict[str, float]]], files: dict[str, dict[str, Any]], size: int) -> None:
    """The tables."""
    print(f"{size}² × 3 uint8, {len(list(windows(size)))} windows, {len(rounds)} rounds\n")
    print("| way | wall s: median (least … most) | × ours | peak MB | MB | strictly valid | pixels unlike VRT's |")
    print("|---|---|---|---|---|---|---|")
    for way, name in WAYS.items():
        seconds = spread([r[way]["seconds"] for r in rounds])
        ratio = spread([r[way]["seconds"] / r["ours"]["seconds"] for r in rounds])
        peak = max(r[way]["peak"] for r in rounds) / 1e6
        if way in files:
            file = files[way]
            rest = f"{file['size'] / 1e6:.0f} | {'yes' if file['valid'] else 'NO'} | {file['differing']} "
            rest += f"on {file['levels'] + 1} levels"
        else:
            rest = "– | – | –"
        print(f"| {name} | {seconds} | {ratio} | {peak:.0f} | {rest} |")
    print("\nOurs, in parts:")
    for part in ("assemble", "problems", "preview"):
        print(f"- {part}: {spread([r['ours'][part] for r in rounds])} s")
    extra = [r["tiles"]["seconds"] - r["plain"]["seconds"] for r in rounds]
    print(f"- what our tiles cost more than GDAL's to encode, one thread: {spread(extra)} s")
    for way in ("vrt", "merge"):
        whole = [
            (r[way]["seconds"] + r["plain"]["seconds"]) / (r["ours"]["seconds"] + r["tiles"]["seconds"]) for r in rounds
        ]
        print(f"- {way} with its tiles ÷ ours with ours: {spread(whole)}")


if __name__ == "__main__":
    main()
