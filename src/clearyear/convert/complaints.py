"""What GDAL says of tags it cannot read, before it goes on without them."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from threading import local


class _Complaints(logging.Filter):
    """GDAL's words about tags it cannot read, by the thread they were said in; it goes on without the tag.

    A georeference lost that way would be missing from source and COG alike, and no comparison would tell.
    """

    def __init__(self) -> None:
        super().__init__()
        self.heard = local()

    def filter(self, record: logging.LogRecord) -> bool:
        """See logging.Filter; everything passes."""
        said = record.getMessage()
        if "tag ignored" in said and hasattr(self.heard, "words"):
            self.heard.words.append(said.rpartition(" in ")[2])
        return True


_listener = _Complaints()
logging.getLogger("rasterio._env").addFilter(_listener)


@contextmanager
def complaints_of_tags() -> Iterator[list[str]]:
    """What GDAL says in this thread, inside the block, of tags it cannot read."""
    _listener.heard.words = []
    try:
        yield _listener.heard.words
    finally:
        del _listener.heard.words
