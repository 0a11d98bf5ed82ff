"""Files of polygons: what a file is, told by its first bytes; GDAL gets to see no other."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from clearyear.errors import InputError
from clearyear.stores import is_remote, open_store, parent_of, shown, split_uri

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

_PARQUET = (".parquet", ".geoparquet")
KINDS = (".geojson", ".json", ".gpkg", ".shp", *_PARQUET)
"""How a file of polygons may be called."""
_FIRST = {".gpkg": b"SQLite format 3\0", ".shp": b"\0\0\x27\x0a"}
"""A format's first bytes; in GeoJSON a brace, after a byte order mark and white space."""
_DRIVERS = {"GeoJSON", "TopoJSON", "GPKG", "ESRI Shapefile"}
_SHOWN = 5


@contextmanager
def local_file(uri: str, name: str) -> Iterator[Path]:
    """The file on this machine; a Shapefile is several, so it must lie here already."""
    if not is_remote(uri):
        path = Path(split_uri(uri)[2])
        if not path.is_file():
            raise InputError(f"{uri} is not there", "a file of polygons", "correct the address", uri=uri)
        yield path
        return
    if name.lower().endswith(".shp"):
        raise InputError(f"{shown(uri)} is a Shapefile elsewhere", "one on this machine, or a GeoPackage", "copy it")
    with TemporaryDirectory(prefix="clearyear-") as folder:
        store, file = parent_of(uri)
        path = Path(folder) / name
        path.write_bytes(open_store(store).read(file))
        yield path


def read_file(path: Path, uri: str, layer: str | None) -> "GeoDataFrame":
    """The shapes of a file that lies here, of one of its layers if there are several.

    Raises:
        InputError: it is not of the kind its name says, cannot be read, or holds nothing.
    """
    import geopandas
    import pyogrio

    _refuse_disguise(path, uri)
    try:
        if path.name.lower().endswith(_PARQUET):
            return geopandas.read_parquet(path)
        layers = [str(name) for name, _ in pyogrio.list_layers(path)]
        if layer is None and len(layers) > 1:
            raise InputError(f"{shown(uri)} has {len(layers)} layers: {some(layers)}", "one", "name it: polygons_layer")
        driver = pyogrio.read_info(path, layer=layer)["driver"]
        if driver not in _DRIVERS:
            raise InputError(f"{shown(uri)} is of the kind {driver}", ", ".join(sorted(_DRIVERS)), "convert it first")
        frame = geopandas.read_file(path, layer=layer, engine="pyogrio")
    except InputError:
        raise
    except Exception as error:  # whatever geopandas, pyarrow or GDAL make of a file that is none
        raise InputError(
            f"{shown(uri)} cannot be read ({' '.join(str(error).split())[:200]})",
            "GeoJSON, GeoPackage, Shapefile or GeoParquet",
            "correct the file or the layer's name",
            uri=shown(uri),
        ) from error
    if not isinstance(frame, geopandas.GeoDataFrame) or frame.empty:
        raise InputError(f"{shown(uri)} holds no polygon", "at least one", "correct the file or the layer's name")
    return frame


def _refuse_disguise(path: Path, uri: str) -> None:
    """GDAL asks every driver whether the file is one of its own, and some (VRT) reach elsewhere while they answer."""
    suffix = path.suffix.lower()
    with path.open("rb") as file:
        head = file.read(1024).removeprefix(b"\xef\xbb\xbf").lstrip()
    if suffix not in _PARQUET and not head.startswith(_FIRST.get(suffix, b"{")):
        raise InputError(
            f"{shown(uri)} is not what its name says (it begins with {head[:16]!r})",
            "GeoJSON, GeoPackage, Shapefile or GeoParquet",
            "correct the file, or its name",
            uri=shown(uri),
        )


def digest_of(path: Path) -> str:
    """Of the file, and of a Shapefile's companions that hold geometry, names and CRS."""
    digest = hashlib.sha256(path.read_bytes())
    if path.suffix.lower() == ".shp":
        for suffix in (".dbf", ".prj"):
            beside = path.with_suffix(suffix)
            digest.update(beside.read_bytes() if beside.exists() else b"")
    return digest.hexdigest()


def some(items: list[str]) -> str:
    """The first few, and how many more there are."""
    more = f" … and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return "; ".join(items[:_SHOWN]) + more
