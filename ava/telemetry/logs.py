"""The logs of the processes, on stderr: plain lines for people, or JSON lines for collectors.

Events have fields (`extra={"job_id": …}`), which both formats show. Payloads and secrets are never fields. Neither
format lets a string control the terminal on which it is read.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from datetime import UTC, datetime
from typing import Any

from ava.domain.strings import printable
from ava.settings import Settings, unknown_names, wants_json

_log = logging.getLogger(__name__)

#: Loggers of libraries that write several lines per job, where our own logs write one.
_VERBOSE_LOGGERS = ("alembic", "celery.app.trace", "celery.worker.strategy", "celery.worker.control", "kombu")
#: The attributes of every record; any other attribute is a field of the event.
_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName", "data"}


def configure(settings: Settings, kind: str) -> None:
    """Configure the logging of this process. `kind`: the process kind (`api`, `worker` …)."""
    handler = logging.StreamHandler()
    handler.setFormatter(_JsonLines(kind) if settings.logs_json else _TextLines(kind))
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    for name in _VERBOSE_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    if settings.logs_json:
        # Python writes these to stderr as several lines in its own format.
        logging.captureWarnings(True)
        sys.excepthook = lambda kind, error, trace: log_uncaught(None, kind, error, trace)
        threading.excepthook = lambda raised: log_uncaught(
            raised.thread, raised.exc_type, raised.exc_value, raised.exc_traceback
        )
        sys.unraisablehook = lambda raised: log_uncaught(
            raised.object, raised.exc_type, raised.exc_value, raised.exc_traceback
        )
    for sentence in unknown_names():
        _log.warning("Settings: %s", sentence)


def log_uncaught(where: object, kind: Any, error: Any, trace: Any) -> None:
    """Log an uncaught exception. `where`: the thread, greenlet or object; None: the main program."""
    name = "" if where is None else f" in {type(where).__name__}"
    _log.critical("Uncaught exception%s", name, exc_info=(kind, error, trace))


def write_line(name: str, message: str) -> None:
    """Write a log line without the locks and buffers of `logging`, which a signal handler must not use."""
    root = logging.getLogger()
    if root.isEnabledFor(logging.INFO) and root.handlers:
        record = logging.LogRecord(name, logging.INFO, "", 0, message, None, None)
        os.write(2, f"{root.handlers[0].format(record)}\n".encode())


def start_error_line(kind: str, message: str) -> str:
    """Return the log line of a process that cannot start. Reads only the format, as the settings may be invalid."""
    if not wants_json():
        return f"ava: {message}"
    return _JsonLines(kind).format(logging.LogRecord(__name__, logging.CRITICAL, "", 0, message, None, None))


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in record.__dict__.items() if name not in _STANDARD and value is not None}


class _TextLines(logging.Formatter):
    """`2025-06-01 10:00:00,000 INFO worker ava.node.child: … (job_id=… attempt=…)`."""

    def __init__(self, kind: str) -> None:
        super().__init__(f"%(asctime)s %(levelname)s {kind} %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the line, with the event's fields at its end."""
        # Indent further lines of a message, so that they do not look like other events.
        record.message = printable(record.message, allowed="\t\n").replace("\n", "\n    ")
        line = super().formatMessage(record)
        fields = " ".join(f"{name}={printable(str(value))}" for name, value in _fields(record).items())
        return f"{line} ({fields})" if fields else line

    def formatException(self, ei: Any) -> str:
        """Return the traceback without terminal control characters."""
        return printable(super().formatException(ei), allowed="\t\n")


class _JsonLines(logging.Formatter):
    """One JSON object per line. JSON escapes line breaks, so a message cannot start a new line."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self._kind = kind

    def format(self, record: logging.LogRecord) -> str:
        """Return the line: the fields of every event first, then the event's own."""
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
