"""What the tasks add to the core: timeouts that strike, and a log an operator can read."""

import logging
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from clearyear.errors import ClearyearError, InputError
from clearyear.job import Job

TIMEOUT_WARNING = "Timeout of %s seconds configured for this task, but the task is running in a worker thread."


def test_a_window_that_never_ends_times_out_and_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, prefect_server: None, scenes: Path, tmp_path: Path
) -> None:
    from flows import steps
    from flows.median_composite import median_composite
    from tasks import window_median as module

    tries = 0

    def stuck(*_: Any, **__: Any) -> Any:
        nonlocal tries
        tries += 1
        while True:  # as reading scene after scene from a server that drips
            time.sleep(0.01)

    monkeypatch.setattr(module, "compute_window", stuck)
    hasty = module.window_median.with_options(timeout_seconds=2, retries=1, retry_delay_seconds=0)
    monkeypatch.setattr(steps, "window_median", hasty)
    job = Job(scenes=str(scenes), period="2023", out=str(tmp_path), tile_size=64)
    state: Any = median_composite(job, return_state=True)
    assert state.name == "Failed"
    assert "x00000_y00000: Task run exceeded timeout" in state.message
    assert state.result(raise_on_failure=False).outcome["missing"] == ["x00000_y00000"]
    assert tries == 2


@pytest.mark.parametrize("due", ["2024-01-15T03:00:00+01:00", "2024-12-31T23:59:59+00:00"])
def test_a_job_without_a_period_means_the_year_before_the_run_was_due(scenes: Path, tmp_path: Path, due: str) -> None:
    from clearyear.prepare import prepare

    plan = prepare(Job(scenes=str(scenes), out=str(tmp_path)), due=datetime.fromisoformat(due))
    assert plan.period.label == "2023--P1Y"
    assert (tmp_path / "luminance-median" / "2023--P1Y" / "plan.json").exists()


def test_a_deployed_run_refuses_a_relative_destination(monkeypatch: pytest.MonkeyPatch) -> None:
    from flows.steps import refuse_relative

    refuse_relative("composites")
    monkeypatch.setenv("PREFECT__RUNTIME__DEPLOYMENT__ID", "any")  # what Prefect offers for such a test
    for absolute in ("/data/composites", "~/composites", "file:///data/composites", "gs://bucket/composites"):
        refuse_relative(absolute)
    for relative in ("composites", "../composites", "file://composites"):
        with pytest.raises(InputError, match="relative to the worker's temporary folder"):
            refuse_relative(relative)


def record(message: str, error: BaseException | None = None) -> logging.LogRecord:
    exc_info = (type(error), error, None) if error else None
    return logging.LogRecord("prefect.flow_runs", logging.ERROR, "", 0, message, (), exc_info)


@pytest.fixture
def level() -> Iterator[Callable[[int], None]]:
    """Sets the level of the log of flow runs, for one test."""
    logger = logging.getLogger("prefect.flow_runs")
    before = logger.level
    yield logger.setLevel
    logger.setLevel(before)


def test_the_log_leaves_out_what_says_nothing(level: Callable[[int], None]) -> None:
    from tasks.logs import OperatorLog

    level(logging.INFO)
    shown = OperatorLog().filter
    ours, foreign = ClearyearError("3 windows are missing"), ZeroDivisionError()
    assert not shown(record(TIMEOUT_WARNING))
    assert not shown(record("Engine execution exited with unexpected exception", ours))
    assert shown(record("Engine execution exited with unexpected exception", foreign))
    assert shown(kept := record("Encountered exception during execution: %r", ours))
    assert kept.exc_info is None
    assert shown(kept := record("Encountered exception during execution: %r", foreign))
    assert kept.exc_info is not None


def test_the_log_keeps_all_for_debugging(level: Callable[[int], None]) -> None:
    from tasks.logs import OperatorLog

    level(logging.DEBUG)
    kept = record("Engine execution exited with unexpected exception", ClearyearError("3 windows are missing"))
    assert OperatorLog().filter(kept)
    assert kept.exc_info is not None
