"""Prefect's own server for the length of one command."""

import signal
from contextvars import copy_context
from threading import Thread

from prefect.server.api.server import SubprocessASGIServer
from prefect.settings import PREFECT_API_URL


def start_server() -> None:
    """Start the server that a flow would start by itself, but deaf to Ctrl-C; nothing if one is named already.

    A terminal sends Ctrl-C to the server as well. With the server gone first, Prefect tries for more than a minute to
    tell it of the interruption, and what the user sees in the end is a refused connection.
    """
    if PREFECT_API_URL.value():
        return
    problems: list[Exception] = []

    def start() -> None:
        # A process inherits the signals its parent's thread has blocked; the main thread's stay as they are.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            SubprocessASGIServer().start()
        except Exception as error:  # noqa: BLE001  raised again below, in the thread that asked
            problems.append(error)

    thread = Thread(target=copy_context().run, args=(start,), daemon=True)
    thread.start()
    thread.join()
    if problems:
        raise problems[0]
