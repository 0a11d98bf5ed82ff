"""The kernels beside their peers, all in turn: python benchmarks/kernels.py [--runs 5]

One call at a time, in interleaved rounds; every peer waits its turn in a process of its own locked environment. A
figure is the median over the rounds, with the least and the most, and a ratio is taken within a round. Ours read nodata
themselves, strip by strip as a window does; the peers get floats with NaN, made before the clock starts. A band-sample
is one value of one scene, a pixel-sample all bands of one scene.

Stacks, 40 % of the samples invalid: ``range`` covers the whole dtype evenly; ``land`` is true-colour or reflectance as
a year has it: a level for each pixel, noise, a tenth cloud. Depths 216 and 12.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from common import peer, spread

SAMPLES = {216: (216, 512, 256), 12: (12, 512, 1024)}
"""Depth: scenes, height, width."""
EPS = 0.1

OURS = [
    ("luminance-median", "uint8", "land", 216, 3),
    ("luminance-median", "uint8", "land", 12, 3),
    ("band-median", "uint8", "land", 216, 3),
    ("band-median", "uint8", "range", 216, 3),
    ("band-median", "uint8", "land", 12, 3),
    ("band-median", "uint16", "land", 216, 3),
    ("band-median", "uint16", "range", 216, 3),
    ("band-median", "uint16", "land", 12, 3),
    ("band-median", "int16", "land", 216, 3),
    ("band-median", "float32", "land", 216, 3),
    ("band-median", "float32", "land", 12, 3),
    ("percentiles", "uint8", "land", 216, 3),
    ("percentiles", "uint16", "land", 216, 3),
    ("geomedian", "uint16", "land", 216, 3),
    ("geomedian", "uint16", "land", 216, 10),
    ("geomedian", "uint16", "land", 12, 3),
]
THEIRS = [
    ("bottleneck.nanmedian", "uint8", "land", 216, 3),
    ("bottleneck.nanmedian", "uint8", "land", 12, 3),
    ("bottleneck.nanmedian", "uint16", "land", 12, 3),
    ("np.ma.median", "uint8", "land", 216, 3),
    ("geomad", "uint16", "land", 216, 3),
    ("geomad", "uint16", "land", 216, 10),
    ("geomad", "uint16", "land", 12, 3),
]
LOCKS = {"bottleneck.nanmedian": "bottleneck", "geomad": "geomad"}
WHOLE = {"luminance-median", "geomedian", "geomad"}


@cache
def stack_of(dtype: str, kind: str, depth: int, bands: int) -> Any:
    """(T, B, H, W); 0 is invalid, and 255 of uint8. A peer's process makes the same."""
    scenes, height, width = SAMPLES[depth]
    if bands > 3:
        height //= 2
    rng = np.random.default_rng(1)
    shape = (scenes, bands, height, width)
    if kind == "range":
        stack = rng.integers(1, np.iinfo(dtype).max, shape).astype(dtype)
    else:
        scale, most = (0.08, 254.0) if dtype == "uint8" else (1.0, 16000.0)
        land = rng.uniform(300, 1700, shape[1:]).astype(np.float32)
        stack = np.empty(shape, dtype)
        for t in range(scenes):  # scene by scene, so that no float copy of the stack is needed
            seen = land + rng.normal(0, 140, shape[1:]).astype(np.float32)
            seen += np.where(rng.random((height, width)) < 0.1, rng.uniform(200, 8000), 0).astype(np.float32)
            stack[t] = np.clip(seen * scale, 1, most)
    for t in range(scenes):
        stack[t][:, rng.random((height, width)) < 0.4] = 0
    return stack


