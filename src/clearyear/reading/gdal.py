"""How we use GDAL: its options, which drivers may open a scene, and what its errors mean."""

import atexit
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from threading import Lock

from clearyear.redact import redact
from clearyear.settings import Settings, current_settings

# Set in the process environment because rasterio.Env does not reach the threads of a pool. setdefault: what the
# user has set stays.
OPTIONS = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    # ^ no listing of the neighbours and no sidecars: 216 scenes share a folder, and a .aux.xml may redirect
    "GDAL_HTTP_MAX_RETRY": "4",
    "GDAL_HTTP_RETRY_DELAY": "0.5",
    # ^ 429 and 5xx are tried again below us; what is left over is a transient ReadError
    "GDAL_HTTP_CONNECTTIMEOUT": "20",
    "GDAL_HTTP_LOW_SPEED_TIME": "60",
    "GDAL_HTTP_LOW_SPEED_LIMIT": "1000",
    # ^ a server that drips is a failed read, not a hung window
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
    "GDAL_INGESTED_BYTES_AT_OPEN": "32768",
    # ^ the header of a COG in one request
    "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".tif,.tiff,.TIF,.TIFF,.jp2,.JP2",
    "CPL_VSIL_CURL_NON_CACHED": "/vsigs/:/vsis3/:/vsicurl/",
    # ^ GDAL knows what it has read elsewhere by the address alone, and would go on giving a scene's old version
    "GDAL_CACHEMAX": "64",
    # ^ MB. Every block is used once; a large cache only competes with the stacks
    "GDAL_PAM_ENABLED": "NO",
    # ^ no .aux.xml is read or written beside anything
}
if Settings().gs_anonymous:
    OPTIONS["GS_NO_SIGN_REQUEST"] = "YES"
if Settings().s3_anonymous:
    OPTIONS["AWS_NO_SIGN_REQUEST"] = "YES"
if _endpoint := os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL"):
    # AWS's own name for it, which GDAL does not know.
    OPTIONS["AWS_S3_ENDPOINT"] = _endpoint.partition("://")[2].rstrip("/")
    OPTIONS["AWS_HTTPS"] = "YES" if _endpoint.startswith("https://") else "NO"
    OPTIONS["AWS_VIRTUAL_HOSTING"] = "NO"
for _name, _value in OPTIONS.items():
    os.environ.setdefault(_name, _value)

import rasterio  # noqa: E402  the options must be in place before GDAL starts
from rasterio._err import CPLE_BaseError  # noqa: E402
from rasterio.enums import ColorInterp  # noqa: E402
from rasterio.errors import NotGeoreferencedWarning, RasterioError  # noqa: E402
from rasterio.io import DatasetReader  # noqa: E402

from clearyear.errors import ReadError  # noqa: E402
from clearyear.stores import gdal_path, is_remote, shown  # noqa: E402

# Scenes without georeference are normal: a STAC item has it, or nobody needs it. Planning says where it is missed.
warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)


class _Hush(logging.Filter):
    """What GDAL logs of a request has the whole address in it, signature included."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = redact(record.getMessage()), ()
        return True


for _name in ("rasterio", "rasterio._err", "rasterio._env", "rasterio._io", "rasterio._base", "rasterio.env"):
    logging.getLogger(_name).addFilter(_Hush())

DRIVER = "GTiff"
"""What a scene may be. A VRT could reach elsewhere; it is not a scene."""

JPEG2000 = "JP2OpenJPEG"
"""What else it may be, whatever it is called: the driver looks at a file's first bytes."""

_NOT_MINE = "not recognized as being in a supported file format"

FAST_DRIVER = "LIBERTIFF"
"""GDAL's other reader of GeoTIFF (3.11 and later): used where it is faster and the pixels are known to be equal."""

_AGREED_COMPRESSIONS = {"DEFLATE", "ZSTD"}
_AGREED_DTYPES = {"uint16", "int16", "uint32", "int32", "float32", "float64"}

_PERMANENT_HTTP = ("HTTP response code: 401", "HTTP response code: 403", "HTTP response code: 404", "does not exist")


MOST_IDLE = 400
"""Datasets kept open between reads; each holds a file descriptor, and 1,024 of these are usual."""

_most_idle = MOST_IDLE
_idle: dict[tuple[str, str, int], list[DatasetReader]] = {}
_n_idle = [0]
_idle_lock = Lock()


@contextmanager
def open_raster(uri: str) -> Iterator[DatasetReader]:
    """Open a scene for reading; closes at the end.

    Raises:
        ReadError: it cannot be opened or, inside the block, read. ``transient`` where trying again may help:
            any failure of a remote file that is not «forbidden» or «not found».
    """
    with _as_read_error(uri), _open_as_scene(uri) as dataset:
        yield dataset


@contextmanager
def borrow_raster(uri: str, version: str, directory: int = 0) -> Iterator[DatasetReader]:
    """``open_raster``, but the dataset stays open for the next who asks: opening costs as much as reading a block.

    A dataset is with one borrower at a time; one whose read failed is closed. ``directory``: that one of the file's.
    """
    key = (uri, version, directory)
    with _as_read_error(uri):
        dataset = _take(key) or _open(uri, directory)
        try:
            yield dataset
        except BaseException:
            dataset.close()
            raise
        _give_back(key, dataset)


