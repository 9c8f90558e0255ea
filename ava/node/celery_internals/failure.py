"""Handle the end of Celery's worker, which otherwise logs its last error with a traceback, bypasses the log and exits
with 0.
"""

from __future__ import annotations

import logging

from celery import Celery
from celery.apps import worker

from ava.errors import StartError
from ava.telemetry import logs

_LOGGER = "celery.worker"


class _Catch(logging.Filter):
    """Records the error that ended the worker; hides the traceback of expected errors."""

    def __init__(self, foreseen: tuple[type[BaseException], ...]) -> None:
        super().__init__()
        self._foreseen = foreseen
        self.errors: list[BaseException] = []

    def filter(self, record: logging.LogRecord) -> bool:
        """Return False for an error of the broker or of this machine: one line explains it."""
        if record.levelno < logging.CRITICAL or not record.exc_info or record.exc_info[1] is None:
            return True
        self.errors.append(record.exc_info[1])
        return not isinstance(record.exc_info[1], self._foreseen)


def catch(app: Celery) -> list[BaseException]:
    """Return a list that will contain the error that ends Celery's worker, if any."""
    with app.connection_for_read() as connection:
        foreseen = (StartError, OSError, *connection.connection_errors, *connection.channel_errors)
    catching = _Catch(foreseen)
    logging.getLogger(_LOGGER).addFilter(catching)
    return catching.errors


def log_shutdown() -> None:
    """Log Celery's shutdown messages, most of which come from a signal handler."""
    worker.safe_say = _say


def _say(message: str, *_: object) -> None:
    try:
        logs.write_line(worker.__name__, message.removeprefix("worker: "))
    except OSError:
        # The log has no reader any more; continue the shutdown.
        return
