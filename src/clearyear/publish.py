"""From finished windows to a published composite, and what is published of a plan."""

import errno
import logging
import os
import shutil
from collections.abc import Callable, Collection, Sequence

from rasterio._err import CPLE_BaseError
from rasterio.errors import RasterioError

from clearyear.catalog import refresh_catalog
from clearyear.cog.geotiff import problems
from clearyear.completeness import WindowStatus, check_plan, left_out
from clearyear.errors import ClearyearError, InputError, StoreError
from clearyear.mosaic import Mosaic, build_mosaic
from clearyear.pictures import preview, tile_map
from clearyear.plan import Plan
from clearyear.prepare import find_plan, known_plan
from clearyear.published import is_still_there, mend, published, tiles_digest
from clearyear.reading.gdal import words
from clearyear.report import Report, is_allowed, make_report
from clearyear.report_text import markdown, missing_csv
from clearyear.runs import PLAN
from clearyear.stac import make_item
from clearyear.stores import Store, gdal_path, open_store, parent_of

log = logging.getLogger(__name__)

_LITTLE_ROOM = 1 << 20
"""With less than that free, a write that failed did so for want of room."""


def publish(plan: Plan, store: Store, statuses: Sequence[WindowStatus]) -> Mosaic:
    """Build the mosaic and put it, its checksums and its preview in place.

    Raises:
        ClearyearError, StoreError: nothing is published then.
    """
    store.remove(plan.item_name)
    try:
        mosaic = build_mosaic(plan, store, statuses)
    except (OSError, RasterioError, CPLE_BaseError) as error:
        raise scratch_error(store, error) from error
    mend(plan, store, mosaic)
    return mosaic


def scratch_error(store: Store, error: Exception) -> ClearyearError:
    """Why the mosaic could not be put together: GDAL calls a full disk by many names, so the disk is asked itself."""
    place = store.scratch()
    full = shutil.disk_usage(place).free < _LITTLE_ROOM
    reason = os.strerror(errno.ENOSPC) if full else words(error)
    return InputError(
        f"The mosaic cannot be put together in {place.parent}: {reason}",
        "a place that can be written, with room for the uncompressed image and its COG",
        "make room, or mend the disk; the windows are finished and kept, and the same command goes on from there",
        uri=str(place),
    )


def finish(
    plan: Plan,
    store: Store,
    statuses: Sequence[WindowStatus],
    selected: Collection[str],
    *,
    join: Callable[[Plan, Store, Sequence[WindowStatus]], Mosaic] = publish,
) -> Report:
    """End a run of these windows: the mosaic as it lies there if it is this very one, else by ``join``; the report.

    Args:
        plan: what the run is of.
        store: the plan's destination.
        statuses: of all windows, as checked after the last one.
        selected: ids of the windows the run was asked for; the others are left out and say so.
        join: what publishes the mosaic; it is not called where too few windows are done.
    """
    known_plan(plan.destination, plan.digest)  # what another run has put in its place is not ours to report on
    if not is_allowed(plan, statuses) and store.stat(plan.item_name) is not None:
        statuses = check_plan(plan, store)  # another run has ended meanwhile, with what was missing
    statuses = [s if s.id in selected else left_out(s, len(selected)) for s in statuses]
    allowed, problem = may_publish(plan, statuses)
    if problem and len(selected) < len(statuses):
        problem += f"; this run was of a selection of {len(selected)} windows"
    mosaic = None
    if allowed:
        mosaic, _ = published(plan, store, statuses, of_these_tiles=True)
        if mosaic is not None:
            mend(plan, store, mosaic)
    if allowed and mosaic is None:
        mosaic = join(plan, store, statuses)
    return conclude(plan, store, statuses, mosaic, problem=problem)


