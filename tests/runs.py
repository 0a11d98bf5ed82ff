"""Plans and runs for the tests of what comes after the pixels, without Prefect."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from clearyear.completeness import Status, WindowStatus
from clearyear.grid import Grid
from clearyear.job import Job
from clearyear.periods import parse_period
from clearyear.plan import Plan, Product
from clearyear.prepare import prepare
from clearyear.publish import join_windows
from clearyear.reading.stack import FailedRead
from clearyear.scenes import Scene
from clearyear.stores import open_store
from clearyear.window import LayerFile, WindowResult, compute_window

UTM = (10.0, 0.0, 300000.0, 0.0, -10.0, 4900020.0)


def plan_of(width: int = 50, height: int = 40, tile_size: int = 16, **changes: Any) -> Plan:
    """A plan by hand, of two scenes that need not be there: 4 × 3 windows unless said otherwise."""
    dates = (datetime(2023, 1, 15, 10, tzinfo=UTC), datetime(2023, 8, 15, 10, tzinfo=UTC))
    product = Product(
        name="luminance-median",
        reducer="luminance-median",
        layers=("composite", "count", "source"),
        n_bands=3,
        dtype="uint8",
        band_names=("red", "green", "blue"),
        invalid_values=(0.0, 255.0),
        nodata=0.0,
    )
    scenes = tuple(
        Scene(id=f"s{d:%Y%m%d}", datetime=d, assets={"data": f"/data/s {d:%Y%m%d}.tif"}, version="1", size=1000)
        for d in dates
    )
    grid = Grid(crs="EPSG:32631", transform=UTM, width=width, height=height, block=(16, 16))
    values: dict[str, Any] = {"product": product, "period": parse_period("2023"), "scenes": scenes, "grid": grid}
    return Plan(**{**values, "tile_size": tile_size, "destination": "/out/luminance-median/2023--P1Y", **changes})


def statuses_of(plan: Plan, bad: dict[int, Status] | None = None, cause: str = "it is gone") -> list[WindowStatus]:
    """Every window ok, except those whose number is given."""
    found = []
    for number, window in enumerate(plan.windows):
        status = (bad or {}).get(number, Status.OK)
        done = status in (Status.OK, Status.EMPTY)
        result = result_of(plan, number, seen=0.0 if status is Status.EMPTY else 0.75) if done else None
        found.append(WindowStatus(id=window.id, status=status, cause="" if done else cause, result=result))
    return found


def result_of(plan: Plan, number: int, *, seen: float, failed: tuple[FailedRead, ...] = ()) -> WindowResult:
    """A finished window's record, its files never written."""
    window = plan.windows[number]
    names = {layer: plan.tile_name(window, layer) for layer in plan.product.layers}
    return WindowResult(
        id=window.id,
        status="ok" if seen else "empty",
        fingerprint=plan.fingerprint(window),
        layers={layer: LayerFile(name=name, size=1, sha256="00" * 32) for layer, name in names.items()},
        valid_share=seen,
        scenes_used=len(plan.scenes) - len(failed),
        failed_reads=failed,
        seconds=0.5,
        bytes_read=100,
    )


def finished(scenes: Path | str, out: Path, **job: Any) -> Plan:
    """A run of real scenes, complete and published."""
    plan = prepare(Job(**{"scenes": str(scenes), "period": "2023", "out": str(out), "tile_size": 16, **job}))
    store = open_store(plan.destination)
    for window in plan.windows:
        compute_window(plan, window, store)
    join_windows(plan)
    return plan
