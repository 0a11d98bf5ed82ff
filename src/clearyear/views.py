"""A plan seen window by window: as a table, and as polygons to look at in QGIS."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clearyear.errors import InputError
from clearyear.grid import Window
from clearyear.places import box_on
from clearyear.plan import Plan
from clearyear.stac import wgs84_geometries
from clearyear.stores import open_store, parent_of


class Seen(NamedTuple):
    """How often a window was photographed."""

    scenes: int
    days: int
    """Different dates in UTC."""


def windows_csv(plan: Plan, windows: Sequence[Window] | None = None) -> str:
    """One row a window: where it lies, which share of the scenes reaches it and what reading it costs."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["id", "col_off", "row_off", "width", "height", "scenes", "days", "bytes_to_read"])
    chosen = plan.windows if windows is None else windows
    for w, seen in zip(chosen, seen_in(plan, chosen), strict=True):
        writer.writerow([w.id, w.col_off, w.row_off, w.width, w.height, *seen, plan.read_bytes(w)])
    return out.getvalue()


def windows_geojson(plan: Plan, windows: Sequence[Window] | None = None) -> str:
    """The windows as polygons in longitude and latitude, with what windows_csv says of them."""
    chosen = plan.windows if windows is None else windows
    shapes = wgs84_geometries(plan.grid.crs, [plan.grid.corners(w) for w in chosen])
    features = []
    for w, shape, seen in zip(chosen, shapes, seen_in(plan, chosen), strict=True):
        about = {"id": w.id, "width": w.width, "height": w.height, **seen._asdict(), "period": plan.period.label}
        features.append({"type": "Feature", "id": w.id, "geometry": shape, "properties": about})
    return json.dumps({"type": "FeatureCollection", "features": features}) + "\n"


def save_view(plan: Plan, target: str, windows: Sequence[Window] | None = None) -> str:
    """Write the plan to a file, in the form its name asks for; returns where it lies.

    Args:
        plan: what is to be saved.
        target: ``.json`` is the whole plan, as plan.json at a destination but without signatures in its addresses;
            ``.csv`` and ``.geojson`` are its windows.
        windows: those of a selection; None for all. A plan is always whole.

    Raises:
        InputError: the name ends otherwise, or the place cannot be written.
    """
    folder, name = parent_of(target)
    kind = PurePosixPath(name).suffix.lower()
    if kind == ".json":
        bare = [scene.model_copy(update={"assets": scene.identity}) for scene in plan.scenes]
        text = plan.model_copy(update={"scenes": tuple(bare)}).to_json()
    elif kind in (".csv", ".geojson"):
        text = (windows_csv if kind == ".csv" else windows_geojson)(plan, windows)
    else:
        raise InputError(
            f"A plan is not saved as {name!r}",
            "a file ending in .json (the plan), .csv or .geojson (its windows)",
            "give it one of these endings",
        )
    store = open_store(folder)
    store.write(name, text.encode())
    store.sweep()  # the folder may be any; what we worked in must not stay there
    return target


def seen_in(plan: Plan, windows: Sequence[Window]) -> list[Seen]:
    """For each window, how many scenes and how many dates reach it, by their outlines; not every pixel need be seen."""
    edges = np.array([[w.col_off, w.row_off, w.col_off + w.width, w.row_off + w.height] for w in windows])
    scenes = np.zeros(len(windows), dtype=np.int64)
    days: dict[Any, NDArray[np.bool_]] = {}
    for scene in plan.scenes:
        reached = np.zeros(len(windows), dtype=bool)
        for asset in plan.product.assets:
            reached |= _overlap(edges, box_on(scene.places.get(asset), plan.grid))
        scenes += reached
        day = scene.datetime.date()
        days[day] = days[day] | reached if day in days else reached
    dates = np.sum(list(days.values()), axis=0) if days else scenes
    return [Seen(int(s), int(d)) for s, d in zip(scenes, dates, strict=True)]


def _overlap(edges: NDArray[Any], box: tuple[float, float, float, float]) -> NDArray[np.bool_]:
    """Which (left, top, right, bottom) rows have pixels in common with the box."""
    left, top, right, bottom = box
    found: NDArray[np.bool_] = (
        (edges[:, 0] < right) & (edges[:, 2] > left) & (edges[:, 1] < bottom) & (edges[:, 3] > top)
    )
    return found