def conclude(
    plan: Plan, store: Store, statuses: Sequence[WindowStatus], mosaic: Mosaic | None, *, problem: str = ""
) -> Report:
    """Write the report in all its forms and, when a mosaic is published, the STAC item last; then the catalogue."""
    if mosaic is None:
        store.remove(plan.item_name)
    report = make_report(plan, store, statuses, mosaic, problem=problem)
    _write_report(plan, store, statuses, report)
    if mosaic is not None:
        facts = {
            "complete": report.status == "complete",
            "windows_expected": report.expected,
            "windows_done": report.done,
            "missing_windows": [w.id for w in report.not_done],
            "failed_reads": [f.model_dump() for f in report.failed_scenes],
            "valid_share": report.valid_share,
            "tiles": tiles_digest(statuses),
        }
        extras = {"preview": plan.preview_name, "tile_map": "tile_map.png", "plan": PLAN, "report": "report.json"}
        store.write(plan.item_name, make_item(plan, mosaic, facts, extras=extras).encode())
        if not is_still_there(store, mosaic):
            store.remove(plan.item_name)
            raise StoreError(
                f"Another run has put its own files in place of {', '.join(f.name for f in mosaic.layers.values())}",
                "one run of a plan at a time",
                "run it again: no window is computed twice",
            )
    store.sweep()
    try:
        refresh_catalog(plan)
    except ClearyearError as error:
        log.warning("The catalogue is not brought up to date: %s", error)
    return report


def survey(plan: Plan) -> Report:
    """The report of what lies at the plan's destination now, written there too; computes and publishes nothing."""
    store = open_store(plan.destination)
    statuses = check_plan(plan, store)
    mosaic, problem = published(plan, store, statuses)
    report = make_report(plan, store, statuses, mosaic, problem=problem)
    try:
        _write_report(plan, store, statuses, report)
        store.sweep()
    except ClearyearError as error:
        log.warning("The report is not written to the destination: %s", error)
    return report


def join_windows(plan: Plan) -> Report:
    """Publish the mosaic of the windows that are there, if enough are, and report; computes none."""
    store = open_store(plan.destination)
    statuses = check_plan(plan, store)
    allowed, problem = may_publish(plan, statuses)
    mosaic = publish(plan, store, statuses) if allowed else None
    return conclude(plan, store, statuses, mosaic, problem=problem)


def write_preview(source: str, target: str | None, *, size: int) -> str:
    """A JPEG of a raster or of a result's mosaic; returns where it went.

    Raises:
        InputError: ``source`` is neither.
    """
    if is_geotiff(source):
        rasters, default = [source], f"{source.rpartition('.')[0]}_preview.jpg"
    else:
        plan = find_plan(source)
        store = open_store(plan.destination)
        rasters, default = [store.uri(plan.mosaic_name(key)) for key in plan.shown], store.uri(plan.preview_name)
    target = target or default
    folder, name = parent_of(target)
    picture, store = preview(*map(gdal_path, rasters), side=size), open_store(folder)
    store.write(name, picture)
    store.sweep()  # the folder may be any; what we worked in must not stay there
    return target


def is_geotiff(source: str) -> bool:
    """Whether an address is a file's, and not a run's folder."""
    return source.lower().endswith((".tif", ".tiff"))


def validate(source: str) -> list[str]:
    """What is wrong with a GeoTIFF (strict COG validation, then every block read) or with a result's files."""
    if is_geotiff(source):
        return problems(gdal_path(source))
    plan = find_plan(source)
    store = open_store(plan.destination)
    statuses = check_plan(plan, store)
    mosaic, problem = published(plan, store, statuses)
    found = [f"{s.id}: {s.status}: {s.cause}" for s in statuses if not s.is_done]
    if mosaic is None:
        return [*found, problem]
    for file in mosaic.layers.values():
        found += [f"{file.name}: {p}" for p in problems(gdal_path(store.uri(file.name)))]
    return found


def _write_report(plan: Plan, store: Store, statuses: Sequence[WindowStatus], report: Report) -> None:
    picture = store.read(plan.preview_name) if store.stat(plan.preview_name) else None
    store.write("tile_map.png", tile_map(plan, statuses, picture))
    store.write("missing.csv", missing_csv(report).encode())
    store.write("report.md", markdown(report).encode())
    store.write("report.json", (report.model_dump_json(indent=1) + "\n").encode())


def may_publish(plan: Plan, statuses: Sequence[WindowStatus]) -> tuple[bool, str]:
    """Whether a mosaic of these windows may be published, and else why not."""
    if is_allowed(plan, statuses):
        return True, ""
    done = sum(status.is_done for status in statuses)
    if plan.min_completeness == 0:
        return False, f"none of {len(statuses)} windows is done; no mosaic is published"
    return False, (
        f"{done} of {len(statuses)} windows are done, {100 * plan.min_completeness:.4g}% are asked for; "
        f"no mosaic is published{' (allow_missing would)' if done else ''}"
    )
