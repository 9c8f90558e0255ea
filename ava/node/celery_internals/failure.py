"""The end of Celery's worker: it logs its last error with a traceback, exits with 0, and writes lines past the log."""

from __future__ import annotations

import logging

from celery import Celery
from celery.apps import worker

from ava.errors import StartError
from ava.telemetry import logs

#: The logger with which Celery's worker writes "Unrecoverable error".
_LOGGER = "celery.worker"


class _Catch(logging.Filter):
    """Remembers the error with which the worker ends; drops the traceback of one that needs none."""

    def __init__(self, foreseen: tuple[type[BaseException], ...]) -> None:
        super().__init__()
        self._foreseen = foreseen
        self.errors: list[BaseException] = []

    def filter(self, record: logging.LogRecord) -> bool:
        """Returns False for an error of the broker or of this machine, of which one line says all."""
        if record.levelno < logging.CRITICAL or not record.exc_info or record.exc_info[1] is None:
            return True
        self.errors.append(record.exc_info[1])
        return not isinstance(record.exc_info[1], self._foreseen)


def catch(app: Celery) -> list[BaseException]:
    """Returns a list that receives the error with which Celery's worker ends, if one ends it."""
    with app.connection_for_read() as connection:
        foreseen = (StartError, OSError, *connection.connection_errors, *connection.channel_errors)
    catching = _Catch(foreseen)
    logging.getLogger(_LOGGER).addFilter(catching)
    return catching.errors


def log_shutdown() -> None:
    """Write the lines about a shut-down to the log. A signal handler writes most of them."""
    worker.safe_say = _say


def _say(message: str, *_: object) -> None:
    try:
        logs.write_line(worker.__name__, message.removeprefix("worker: "))
    except OSError:
        # Nothing reads the log any longer, and a shut-down goes on.
        return
