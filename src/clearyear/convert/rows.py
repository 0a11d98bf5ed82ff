"""Which images are to be converted: of a CSV, a folder or prefix, or one file.

A CSV's rows are ``path/to/image.tif,<bands>``, the second cell left out or empty where the image shall decide; a header
may come first. ``<bands>`` is how many bands the image has, or which three of them to show: ``"4,3,2"`` or ``4;3;2``.
A path is meant from the CSV's own folder or, where nothing lies there, from the root that is watched.
"""

import csv
import io
import posixpath
import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from pydantic import BaseModel, ConfigDict

from clearyear.convert.picture import Bands
from clearyear.convert.record import Image
from clearyear.errors import ClearyearError, InputError
from clearyear.stores import is_remote, open_store, parent_of, shown, split_uri, stat_uri, without_query
from clearyear.stores.base import inside

_FORM = "rows path/to/image.tif,<bands> in UTF-8, separated by commas"
_HEADS = {"path", "file", "filename", "image", "uri", "href", "dataset", "source", "name"}
_TIFF = (".tif", ".tiff")
_THREADS = 16


class Row(BaseModel):
    """One row of a list: the image it asks for, or why that is none."""

    model_config = ConfigDict(frozen=True)

    text: str
    """As it came, its line end included; the address where there is no list."""
    image: Image | None = None
    cause: str = ""
    """Why there is none."""
    do: str = ""
    """What to do about it."""


class Sheet(BaseModel):
    """A CSV as it came."""

    model_config = ConfigDict(frozen=True)

    head: str
    """The header's line, or nothing."""
    cells: tuple[tuple[str, tuple[str, ...]], ...]
    """Of each row its text and its cells."""


def parse_bands(text: str) -> Bands:
    """How many bands an image has (``3``), which to show (``4,3,2``), or nothing.

    Raises:
        InputError: it is none of these.
    """
    parts = [part for part in re.split(r"[\s,;+]+", text.strip()) if part]
    if not all(part.isascii() and part.isdecimal() and 0 < int(part) < 100_000 for part in parts):
        raise InputError(f"{text!r} says no bands", "how many there are (3), or which three (4,3,2)", "correct it")
    if not parts:
        return None
    return int(parts[0]) if len(parts) == 1 else tuple(map(int, parts))


def read_sheet(data: bytes) -> Sheet:
    """Take a CSV apart.

    Raises:
        InputError: it is not text, its quotes do not close, or it has no row.
    """
    try:
        lines = list(io.StringIO(data.decode("utf-8-sig"), newline=""))
        reader = csv.reader(lines, strict=True, skipinitialspace=True)
        cells, start = [], 0
        for row in reader:
            text, start = "".join(lines[start : reader.line_num]), reader.line_num
            if any(cell.strip() for cell in row):
                cells.append((text, tuple(cell.strip() for cell in row)))
    except UnicodeDecodeError as error:
        raise InputError(f"it is not text in UTF-8 ({error.reason})", _FORM, "save it as such") from error
    except csv.Error as error:
        raise InputError(f"line {reader.line_num + 1} is no CSV ({error})", _FORM, "correct that line") from error
    head = cells.pop(0)[0] if cells and _is_head(cells[0][1]) else ""
    if not cells:
        raise InputError("it lists no image", _FORM, "add the images")
    return Sheet(head=head, cells=tuple(cells))


def rows_of(sheet: Sheet, uri: str, root: str) -> list[Row]:
    """The images of a CSV lying at ``uri`` below ``root``; a row that asks for none says why, and hides no other."""
    folder = parent_of(uri)[0].rstrip("/")
    place = _Places(folder, root.rstrip("/"))
    with ThreadPoolExecutor(_THREADS) as pool:
        return refuse_doubles(pool.map(lambda row: _row(row[0], row[1], place), sheet.cells))


def find_rows(source: str, out: str, bands: Bands = None) -> list[Row]:
    """The images of a CSV, a folder or prefix (searched recursively), or one file.

    Args:
        source: its address.
        out: the destination; what lies there is no image to convert.
        bands: for images whose row names none.

    Raises:
        InputError: nothing is there, or no image.
    """
    plain = without_query(source).lower()
    if plain.endswith(".csv"):
        folder, name = parent_of(source)
        try:
            found = rows_of(read_sheet(open_store(folder).read(name)), source, folder)
        except ClearyearError as error:
            raise InputError(f"The list {shown(source)}: {error.found}", error.wanted or _FORM, error.do) from error
    elif plain.endswith(_TIFF) or stat_uri(source) is not None:
        if stat_uri(source) is None:
            raise InputError(f"{shown(source)} is not there", "a file, a folder or a list", "correct the address")
        found = [Row(text=shown(source), image=Image(source=source, name=_stem(parent_of(without_query(source))[1])))]
    else:
        found = _listed(source, out)
    return [_with_bands(row, bands) for row in found]