def keep_open(most: int) -> None:
    """Keep at most that many datasets open between reads, and begin with none: each holds a block and its bytes."""
    global _most_idle  # as GDAL's memory is the process's
    _most_idle = most
    _close_idle()


def cache_bytes() -> int:
    """The most GDAL's block cache takes, as GDAL understands GDAL_CACHEMAX: a share of the memory, MB or bytes."""
    text = os.environ["GDAL_CACHEMAX"].strip()
    if text.endswith("%"):
        return int(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * float(text[:-1]) / 100)
    return int(text) << 20 if int(text) < 100_000 else int(text)


def _open_as_scene(uri: str) -> DatasetReader:
    """By the driver whose first bytes the file has; the error is that of the one that knew it."""
    try:
        return rasterio.open(gdal_path(uri), driver=DRIVER, sharing=False)
    except RasterioError as error:
        if _NOT_MINE not in words(error) or not current_settings().jpeg2000:
            raise
        try:
            # A world file beside it is a sidecar like any other.
            return rasterio.open(gdal_path(uri), driver=JPEG2000, sharing=False, GEOREF_SOURCES="INTERNAL")
        except RasterioError as other:
            raise (error if _NOT_MINE in words(other) else other) from None


def _open(uri: str, directory: int) -> DatasetReader:
    if directory:  # a world file would be looked for beside it, with Python's lock held
        address = f"GTIFF_DIR:{directory}:{gdal_path(uri)}"
        return rasterio.open(address, driver=DRIVER, sharing=False, GEOREF_SOURCES="NONE")
    dataset = _open_as_scene(uri)
    # The other driver asks servers more often.
    if is_remote(uri) or not _has_fast_driver() or not _agrees(dataset):
        return dataset
    dataset.close()
    return rasterio.open(gdal_path(uri), driver=FAST_DRIVER, sharing=False)


@lru_cache(maxsize=1)
def _has_fast_driver() -> bool:
    with rasterio.Env() as env:
        return FAST_DRIVER in env.drivers()


def _agrees(dataset: DatasetReader) -> bool:
    """Whether both drivers are known to give the same pixels, and the other one sooner.

    tests/test_libertiff.py holds the first. With GDAL 3.12.2 they differ for some big-endian files: LIBERTIFF leaves
    the bytes of PackBits and LERC swapped. It is no faster for LZW and for bytes, and a strip that two windows share it
    decodes twice.
    """
    about = dataset.tags(ns="IMAGE_STRUCTURE") | dataset.tags(1, ns="IMAGE_STRUCTURE")
    with Path(dataset.name).open("rb") as file:
        little = file.read(2) == b"II"
    return (
        little
        and about.get("COMPRESSION") in _AGREED_COMPRESSIONS
        and "NBITS" not in about
        and set(dataset.dtypes) <= _AGREED_DTYPES
        and dataset.block_shapes[0][1] < dataset.width
    )


def has_alpha(dataset: DatasetReader) -> bool:
    """Whether the last band is called alpha."""
    with suppress(CPLE_BaseError):  # of something GDAL has met before: the first property that is asked for tells it
        return _last_is_alpha(dataset)
    return _last_is_alpha(dataset)


def _last_is_alpha(dataset: DatasetReader) -> bool:
    return bool(dataset.count > 1 and dataset.colorinterp[-1] == ColorInterp.alpha)


def _take(key: tuple[str, str, int]) -> DatasetReader | None:
    with _idle_lock:
        waiting = _idle.get(key)
        if not waiting:
            return None
        _n_idle[0] -= 1
        return waiting.pop()


def _give_back(key: tuple[str, str, int], dataset: DatasetReader) -> None:
    """Keep it for the next, if there is room.

    Those that are kept stay: scenes are read round and round, and if the newcomer took the place of the one unused for
    longest, that one would be the next to be asked for.
    """
    with _idle_lock:
        room = _n_idle[0] < _most_idle
        if room:
            _idle.setdefault(key, []).append(dataset)
            _n_idle[0] += 1
    if not room:
        dataset.close()


@atexit.register
def _close_idle() -> None:
    """Before Python takes itself apart: rasterio 1.5 complains of each dataset that is still open then."""
    with _idle_lock:
        for datasets in _idle.values():
            for dataset in datasets:
                dataset.close()
        _idle.clear()
        _n_idle[0] = 0


@contextmanager
def _as_read_error(uri: str) -> Iterator[None]:
    try:
        yield
    except (RasterioError, OSError, UnicodeDecodeError) as error:  # the last of a CRS that is no text
        said = redact(words(error))
        raise ReadError(
            said,
            "a GeoTIFF that can be read",
            transient=is_remote(uri) and not any(sign in said for sign in _PERMANENT_HTTP),
            uri=shown(uri),
        ) from error


def words(error: BaseException) -> str:
    """The most telling sentence: GDAL's own stands in the cause, rasterio's is «Read failed. See previous…»."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split()) or type(error).__name__
