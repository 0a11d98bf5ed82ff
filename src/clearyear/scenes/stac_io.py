"""What is read of a STAC catalogue on the web: over https, tried again, and never anything else.

pystac-client follows whatever a server's answer links to, a path of this machine too. Here every request and every
redirect is looked at first.
"""

import json
from typing import Any

from pystac_client import stac_api_io
from pystac_client.exceptions import APIError
from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter
from urllib3 import Retry

from clearyear.errors import ClearyearError, InputError, StoreError
from clearyear.redact import redact
from clearyear.settings import current_settings
from clearyear.stores import shown, split_uri

_PASSING = (408, 429, 500, 502, 503, 504)
_LONGEST_WAIT = 30
_MOST_BYTES = 1 << 28
"""Of one answer: a page of items has a few megabytes."""


class WebIO(stac_api_io.StacApiIO):
    """pystac-client's reader, which asks https only (http only of this machine, and only if the root is there)."""

    def __init__(self, root: str) -> None:
        settings = current_settings()
        retry = Retry(
            total=settings.retries,
            backoff_factor=settings.retry_seconds,
            backoff_max=_LONGEST_WAIT,
            status_forcelist=_PASSING,
            allowed_methods=None,  # a search by POST changes nothing
            raise_on_status=False,
            retry_after_max=_LONGEST_WAIT,
        )
        super().__init__(timeout=settings.silence_seconds, max_retries=retry)
        guard = _Guard(split_uri(root)[0], max_retries=retry)
        for prefix in ("https://", "http://"):
            self.session.mount(prefix, guard)

    def read_text(self, source: Any, *args: Any, **kwargs: Any) -> str:
        """See StacIO; an address without a scheme would be a path of this machine."""
        href = source.get_href() if hasattr(source, "get_href") else str(source)
        if not str(href).startswith(("https://", "http://")):
            raise _refusal(str(href))
        return str(super().read_text(source, *args, **kwargs))


class _Guard(HTTPAdapter):
    """Looks at every request, those of redirects too."""

    def __init__(self, scheme: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._schemes = {"https", scheme}

    def send(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:
        """See HTTPAdapter."""
        if split_uri(str(request.url))[0] not in self._schemes:
            raise _refusal(str(request.url))
        response = super().send(request, *args, **kwargs)
        if int(response.headers.get("Content-Length") or 0) > _MOST_BYTES:
            response.close()
            raise InputError(
                f"{shown(str(request.url))} answers with {response.headers['Content-Length']} bytes",
                f"at most {_MOST_BYTES:,}",
                "narrow the search",
            )
        return response


def read_web(uri: str) -> str:
    """The text at a web address.

    Raises:
        InputError: it is not there, or may not be read.
        StoreError: the server does not answer as it must; ``transient``.
    """
    try:
        return WebIO(uri).read_text(uri)
    except APIError as error:
        raise explained(error, uri) from error


def explained(error: APIError, uri: str) -> ClearyearError:
    """What pystac-client raises, in our words."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ClearyearError):
            return cause
        cause = cause.__context__
    status = error.status_code or 0
    words = " ".join(redact(_words(error)).split())[:300]
    where = shown(uri)
    if 400 <= status < 500 and status not in _PASSING:
        return InputError(
            f"{where} refuses the request (HTTP response code: {status}): {words}",
            "an address that answers, and a search it understands",
            "correct the address or the search",
            uri=where,
        )
    return StoreError(
        f"{where} does not answer as it must ({f'HTTP response code: {status}' if status else words})",
        "a STAC API or catalogue that answers",
        "try again later",
        transient=True,
        uri=where,
    )


def _words(error: APIError) -> str:
    """What the server says, if it says it in the way of the API's specification."""
    try:
        answer = json.loads(str(error))
        said = answer.get("description") or answer.get("detail") or answer.get("code") or answer
        return said if isinstance(said, str) else json.dumps(said)
    except (ValueError, AttributeError):
        return str(error)


def _refusal(href: str) -> InputError:
    return InputError(
        f"The catalogue sends us to {shown(href)}",
        "https addresses, as its own",
        "do not use this catalogue, or copy it here if you trust it",
        uri=shown(href),
    )
