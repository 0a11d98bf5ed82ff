"""A worker's payload as the course sends it: one window of these datasets, to that destination."""

import os
from typing import Any

import numpy as np

from clearyear.budget import process_budget
from clearyear.cog.geotiff import encode_tile
from clearyear.errors import InputError, WindowError
from clearyear.grid import Window
from clearyear.job import Job
from clearyear.prepare import make_plan
from clearyear.scenes.manifest import read_payload
from clearyear.stores import open_store, parent_of, split_uri
from clearyear.window import reduce_window


def run_payload(uri: str) -> dict[str, Any]:
    """Compute the payload's window by luminance median and write it to the payload's destination.

    Args:
        uri: a JSON file ``{"datasets": [...], "window": [x, y, width, height], "destination": "..."}``.

    Returns:
        ``id``, ``status``, ``uri``, ``valid_share``, ``scenes_used``.

    Raises:
        InputError: the payload, its datasets or its window are not what they must be.
        WindowError: a dataset cannot be read.
    """
    payload = read_payload(uri)
    col_off, row_off, width, height = payload.window
    window = Window(col_off=col_off, row_off=row_off, width=width, height=height)
    folder, name = parent_of(payload.destination)
    if not name.lower().endswith((".tif", ".tiff")):
        raise InputError(
            f"The destination {payload.destination!r} names no GeoTIFF", "an address ending in .tif", "correct it"
        )
    if not payload.datasets:
        raise InputError(f"{uri} lists no datasets", "at least one address under datasets", "add the scenes", uri=uri)
    if _place(payload.destination) in map(_place, payload.datasets):
        raise InputError(
            f"The destination {payload.destination!r} is one of the datasets, which it would replace",
            "an address of its own",
            "correct it",
        )
    plan = make_plan(Job(scenes=payload.datasets, period="all", out=folder))
    plan.grid.check_inside(window)
    budget = process_budget(plan, [window], workers=1, prefect=False)
    budget.apply()
    layers, used, failed = reduce_window(plan, window, threads=budget.threads, window_bytes=budget.window_bytes)
    if layers is None:
        raise WindowError(
            f"{len(failed)} datasets could not be read: " + "; ".join(f"{f.scene} ({f.cause})" for f in failed[:5]),
            "every dataset",
            "mend them or leave them out",
            transient=any(f.transient for f in failed),
            window=window.id,
        )
    store = open_store(folder)
    store.write(name, encode_tile(layers["composite"], plan.grid, window, nodata=plan.product.nodata))
    store.sweep()  # the folder is the user's own; what we worked in must not stay there
    seen = float(np.mean(layers["count"] != 0))
    return {
        "id": window.id,
        "status": "ok" if seen else "empty",
        "uri": payload.destination,
        "valid_share": round(seen, 6),
        "scenes_used": used,
    }


def _place(uri: str) -> tuple[str, str, str]:
    """Where an address leads, by whichever of its names; links are followed."""
    scheme, place, path = split_uri(uri)
    return scheme, place, os.path.realpath(path) if scheme == "file" else path
