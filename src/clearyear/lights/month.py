"""A month of a job: which tiles its source holds, where it goes, and whether it stands there complete already.

``month.json`` is the month's plan: what was asked for and which versions of which tiles it is made of. A month whose
item and mosaic are whole and whose tiles at the source are still those is complete, and nothing of it is done again.
"""

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from clearyear.errors import InputError, ReadError, StoreError
from clearyear.lights.job import VIIRS_TILES, Bounds, LightsJob
from clearyear.lights.report import MonthReport
from clearyear.naming import NAME
from clearyear.periods import Period
from clearyear.scenes.template import DateTemplate, FoundTile, months_of
from clearyear.stores import Store, is_remote, open_store, shown, split_uri, without_query
from clearyear.stores.pieces import digest_of

MONTH = "month.json"


@dataclass(frozen=True, kw_only=True)
class Month:
    """One month of a job: what its source holds, and where its mosaic goes."""

    job: LightsJob
    period: Period
    found: tuple[FoundTile, ...]
    destination: str

    @property
    def stem(self) -> str:
        """How the month's files begin."""
        return f"{self.job.product}_{self.period.label}"

    @property
    def mosaic_name(self) -> str:
        """The mosaic's file name."""
        return f"{self.stem}.tif"

    @property
    def item_name(self) -> str:
        """The STAC item, written last."""
        return f"{self.stem}.stac-item.json"

    @property
    def preview_name(self) -> str:
        """The mosaic's picture."""
        return f"{self.stem}_preview.jpg"

    @property
    def folder(self) -> Path:
        """Where fetched files wait."""
        return downloads_folder(self.job) / self.period.label


def expected_tiles(job: LightsJob) -> dict[str, Bounds]:
    """The tiles a month must have, with their bounds.

    Raises:
        InputError: a name is no VIIRS tile and comes without bounds, or stands twice, or bounds are empty.
    """
    odd = [name for name in job.tiles if not re.fullmatch(NAME, name)]
    if odd:
        raise InputError(f"{odd[0]!r} is no name for a tile", "letters, digits, dots and dashes", "correct it")
    if isinstance(job.tiles, dict):
        wrong = [name for name, (w, s, e, n) in job.tiles.items() if w >= e or s >= n]
        if wrong:
            raise InputError(
                f"The bounds of {', '.join(wrong)} are empty", "[left, bottom, right, top]", "correct them"
            )
        return dict(job.tiles)
    unknown = [name for name in job.tiles if name not in VIIRS_TILES]
    if unknown or len(set(job.tiles)) < len(job.tiles):
        raise InputError(
            f"tiles names {', '.join(unknown)}" if unknown else "tiles names a tile twice",
            f"names of VIIRS tiles ({', '.join(VIIRS_TILES)}), or name: [left, bottom, right, top]",
            "correct it",
        )
    return {name: VIIRS_TILES[name] for name in job.tiles}


def months_asked(job: LightsJob, *, due: datetime | None = None) -> list[Period]:
    """The months of a job; without a span the one that had just been published when the run was due."""
    if job.months:
        return months_of(job.months)
    moment = (due or datetime.now(UTC)).astimezone(UTC)
    for _ in range(job.lag + 1):
        moment = moment.replace(day=1) - timedelta(days=1)
    return months_of(f"{moment:%Y-%m}")


def downloads_folder(job: LightsJob) -> Path:
    """Where fetched files wait for the rest of their month.

    Raises:
        InputError: the destination is a bucket and the job names no folder.
    """
    if job.downloads:
        if is_remote(job.downloads):
            raise InputError(f"downloads is {job.downloads}", "a folder on this machine", "name one")
        return Path(split_uri(job.downloads)[2])
    if is_remote(job.out):
        raise InputError(
            "The destination is a bucket, and no folder is named in which the tiles wait until they are joined",
            "a local folder with room for a month's files",
            "name one: downloads",
        )
    return Path(split_uri(job.out)[2]) / job.product / "downloads"


def find_month(job: LightsJob, period: Period) -> Month:
    """Ask the source which tiles of a month there are.

    Raises:
        InputError: the template or the tiles cannot be used, or the destination holds a month of another job.
    """
    found = DateTemplate(job.source).find(period, expected_tiles(job))
    month = Month(
        job=job,
        period=period,
        found=tuple(found),
        destination=f"{job.out.rstrip('/')}/{job.product}/{period.label}",
    )
    known = known_month(open_store(month.destination))
    if known and known.get("asked") != asked_of(job) and not job.overwrite:
        theirs = known.get("asked", {})
        differ = [key for key, value in asked_of(job).items() if theirs.get(key) != value]
        raise InputError(
            f"{month.destination} holds the month of another job: {', '.join(differ)} differ",
            "the same job, or an empty place",
            "choose another out or product, or overwrite",
            uri=month.destination,
        )
    return month


def standing(month: Month) -> MonthReport | None:
    """The report of a month whose complete mosaic is published, whole, and made of what lies at the source now.

    A tile that has gone from the source since does not undo a complete month.
    """
    store = open_store(month.destination)
    known = known_month(store)
    if not known or known.get("asked") != asked_of(month.job) or store.stat(month.item_name) is None:
        return None
    versions = known.get("versions", {})
    if any(tile.entry and versions.get(tile.name) != version_of_tile(tile) for tile in month.found):
        return None
    try:
        item = json.loads(store.read(month.item_name))
        report = MonthReport.model_validate_json(store.read("report.json"))
        checksum = item["assets"]["mosaic"]["file:checksum"][4:]
        whole = item["properties"]["clearyear:month"] == known["id"] and item["properties"]["clearyear:complete"]
    except (ValueError, KeyError, TypeError, StoreError):
        return None
    mosaic = store.stat(month.mosaic_name)
    if not whole or report.status != "complete" or mosaic is None:
        return None
    try:
        return report if digest_of(mosaic) == checksum else None
    except ReadError:
        return None


def asked_of(job: LightsJob) -> dict[str, Any]:
    """What of a job decides a month's pixels."""
    return {
        "source": without_query(job.source),
        "tiles": {name: list(map(float, bounds)) for name, bounds in expected_tiles(job).items()},
        "member": job.member,
        "nodata": job.nodata,
        "compress": job.compress,
    }


def version_of_tile(tile: FoundTile) -> list[Any]:
    """What tells a tile's file from its other versions: address, version, size."""
    assert tile.entry is not None  # asked only of what was found
    return [shown(without_query(tile.entry.uri)), tile.entry.version, tile.entry.size]


def known_month(store: Store) -> dict[str, Any] | None:
    """The month.json at a destination, or None where there is none that can be read."""
    if store.stat(MONTH) is None:
        return None
    try:
        document = json.loads(store.read(MONTH))
    except ValueError:
        return None
    return document if isinstance(document, dict) else None
