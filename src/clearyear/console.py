"""What a person sees: results on stdout, progress and logs on stderr."""

import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

# Prefect as an embedded default: its own server and SQLite for the length of one command. Without a server named in
# the environment these hold; what the user has set stays.
EMBEDDED = {
    "PREFECT_SERVER_EPHEMERAL_ENABLED": "true",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_LATE_RUNS_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_READ_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_BATCH_SIZE": "200",
    "PREFECT_SERVER_SERVICES_TRIGGERS_READ_BATCH_SIZE": "100",
    "DO_NOT_TRACK": "1",
}


def set_up(*, debug: bool) -> None:
    """Logging to stderr: warnings and worse, or everything with ``debug``. Call before Prefect is imported."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO if debug else logging.WARNING, format="%(message)s")
    if not os.environ.get("PREFECT_API_URL"):
        for name, value in EMBEDDED.items():
            os.environ.setdefault(name, value)
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "INFO" if debug else "CRITICAL")
    os.environ.setdefault("PREFECT_SERVER_LOGGING_LEVEL", "WARNING" if debug else "CRITICAL")


def note(text: str) -> None:
    """A line for the person at the terminal."""
    click.echo(text, err=True)


def print_json(document: dict[str, Any]) -> None:
    """One JSON object as the last thing on stdout."""
    click.echo(json.dumps(document, allow_nan=False))


def print_outcome(outcome: dict[str, Any]) -> None:
    """A run's or report's outcome for people."""
    done = outcome["ok"] + len(outcome["empty"])
    click.echo(f"{outcome['status']}: {done} of {outcome['expected']} windows are there")
    for kind in ("missing", "invalid", "stale"):
        for window_id in outcome[kind]:
            click.echo(f"  {kind:8}{window_id}  {outcome['causes'].get(window_id, '')}")
    if outcome["empty"]:
        click.echo(f"  {len(outcome['empty'])} windows are empty: no scene saw anything there")
    if outcome["failed_reads"]:
        click.echo(f"  {outcome['failed_reads']} reads failed; the report names the scenes")
    click.echo(f"mosaic:  {outcome['mosaic'] or 'none; ' + outcome['problem']}")
    for layer, uri in outcome["layers"].items():
        click.echo(f"{layer + ':':9}{uri}")
    click.echo(f"report:  {outcome['report']}")


@contextmanager
def progress_bar() -> Iterator[None]:
    """A bar on stderr for whatever reports its progress inside; silent when stderr is no terminal."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from clearyear.progress import watched_by

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, Any] = {}

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done)

        with watched_by(show):
            yield
