"""A scene: one acquisition of the place, as a value."""

import datetime as dt
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from clearyear.grid import Grid, Window
from clearyear.stores import without_query


class Place(BaseModel):
    """How a file's pixels lie, where its grid is not the plan's.

    ``transform`` as in Grid; where the file itself has no georeference, it is what a STAC item says of it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    crs: str
    transform: tuple[float, float, float, float, float, float]
    width: int
    height: int
    offset: tuple[int, int] | None = None
    """Column and row of the file's first pixel in the plan's grid, where its pixels are the grid's; may be negative.
    None: the file must be resampled."""

    def share(self, grid: Grid, window: Window) -> float:
        """About which share of the file a window needs: exact for shifted files, at most for resampled ones."""
        if self.offset is not None:
            left, top = window.col_off - self.offset[0], window.row_off - self.offset[1]
            width = min(left + window.width, self.width) - max(left, 0)
            height = min(top + window.height, self.height) - max(top, 0)
            return max(0, width) * max(0, height) / (self.width * self.height)
        if self.crs != grid.crs:
            # Pixels of two CRSs cannot be compared so simply: as if the file reached as far as the grid.
            return window.n_pixels / (grid.width * grid.height)
        a, b, _, d, e, _ = self.transform
        p, q, _, r, s, _ = grid.transform
        return min(1.0, window.n_pixels * abs((p * s - q * r) / (a * e - b * d)) / (self.width * self.height))


UNKNOWN = Place(crs="", transform=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0), width=0, height=0)
"""Of a file whose header could not be read when its plan was made: nobody knows where it lies, reading it fails."""


SIGNER = r"planetary-computer|[A-Za-z_][\w.]*:[A-Za-z_]\w*"
"""What a signer is called."""


class Scene(BaseModel):
    """One acquisition: what it is called, when it was taken, where its pixels lie and in which version."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    datetime: dt.datetime
    assets: dict[str, str]
    """Band name → address. A file that holds all bands stands under ``data``; a class or bit band has its own name."""
    version: str
    """Changes when a file does: a GCS generation, or mtime and size of a local file; of several files one for all."""
    size: int
    """Bytes of its files as stored."""
    cloud_cover: float | None = None
    """Percent, where the source says so."""
    versions: dict[str, str] = {}
    """Band name → its file's version, where there is more than one file."""
    places: dict[str, Place] = {}
    """Band name → how its file lies, for those whose grid is not the plan's."""
    add: dict[str, int] = {}
    """Band name → what is added to its valid numbers, so that all scenes count alike: −1000 where a processing
    baseline has added 1000. Of unsigned numbers a sum below 1 becomes 1: it was seen."""
    sign: str = Field(default="", pattern=f"^({SIGNER})?$")
    """Who signs ``assets`` when they are read; see ``signing.signer``. They are kept without a signature then."""
    hides: tuple[str, ...] = ()
    """Names of the bands in whose files an internal mask hides pixels."""
    group: str = ""
    """Scenes of one group are one observation: where several are valid at a pixel the first one counts."""

    def files(self, assets: Iterable[str] | None = None) -> list[tuple[str, str, str]]:
        """(band name, address, version) of the files called ``assets``; of all of them if None."""
        chosen = self.assets if assets is None else assets
        return [(asset, self.assets[asset], self.version_of(asset)) for asset in chosen]

    @property
    def uri(self) -> str:
        """The one file of a scene that has all its bands in one file."""
        return self.assets["data"]

    def version_of(self, asset: str) -> str:
        """The version of one of the files."""
        return self.versions.get(asset, self.version)

    @property
    def decides(self) -> list[Any]:
        """What pixels depend on besides the files; nothing where that is what it was before there was a choice."""
        more = self.model_dump(mode="json", include={"places", "add", "hides", "group"}, exclude_defaults=True)
        return [more] if more else []

    @property
    def identity(self) -> dict[str, str]:
        """``assets`` without signatures: an address signed anew is the same scene."""
        return {band: without_query(uri) for band, uri in self.assets.items()}


class Found(BaseModel):
    """What a source of scenes has to say: the scenes, and what holds for all of them."""

    model_config = ConfigDict(frozen=True)

    scenes: tuple[Scene, ...]
    """In acquisition order. ``places`` hold what the source says of a file's georeference; the file may know better."""
    assets: tuple[str, ...] = ("data",)
    """Those the bands are made of: one file with all, or one for each band in this order."""
    bands: tuple[str, ...] = ()
    """Which bands of files that hold several, by name or number; see ``chosen_bands``. None: all, as they lie there."""
    nodata: float | None = None
    """Where the source says so; a file's own tag wins."""
    nodata_unlike: str = ""
    """Where the source says several: which, and of what."""
    scale: float | None = None
    offset: float | None = None
    """Number × scale + offset is the physical value, after ``Scene.add``."""
    tells_law: bool = False
    """Whether ``scale`` and ``offset``, or that there are none, is the last word: tags of the files do not count."""
