"""What Prefect writes into an operator's log and we take out again, because it hides the line that matters."""

import logging
import os
import traceback

from clearyear.errors import ClearyearError
from clearyear.redact import redact

_OF_RUNS = [logging.getLogger(name) for name in ("prefect.flow_runs", "prefect.task_runs")]
_LEVELS = [f"PREFECT_LOGGING_LOGGERS_PREFECT_{of}_RUNS_LEVEL" for of in ("FLOW", "TASK")]
"""The variables Prefect takes these loggers' levels from."""


class OperatorLog(logging.Filter):
    """Drops Prefect's noise; keeps everything when the level is DEBUG.

    - The timeout warning, once a window: a timeout in a thread strikes only between two reads. That is known and
      enough. GDAL gives up a read that stalls (see clearyear.reading.gdal), so the next moment to strike always comes.
    - Tracebacks of our own errors, twice a run: they say in words what was found and what to do.
    - The engine's last error, which repeats how the run ended.

    What passes has no secrets in it, at any level: this log goes to the server and is shown to all who may see a run.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """See logging.Filter."""
        passes = self._is_wanted(record)
        if passes:
            _redact(record)
        return passes

    def _is_wanted(self, record: logging.LogRecord) -> bool:
        if logging.getLogger(record.name).isEnabledFor(logging.DEBUG):
            return True
        text = str(record.msg)
        if text.startswith("Timeout of %s seconds configured for this task, but"):
            return False
        error = record.exc_info[1] if record.exc_info else None
        if not _is_ours(error):
            return True
        record.exc_info = record.exc_text = None
        return not text.startswith("Engine execution exited")


def _redact(record: logging.LogRecord) -> None:
    """Take secrets out of what will be written, the traceback of whoever's error included."""
    record.msg, record.args = redact(record.getMessage()), ()
    if record.exc_info and record.exc_info[0] is not None:
        record.exc_text = redact("".join(traceback.format_exception(*record.exc_info)).rstrip())


def _is_ours(error: BaseException | None) -> bool:
    """An error we raised, or what Prefect makes of a state we returned as Failed with the outcome as its data."""
    said_so = isinstance(error, TypeError) and "Unexpected result for failed state" in str(error)
    return isinstance(error, ClearyearError) or said_so


def install() -> None:
    """Put the filter on the loggers of flow runs and task runs; doing so again changes nothing."""
    for logger, level in zip(_OF_RUNS, _LEVELS, strict=True):
        if not any(isinstance(f, OperatorLog) for f in logger.filters):
            logger.addFilter(OperatorLog())
        if level in os.environ:
            logger.propagate = False


def to_server_only() -> None:
    """Send a command's runs' logs to the server, where people look for them; the terminal has a line of progress."""
    if not _OF_RUNS[0].isEnabledFor(logging.INFO):
        os.environ.update(dict.fromkeys(_LEVELS, "INFO"))  # Prefect sets all levels anew, here and in other processes
        install()
