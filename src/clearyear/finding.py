"""From a job to its scenes: whichever source it names."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from clearyear.area import read_area
from clearyear.errors import InputError, ReadError
from clearyear.job import Job
from clearyear.periods import Period
from clearyear.scenes import find_scenes
from clearyear.scenes.band_files import find_band_files, has_band
from clearyear.scenes.companions import with_companions
from clearyear.scenes.fuse import fuse, look_of_name
from clearyear.scenes.manifest import is_manifest
from clearyear.scenes.scene import Found, Scene
from clearyear.scenes.stac_query import StacQuery
from clearyear.scenes.within import longitude_of_file
from clearyear.stores import shown, split_uri, without_query

_RASTERS = (".tif", ".tiff", ".jp2")


def find(job: Job, period: Period) -> Found:
    """The scenes a job means, taken within ``period``.

    Raises:
        InputError: there are none, the source cannot be used, or scenes lack a band or a mask.
        StoreError: a server does not answer; ``transient``.
    """
    here = [mask.asset for mask in job.masks if mask.source is None]
    query = _query(job)
    if query is not None:
        from clearyear.scenes.stac_source import find_items  # pystac-client takes its time

        where = query.area if query.area is not None else job.area
        area = None if where is None else read_area(where)
        found = find_items(query, period=period, bands=job.bands, masks=here, how=job.fuse, area=area, days=job.days)
    else:
        _refuse_what_is_no_folder(job)
        found = _fused(_files(job, here, period), job)
    folders = {mask.asset: mask.source for mask in job.masks if mask.source is not None}
    return found.model_copy(update={"scenes": tuple(with_companions(found.scenes, folders))}) if folders else found


def _query(job: Job) -> StacQuery | None:
    """The search, where the job names one or its scenes are a STAC document."""
    if job.stac is not None:
        return job.stac
    named = job.scenes if isinstance(job.scenes, str) else ""
    if not without_query(named).lower().endswith((".json", ".geojson")):
        return None
    from clearyear.scenes.catalog import Documents, is_stac

    return StacQuery(url=named) if is_stac(Documents(named).read(named)) else None


def _refuse_what_is_no_folder(job: Job) -> None:
    """Say what is wanted where a shell's habits stand for the folder: a wildcard, a comma list, one file.

    Raises:
        InputError: ``scenes`` is one of these.
    """
    named = job.scenes
    if not isinstance(named, str) or is_manifest(named):
        return
    scheme, _, path = split_uri(named)
    if scheme == "file" and Path(path).is_dir():
        return
    last = named.rpartition("/")[2]
    many = "," in named and all(part.strip().lower().endswith(_RASTERS) for part in named.split(","))
    if "*" in named or (scheme == "file" and "?" in named):
        above = named.partition("*")[0].partition("?")[0].rpartition("/")[0]
        what, do = "has a wildcard", f"--scenes {shlex.quote(above or '.')} --pattern {shlex.quote(last or '*.tif')}"
    elif many or last.lower().endswith(_RASTERS):
        what = "names several files" if many else "is one file"
        do = f"write scenes: [{named}] into a job file, or give the folder, with --pattern for some of its files"
    else:
        return
    raise InputError(
        f"{shown(named)} {what}, and no folder",
        "a folder or prefix (--pattern says which of its files), a list (.csv, .json), or in a job file a YAML list",
        do,
        uri=shown(named),
    )


def _files(job: Job, masks: Sequence[str], period: Period) -> Found:
    if job.pattern and has_band(job.pattern):
        if not isinstance(job.scenes, str):
            raise InputError("A list of files is given, and a pattern with {band}", "a folder", "give the folder")
        return find_band_files(job.scenes, job.pattern, bands=job.bands, masks=masks, period=period, days=job.days)
    if masks:
        raise InputError(
            f"The mask {', '.join(masks)} cannot be told apart in "
            f"{shown(job.scenes) if isinstance(job.scenes, str) else 'the list'}: each file is a scene",
            "--pattern with {band} (LC08_*_{band}.TIF), a STAC search, or a mask's own folder (--mask scl=FOLDER)",
            "say which",
        )
    scenes = find_scenes(job.scenes, pattern=job.pattern, period=period, days=job.days)
    return Found(scenes=tuple(scenes), bands=tuple(job.bands))


def _fused(found: Found, job: Job) -> Found:
    if job.fuse == "none":
        return found
    looks = [look_of_name(scene.id, scene.datetime, _longitude(scene, job)) for scene in found.scenes]
    return found.model_copy(update={"scenes": tuple(fuse(found.scenes, looks, job.fuse))})


def _longitude(scene: Scene, job: Job) -> float | None:
    """Of the scene's centre, where a solar day needs it."""
    if job.fuse != "solar-day":
        return None
    asset, uri = next(iter(scene.assets.items()))
    try:
        return longitude_of_file(scene.datetime, uri, scene.version_of(asset))
    except ReadError:
        return None  # planning will name it
