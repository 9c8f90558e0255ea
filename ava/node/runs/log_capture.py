"""Capture the log records and warnings of handlers for the log of their run."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TextIO

from ava.domain.jobs.job import LogLevel


def level_of(levelno: int) -> LogLevel:
    if levelno >= logging.ERROR:
        return LogLevel.ERROR
    return LogLevel.WARN if levelno >= logging.WARNING else LogLevel.INFO


def log_runs_from_info(root_handlers: Sequence[logging.Handler]) -> int:
    """Set levels once so that every run logs from INFO on. Returns the root logger's level.

    A change of level clears the caches of all loggers, which takes as long as a small handler. The levels of the
    service's loggers, and of `root_handlers`, filter its own records as before.
    """
    level = logging.root.level
    if level > logging.INFO:
        for handler in root_handlers:
            handler.setLevel(max(handler.level, level))
        logging.getLogger("ava").setLevel(level)
        logging.getLogger("ava.job").setLevel(logging.INFO)
        logging.root.setLevel(logging.INFO)
    return logging.root.level


_MESSAGE_ALONE = logging.Formatter("%(message)s")


class LineSink(Protocol):
    """Destination of lines: the log of one run, or an object that finds the log of the calling code."""

    def add(self, level: LogLevel, message: str) -> None:
        """Add a line."""


class LogCapture(logging.Handler):
    """Writes the log records of a running handler to the run's job log."""

    def __init__(
        self, job_log: LineSink, is_foreign: Callable[[], bool] = lambda: False, others: Sequence[logging.Handler] = ()
    ) -> None:
        """Records of threads where `is_foreign` returns True go to `others` instead."""
        super().__init__()
        self._job_log = job_log
        self._is_foreign = is_foreign
        self._others = others
        self.setFormatter(_MESSAGE_ALONE)

    def createLock(self) -> None:
        """Create no lock: an interruption could leave it locked, and `JobLog` has its own."""
        self.lock = None

    @property
    def is_plain(self) -> bool:
        """Return True if the messages of all records of this thread are written unchanged."""
        is_changed = self.filters or self.level or self.formatter is not _MESSAGE_ALONE
        return not is_changed and not self._is_foreign()

    def write(self, level: int, message: object, arguments: Any) -> None:
        try:
            formatted = str(message)
            if arguments:
                # The same rules as `logging.LogRecord`.
                is_mapping = len(arguments) == 1 and isinstance(arguments[0], Mapping) and arguments[0]
                formatted = formatted % (arguments[0] if is_mapping else arguments)
        except Exception as error:
            formatted = _unformatted(error)
        self._job_log.add(level_of(level), formatted)

    def handle(self, record: logging.LogRecord) -> bool:
        """Write a record, unless its thread belongs to no run or to another one."""
        if self._is_foreign():
            for other in self._others:
                if record.levelno >= other.level:
                    other.handle(record)
        else:
            self.emit(record)
        return True

    def emit(self, record: logging.LogRecord) -> None:
        try:
            formatted = self.format(record)
        except Exception as error:
            formatted = _unformatted(error)
        self._job_log.add(level_of(record.levelno), formatted)


def _unformatted(error: Exception) -> str:
    return f"(log message cannot be formatted: {type(error).__name__})"


def make_showwarning(job_log: LineSink, is_foreign: Callable[[], bool]) -> Any:
    """Return a replacement of `warnings.showwarning`, which writes the warnings of a running handler to its job log.

    Warnings of threads where `is_foreign` returns True are shown as before.
    """
    show_elsewhere = warnings.showwarning

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if is_foreign():
            show_elsewhere(message, category, filename, lineno, file, line)
        elif file is not None:
            file.write(warnings.formatwarning(message, category, filename, lineno, line))
        else:
            job_log.add(LogLevel.WARN, f"{category.__name__}: {message} ({os.path.basename(filename)}:{lineno})")

    return show


class JobLogger(logging.Logger):
    """The logger of handlers. It creates no record, which takes longer than the line, if only the message is used."""

    #: The capture of the current run, or of all runs of the process.
    capture: LogCapture | None = None

    @classmethod
    def get(cls) -> JobLogger:
        logger = logging.getLogger("ava.job")
        # Another module may have created it.
        logger.__class__ = cls
        assert isinstance(logger, cls)
        return logger

    def _log(
        self,
        level: int,
        msg: object,
        args: Any,
        exc_info: Any = None,
        extra: Any = None,
        stack_info: bool = False,
        stacklevel: int = 1,
    ) -> None:
        capture = self.capture
        if capture is None or exc_info or extra or stack_info or not self._is_read_by(capture):
            super()._log(level, msg, args, exc_info, extra, stack_info, stacklevel + 1)
        else:
            capture.write(level, msg, args)

    def _is_read_by(self, capture: LogCapture) -> bool:
        """Return True if only `capture` sees the log records."""
        if self.filters or logging.getLogRecordFactory() is not logging.LogRecord:
            return False
        logger: logging.Logger = self
        while logger.parent is not None:
            if logger.handlers or not logger.propagate:
                return False
            logger = logger.parent
        return len(logger.handlers) == 1 and logger.handlers[0] is capture and capture.is_plain
