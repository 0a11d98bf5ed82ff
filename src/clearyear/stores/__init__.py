"""Where files lie: a local folder, a gs:// or s3:// prefix, or web addresses to read, behind one seam.

A store reads, lists and writes names below one root. Writing is atomic: under its final name a file is
absent or whole, never half-written, whatever is killed in between.
"""

from pathlib import Path

from clearyear.stores.address import (
    WEB,
    check_destination,
    gdal_path,
    is_remote,
    parent_of,
    shown,
    split_uri,
    without_query,
)
from clearyear.stores.base import Entry, RangeFile, Store
from clearyear.stores.exclusive import same_but_time
from clearyear.stores.gcs import GcsStore
from clearyear.stores.local import LocalFile, LocalStore, local_version
from clearyear.stores.s3 import S3Store
from clearyear.stores.web import WebStore

__all__ = [
    "Entry",
    "LocalFile",
    "RangeFile",
    "Store",
    "check_destination",
    "gdal_path",
    "is_remote",
    "local_version",
    "open_store",
    "parent_of",
    "same_but_time",
    "shown",
    "split_uri",
    "stat_uri",
    "without_query",
]


def open_store(uri: str) -> Store:
    """The store whose root is ``uri``: a local folder, gs:// or s3:// with bucket and prefix, a folder of the web.

    Raises:
        InputError: the scheme is none of these.
    """
    scheme, bucket, path = split_uri(uri)
    if scheme == "gs":
        return GcsStore(bucket, path)
    if scheme == "s3":
        return S3Store(bucket, path)
    if scheme in WEB:
        return WebStore(uri)
    return LocalStore(Path(path))


def stat_uri(uri: str) -> Entry | None:
    """The entry of one address, or None where nothing lies."""
    folder, name = parent_of(uri)
    return open_store(folder).stat(name)
