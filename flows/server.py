"""Prefect's own server for the length of one command."""

import atexit
import secrets
import signal
import subprocess
from contextlib import ExitStack, chdir
from contextvars import copy_context
from threading import Thread
from typing import Any

import httpx
from prefect.server.api.server import SubprocessASGIServer
from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_API_URL,
    PREFECT_HOME,
    PREFECT_SERVER_API_AUTH_STRING,
    temporary_settings,
)

from tasks.logs import to_server_only

_locked = ExitStack()
"""Holds the settings of this process's server until its end."""

_TRIES = 5
"""Ports to be drawn."""


def start_server() -> None:
    """Start the server that a flow would start by itself, but deaf to Ctrl-C; nothing if one is named already.

    A terminal sends Ctrl-C to the server as well. With the server gone first, Prefect tries for more than a minute to
    tell it of the interruption, and what the user sees in the end is a refused connection.
    """
    if PREFECT_API_URL.value():
        to_server_only()
        return
    # Whoever may run code by a server's API may do so as its owner, and on a shared machine others hear its port.
    word = f"clearyear:{secrets.token_urlsafe(24)}"
    ours = {
        PREFECT_SERVER_API_AUTH_STRING: word,
        PREFECT_API_AUTH_STRING: word,
        PREFECT_HOME: PREFECT_HOME.value().absolute(),  # the server will stand there
    }
    _locked.enter_context(temporary_settings(ours))
    problems: list[Exception] = []

    def start() -> None:
        # A process inherits the signals its parent's thread has blocked; the main thread's stay as they are.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            _start(word)
        except Exception as error:  # noqa: BLE001  raised again below, in the thread that asked
            problems.append(error)

    thread = Thread(target=copy_context().run, args=(start,), daemon=True)
    thread.start()
    thread.join()
    if problems:
        raise problems[0]
    # Processes that compute windows get our settings. Without an address there, each would start a server of its own.
    _locked.enter_context(temporary_settings({PREFECT_API_URL: SubprocessASGIServer().api_url}))


def _start(word: str) -> None:
    """Start ours, and again elsewhere where another command's server has taken the port meanwhile.

    Prefect draws one of a thousand ports, looks whether it is free, and takes whoever answers there seconds later for
    its own server. Only ours knows the word, and asks for it.
    """
    user, _, password = word.partition(":")
    for _ in range(_TRIES):
        server = _Server()
        server.start()
        answers = [
            httpx.get(f"{server.api_url}/admin/version", auth=auth, timeout=60, trust_env=False).status_code
            for auth in ((user, password), None)
        ]
        if answers == [httpx.codes.OK, httpx.codes.UNAUTHORIZED]:
            return
        server.stop()
    raise RuntimeError(f"Other servers have taken {_TRIES} ports, one after the other, before ours could")


class _Server(SubprocessASGIServer):
    """Prefect's, watched from its first moment: it takes seconds to answer, and we may be killed meanwhile."""

    def _run_uvicorn_command(self) -> "subprocess.Popen[Any]":
        # «python -m» and Alembic's settings both have it look for modules in the current folder first: beside scenes
        # that others have packed a grp.py would be run.
        home = PREFECT_HOME.value()
        home.mkdir(parents=True, exist_ok=True)
        with chdir(home):
            server = super()._run_uvicorn_command()
        _end_with_us(server)
        return server


def _end_with_us(server: "subprocess.Popen[Any]") -> None:
    """Have the server end even if this process is killed and cannot end it: a shell waits for our end of a pipe."""
    script = f"read -r _; kill {server.pid}; sleep 10; kill -9 {server.pid}"
    watcher = subprocess.Popen(  # noqa: S603  a number of ours is all that goes in
        ["/bin/sh", "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is not for it
    )
    atexit.register(watcher.kill)  # at an orderly end Prefect stops its server itself
