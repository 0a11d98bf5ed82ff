"""A year of cloudy satellite scenes in, one clear picture out, proven complete.

The core: plain functions over arrays, files and plans. It never imports Prefect; `tasks` and `flows` do.

    from clearyear import Job, run

    report = run(Job(scenes="/data/t31tcj", period="2023", out="/data/composites"))

does a whole job in this process. In steps: ``make_plan``, ``put_down``, ``compute_window`` for each of ``plan.windows``
with ``open_store(plan.destination)``, ``check_plan``, ``join_windows``. Names are loaded when they are used.
"""

TYPE_CHECKING = False  # type checkers take it for true; typing itself would be most of what this module costs

if TYPE_CHECKING:
    from clearyear.completeness import Status, WindowStatus, check_plan
    from clearyear.errors import (
        BatchError,
        ClearyearError,
        IncompleteError,
        InputError,
        NoScenesError,
        ReadError,
        StoreError,
        WindowError,
    )
    from clearyear.grid import Grid, Window
    from clearyear.in_process import run
    from clearyear.job import Job, make_job
    from clearyear.job_file import load_job
    from clearyear.plan import Plan
    from clearyear.prepare import find_plan, make_plan, put_down
    from clearyear.publish import join_windows, survey
    from clearyear.report import Report
    from clearyear.stores import Store, open_store
    from clearyear.window import WindowResult, compute_window

__version__ = "0.1.0"
__all__ = [
    "BatchError",
    "ClearyearError",
    "Grid",
    "IncompleteError",
    "InputError",
    "Job",
    "NoScenesError",
    "Plan",
    "ReadError",
    "Report",
    "Status",
    "Store",
    "StoreError",
    "Window",
    "WindowError",
    "WindowResult",
    "WindowStatus",
    "__version__",
    "check_plan",
    "compute_window",
    "find_plan",
    "join_windows",
    "load_job",
    "make_job",
    "make_plan",
    "open_store",
    "put_down",
    "run",
    "survey",
]

_NAMES = {
    "completeness": ("Status", "WindowStatus", "check_plan"),
    "errors": (
        *("BatchError", "ClearyearError", "IncompleteError", "InputError"),
        *("NoScenesError", "ReadError", "StoreError", "WindowError"),
    ),
    "grid": ("Grid", "Window"),
    "in_process": ("run",),
    "job": ("Job", "make_job"),
    "job_file": ("load_job",),
    "plan": ("Plan",),
    "prepare": ("find_plan", "make_plan", "put_down"),
    "publish": ("join_windows", "survey"),
    "report": ("Report",),
    "stores": ("Store", "open_store"),
    "window": ("WindowResult", "compute_window"),
}
"""Module → what of it the package offers. None of these names is a module's own, which would hide it once imported."""

if not TYPE_CHECKING:  # they would take any name for one that is there

    def __getattr__(name):
        """Load what is asked for: ``clearyear --help`` must not wait for GDAL and NumPy (PEP 562)."""
        module = next((module for module, names in _NAMES.items() if name in names), None)
        if module is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        value = globals()[name] = getattr(import_module(f"{__name__}.{module}"), name)
        return value

    def __dir__():
        return sorted({*globals(), *__all__})
