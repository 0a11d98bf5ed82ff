"""Secrets taken out of text that others will read: errors, reports, artifacts, logs.

What an address needs in order to be read (a signature, a token, a password) must not outlive the reading. Nothing here
tells a secret from a harmless value: a query goes as a whole, and so does whatever stands before an @ in an address.
"""

import re

GONE = "…"

_USER = re.compile(r"(?<=://)[^\s/?#'\"]*@")
_QUERY = re.compile(r"(?<=\?)[^\s'\"<>|)\]?]*=[^\s'\"<>|)\]]*")
_BEARER = re.compile(r"\b(bearer|basic)\s+[A-Za-z0-9+/=._~-]{8,}", re.IGNORECASE)
_NAMED = re.compile(
    r"\b([\w-]*(?:password|passwd|secret|token|api[_-]?key|auth[_-]?string|access[_-]?key(?:[_-]?id)?|signature|sig|"
    r"credential|upload_id)[\"']?\s*[=:]\s*[\"']?)[^\s\"'&,;)}\]]+",
    re.IGNORECASE,
)
_GOOGLE = re.compile(r"\bya29\.[\w-]+")


def redact(text: str) -> str:
    """The text without queries and users of addresses, bearer tokens and values of names that speak of secrets."""
    text = _USER.sub(f"{GONE}@", text)
    text = _QUERY.sub(GONE, text)
    text = _BEARER.sub(rf"\1 {GONE}", text)
    text = _GOOGLE.sub(GONE, text)
    return _NAMED.sub(rf"\1{GONE}", text)
