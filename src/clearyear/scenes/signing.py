"""Addresses signed, where a catalogue's files are not open to all."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from urllib.parse import urlsplit

from clearyear.errors import ClearyearError, InputError, StoreError
from clearyear.reducers.plugins import plugin_class

Signer = Callable[[str], str]

PLANETARY_COMPUTER = "https://planetarycomputer.microsoft.com/api/sas/v1/token"
"""Gives a token for reading one container to whoever asks; see planetarycomputer.microsoft.com/docs/concepts/sas."""

_BLOBS = ".blob.core.windows.net"
_MARGIN = timedelta(minutes=5)
"""A token about to end is asked for anew: what is planned now is read a while later."""


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
