"""What Prefect writes into an operator's log and we take out again, because it hides the line that matters."""

import logging

from clearyear.errors import ClearyearError


class OperatorLog(logging.Filter):
    """Drops Prefect's noise; keeps everything when the level is DEBUG.

    - The timeout warning, once a window: a timeout in a thread strikes only between two reads. That is known and
      enough. GDAL gives up a read that stalls (see clearyear.gdal), so the next moment to strike always comes.
    - Tracebacks of our own errors, twice a run: they say in words what was found and what to do.
    - The engine's last error, which repeats how the run ended.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """See logging.Filter."""
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


def _is_ours(error: BaseException | None) -> bool:
    """An error we raised, or what Prefect makes of a state we returned as Failed with the outcome as its data."""
    said_so = isinstance(error, TypeError) and "Unexpected result for failed state" in str(error)
    return isinstance(error, ClearyearError) or said_so


def install() -> None:
    """Put the filter on the loggers of flow runs and task runs; doing so again changes nothing."""
    for name in ("prefect.flow_runs", "prefect.task_runs"):
        logger = logging.getLogger(name)
        if not any(isinstance(f, OperatorLog) for f in logger.filters):
            logger.addFilter(OperatorLog())
