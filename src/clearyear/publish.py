"""From finished windows to a published composite, and what is published of a plan."""

import errno
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Collection, Sequence

from rasterio._err import CPLE_BaseError
from rasterio.errors import RasterioError

from clearyear.catalog import refresh_catalog
from clearyear.cog.geotiff import problems
from clearyear.completeness import WindowStatus, check_plan, left_out
from clearyear.errors import ClearyearError, InputError, ReadError, StoreError
from clearyear.mosaic import Mosaic, build_mosaic
from clearyear.pictures import preview, tile_map
from clearyear.plan import Plan
from clearyear.prepare import find_plan
from clearyear.reading.gdal import words
from clearyear.report import Report, is_allowed, make_report
from clearyear.report_text import markdown, missing_csv
from clearyear.runs import PLAN
from clearyear.stac import LAW_FIELDS, law_fields, make_item
from clearyear.stores import Store, gdal_path, open_store, parent_of
from clearyear.stores.pieces import digest_of
from clearyear.window import LayerFile

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
    lines = [f"{file.sha256}  {file.name}\n" for file in mosaic.layers.values()]
    store.write(f"{plan.stem}.sha256", "".join(lines).encode())
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
    statuses = [s if s.id in selected else left_out(s, len(selected)) for s in statuses]
    allowed, problem = may_publish(plan, statuses)
    if problem and len(selected) < len(statuses):
        problem += f"; this run was of a selection of {len(selected)} windows"
    mosaic = (published(plan, store, statuses)[0] or join(plan, store, statuses)) if allowed else None
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
            "tiles": _tiles_digest(statuses),
        }
        extras = {"preview": plan.preview_name, "tile_map": "tile_map.png", "plan": PLAN, "report": "report.json"}
        store.write(plan.item_name, make_item(plan, mosaic, facts, extras=extras).encode())
    store.sweep()
    try:
        refresh_catalog(plan)
    except ClearyearError as error:
        log.warning("The catalogue is not brought up to date: %s", error)
    return report


def published(plan: Plan, store: Store, statuses: Sequence[WindowStatus]) -> tuple[Mosaic | None, str]:
    """What is published of this plan, byte for byte, or None and why not.

    When all windows are done the mosaic must be made of these very tiles: one published with gaps, or before a window
    was computed again, is not the result any more.
    """
    if store.stat(plan.item_name) is None:
        return None, "no mosaic is published"
    try:
        item = json.loads(store.read(plan.item_name))
        if item["properties"]["clearyear:plan"] != plan.id:
            return None, "the published mosaic is another plan's"
        if all(s.is_done for s in statuses) and item["properties"]["clearyear:tiles"] != _tiles_digest(statuses):
            return None, "the published mosaic is made of other tiles than lie there now"
        assets = {layer: item["assets"][layer] for layer in plan.published}
        if any({k: a[k] for k in LAW_FIELDS if k in a} != law_fields(plan, key) for key, a in assets.items()):
            return None, "the published mosaic says another scale or offset than the plan"
        files = {
            k: LayerFile(name=a["href"].removeprefix("./"), size=a["file:size"], sha256=a["file:checksum"][4:])
            for k, a in assets.items()
        }
    except (ValueError, KeyError, TypeError):
        return None, f"{plan.item_name} cannot be read"
    for layer, file in files.items():
        if file.name != plan.mosaic_name(layer):
            return None, f"{plan.item_name} names {file.name!r} as its {layer}, which is none of this plan's"
        try:
            entry = store.stat(file.name)
            if entry is None:
                return None, f"the published {file.name} is gone"
            if digest_of(entry) != file.sha256:
                return None, f"the published {file.name} is damaged: its SHA-256 differs"
        except (ReadError, StoreError) as error:
            return None, f"the published {file.name} cannot be read: {error.found}"
    return Mosaic(layers=files), ""


def _tiles_digest(statuses: Sequence[WindowStatus]) -> str:
    """One SHA-256 for the bytes of all tiles that are done."""
    digest = hashlib.sha256()
    for status in statuses:
        if status.is_done and status.result is not None:
            digest.update("".join(file.sha256 for _, file in sorted(status.result.layers.items())).encode())
    return digest.hexdigest()


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
    return False, (
        f"{done} of {len(statuses)} windows are done, {plan.min_completeness:.0%} are asked for; "
        "no mosaic is published (allow_missing would)"
    )
