"""Addresses signed, where a catalogue's files are not open to all.

A signature is a secret, and ends. A plan says who signs, not what came of it, and whoever reads asks him then.
"""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from urllib.parse import urlsplit

from clearyear.errors import ClearyearError, InputError, ReadError, StoreError
from clearyear.reducers.plugins import plugin_class
from clearyear.scenes.scene import Scene

Signer = Callable[[str], str]

PLANETARY_COMPUTER = "https://planetarycomputer.microsoft.com/api/sas/v1/token"
"""Gives a token for reading one container to whoever asks; see planetarycomputer.microsoft.com/docs/concepts/sas."""

_BLOBS = ".blob.core.windows.net"
_MARGIN = timedelta(minutes=5)
"""A token about to end is asked for anew: what is signed now is read a while later."""
_KEEP_SECONDS = 120.0
"""So long an address keeps its signature in a process: what is open under it serves all windows of that time."""


def signer(kind: str | None) -> Signer:
    """What signs an address; addresses that need nothing come back as they are.

    Args:
        kind: ``planetary-computer``, ``package.module:function`` or None.

    Raises:
        InputError: the function may not be used, or cannot be imported.
    """
    if kind is None:
        return lambda uri: uri
    return sign_for_planetary_computer if kind == "planetary-computer" else _function(kind)


def address_of(scene: Scene, asset: str) -> str:
    """Where to read one of a scene's files: its address, signed as its plan says.

    Raises:
        ReadError: it cannot be signed.
    """
    uri = scene.assets[asset]
    if not scene.sign:
        return uri
    try:
        return _signed(scene.sign, uri, int(time.monotonic() / _KEEP_SECONDS))
    except ClearyearError as error:
        raise ReadError(error.found, error.wanted, error.do, transient=error.transient, uri=uri) from error


@lru_cache(maxsize=8192)
def _signed(kind: str, uri: str, era: int) -> str:
    del era  # it is part of the key
    return signer(kind)(uri)


def sign_for_planetary_computer(uri: str) -> str:
    """The address of a blob with a token to read it; any other address, or one that has a token, as it is.

    Raises:
        StoreError: the endpoint gives no token.
    """
    parts = urlsplit(uri)
    host = parts.hostname or ""
    container = parts.path.lstrip("/").partition("/")[0]
    if parts.scheme != "https" or not host.endswith(_BLOBS) or not container or parts.query:
        return uri
    account = host.removesuffix(_BLOBS)
    token, ends = _token(account, container)
    if ends - _MARGIN < datetime.now(UTC):
        _token.cache_clear()
        token, _ = _token(account, container)
    return f"{uri}?{token}"


@cache
def _token(account: str, container: str) -> tuple[str, datetime]:
    from clearyear.scenes.stac_io import read_web

    try:
        answer = json.loads(read_web(f"{PLANETARY_COMPUTER}/{account}/{container}"))
        return str(answer["token"]), datetime.fromisoformat(answer["msft:expiry"])
    except (ClearyearError, ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"The Planetary Computer gives no token for {account}/{container} ({error})",
            "a token to read with",
            "try again later, or leave out --sign if these files are open to all",
            transient=True,
        ) from error


def _function(name: str) -> Signer:
    function = plugin_class(name, "signer")

    def sign(uri: str) -> str:
        try:
            signed = function(uri)
        except Exception as error:
            raise ClearyearError(f"The signer {name} failed ({type(error).__name__})", "no error", "mend it") from error
        if not isinstance(signed, str) or not signed:
            raise InputError(f"The signer {name} returns {type(signed).__name__}", "the signed address", "mend it")
        return signed

    return sign
