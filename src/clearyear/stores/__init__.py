"""Where files lie: a local folder or a gs:// prefix behind one seam.

A store reads, lists and writes names below one root. Writing is atomic: under its final name a file is
absent or whole, never half-written, whatever is killed in between.
"""

import os
from pathlib import Path

from clearyear.errors import InputError
from clearyear.stores.base import Entry, Store
from clearyear.stores.gcs import GcsStore
from clearyear.stores.local import LocalStore

__all__ = ["Entry", "Store", "gdal_path", "is_remote", "open_store", "parent_of", "split_uri", "stat_uri"]


def open_store(uri: str) -> Store:
    """The store whose root is ``uri``: a local folder or ``gs://bucket/prefix``.

    Raises:
        InputError: the scheme is none of these.
    """
    scheme, bucket, path = split_uri(uri)
    if scheme == "gs":
        return GcsStore(bucket, path)
    return LocalStore(Path(path))


def split_uri(uri: str) -> tuple[str, str, str]:
    """(scheme, bucket, path) of an address; the scheme of a local path is ``file``.

    Raises:
        InputError: a scheme other than file and gs, or a bucket without a name.
    """
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return "file", "", os.path.abspath(os.path.expanduser(uri))
    if scheme == "file":
        return "file", "", os.path.abspath(rest)
    if scheme == "gs":
        bucket, _, path = rest.partition("/")
        if bucket:
            return "gs", bucket, path
    raise InputError(
        f"The address {uri!r} cannot be used", "a local path, file:// or gs://bucket/prefix", "correct it", uri=uri
    )


def is_remote(uri: str) -> bool:
    """Whether ``uri`` lies on another machine."""
    return "://" in uri and not uri.startswith("file://")


def gdal_path(uri: str) -> str:
    """How GDAL calls ``uri``."""
    scheme, bucket, path = split_uri(uri)
    return f"/vsigs/{bucket}/{path}" if scheme == "gs" else path


def parent_of(uri: str) -> tuple[str, str]:
    """(folder, name) of a file's address."""
    if split_uri(uri)[0] == "file":
        path = Path(split_uri(uri)[2])
        return str(path.parent), path.name
    folder, _, name = uri.rpartition("/")
    return folder, name


def stat_uri(uri: str) -> Entry | None:
    """The entry of one address, or None where nothing lies."""
    folder, name = parent_of(uri)
    return open_store(folder).stat(name)
