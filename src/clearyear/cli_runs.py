"""One verb over every run below a folder."""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import click

from clearyear import console
from clearyear.options import failed, words_of

log = logging.getLogger(__name__)

_WORST_FIRST = (1, 2, 3)
"""Exit codes: what nobody expected, then wrong input, then what is incomplete."""

Answer = tuple[dict[str, Any], int]
"""What ``--json`` prints of one run, and the exit code it means."""


def over_runs(
    verb: str,
    out: str,
    runs: Sequence[str],
    look: Callable[[str], Answer],
    show: Callable[[str, dict[str, Any]], None],
    *,
    as_json: bool,
) -> int:
    """Do what a verb does with one run to each of them, one after the other, and print what came of it.

    Of several, one that ends in an error does not keep the verb from the others.

    Args:
        verb: what the user calls it.
        out: what the user gave.
        runs: the folders it stands for.
        look: the verb itself, of a run's folder.
        show: prints its answer for people, of a run as the user knows it.
        as_json: print one object in the end instead: the run's own, or ``{"runs": […]}`` of several.

    Returns:
        The worst of their exit codes: 1, then 2, then 3, then 0.
    """
    if len(runs) == 1:
        document, code = look(runs[0])
        if as_json:
            console.print_json(document)
        else:
            show(out, document)
        return code
    documents, codes = [], []
    for number, run in enumerate(runs):
        name = run.removeprefix(out).strip("/")
        if not as_json:
            click.echo(("\n" if number else "") + click.style(f"{name}:", bold=True))
        document, code = _one_of_several(verb, name, partial(look, run))
        if not (as_json or document.get("error")):
            show(run, document)
        documents.append({"run": run, **document})
        codes.append(code)
    if as_json:
        console.print_json({"runs": documents})
    return next((code for code in _WORST_FIRST if code in codes), 0)


def print_outcome(_: str, outcome: dict[str, Any]) -> None:
    """A run's or report's outcome for people."""
    console.print_outcome(outcome)


def _one_of_several(verb: str, name: str, look: Callable[[], Answer]) -> Answer:
    try:
        return look()
    except Exception as error:
        log.info("%s of %s", verb, name, exc_info=True)  # the traceback, with --debug
        text = words_of(error)
        console.note(f"Error in {name}: {text}")
        return failed(verb, text), getattr(error, "exit_code", 1)
