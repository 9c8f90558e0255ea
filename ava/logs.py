"""The logs of our own processes, on stderr: lines to be read, or lines of JSON to be collected.

Events carry fields (`extra={"job_id": …}`), and both forms show them. No payload and no secret is ever passed to them.
"""

from __future__ import annotations

import json
import logging
import os
from datetime import UTC, datetime
from typing import Any

from ava.settings import Settings

__all__ = ["configure"]

#: Loggers of libraries that say in several lines of each job what we say in one, or what nobody needs to know.
_TALKATIVE = ("alembic", "celery.app.trace", "celery.worker.strategy", "celery.worker.control", "kombu")
#: What every record has; all else was given as a field.
_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName", "data"}


def configure(settings: Settings, kind: str) -> None:
    """Set this process's logging up; `kind` says which of our processes it is (`api`, `worker` …)."""
    handler = logging.StreamHandler()
    handler.setFormatter(_JsonLines(kind) if settings.logs_json else _ReadableLines(kind))
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in record.__dict__.items() if name not in _STANDARD and value is not None}


class _ReadableLines(logging.Formatter):
    """`2025-06-01 10:00:00,000 INFO worker ava.execution: … (job_id=… attempt=…)`."""

    def __init__(self, kind: str) -> None:
        super().__init__(f"%(asctime)s %(levelname)s {kind} %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The first line, with the event's fields at its end."""
        line = super().formatMessage(record)
        fields = " ".join(f"{name}={value}" for name, value in _fields(record).items())
        return f"{line} ({fields})" if fields else line


class _JsonLines(logging.Formatter):
    """One JSON object a line, which nothing that is logged can break out of."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self._kind = kind

    def format(self, record: logging.LogRecord) -> str:
        """The line. The fields that say which event it is come first, then those that it was given."""
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
