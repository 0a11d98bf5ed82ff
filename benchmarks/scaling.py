"""From one measured window to a granule, a country and the world: python benchmarks/scaling.py [RESULTS.json]

What is measured comes from window.py's results; everything else stands in assumptions.csv with its source.
docs/scaling.md holds what this prints (pages.py puts it there), and a test compares the two.
"""

import csv
import json
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import HERE, RESULTS

with (HERE / "assumptions.csv").open(newline="", encoding="utf-8") as lines:
    ASSUMED = {row["key"]: row for row in csv.DictReader(lines)}
"""Key → what, value, unit, source."""

STUDY = (
    '"study": measured by prototypes on two cores in November 2026, before this code; nothing here repeats it. '
    "Google's pages were read in stored copies, not live: look the prices up before you rely on them."
)


def assumed(name: str) -> float:
    """The value of one of ASSUMED."""
    return float(ASSUMED[name]["value"])


@dataclass(frozen=True)
class Granule:
    """One granule's year as one job, in seconds, bytes and requests."""

    scenes: int
    core_seconds: float
    """Processor time of one full window, read and reduced, nothing written."""
    windows: int
    full_windows: float
    """The same counted by area: those at the edge are smaller, and cost is linear in pixels."""

    @property
    def compute_seconds(self) -> float:
        """Reading and reducing, if the bytes were there and the cores always busy."""
        return self.full_windows * self.core_seconds / assumed("job_cpus")

    @property
    def network_seconds(self) -> float:
        """Its bytes over the job's network."""
        return assumed("granule_bytes") * 8 / assumed("job_bits")

    @property
    def job_seconds(self) -> float:
        """Reading overlaps computing: the longer of the two, start and mosaic beside."""
        work = max(self.compute_seconds, self.network_seconds)
        return assumed("start") + work + assumed("mosaic")

    @property
    def job_usd(self) -> float:
        """Cloud Run alone."""
        rate = assumed("job_cpus") * assumed("vcpu_second") + assumed("job_gib") * assumed("gib_second")
        return self.job_seconds * rate

    @property
    def result_bytes(self) -> float:
        """Tiles and the mosaic with its overviews, as well compressed as a scene is."""
        scene = assumed("granule_bytes") / self.scenes
        return scene * (1 + 3 / 4)

    def reads(self, a_scene_and_window: float) -> float:
        """Requests for all scenes in all windows."""
        return self.scenes * self.windows * a_scene_and_window


def granule_of(results: dict[str, Any]) -> Granule:
    """From what window.py measured."""
    width, height, _ = results["size"]
    measured = [r["ways"]["luminance-median"]["cpu"] for r in results["rounds"] if "luminance-median" in r["ways"]]
    side = int(assumed("side"))
    return Granule(
        scenes=results["scenes"],
        core_seconds=statistics.median(measured),
        windows=-(-side // width) * -(-side // height),
        full_windows=side * side / (width * height),
    )


def number(value: float) -> str:
    """Three digits or so."""
    for size, unit in ((1e9, " G"), (1e6, " M")):
        if value >= 10 * size:
            return f"{value / size:,.0f}{unit}"
        if value >= size:
            return f"{value / size:,.1f}{unit}"
    if value >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.2f}" if value >= 1 else f"{value:.2g}"


def duration(seconds: float) -> str:
    """For people."""
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:,.0f} s"


def size(count: float) -> str:
    """Bytes."""
    for factor, unit in ((1e15, "PB"), (1e12, "TB"), (1e9, "GB")):
        if count >= factor:
            return f"{count / factor:,.1f} {unit}"
    return f"{count / 1e6:,.0f} MB"


def usd(value: float) -> str:
    """US dollars."""
    return f"{value:,.0f} USD" if value >= 100 else f"{value:.2f} USD" if value >= 0.1 else f"{value:.3f} USD"


def limits(one: Granule) -> list[tuple[float, str, str]]:
    """(jobs at once, what gives way there, why), the first to give way first."""
    tasks, reads = one.windows / one.job_seconds, one.reads(1) / one.job_seconds
    bucket = assumed("bucket_reads") / reads
    return sorted(
        [
            (assumed("drain_default") / tasks, "Prefect's server, default settings", "task runs outrun it"),
            (assumed("drain_tuned") / tasks, "Prefect's server, larger batches", "the same"),
            (bucket / assumed("reads_tuned"), "one bucket, until it has scaled; GDAL tuned", "read requests"),
            (bucket / assumed("reads_indexed"), "one bucket, until it has scaled; tile index kept", "the same"),
            (assumed("worker_runs"), "one Prefect worker", "a thread watches each job"),
            (assumed("submit") * one.job_seconds, "one parent flow", "jobs end as fast as it submits new ones"),
            (assumed("cloud_run_jobs"), "Cloud Run's quota", "jobs in a project and region; can be raised"),
        ]
    )


