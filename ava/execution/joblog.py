"""The log of one run: whatever its handler logs, warns of or prints, line by line, until it is stored."""

from __future__ import annotations

import io
import logging
import threading
import time
from collections.abc import Iterable
from datetime import datetime, timedelta

from ava.domain.job import LogLevel, LogLine
from ava.domain.text import storable

__all__ = ["JobLog", "LineWriter", "LogCapture", "level_of"]

#: Lines that may wait to be stored; beyond, whoever logs waits for the store, up to `_LONGEST_WAIT_SECONDS` in all.
_MOST_WAITING = 10_000
_LONGEST_WAIT_SECONDS = 10.0
#: Characters that one run may log; the rest is dropped, and that is said.
_MOST_CHARACTERS = 64 * 1024 * 1024


class JobLog:
    """The lines of one run. Any thread may add; one at a time takes them to be stored."""

    def __init__(self, *, first_seq: int, started_at: datetime) -> None:
        """`started_at` is PostgreSQL's time of this moment: its clock dates the lines, with our stopwatch's help."""
        self._seq = first_seq
        self._started_at = started_at
        self._stopwatch = time.monotonic()
        self._lines: list[LogLine] = []
        self._room = threading.Condition()
        self._characters = 0
        self._waited_seconds = 0.0

    @property
    def elapsed_ms(self) -> int:
        """Milliseconds since the run began."""
        return round((time.monotonic() - self._stopwatch) * 1000)

    def add(self, level: LogLevel, text: str) -> None:
        """Add a line, and wait while too many wait to be stored."""
        text = storable(text)
        with self._room:
            self._characters += len(text)
            if self._characters > _MOST_CHARACTERS:
                self._drop(len(text))
                return
            self._lines.append(self._line(level, text))
            if len(self._lines) >= _MOST_WAITING:
                self._wait()

    def _drop(self, characters: int) -> None:
        if self._characters - characters <= _MOST_CHARACTERS:
            self._lines.append(self._line(LogLevel.WARN, "The log of this run is full; what follows is dropped"))

    def _wait(self) -> None:
        # A database that is away must not stop the handler for ever: the patience is for the whole run.
        began = time.monotonic()
        patience = _LONGEST_WAIT_SECONDS - self._waited_seconds
        if patience > 0:
            self._room.wait_for(lambda: len(self._lines) < _MOST_WAITING, timeout=patience)
            self._waited_seconds += time.monotonic() - began

    def _line(self, level: LogLevel, text: str) -> LogLine:
        self._seq += 1
        moment = self._started_at + timedelta(seconds=time.monotonic() - self._stopwatch)
        return LogLine(seq=self._seq, ts=moment, level=level, msg=text)

    def closing(self, level: LogLevel, text: str) -> LogLine:
        """Make a line that is not added, for the end to be written with."""
        with self._room:
            return self._line(level, text)

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits to be stored."""
        return not self._lines

    def take(self) -> list[LogLine]:
        """Take the waiting lines out."""
        with self._room:
            taken, self._lines = self._lines, []
            self._room.notify_all()
            return taken

    def put_back(self, lines: Iterable[LogLine]) -> None:
        """Put lines back that could not be stored."""
        with self._room:
            self._lines[:0] = lines


def level_of(levelno: int) -> LogLevel:
    """The job log's level of one of Python's."""
    if levelno >= logging.ERROR:
        return LogLevel.ERROR
    return LogLevel.WARN if levelno >= logging.WARNING else LogLevel.INFO


class LogCapture(logging.Handler):
    """Takes what is logged in this process while a handler runs into the handler's job log."""

    def __init__(self, job_log: JobLog, foreign_threads: frozenset[int]) -> None:
        """`foreign_threads` are those that were there before the run: what they log is not the job's."""
        super().__init__()
        self._job_log = job_log
        self._foreign_threads = foreign_threads
        self.setFormatter(logging.Formatter("%(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread in self._foreign_threads:
            return
        try:
            text = self.format(record)
        except Exception as error:
            text = f"(a log call whose message cannot be made: {type(error).__name__}) {record.msg!r:.1000}"
        self._job_log.add(level_of(record.levelno), text)


class LineWriter(io.TextIOBase):
    """A text stream whose lines become log lines; stands in for `sys.stdout` and `sys.stderr`."""

    #: Characters that may wait for the end of their line.
    _longest_line = 1_000_000

    def __init__(self, job_log: JobLog, level: LogLevel) -> None:
        super().__init__()
        self._job_log = job_log
        self._level = level
        self._rest = ""
        #: Whether the line so far was too long, and what is left of it is dropped.
        self._is_cut = False

    @property
    def encoding(self) -> str:  # type: ignore[override]  # a plain attribute in the stubs
        """Text goes in; UTF-8 is what it would be."""
        return "utf-8"

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._end_line(line.rstrip("\r"))
        if self._is_cut:
            self._rest = ""
        elif len(self._rest) > self._longest_line:
            self.finish()
            self._is_cut = True
        return len(text)

    def _end_line(self, line: str) -> None:
        if not self._is_cut:
            self._job_log.add(self._level, line)
        self._is_cut = False

    def finish(self) -> None:
        """Take the last line, which has no end, as it is."""
        if self._rest:
            rest, self._rest = self._rest, ""
            self._job_log.add(self._level, rest)

    def close(self) -> None:
        """Stay open: a handler that closes its stdout may still be followed by code that prints."""
        self.finish()
