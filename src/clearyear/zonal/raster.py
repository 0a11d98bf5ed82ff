"""The raster of a zonal job: a lone GeoTIFF, or every published period of a run; and reading it in blocks."""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.enums import MaskFlags
from rasterio.io import DatasetReader

from clearyear.cog.geotiff import rasterio_window
from clearyear.errors import InputError, ReadError
from clearyear.grid import Window
from clearyear.periods import Period, parse_period
from clearyear.reading.gdal import open_raster
from clearyear.scenes.headers import refuse_monsters
from clearyear.stores import Entry, open_store, shown, stat_uri
from clearyear.zonal.job import ZonalJob

_ITEM = ".stac-item.json"
MOST_BANDS_DRAWN = 6


@dataclass(frozen=True, kw_only=True)
class Raster:
    """One raster of one period."""

    uri: str
    version: str
    product: str
    period: Period | None
    """None where a lone GeoTIFF tells none."""
    band_names: tuple[str, ...]
    complete: bool = True
    """Whether its run called it complete."""


def find_rasters(job: ZonalJob) -> list[Raster]:
    """The rasters a job speaks of, in order of their periods.

    Raises:
        InputError: there is none, it is no GeoTIFF that can be read, or its run called it incomplete and the job does
            not allow that; or it lacks a band that maps are to show.
    """
    found = _find_rasters(job)
    for raster in found:
        mapped_bands(raster, job)
    return found


def mapped_bands(raster: Raster, job: ZonalJob) -> list[tuple[str, str]]:
    """(band, what its picture's name has more than the table's) of each band that gets a map.

    Raises:
        InputError: the job names a band that the raster lacks.
    """
    bands = drawn_bands(raster.band_names)
    if job.map_bands == ["all"]:
        return bands[:MOST_BANDS_DRAWN]
    if strange := [name for name in job.map_bands if name not in raster.band_names]:
        raise InputError(
            f"{shown(raster.uri)} has no band {strange[0]!r} (map_bands)",
            f"of {', '.join(raster.band_names)}, or all",
            "correct the name",
            uri=shown(raster.uri),
        )
    return [each for each in bands if each[0] in job.map_bands] if job.map_bands else bands[:1]


def drawn_bands(names: Sequence[str]) -> list[tuple[str, str]]:
    """(band, what its pictures' names have more than the table's): nothing where there is only one."""
    return [(name, f"_{number}" if len(names) > 1 else "") for number, name in enumerate(names, 1)]


def _find_rasters(job: ZonalJob) -> list[Raster]:
    if job.raster.lower().partition("?")[0].endswith((".tif", ".tiff")):
        return [_lone(job)]
    store = open_store(job.raster)
    items = [entry for entry in store.entries() if entry.name.endswith(_ITEM)]
    if not items:
        raise InputError(
            f"{shown(job.raster)} holds no published mosaic",
            "a GeoTIFF, or the folder of a run of clearyear whose mosaic is published",
            "correct the address, or see `clearyear report` for why there is none",
            uri=shown(job.raster),
        )
    found = [raster for entry in items for raster in _published(entry, store.read(entry.name), job)]
    gaps = [f"{r.product}, {r.period.label if r.period else ''}" for r in found if not r.complete]
    if gaps and not job.allow_missing:
        raise InputError(
            f"{len(gaps)} of {len(found)} mosaics are incomplete: {'; '.join(gaps[:5])}",
            "complete ones",
            "complete them, or take them as they are with allow_missing",
            uri=shown(job.raster),
        )
    return sorted(found, key=lambda r: (r.product, r.period.start if r.period else None))


def _lone(job: ZonalJob) -> Raster:
    entry = stat_uri(job.raster)
    if entry is None:
        raise InputError(f"{shown(job.raster)} is not there", "a GeoTIFF", "correct the address", uri=shown(job.raster))
    try:
        with open_raster(job.raster) as dataset:
            tags, names = dataset.tags(), _names(dataset.descriptions)
    except ReadError as error:
        raise InputError(
            f"{shown(job.raster)} cannot be read: {error.found}", "a GeoTIFF", "correct the address or the file"
        ) from error
    label = job.period or tags.get("CLEARYEAR_PERIOD")
    stem = PurePosixPath(entry.name).stem
    return Raster(
        uri=job.raster,
        version=entry.version,
        product=job.product or tags.get("CLEARYEAR_PRODUCT") or plain(stem),
        period=parse_period(label) if label else None,
        band_names=names,
        complete=tags.get("CLEARYEAR_COMPLETE", "YES") == "YES",
    )


def _published(item: Entry, data: bytes, job: ZonalJob) -> list[Raster]:
    """What a run's STAC item says: it is written last, so that its mosaics are whole."""
    folder = open_store(item.uri.rpartition("/")[0])
    found = []
    try:
        document = json.loads(data)
        product, period = _whose(document)
        layers: dict[str, Any] = {k: a for k, a in document["assets"].items() if "data" in a.get("roles", [])}
        for layer in _chosen(layers, job.layer, item.uri):
            name = layers[layer]["href"].removeprefix("./")
            names = _names([band["name"] for band in layers[layer]["bands"]])
            entry = folder.stat(name)
            if entry is None:
                raise InputError(f"The published {folder.root}/{name} is gone", "the mosaic", "run `clearyear repair`")
            found.append(
                Raster(
                    uri=entry.uri,
                    version=entry.version,
                    product=product + ("" if layer == next(iter(layers)) else f"-{layer}"),
                    period=period,
                    band_names=names,
                    complete=bool(document["properties"]["clearyear:complete"]),
                )
            )
    except (ValueError, KeyError, TypeError, AttributeError, StopIteration) as error:
        raise InputError(
            f"{shown(item.uri)} is no item of clearyear's ({type(error).__name__}: {error})",
            "the item a run has published",
            "leave it out",
        ) from error
    return found


