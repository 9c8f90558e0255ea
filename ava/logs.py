"""The logs of the processes, on stderr: lines of text for people, or lines of JSON for collectors.

Events carry fields (`extra={"job_id": …}`), and both formats show them. No payload and no secret is ever a field.
Neither format lets a text control the terminal on which it is read.
"""

from __future__ import annotations

import json
import logging
import os
from datetime import UTC, datetime
from typing import Any

from ava.domain.text import printable
from ava.settings import Settings

__all__ = ["configure"]

#: Loggers of libraries that write several lines a job, where the processes' own logs write one.
_VERBOSE_LOGGERS = ("alembic", "celery.app.trace", "celery.worker.strategy", "celery.worker.control", "kombu")
#: The attributes of every record; any other is a field of the event.
_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName", "data"}


def configure(settings: Settings, kind: str) -> None:
    """Configure the logging of this process. `kind`: the process kind (`api`, `worker` …)."""
    handler = logging.StreamHandler()
    handler.setFormatter(_JsonLines(kind) if settings.logs_json else _TextLines(kind))
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    for name in _VERBOSE_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in record.__dict__.items() if name not in _STANDARD and value is not None}


class _TextLines(logging.Formatter):
    """`2025-06-01 10:00:00,000 INFO worker ava.node.child: … (job_id=… attempt=…)`."""

    def __init__(self, kind: str) -> None:
        super().__init__(f"%(asctime)s %(levelname)s {kind} %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Returns the line with the event's fields at its end."""
        # A further line of a message is indented, so that it does not pretend to be another event.
        record.message = printable(record.message, kept="\t\n").replace("\n", "\n    ")
        line = super().formatMessage(record)
        fields = " ".join(f"{name}={printable(str(value))}" for name, value in _fields(record).items())
        return f"{line} ({fields})" if fields else line

    def formatException(self, ei: Any) -> str:
        """Returns the traceback, without anything that a terminal obeys."""
        return printable(super().formatException(ei), kept="\t\n")


class _JsonLines(logging.Formatter):
    """One JSON object a line; a message cannot break out of it, because JSON escapes line ends."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self._kind = kind

    def format(self, record: logging.LogRecord) -> str:
        """Returns the line: the fields of every event first, then the event's own."""
        event: dict[str, Any] = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")[:-6] + "Z",
            "level": record.levelname.lower(),
            "process": self._kind,
            "pid": os.getpid(),
            "logger": record.name,
            "msg": record.getMessage(),
        }
        event |= {name: value for name, value in _fields(record).items() if name not in event}
        if record.exc_info:
            event["exception"] = self.formatException(record.exc_info)
        return json.dumps(event, default=str)
