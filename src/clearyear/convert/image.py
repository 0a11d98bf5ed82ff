"""One image, end to end: fetched, converted, compared with its source, published, read back, put on record."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp

from rasterio._err import CPLE_BaseError
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader

from clearyear.cog.geotiff import problems
from clearyear.convert.picture import write_jpeg
from clearyear.convert.raster import Source, differences, open_source, write_cog
from clearyear.convert.record import Converted, Image, Options, Record, fingerprint_of
from clearyear.errors import ClearyearError, InputError, ReadError, StoreError
from clearyear.reading.gdal import words
from clearyear.stores import Entry, Store, is_remote, open_store, shown, split_uri, stat_uri
from clearyear.stores.address import is_web
from clearyear.stores.pieces import digest_of, fetch
from clearyear.window import LayerFile

_LITTLE_ROOM = 1 << 20
_WORLD_FILES = (".tfw", ".tifw", ".wld", ".TFW")


def convert_image(image: Image, out: str, options: Options, *, run: str = "") -> Converted:
    """Convert one image, unless its record and outputs show that this version of it is converted.

    Nothing is published before the COG has been read back whole and every sample, mask, nodata value and
    georeference in it found equal to the source's. What is there of an earlier version stays until then.

    Args:
        image: what to convert.
        out: the destination, a folder or prefix.
        options: how.
        run: whose flow run this is, for the record.

    Raises:
        InputError: it is not there, or is of a kind that cannot be converted; the reason is named.
        ReadError: it cannot be read whole, or has changed meanwhile.
        StoreError: source or destination do not answer.
        ClearyearError: GDAL cannot keep all of it in a COG.
    """
    started = time.monotonic()
    store = open_store(out)
    entry, mask = _look(image, store)
    fingerprint = fingerprint_of(image, options, entry, mask)
    if (there := _current(image, options, store, fingerprint)) is not None:
        return Converted(record=there, kept=True)
    with TemporaryDirectory(dir=store.scratch()) as name, _as_this_image(image, Path(name)):
        folder = Path(name)
        path, sha256 = fetch(entry, folder)
        with open_source(path, fetch(mask, folder)[0] if mask else None) as source:
            _refuse_world_file(source.dataset, image.source)
            ours = Path(mkdtemp(dir=folder))  # apart from what was fetched, which has its own name
            made = {"cog": ours / "out.tif"} | ({"jpeg": ours / "out.jpg"} if options.jpeg else {})
            _make_cog(source, made["cog"], options)
            picture = write_jpeg(source, made["jpeg"], image.bands) if options.jpeg else None
            about = source.dataset
            facts = {"width": about.width, "height": about.height, "bands": about.count, "dtype": about.dtypes[0]}
        _refuse_change(entry, mask)
        _make_way(store, image, options)
        files = {kind: _publish(store, image.name, file) for kind, file in made.items()}
    record = Record(
        source=shown(image.source),
        version=entry.version,
        mask_version=mask.version if mask else None,
        source_size=entry.size,
        source_sha256=sha256,
        fingerprint=fingerprint,
        files=files,
        picture=picture,
        **facts,
        run=run,
        seconds=round(time.monotonic() - started, 3),
        created=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
    )
    store.write(image.record_name, (record.model_dump_json(indent=1) + "\n").encode())
    return Converted(record=record, kept=False)


def _look(image: Image, store: Store) -> tuple[Entry, Entry | None]:
    """The image as it lies there, and the mask beside it."""
    entry = stat_uri(image.source)
    if entry is None:
        raise InputError("it is not there", "a file that exists", "correct its address", uri=shown(image.source))
    if _is_same(store.uri(f"{image.name}.tif"), image.source):
        raise InputError("its COG would take its own place", "another folder", "choose another --out")
    # A web address, which nothing lists and which may be signed, stands for itself alone.
    return entry, None if is_web(image.source) else stat_uri(f"{image.source}.msk")


def _is_same(target: str, source: str) -> bool:
    """Whether two addresses mean one file, by whatever links."""
    if is_remote(target) or is_remote(source):
        return target == source
    return Path(target).resolve() == Path(split_uri(source)[2]).resolve()


def _current(image: Image, options: Options, store: Store, fingerprint: str) -> Record | None:
    """The record that lies there, if it is of this very conversion and its outputs are there byte for byte."""
    try:
        record = Record.model_validate_json(store.read(image.record_name))
    except (StoreError, ValueError):
        return None
    wanted = {"cog": f"{image.name}.tif"} | ({"jpeg": f"{image.name}.jpg"} if options.jpeg else {})
    if record.fingerprint != fingerprint or {k: f.name for k, f in record.files.items()} != wanted:
        return None
    return record if all(_is_whole(store, file) for file in record.files.values()) else None


def _is_whole(store: Store, file: LayerFile) -> bool:
    there = store.stat(file.name)
    return there is not None and there.size == file.size and digest_of(there) == file.sha256


def _make_cog(source: Source, target: Path, options: Options) -> None:
    write_cog(source, target, compress=options.compress)
    if wrong := differences(source, target) or problems(str(target)):
        raise ClearyearError(
            f"what GDAL makes of it is not the same: {'; '.join(wrong)}",
            "a COG that holds all that the source does",
            "keep the file as it is; no COG of it is published",
        )


def _make_way(store: Store, image: Image, options: Options) -> None:
    """Remove a record that must not stand beside other bytes than its own, and a JPEG that there will be none of."""
    store.remove(image.record_name)
    if not options.jpeg:
        store.remove(f"{image.name}.jpg")


def _publish(store: Store, name: str, file: Path) -> LayerFile:
    """Put an output in place and read it back from there."""
    written = LayerFile(
        name=f"{name}{file.suffix}",
        size=file.stat().st_size,
        sha256=digest_of(Entry(name=file.name, uri=str(file), size=file.stat().st_size, version="")),
    )
    store.write_file(written.name, file)
    if not _is_whole(store, written):
        uri = store.uri(written.name)
        raise StoreError(f"{uri} does not hold what was written there", transient=True, uri=uri)
    return written


def _refuse_world_file(dataset: DatasetReader, uri: str) -> None:
    """Where an image itself tells no place, one beside it may: what is not read is not lost silently."""
    if not dataset.transform.is_identity or dataset.gcps[0] or dataset.rpcs or is_web(uri):
        return
    stem = uri.rpartition(".")[0]
    for ending in _WORLD_FILES:
        if stat_uri(stem + ending) is not None:
            raise InputError(
                f"its georeference stands in {stem.rpartition('/')[2]}{ending} beside it, which is not read",
                "a georeference in the file itself",
                "put it inside, with `gdal_translate in.tif out.tif`",
            )


def _refuse_change(entry: Entry, mask: Entry | None) -> None:
    """What was fetched is of one version; what was read in place has to be."""
    for before in (entry, *([mask] if mask else [])):
        if not is_remote(before.uri):
            now = stat_uri(before.uri)
            if now is None or now.version != before.version:
                raise ReadError("it has changed while it was converted", "a file that rests", transient=True)


@contextmanager
def _as_this_image(image: Image, scratch: Path) -> Iterator[None]:
    """What goes wrong inside, said of the image and not of a scratch file."""
    uri = shown(image.source)
    folders = [scratch] if is_remote(image.source) else [scratch, Path(split_uri(image.source)[2]).parent]
    try:
        yield
    except ClearyearError as error:
        found = _without(folders, error.found)
        do = error.do or "mend or replace the file"
        raise type(error)(found, error.wanted, do, transient=error.transient, uri=uri) from error
    except (RasterioError, CPLE_BaseError, OSError) as error:
        if shutil.disk_usage(scratch).free < _LITTLE_ROOM:  # GDAL calls a full disk by many names
            raise InputError("there is no room to convert it", "room for it thrice", "make room", uri=uri) from error
        found = _without(folders, words(error))
        raise ReadError(found, "a GeoTIFF that can be read", "mend or replace the file", uri=uri) from error


def _without(folders: list[Path], text: str) -> str:
    """GDAL's words with the names of files in these folders cut short: who reads them knows which image is meant."""
    for folder in folders:
        text = text.replace(f"{folder}/", "")
    return text
