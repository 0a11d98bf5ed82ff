"""The tiles of a month → its mosaic, published if that is allowed, and a report; the item comes last."""

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from rasterio._err import CPLE_BaseError
from rasterio.errors import RasterioError

from clearyear.checksums import digests
from clearyear.errors import InputError, ReadError
from clearyear.lights import mosaic
from clearyear.lights.item import make_month_item
from clearyear.lights.layout import Layout, lay_out
from clearyear.lights.month import MONTH, Month, asked_of, expected_tiles
from clearyear.lights.picture import light_picture
from clearyear.lights.report import MonthReport, Status, missing_csv, now
from clearyear.lights.tiles import Tile
from clearyear.publish import scratch_error
from clearyear.reading.inner_mask import mask_of
from clearyear.scenes.headers import Header, read_header
from clearyear.stores import Store, open_store
from clearyear.stores.local import local_version
from clearyear.window import LayerFile


def join_month(month: Month, tiles: Sequence[Tile]) -> MonthReport:
    """Join the tiles of a month, publish the mosaic if that is allowed, and report; the item comes last.

    Args:
        month: what was asked for.
        tiles: one answer for each expected tile.

    Returns:
        The report, written to the destination too. A tile that cannot be read is missing, as one that is absent.

    Raises:
        InputError, StoreError: the destination cannot be written.
    """
    store = open_store(month.destination)
    store.sweep()
    tiles, headers = _with_headers(tiles)
    allowed = month.job.allow_missing
    missing = [tile for tile in tiles if tile.status != "ok"]
    problem = ""
    if missing and not (allowed and headers):
        there = len(tiles) - len(missing)
        problem = f"{there} of {len(tiles)} tiles are there; no mosaic is published"
        problem += " (allow_missing would)" if headers else ""
    versions = {t.name: [t.address, t.version, t.size] for t in tiles if t.raster}
    record = {"asked": asked_of(month.job), "versions": versions}
    month_id = hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()
    if problem:
        return _conclude(month, store, tiles, problem=problem)
    store.remove(month.item_name)
    store.write(MONTH, (json.dumps({"id": month_id, **record}, indent=1) + "\n").encode())
    try:
        layout = lay_out(headers, expected_tiles(month.job))
        nodata = mosaic.fill_value(layout, month.job.nodata, gaps=bool(missing) or layout.has_gaps)
        file = _publish(month, store, layout, tiles, nodata=nodata, month_id=month_id)
    except ReadError as error:
        # What its header promised its pixels do not hold: then it is not there.
        spoiled = [t if t.name != error.scene else _failed(t, error.found) for t in tiles]
        if error.scene is None or spoiled == list(tiles):
            return _conclude(month, store, tiles, problem=error.found, failed=True)
        return join_month(month, spoiled)
    except InputError as error:
        return _conclude(month, store, tiles, problem=error.found, failed=True)
    report = _conclude(month, store, tiles, mosaic=file)
    item = make_month_item(
        month.stem, month.period, layout, report, file, month_id=month_id, nodata=nodata, preview=month.preview_name
    )
    store.write(month.item_name, item.encode())
    if report.status == "complete" and not month.job.keep_downloads:
        _tidy(month)
    return report


def _publish(
    month: Month, store: Store, layout: Layout, tiles: Sequence[Tile], *, nodata: float | None, month_id: str
) -> LayerFile:
    """Put mosaic, checksum and preview in place."""
    missing = [tile.name for tile in tiles if tile.status != "ok"]
    tags = {
        "CLEARYEAR_PRODUCT": month.job.product,
        "CLEARYEAR_PERIOD": month.period.label,
        "CLEARYEAR_MONTH": month_id,
        "CLEARYEAR_COMPLETE": "NO" if missing else "YES",
        "CLEARYEAR_TILES": f"{len(tiles) - len(missing)} of {len(tiles)}",
        **({"CLEARYEAR_MISSING_TILES": " ".join(missing)} if missing else {}),
    }
    rasters = {tile.name: tile.raster for tile in tiles if tile.status == "ok"}
    cog = store.scratch() / f"cog-{month.mosaic_name}"
    try:
        mosaic.build(layout, rasters, cog, nodata=nodata, compress=month.job.compress, tags=tags)
        file = LayerFile(name=month.mosaic_name, size=cog.stat().st_size, sha256=digests(cog, {"sha256"})["sha256"])
        store.write(month.preview_name, light_picture(str(cog)))
        store.write_file(file.name, cog)
    except (OSError, RasterioError, CPLE_BaseError) as error:
        raise scratch_error(store, error) from error
    finally:
        cog.unlink(missing_ok=True)
    store.write(f"{month.stem}.sha256", f"{file.sha256}  {file.name}\n".encode())
    return file


def _conclude(
    month: Month,
    store: Store,
    tiles: Sequence[Tile],
    *,
    mosaic: LayerFile | None = None,
    problem: str = "",
    failed: bool = False,
) -> MonthReport:
    """Write what became of the month. What an earlier run has published stays, and its item says what it is."""
    missing = [tile for tile in tiles if tile.status != "ok"]
    status: Status = "failed" if failed else "incomplete" if missing else "complete"
    report = MonthReport(
        status=status,
        month=month.period.label,
        product=month.job.product,
        destination=store.root,
        expected=[tile.name for tile in tiles],
        missing=[tile.name for tile in missing],
        causes={tile.name: tile.cause for tile in missing},
        tiles=list(tiles),
        mosaic=store.uri(mosaic.name) if mosaic else None,
        stac_item=store.uri(month.item_name) if mosaic else None,
        preview=store.uri(month.preview_name) if mosaic else None,
        report=store.uri("report.json"),
        problem=problem,
        allowed=month.job.allow_missing,
        created=now(),
    )
    store.write("missing.csv", missing_csv([report]))
    store.write("report.json", (report.model_dump_json(indent=1) + "\n").encode())
    store.sweep()
    return report


def _with_headers(tiles: Sequence[Tile]) -> tuple[list[Tile], dict[str, Header]]:
    """The headers of all tiles that are there; one without is not there."""
    answered: list[Tile] = []
    headers: dict[str, Header] = {}
    for tile in tiles:
        if tile.status == "ok":
            try:
                masked = mask_of(tile.raster, local_version(tile.raster) or "") > 0
                headers[tile.name] = replace(read_header(tile.raster), hides=masked)
            except ReadError as error:
                answered.append(_failed(tile, f"cannot be opened: {error.found}"))
                continue
        answered.append(tile)
    return answered, headers


def _failed(tile: Tile, cause: str) -> Tile:
    return tile.model_copy(update={"status": "failed", "cause": cause})


def _tidy(month: Month) -> None:
    """What was fetched for a month is not needed once its mosaic is published; what else lies there is not ours."""
    for path in month.folder.iterdir() if month.folder.is_dir() else ():
        if path.name.startswith(tuple(f"{tile.name}{sign}" for tile in month.found for sign in ".-")):
            path.unlink()
    with suppress(OSError):
        month.folder.rmdir()
        month.folder.parent.rmdir()
