"""Scenes from a list the user has: CSV, JSON, or the payload of the course's workers.

CSV has a header; the columns are ``uri`` (or ``href``, ``path``, ``dataset``) and, where wanted, ``id``,
``datetime`` and ``cloud_cover``. JSON is a list of addresses, a list of such rows, ``{"scenes": [...]}``, or the
course's ``{"window": [x, y, w, h], "destination": ..., "datasets": [...]}``. Relative addresses are meant from
the manifest's own folder.
"""

import csv
import datetime as dt
import io
import json
import re
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict

from clearyear.errors import InputError
from clearyear.stores import is_remote, open_store, parent_of, shown, split_uri, without_query

_URI_KEYS = ("uri", "href", "path", "dataset")
_KEYS = (*_URI_KEYS, "id", "datetime", "cloud_cover")
_FORMS = (
    "CSV with a column uri (and id, datetime, cloud_cover), or JSON: a list of addresses or of such rows, "
    '{"scenes": [...]}, or {"window": [x, y, width, height], "destination": "...", "datasets": [...]}'
)


def _moment(value: Any) -> Any:
    """ISO 8601 in any form, the basic one too; a number is YYYYMMDD or nothing, never seconds since 1970."""
    if value is None or isinstance(value, dt.datetime):
        return value
    text = str(value).strip()
    if _is_number(text) and not re.fullmatch(r"\d{8}", text):
        raise ValueError(f"{text} is a number and no date; 2023-01-02, 20230102 or 2023-01-02T10:44:41Z is one")
    try:
        return dt.datetime.fromisoformat(text)
    except ValueError:
        if isinstance(value, str) and not text.isdecimal():
            return value  # other ways of writing it that pydantic knows
        raise


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


class Row(BaseModel):
    """One line of a manifest; what it leaves open is found from the file's name."""

    model_config = ConfigDict(frozen=True)

    uri: str
    id: str | None = None
    datetime: Annotated[dt.datetime | None, BeforeValidator(_moment)] = None
    cloud_cover: float | None = None


class Payload(BaseModel):
    """The course's message: one window of these datasets, written to that destination."""

    model_config = ConfigDict(extra="forbid")

    datasets: list[str]
    window: tuple[int, int, int, int]
    destination: str


def is_manifest(uri: str) -> bool:
    """Whether ``uri`` names a list of scenes rather than a folder or prefix of them."""
    return without_query(uri).lower().endswith((".csv", ".json"))


def read_manifest(uri: str) -> list[Row]:
    """The rows of a manifest, in its order.

    Raises:
        InputError: it is not there, or is none of the forms above; the message names the row.
    """
    text = _text(uri)
    said = shown(uri)
    rows = list(_csv_rows(text, said) if without_query(uri).lower().endswith(".csv") else _json_rows(text, said))
    if not rows:
        raise InputError(f"The manifest {said} lists no scene", _FORMS, "add the scenes", uri=said)
    return [row.model_copy(update={"uri": _absolute(row.uri, uri)}) for row in rows]


def read_payload(uri: str) -> Payload:
    """The course's payload, its datasets made absolute.

    Raises:
        InputError: the file is not there or is no such payload.
    """
    document = _json(_text(uri), uri)
    try:
        payload = Payload.model_validate(document)
    except ValueError as error:
        raise InputError(
            f"{uri} is not a worker's payload ({_first_line(error)})",
            '{"window": [x, y, width, height], "destination": "...", "datasets": [...]}',
            "correct it",
            uri=uri,
        ) from error
    if is_remote(uri):
        # A stranger's payload must not choose what is written here, and a plain name would be of the folder one is in.
        whole = "://" in payload.destination
        _absolute(payload.destination if whole else f"/{payload.destination}", uri)
    return payload.model_copy(update={"datasets": [_absolute(d, uri) for d in payload.datasets]})


def _text(uri: str) -> str:
    folder, name = parent_of(uri)
    said = shown(uri)
    try:
        return open_store(folder).read(name).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"The manifest {said} is not text in UTF-8 ({error.reason})", _FORMS, "correct it") from error
    except Exception as error:
        raise InputError(
            f"The manifest {said} cannot be read ({error})", _FORMS, "correct the address", uri=said
        ) from error


def _csv_rows(text: str, uri: str) -> Iterator[Row]:
    reader = csv.DictReader(io.StringIO(text), skipinitialspace=True)
    if not set(reader.fieldnames or ()) & set(_URI_KEYS):
        raise InputError(f"The header of {uri} is {reader.fieldnames}", _FORMS, "name the columns", uri=uri)
    for record in reader:
        yield _row({k: v for k, v in record.items() if v}, f"line {reader.line_num} of {uri}")


def _json_rows(text: str, uri: str) -> Iterator[Row]:
    document = _json(text, uri)
    if isinstance(document, dict):
        document = document.get("scenes", document.get("datasets"))
    if not isinstance(document, list):
        raise InputError(f"{uri} is JSON, but lists no scenes", _FORMS, "correct it", uri=uri)
    for number, record in enumerate(document, start=1):
        yield _row({"uri": record} if isinstance(record, str) else record, f"entry {number} of {uri}")


def _row(record: Any, where: str) -> Row:
    unknown = sorted(map(str, set(record) - set(_KEYS))) if isinstance(record, dict) else ["not an object"]
    address = next((record[k] for k in _URI_KEYS if k in record), None) if not unknown else None
    if address is None:
        what = f"unknown {', '.join(unknown)}" if unknown else "no uri"
        raise InputError(f"In {where}: {what}", f"the columns {', '.join(_KEYS)}", "correct that row")
    try:
        row = Row(uri=address, **{k: record[k] for k in ("id", "datetime", "cloud_cover") if k in record})
    except ValueError as error:
        raise InputError(f"In {where}: {_first_line(error)}", _FORMS, "correct that row") from error
    if row.datetime is None:
        return row
    # A fingerprint holds the moment as text: one moment, one text.
    moment = row.datetime if row.datetime.tzinfo else row.datetime.replace(tzinfo=dt.UTC)
    return row.model_copy(update={"datetime": moment.astimezone(dt.UTC)})


def _json(text: str, uri: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise InputError(f"{uri} is not JSON ({error})", _FORMS, "correct it", uri=uri) from error


def _absolute(address: str, manifest: str) -> str:
    """The address as seen from the manifest's folder.

    A manifest that lies elsewhere may name what lies elsewhere, never a file of this machine: it may be a stranger's.
    """
    folder = without_query(manifest).rpartition("/")[0] or "."
    if not is_remote(manifest):
        return address if "://" in address or address.startswith("/") else split_uri(f"{folder}/{address}")[2]
    scheme, _, _ = split_uri(manifest)
    foreign = "://" in address and split_uri(address)[0] not in ("gs", "s3", "https", scheme)
    climbs = "\\" in address or ".." in address.partition("?")[0].split("/")
    if foreign or climbs or address.startswith(("/", "~")):
        raise InputError(
            f"The manifest {shown(manifest)} names {shown(address)}, a file of this machine or out of its folder",
            "whole addresses elsewhere, or names below the manifest's own folder",
            "correct it, or copy the manifest here if you trust it",
            uri=shown(manifest),
        )
    return address if "://" in address else f"{folder}/{address}"


def _first_line(error: ValueError) -> str:
    """Pydantic's own words, without its links."""
    if hasattr(error, "errors"):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return str(error).splitlines()[0]