def basis_table(results: dict[str, Any], one: Granule) -> str:
    """What the rest stands on."""
    loads = [r["load"] for r in results["rounds"]]
    lines = [
        "| what | value | where from |",
        "|---|---|---|",
        f"| **a window of {results['scenes']} scenes × {results['size'][0]}², luminance-median** | "
        f"**{one.core_seconds:.2f} core-seconds** | measured: window.py, {len(loads)} "
        f"rounds, {results['machine']['cpu']}, load before a round {statistics.median(loads):.1f} |",
    ]
    for name, row in ASSUMED.items():
        value = assumed(name)
        shown = f"{value:.6f}".rstrip("0") if value < 1 else f"{value:,.0f}"
        lines.append(f"| {row['what']} | {shown} {row['unit']} | {row['source']} |")
    return "\n".join([*lines, "", STUDY])


def scale_table(one: Granule) -> str:
    """A granule, a country, the world."""
    counts = [1, int(assumed("country")), int(assumed("world"))]
    at_once = int(assumed("worker_runs"))
    stored = assumed("granule_bytes") / 1e9
    decode = one.scenes * assumed("jp2") * assumed("vcpu_second")
    reads, writes = assumed("read_request") / 1000, assumed("write_request") / 1000

    def cpu(seconds: float) -> float:
        return seconds * assumed("job_cpus") / 3600

    rows: list[tuple[str, Callable[[float], str], Callable[[int], float]]] = [
        ("scenes", number, lambda n: n * one.scenes),
        ("their bytes, each read once", size, lambda n: n * assumed("granule_bytes")),
        ("flow runs = Cloud Run jobs", number, lambda n: n),
        ("windows = task runs", number, lambda n: n * one.windows),
        ("vCPU-hours reading and reducing", number, lambda n: n * cpu(one.compute_seconds)),
        ("job-hours, with network, start and mosaic", number, lambda n: n * one.job_seconds / 3600),
        (f"wall clock, {at_once} jobs at once", duration, lambda n: -(-n // at_once) * one.job_seconds),
        ("results: tiles and mosaic", size, lambda n: n * one.result_bytes),
        ("**Cloud Run**", usd, lambda n: n * one.job_usd),
        ("**read requests**, GDAL tuned", usd, lambda n: n * one.reads(assumed("reads_tuned")) * reads),
        ("… tile index kept", usd, lambda n: n * one.reads(assumed("reads_indexed")) * reads),
        ("write requests: tile and record of a window", usd, lambda n: n * 2 * one.windows * writes),
        ("storing the results, a month", usd, lambda n: n * one.result_bytes / 1e9 * assumed("gb_month")),
        ("storing the scenes, a month, if you must", usd, lambda n: n * stored * assumed("gb_month")),
        ("fetching the scenes over the internet, if you must", usd, lambda n: n * stored * assumed("egress_gb")),
        ("decoding them from JPEG 2000, if you must", usd, lambda n: n * decode),
        ("Prefect's server recording", duration, lambda n: n * one.windows / assumed("drain_default")),
        ("… in larger batches", duration, lambda n: n * one.windows / assumed("drain_tuned")),
        ("submitting the flow runs", duration, lambda n: n / assumed("submit")),
    ]
    head = ["", *(f"{n:,} granule{'s' if n > 1 else ''}" for n in counts)]
    lines = [head, ["---"] * len(head), *([name, *(form(of(n)) for n in counts)] for name, form, of in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def limit_table(one: Granule) -> str:
    """What breaks first."""
    world = assumed("world")
    lines = [
        f"| jobs at once | what gives way | why | {world:,.0f} granules at that pace |",
        "|---|---|---|---|",
    ]
    for jobs, what, why in limits(one):
        lines.append(f"| {jobs:,.0f} | {what} | {why} | {duration(world / jobs * one.job_seconds)} |")
    jobs = assumed("worker_runs")
    rate = jobs * one.windows / one.job_seconds
    over = rate - assumed("drain_tuned")
    fate = f"is full after {duration(assumed('queue') / over)}" if over > 0 else "never fills"
    said = f"{jobs:.0f} jobs at once bring {rate:,.0f} task runs a second; with larger batches the server's queue"
    return "\n".join([*lines, "", f"{said} {fate}."])


def tables(results: dict[str, Any]) -> str:
    """All three, in Markdown."""
    one = granule_of(results)
    return "\n\n".join((scale_table(one), limit_table(one), basis_table(results, one)))


def main() -> None:
    """Print them."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else RESULTS / "window.json"
    print(tables(json.loads(path.read_text())))


if __name__ == "__main__":
    main()
