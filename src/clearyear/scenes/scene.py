"""A scene: one acquisition of the place, as a value."""

import datetime as dt

from pydantic import BaseModel, ConfigDict

from clearyear.stores import without_query


class Scene(BaseModel):
    """One acquisition: what it is called, when it was taken, where its pixels lie and in which version."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    datetime: dt.datetime
    assets: dict[str, str]
    """Band name → address. A file that holds all bands stands under ``data``."""
    version: str
    """Changes when the file does: a GCS generation, or mtime and size of a local file."""
    size: int
    """Bytes of the file as stored."""
    cloud_cover: float | None = None
    """Percent, where the source says so."""

    @property
    def uri(self) -> str:
        """The one file of a scene that has all its bands in one file."""
        return self.assets["data"]

    @property
    def identity(self) -> dict[str, str]:
        """``assets`` without signatures: an address signed anew is the same scene."""
        return {band: without_query(uri) for band, uri in self.assets.items()}
