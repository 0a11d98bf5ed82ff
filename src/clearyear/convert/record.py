"""What is asked of an image, and the record of what was made of it."""

import hashlib
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from clearyear import __version__
from clearyear.convert.picture import Bands, Picture
from clearyear.errors import InputError
from clearyear.stores import Entry, without_query
from clearyear.window import LayerFile

ALGORITHM = 1
"""Raise it when a sample of a COG or a pixel of a JPEG may come out differently: what lies there is then made again."""


class Options(BaseModel):
    """How images are converted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    compress: Literal["lzw", "deflate", "zstd"] = "lzw"
    jpeg: bool = True


def make_options(**values: Any) -> Options:
    """The options of these values.

    Raises:
        InputError: one of them is none.
    """
    try:
        return Options(**values)
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(
            f"{first['loc'][0]}: {first['input']!r} is not possible", str(first["msg"]), "correct it"
        ) from error


class Image(BaseModel):
    """One image to convert."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    """Its address."""
    name: str
    """What its outputs are called below the destination, without an ending: ``a/b/field``."""
    bands: Bands = None
    """See ``picture.choose_bands``."""

    @property
    def record_name(self) -> str:
        """The name of the record."""
        return f"{self.name}.convert.json"


class Record(BaseModel):
    """What was made of one version of an image: written last, beside its outputs, which count by it alone."""

    model_config = ConfigDict(frozen=True)

    source: str
    version: str
    """The source's, as its store tells it: a generation, an ETag, or time and size."""
    mask_version: str | None
    """That of the ``.msk`` beside it, if there was one."""
    source_size: int
    source_sha256: str
    fingerprint: str
    """Of source, versions, bands, options and ALGORITHM."""
    files: dict[str, LayerFile]
    """``cog`` and, where it is wanted, ``jpeg``."""
    picture: Picture | None
    width: int
    height: int
    bands: int
    dtype: str
    run: str
    """Whose flow run made it; empty for the command line."""
    seconds: float
    created: str
    clearyear: str = __version__


class Converted(BaseModel):
    """An image that is converted: its record, and whether it lay there already, whole and of this version."""

    model_config = ConfigDict(frozen=True)

    record: Record
    kept: bool


def fingerprint_of(image: Image, options: Options, entry: Entry, mask: Entry | None) -> str:
    """Of all that the outputs depend on: the image in its version, its mask's, the bands, the options, ALGORITHM."""
    parts = (
        *(str(ALGORITHM), without_query(image.source), entry.version, mask.version if mask else ""),
        *(repr(image.bands), options.model_dump_json()),
    )
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