def _whose(document: dict[str, Any]) -> tuple[str, Period]:
    """Product and period of an item. Its id is what a run's naming made of them, and may tell neither."""
    product = document.get("collection")
    if product is None:  # a month of night lights, which has no naming
        product, _, label = document["id"].rpartition("_")
        return product, parse_period(label)
    said = document["properties"]
    start, last = (datetime.fromisoformat(said[key]) for key in ("start_datetime", "end_datetime"))
    label = said["title"].removeprefix(f"{product}, ")
    return product, Period(start=start, end=last + timedelta(seconds=1), label=label)


def _chosen(layers: dict[str, Any], asked: str | None, uri: str) -> list[str]:
    """The files that are measured: the one that is asked for, or all that the picture is kept in."""
    if asked in (None, "composite") and "composite" not in layers:
        # A file for each band: "The composite: red", "The composite: green".
        titles = {key: asset["title"].partition(": ")[0] for key, asset in layers.items()}
        return [key for key in layers if titles[key] == next(iter(titles.values()))]
    asked = asked or "composite"
    if asked not in layers:
        raise InputError(f"{shown(uri)} has no layer {asked!r}", f"one of {', '.join(layers)}", "choose one")
    return [asked]


def plain(text: str) -> str:
    """What may be part of a file's name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.") or "unnamed"


def _names(descriptions: Sequence[str | None]) -> tuple[str, ...]:
    """Each band's own; a name that stands twice gets its number."""
    names = [name or f"band-{number}" for number, name in enumerate(descriptions, start=1)]
    return tuple(f"{n}-{i}" if names.count(n) > 1 else n for i, n in enumerate(names, start=1))


class Blocks:
    """A raster's pixels and which of them have a value."""

    def __init__(self, dataset: DatasetReader, *, nodata: Sequence[float] | None, negatives_are_nodata: bool) -> None:
        self.dataset = dataset
        self.negatives_are_nodata = negatives_are_nodata
        tags = [() if tag is None else (tag,) for tag in dataset.nodatavals]
        self.nodata = [tuple(nodata) if nodata is not None else tag for tag in tags]
        """For each band."""
        flags = dataset.mask_flag_enums
        self.masked = any(MaskFlags.per_dataset in each or MaskFlags.alpha in each for each in flags)

    def read(self, window: Window) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """(B, H, W) values in float64, and where they are valid."""
        box = rasterio_window(window)
        raw = self.dataset.read(window=box)
        valid = np.isfinite(raw) if raw.dtype.kind == "f" else np.ones(raw.shape, bool)
        for band, marks in enumerate(self.nodata):
            for mark in marks:
                # In the pixels' own type: -999.3 is another number in float32 than in float64.
                valid[band] &= raw[band] != _as_type(mark, raw.dtype)
        if self.negatives_are_nodata:
            valid &= ~(raw < 0)
        if self.masked:
            valid &= self.dataset.dataset_mask(window=box) > 0
        return raw.astype(np.float64), valid


def _as_type(value: float, dtype: np.dtype[Any]) -> Any:
    """A nodata value as the pixels hold it; one they cannot hold equals none of them."""
    if dtype.kind == "f":
        return dtype.type(value)
    limits = np.iinfo(dtype)
    return int(value) if float(value).is_integer() and limits.min <= value <= limits.max else np.nan


@contextmanager
def open_blocks(raster: Raster, job: ZonalJob) -> Iterator[Blocks]:
    """Open a raster for block after block.

    Raises:
        InputError: its pixels are complex, or its grid is rotated, south-up or without a CRS.
        ReadError: it cannot be opened, claims what no raster has or, inside the block, cannot be read.
    """
    with open_raster(raster.uri) as dataset:
        refuse_monsters(dataset, raster.uri)
        t: Affine = dataset.transform
        if t.b or t.d or t.a <= 0 or t.e >= 0:
            raise InputError(
                f"The grid of {shown(raster.uri)} is rotated or upside down",
                "rows that run east and begin in the north",
                "warp it first: gdalwarp",
                uri=shown(raster.uri),
            )
        if dataset.crs is None:
            raise InputError(
                f"{shown(raster.uri)} has no CRS, so polygons cannot be laid over it",
                "a raster that says where it lies",
                "give it one: gdal_edit.py -a_srs",
                uri=shown(raster.uri),
            )
        if any("complex" in dtype for dtype in dataset.dtypes):
            raise InputError(f"{shown(raster.uri)} has complex pixels", "plain numbers", "take their modulus first")
        yield Blocks(dataset, nodata=job.nodata, negatives_are_nodata=job.negatives_are_nodata)
