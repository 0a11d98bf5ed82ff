"""What a person sees: results on stdout, progress and logs on stderr."""

import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from clearyear.errors import ClearyearError

# Prefect as an embedded default: its own server and SQLite for the length of one command. Without a server named in
# the environment these hold; what the user has set stays.
EMBEDDED = {
    "PREFECT_SERVER_EPHEMERAL_ENABLED": "true",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",  # a first start makes the database, on a slow disk too
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    # Marks runs late one by one, in transactions that lock SQLite for everyone else.
    "PREFECT_SERVER_SERVICES_LATE_RUNS_ENABLED": "false",
    # Task states come as events. Read and written one by one, as Prefect's defaults have it, they cost the server
    # several times the CPU; and what comes faster than it is written is dropped once 10,000 events wait.
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_READ_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_BATCH_SIZE": "200",
    "PREFECT_SERVER_SERVICES_TRIGGERS_READ_BATCH_SIZE": "100",
    "DO_NOT_TRACK": "1",
}

_SHOWN = 20
"""Windows of one kind listed on a terminal; all of them are in missing.csv and in the JSON."""

_IN_A_LINE = 5
"""Windows named in one line."""

STOPPED = "Stopped. What is finished is kept; the same command goes on from there."


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
    folder, _, name = outcome["report"].rpartition("/")
    click.echo(f"{outcome['status']}: {done:,} of {outcome['expected']:,} windows are there")
    for kind in ("missing", "invalid", "stale"):
        _print_windows(kind, outcome, f"{folder}/missing.csv")
    if outcome["empty"]:
        click.echo(f"  {len(outcome['empty']):,} empty: no scene has a valid sample there")
    for scene in outcome["failed_scenes"][:_SHOWN]:
        click.echo(f"  unread   {scene['scene']}  in {_count(scene['windows'], 'window')}: {scene['cause']}")
    if len(outcome["failed_scenes"]) > _SHOWN:
        click.echo(f"  unread   … and {len(outcome['failed_scenes']) - _SHOWN:,} more scenes; the report names them")
    lines = {"mosaic": outcome["mosaic"] or f"none: {outcome['problem'] or 'it is not published'}"}
    lines |= outcome["layers"]
    lines["report"] = f"{folder}/{name.removesuffix('.json')}.md"
    if outcome["mend"]:
        lines["mend"] = f"\n{'':<8} ".join(outcome["mend"])
    for what, text in lines.items():
        click.echo(f"{what:<8} {text}")


def _print_windows(kind: str, outcome: dict[str, Any], rest: str) -> None:
    """The windows of one kind; those that want of the same scenes in one line, for the scenes are named after them."""
    unread = set(outcome["unread"])
    without = [window_id for window_id in outcome[kind] if window_id in unread]
    others = [window_id for window_id in outcome[kind] if window_id not in unread]
    if without:
        more = f" … and {len(without) - _IN_A_LINE:,} more in {rest}" if len(without) > _IN_A_LINE else ""
        named = ", ".join(without[:_IN_A_LINE])
        click.echo(f"  {kind:<8} {_count(len(without), 'window')} where scenes could not be read: {named}{more}")
    for window_id in others[:_SHOWN]:
        click.echo(f"  {kind:<8} {window_id}  {outcome['causes'].get(window_id, '')}".rstrip())
    if len(others) > _SHOWN:
        click.echo(f"  {kind:<8} … and {len(others) - _SHOWN:,} more in {rest}")


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def print_converted(outcome: dict[str, Any]) -> None:
    """What became of images that were to be converted, for people."""
    done = outcome["converted"] + outcome["kept"]
    kept = f", {outcome['kept']:,} of them before" if outcome["kept"] else ""
    click.echo(f"{outcome['status']}: {done:,} of {outcome['expected']:,} images are converted{kept}")
    for failure in outcome["failed"][:_SHOWN]:
        click.echo(
            f"  failed   {failure['source']}: {failure['cause']}. What to do: {failure['do'] or 'see the cause'}"
        )
    if len(outcome["failed"]) > _SHOWN:
        click.echo(f"  failed   … and {len(outcome['failed']) - _SHOWN:,} more; --json names all")
    click.echo(f"out      {outcome['out']}")


def show_outcome(outcome: dict[str, Any], *, as_json: bool) -> int:
    """Print a run's or report's outcome; returns the exit code it means."""
    document, code = answer_of(outcome)
    if as_json:
        print_json(document)
    else:
        print_outcome(document)
    return code


def answer_of(outcome: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """What ``--json`` prints of a run's or report's outcome, and the exit code it means."""
    document = {key: value for key, value in outcome.items() if key != "allowed"}
    return document, 0 if outcome["status"] == "complete" or outcome["allowed"] else 3


def left_behind(destination: str) -> str:
    """What a Ctrl-C leaves, from names alone: reading every tile takes too long for someone who wants out."""
    from clearyear.prepare import plan_at
    from clearyear.stores import open_store

    try:
        plan = plan_at(destination)
        names = {entry.name for entry in open_store(destination).entries("tiles/")}
    except ClearyearError:
        return STOPPED
    one = next(iter(plan.files))
    done = sum({plan.record_name(w), plan.tile_name(w, one)} <= names for w in plan.windows)
    return (
        f"Stopped. {done} of {len(plan.windows)} windows are finished and kept in {plan.destination}; "
        "the same command goes on from there."
    )


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
        # Prefect's own server takes its time; a still terminal looks like a hung one.
        start = bars.add_task("starting Prefect", total=None)
        tasks: dict[str, Any] = {}

        def show(what: str, done: int, total: int) -> None:
            bars.update(start, visible=False)
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done)

        with watched_by(show):
            yield