def ours(name: str, dtype: str, kind: str, depth: int, bands: int, threads: int) -> tuple[Callable[[], Any], int]:
    """A reducer strip by strip, as a window runs it."""
    from clearyear.memory import STRIP_SAMPLES
    from clearyear.reducers import get_reducer
    from clearyear.reducers.base import Stack
    from clearyear.reducers.geomedian import Geomedian
    from clearyear.reducers.layout import lay_out
    from clearyear.reducers.ranks import BandPercentiles

    stack = stack_of(dtype, kind, depth, bands)
    scenes, _, height, width = stack.shape
    rows = max(1, STRIP_SAMPLES // (scenes * bands * width))
    pool = ThreadPoolExecutor(threads)
    invalid = (0.0, 255.0) if name == "luminance-median" else (0.0,)

    def one(top: int) -> Any:
        strip = stack[:, :, top : top + rows]
        if name == "geomedian":  # the median alone, as geomad's function gives it
            laid = lay_out(Stack(strip, invalid))
            return Geomedian(EPS).find(laid, dtype, scenes, bands, strip.shape[2] * width)
        reducer = BandPercentiles() if name == "percentiles" else get_reducer(name)
        return reducer.reduce(Stack(strip, invalid, 0.0))

    def run() -> Any:
        return list(pool.map(one, range(0, height, rows)))

    return run, stack.size // (bands if name in WHOLE else 1)


def theirs(name: str, dtype: str, kind: str, depth: int, bands: int) -> tuple[Callable[[], Any], int]:
    """A peer on one thread, its input laid out as it likes best."""
    stack = stack_of(dtype, kind, depth, bands)
    size = stack.size // (bands if name in WHOLE else 1)
    if name == "np.ma.median":
        masked = np.ma.masked_equal(stack[:, 0], 0)  # type: ignore[no-untyped-call]
        return lambda: np.ma.median(masked, axis=0), masked.size  # type: ignore[no-untyped-call]
    floats = np.where(stack == 0, np.nan, stack).astype(np.float32)
    if name == "geomad":
        import geomad

        last = np.ascontiguousarray(floats.transpose(2, 3, 1, 0))
        del floats
        return lambda: geomad.nangeomedian_pcm(last, num_threads=1, eps=EPS, maxiters=1000, nocheck=True), size
    import bottleneck

    return lambda: bottleneck.nanmedian(floats, 0), size


def errors(name: str, found: Any, stack: Any) -> list[float]:
    """Mean and largest distance from Weiszfeld's median in float64, run to 1e-9, at 200 pixels."""
    bands, width = stack.shape[1], stack.shape[3]
    if name == "geomad":
        medians = np.asarray(found).reshape(-1, bands)
    else:
        medians = np.concatenate([median for median, _ in found], axis=1).T
    apart = []
    for pixel in np.random.default_rng(2).choice(len(medians), 200, replace=False):
        samples = stack[:, :, pixel // width, pixel % width].astype(np.float64)
        samples = samples[(samples != 0).all(axis=1)]
        if not len(samples):
            continue
        point = samples.mean(axis=0)
        for _ in range(20_000):
            far = np.sqrt(((samples - point) ** 2).sum(axis=1)) + 1e-12
            before, point = point, (samples / far[:, None]).sum(axis=0) / (1 / far).sum()
            if np.abs(before - point).max() < 1e-9:
                break
        near = samples[((samples - point) ** 2).sum(axis=1).argmin()]
        point = min(point, near, key=lambda p, s=samples: np.sqrt(((s - p) ** 2).sum(axis=1)).sum())
        apart.append(float(np.abs(medians[pixel] - point).max()))
    return [float(np.mean(apart)), max(apart)]


class Way:
    """One way, run when asked, its rates kept: by the wall clock and by the core time of the process."""

    def __init__(self, spec: tuple[Any, ...], threads: int) -> None:
        """Warm up with one call."""
        self.spec = spec
        self.run, self.size = ours(*spec, threads) if spec in OURS else theirs(*spec)
        self.found = self.run()
        self.wall: list[float] = []
        self.core: list[float] = []

    def call(self) -> None:
        """Run it once."""
        started, used = time.perf_counter(), time.process_time()
        self.run()
        self.wall.append(self.size / (time.perf_counter() - started) / 1e6)
        self.core.append(self.size / (time.process_time() - used) / 1e6)

    def errors(self) -> list[float]:
        """Of a geometric median."""
        return errors(self.spec[0], self.found, stack_of(*self.spec[1:]))

    def close(self) -> None:
        """Nothing to end."""


class Peer(Way):
    """A way in a process of a locked environment."""

    def __init__(self, spec: tuple[Any, ...], threads: int) -> None:
        """Start it."""
        command = [str(peer(LOCKS[spec[0]])), __file__, "--serve", json.dumps(spec)]
        self.child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.wall, self.core = [], []

    def ask(self, word: str) -> list[float]:
        """One line to the child, its answer back."""
        assert self.child.stdin is not None  # both were asked for
        assert self.child.stdout is not None
        self.child.stdin.write(word + "\n")
        self.child.stdin.flush()
        answer: list[float] = json.loads(self.child.stdout.readline())
        return answer

    def call(self) -> None:
        """Have it run once."""
        wall, core = self.ask("call")
        self.wall.append(wall)
        self.core.append(core)

    def errors(self) -> list[float]:
        """Of a geometric median."""
        return self.ask("errors")

    def close(self) -> None:
        """End the child."""
        assert self.child.stdin is not None  # it was asked for
        self.child.stdin.close()
        self.child.wait()


def serve(spec: list[Any]) -> None:
    """In a peer's process: answer every line."""
    way = Way(tuple(spec), 1)
    for line in sys.stdin:
        if line == "errors\n":
            print(json.dumps(way.errors()), flush=True)
        else:
            way.call()
            print(json.dumps([way.wall[-1], way.core[-1]]), flush=True)


Ways = dict[tuple[tuple[Any, ...], int], Way]


def ratios(ways: Ways, one: tuple[Any, ...], other: tuple[Any, ...]) -> list[float]:
    """Of two ways on one thread, round by round."""
    return [a / b for a, b in zip(ways[one, 1].wall, ways[other, 1].wall, strict=True)]


def bars(ways: Ways) -> list[tuple[str, list[float], float]]:
    """What is wanted, what was measured, the least that clears it."""
    land = ("land", 216, 3)
    found = [
        ("luminance ≥ 400 M pixel-samples/s", ways[("luminance-median", "uint8", *land), 1].wall, 400.0),
        ("band median uint8 ≥ 1,500 M samples/s", ways[("band-median", "uint8", *land), 1].wall, 1500.0),
        ("… over the whole range", ways[("band-median", "uint8", "range", 216, 3), 1].wall, 1500.0),
        ("band median uint16 ≥ 700 M samples/s", ways[("band-median", "uint16", *land), 1].wall, 700.0),
        ("… over the whole range", ways[("band-median", "uint16", "range", 216, 3), 1].wall, 700.0),
    ]
    for spec in OURS:
        if spec[2:] == land:
            pairs = zip(ways[spec, 2].wall, ways[spec, 1].wall, strict=True)
            found.append((f"{spec[0]} {spec[1]}: two threads ≥ 1.7 × one", [two / one for two, one in pairs], 1.7))
    shallow = ("land", 12, 3)
    for dtype in ("uint8", "uint16"):
        pair = ("band-median", dtype, *shallow), ("bottleneck.nanmedian", dtype, *shallow)
        found.append((f"12 scenes, {dtype}: ≥ 3 × bottleneck", ratios(ways, *pair), 3.0))
    for bands, least in ((3, 5.0), (10, 2.0)):
        pair = ("geomedian", "uint16", "land", 216, bands), ("geomad", "uint16", "land", 216, bands)
        found.append((f"geometric median, {bands} bands: ≥ {least:.0f} × geomad", ratios(ways, *pair), least))
    return found


def report(ways: Ways) -> None:
    """Three tables."""
    print(
        "| kernel | stack | unit | one thread | two threads | per core-second, one thread |\n|---|---|---|---|---|---|"
    )
    for spec in (*OURS, *THEIRS):
        name, dtype, kind, depth, bands = spec
        unit = "pixel-samples" if name in WHOLE else "band-samples"
        two = spread(ways[spec, 2].wall, ",.0f") if (spec, 2) in ways else ""
        one = ways[spec, 1]
        label = f"{depth} × {bands} bands, {dtype}, {kind}"
        print(f"| {name} | {label} | M {unit}/s | {spread(one.wall, ',.0f')} | {two} | {spread(one.core, ',.0f')} |")
    print("\n| bar | measured | |\n|---|---|---|")
    for words, values, least in bars(ways):
        verdict = "cleared" if float(np.median(values)) >= least else "**not cleared**"
        print(f"| {words} | {spread(values, ',.2f' if least < 100 else ',.0f')} | {verdict} |")
    print("\n| geometric median, eps 0.1 | mean error | largest error |\n|---|---|---|")
    for spec in (*OURS, *THEIRS):
        if spec[0] in ("geomedian", "geomad"):
            mean, most = ways[spec, 1].errors()
            print(f"| {spec[0]}, {spec[3]} × {spec[4]} bands | {mean:.5f} | {most:.4f} |")


def main() -> None:
    """Take turns, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(json.loads(arguments.serve))
        return
    turns = [(spec, threads) for spec in OURS for threads in (1, 2)] + [(spec, 1) for spec in THEIRS]
    ways = {turn: (Peer if turn[0][0] in LOCKS else Way)(*turn) for turn in turns}
    for _ in range(arguments.runs):
        for way in ways.values():
            way.call()
    print(f"{arguments.runs} rounds, {Path('/proc/loadavg').read_text().split()[0]} load\n")
    report(ways)
    for way in ways.values():
        way.close()


if __name__ == "__main__":
    main()
