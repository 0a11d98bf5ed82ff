"""Answers that must end: what google-cloud-storage, by way of `requests`, reads of them is bounded in time.

`requests` bounds the silence between two packets, and nothing else: a server that sends a byte a second is listened to
for days. Here every answer has CLEARYEAR_REQUEST_SECONDS from its first byte awaited to its last byte read; one that
takes longer raises what a silent one raises, so that the client tries again and gives up as it does then.
"""

import http.client
import io
import socket
import time
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from clearyear.settings import current_settings


class _Bounded(io.RawIOBase):
    """A socket's bytes until a moment."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, seconds: float) -> None:
        self._raw, self._sock, self._seconds = raw, sock, seconds
        self._end = time.monotonic() + seconds

    def readable(self) -> bool:
        """See RawIOBase."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """See RawIOBase; one packet at most, so that the time is looked at for each."""
        left, patience = self._end - time.monotonic(), self._sock.gettimeout()
        if left <= 0:
            raise TimeoutError(f"its answer has not ended after {self._seconds:g} s")
        self._sock.settimeout(left if patience is None else min(left, patience))
        try:
            return self._raw.readinto(buffer)
        finally:
            self._sock.settimeout(patience)

    def close(self) -> None:
        """See RawIOBase."""
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *arguments: Any, **more: Any) -> None:
        super().__init__(sock, *arguments, **more)
        bounded = _Bounded(self.fp.detach(), sock, current_settings().request_seconds)
        self.fp = io.BufferedReader(bounded)


class _Connection(HTTPConnection):
    response_class = _Response


class _SecureConnection(HTTPSConnection):
    response_class = _Response


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


_POOLS = {"http": _Pool, "https": _SecurePool}


class Adapter(HTTPAdapter):
    """Mounted on a session, it bounds all answers of it, those through a proxy too."""

    def init_poolmanager(self, *arguments: Any, **more: Any) -> None:
        """See HTTPAdapter."""
        super().init_poolmanager(*arguments, **more)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, *arguments: Any, **more: Any) -> Any:
        """See HTTPAdapter."""
        manager = super().proxy_manager_for(*arguments, **more)
        manager.pool_classes_by_scheme = _POOLS
        return manager