def refuse_doubles(rows: Iterable[Row]) -> list[Row]:
    """Rows of which no two would write the same outputs, unless they ask for the very same."""
    first: dict[str, Image] = {}
    found = []
    for row in rows:
        before = first.setdefault(row.image.name, row.image) if row.image else None
        if row.image and before != row.image and before is not None:
            other = "itself with other bands" if before.source == row.image.source else shown(before.source)
            row = Row(
                text=row.text,
                cause=f"its outputs would be those of {other}, which is listed before it: {before.name}.tif",
                do="give one of them another name, or list it elsewhere",
            )
        found.append(row)
    return found


class _Places:
    """Where the addresses of one list lead."""

    def __init__(self, folder: str, root: str) -> None:
        self.folder, self.root = folder, root

    def image(self, address: str) -> tuple[str, str]:
        """(whole address, name of the outputs) of an address as a row has it.

        Raises:
            InputError: a list that lies elsewhere names a file of this machine, or one out of its root.
        """
        remote = is_remote(self.folder)
        if "://" in address or address.startswith(("/", "~")):
            scheme, _, path = split_uri(address)
            if remote and scheme in ("file", "http"):  # http is of this machine only
                raise _foreign(address)
            whole = path if scheme == "file" else address
            return whole, self._name(whole)
        path = posixpath.normpath(address)
        if remote and path.startswith(".."):
            raise _foreign(address)
        near, far = f"{self.folder}/{path}", f"{self.root}/{path}"
        chosen = far if near != far and stat_uri(near) is None and stat_uri(far) is not None else near
        if not remote:
            chosen = split_uri(chosen)[2]
        return chosen, self._name(chosen)

    def _name(self, whole: str) -> str:
        plain = without_query(whole)
        below = plain.removeprefix(f"{self.root}/")
        return inside(_stem(below if below != plain else plain.rpartition("/")[2]))


def _foreign(address: str) -> InputError:
    return InputError(
        f"{shown(address)} is a file of this machine, or out of the folder that is watched",
        "a name below it, or a whole gs://, s3:// or https:// address",
        "correct it",
    )


def _row(text: str, cells: tuple[str, ...], place: _Places) -> Row:
    try:
        if len(cells) > 2 and any(cells[2:]):
            raise InputError(
                f"the row has {len(cells)} cells", "two: path/to/image.tif,<bands>", 'quote a list of bands: "4,3,2"'
            )
        if not cells[0]:
            raise InputError("the row names no image", "path/to/image.tif,<bands>", "name it")
        source, name = place.image(cells[0])
        return Row(text=text, image=Image(source=source, name=name, bands=parse_bands("".join(cells[1:2]))))
    except ClearyearError as error:
        return Row(text=text, cause=error.found, do=_advice(error))


def _advice(error: ClearyearError) -> str:
    return f"{error.do} (wanted: {error.wanted})" if error.do and error.wanted else error.do or error.wanted


def _listed(source: str, out: str) -> list[Row]:
    entries = open_store(source).entries()
    ours = f"{open_store(out).root}/"
    chosen = [e for e in entries if e.name.lower().endswith(_TIFF) and not e.uri.startswith(ours)]
    if not chosen:
        raise InputError(
            f"{shown(source)} holds {len(entries)} files, none of which is an image to convert",
            "a folder or prefix with .tif files, one such file, or a .csv that lists them",
            "correct the address",
            uri=shown(source),
        )
    return refuse_doubles(Row(text=e.uri, image=Image(source=e.uri, name=_stem(e.name))) for e in chosen)


def _with_bands(row: Row, bands: Bands) -> Row:
    if row.image is None or row.image.bands is not None or bands is None:
        return row
    return row.model_copy(update={"image": row.image.model_copy(update={"bands": bands})})


def _is_head(cells: Sequence[str]) -> bool:
    """Whether a first row names columns: no image and no address, and beside it something that is no bands."""
    name = cells[0].lower()
    if name in _HEADS:
        return True
    is_image = "/" in name or without_query(name).endswith(_TIFF)
    return not is_image and len(cells) > 1 and cells[1] != "" and not cells[1][0].isdecimal()


def _stem(name: str) -> str:
    """A path without its ending."""
    return posixpath.splitext(name)[0]
