"""Files on the web: read one by one, never listed, never written."""

from pathlib import Path
from typing import Any, NoReturn

from clearyear.errors import InputError, StoreError
from clearyear.stores.address import check_destination, expired, shown
from clearyear.stores.base import Entry
from clearyear.stores.remote import REQUEST_ERRORS, look, read_whole, trouble, version_of


class WebStore:
    """What lies below one https address (http only on this machine)."""

    def __init__(self, uri: str) -> None:
        self.root = uri.rstrip("/")

    def entries(self, prefix: str = "", *, lenient: bool = False) -> list[Entry]:
        """Refused: a web server has no listing that could be relied upon."""
        raise InputError(
            f"{shown(self.root)} is a web address, and these cannot be listed",
            "a manifest (.csv or .json) or a list of the scenes' addresses",
            "name the scenes one by one",
            uri=shown(self.root),
        )

    def stat(self, name: str) -> Entry | None:
        """See Store; one request for the first byte."""
        uri = self.uri(name)
        meta = self._ask(look, uri)
        if meta is None:
            return None
        plain = name.partition("?")[0]
        return Entry(name=plain, uri=uri, size=int(meta["size"]), version=version_of(uri, meta))

    def read(self, name: str) -> bytes:
        """See Store."""
        uri = self.uri(name)
        data: bytes | None = self._ask(read_whole, uri)
        if data is None:
            raise StoreError(f"Cannot read {shown(uri)}: it is not there", uri=shown(uri))
        return data

    def write(self, name: str, data: bytes) -> None:
        """Refused."""
        self._refuse()

    def write_file(self, name: str, source: Path) -> None:
        """Refused."""
        self._refuse()

    def swap(self, name: str, data: bytes, expected: str | None) -> str | None:
        """Refused."""
        self._refuse()

    def remove(self, name: str, version: str | None = None) -> None:
        """Refused."""
        self._refuse()

    def uri(self, name: str) -> str:
        """See Store."""
        return f"{self.root}/{name}"

    def scratch(self) -> Path:
        """Refused."""
        self._refuse()

    def sweep(self) -> None:
        """See Store; nothing of ours can lie there."""

    def _refuse(self) -> NoReturn:
        check_destination(self.root)
        raise AssertionError("a web address is no destination")

    @staticmethod
    def _ask(question: Any, uri: str) -> Any:
        try:
            return question(uri)
        except REQUEST_ERRORS as error:
            found = trouble(error)
            if found.kind == "passing":
                raise StoreError(f"Cannot read {shown(uri)}: {found.words}", transient=True, uri=shown(uri)) from error
            ended = expired(uri)
            raise InputError(
                f"Cannot read {shown(uri)}: it {found.words}"
                + (f"; its signature expired at {ended}" if ended else ""),
                "an address that can be read as it stands, with byte ranges",
                "correct it, or sign it anew",
                uri=shown(uri),
            ) from error
