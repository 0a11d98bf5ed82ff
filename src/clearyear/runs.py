"""Which runs lie at an address: one, those of a product, or those of all products of a destination."""

from clearyear.errors import InputError
from clearyear.stores import open_store, shown

PLAN = "plan.json"
"""A folder with it is a run's."""

_DEPTH = 2
"""``<product>/<period>`` below what ``--out`` was."""


def find_runs(out: str) -> list[str]:
    """The folders of all runs at ``out``, in the order of their names: itself, or those below it.

    Args:
        out: what a run's ``--out`` was, one product's folder in it, or one period's.

    Raises:
        InputError: there is none, or ``out`` cannot be listed.
    """
    store = open_store(out)
    if store.stat(PLAN) is not None:
        return [out]
    names = [e.name for e in store.entries(lenient=True) if e.name.endswith(f"/{PLAN}") and e.name.count("/") <= _DEPTH]
    if not names:
        raise InputError(
            f"{shown(out)} holds no run",
            "a folder with plan.json, or <product>/<period>/plan.json in it",
            "give what --out was, or the folder of a product or a period in it",
            uri=shown(out),
        )
    return [f"{out.rstrip('/')}/{name.removesuffix(f'/{PLAN}')}" for name in sorted(names)]


def find_run(out: str) -> str:
    """The folder of the one run at ``out``.

    Raises:
        InputError: as find_runs; or there are several, which are named.
    """
    runs = find_runs(out)
    if len(runs) > 1:
        folders = ", ".join(run.removeprefix(f"{out.rstrip('/')}/") for run in runs)
        raise InputError(
            f"{shown(out)} holds {len(runs)} runs: {folders}", "one", "give one of these folders", uri=shown(out)
        )
    return runs[0]
