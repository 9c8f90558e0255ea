"""The log of one run: lines that its handler logs or prints, and warnings, buffered until they are stored."""

from __future__ import annotations

import codecs
import io
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, TextIO

from ava.domain.jobs.job import LogLevel, LogLine
from ava.domain.secrets.masking import SecretMask
from ava.domain.strings import storable

#: Maximum buffered lines; beyond, a logging call waits, up to `_LONGEST_WAIT_SECONDS` per run.
_MAX_WAITING = 10_000
_LONGEST_WAIT_SECONDS = 10.0
_WAIT_SECONDS = 0.01
#: Maximum characters of a run's log; a final line reports that the rest is dropped.
_MAX_CHARACTERS = 64 * 1024 * 1024
#: Characters that each line counts on top of its content: about the size of its row and index entry. So a run has at
#: most 524,288 lines, even if they are empty.
_LINE_CHARACTERS = 128


class JobLog:
    """The lines of one run. Any thread may add lines; one thread at a time takes them for storing."""

    def __init__(
        self,
        *,
        first_seq: int,
        started_at: datetime,
        echo: Callable[[LogLevel, str], None] | None = None,
        mask: SecretMask | None = None,
    ) -> None:
        """`started_at`: PostgreSQL's current time. A line's time is this plus the seconds since then.

        `echo` is also called with each line. `mask` replaces the run's secrets.
        """
        self._echo = echo
        self._mask = mask
        self._seq = first_seq
        self._started_at = started_at
        self._stopwatch = time.monotonic()
        self._lines: list[LogLine] = []
        #: A C lock, which an interruption in the main thread cannot leave locked.
        self._lock = threading.Lock()
        self._characters = 0
        self._waited_seconds = 0.0
        self._is_closed = False
        #: Whether lines other than errors are dropped, because an earlier run has already logged them.
        self.is_repeating = False
        #: False in an event loop, where waiting would block other runs.
        self.may_wait = True

    @property
    def elapsed_ms(self) -> int:
        return round((time.monotonic() - self._stopwatch) * 1000)

    def end_repetition(self) -> None:
        self.is_repeating = False

    def add(self, level: LogLevel, message: str) -> None:
        """Add a line. Waits while too many lines are buffered."""
        if self.is_repeating and level is not LogLevel.ERROR:
            return
        if self._mask is not None:
            # Before truncation, because a truncated secret would not be found.
            message = self._mask.string(message)
        message = storable(message)
        with self._lock:
            if self._is_closed:
                return
            before = self._characters
            self._characters += len(message) + _LINE_CHARACTERS
            if self._characters <= _MAX_CHARACTERS:
                self._lines.append(self._line(level, message))
            elif before <= _MAX_CHARACTERS:
                self._lines.append(self._line(LogLevel.WARN, "The log of this run is full; further lines are dropped"))
        if self._echo is not None:
            self._echo(level, message)
        if self.may_wait and len(self._lines) >= _MAX_WAITING:
            self._wait()

    def _wait(self) -> None:
        # For the whole run, because an unreachable database must not block the handler forever.
        while len(self._lines) >= _MAX_WAITING and self._waited_seconds < _LONGEST_WAIT_SECONDS:
            time.sleep(_WAIT_SECONDS)
            self._waited_seconds += _WAIT_SECONDS

    def _line(self, level: LogLevel, message: str) -> LogLine:
        self._seq += 1
        timestamp = self._started_at + timedelta(seconds=time.monotonic() - self._stopwatch)
        return LogLine(seq=self._seq, ts=timestamp, level=level, msg=message)

    def close(self) -> None:
        """Drop further lines: a thread that a handler left behind may still print."""
        self._is_closed = True

    @property
    def is_empty(self) -> bool:
        return not self._lines

    def take(self) -> list[LogLine]:
        with self._lock:
            taken, self._lines = self._lines, []
            return taken

    def take_with_closing(self, level: LogLevel, message: str) -> list[LogLine]:
        """Remove and return the buffered lines, followed by the closing line."""
        with self._lock:
            taken, self._lines = self._lines, []
            taken.append(self._line(level, message))
            return taken

    def put_back(self, lines: Iterable[LogLine]) -> None:
        """Insert lines that could not be stored before the buffered ones."""
        with self._lock:
            self._lines[:0] = lines


class StandardStream(io.TextIOBase):
    def __init__(self, level: LogLevel) -> None:
        super().__init__()
        self._level = level

    @property
    def encoding(self) -> str:  # type: ignore[override]  # a plain attribute in the stubs
        """Return UTF-8, although the stream accepts strings and encodes nothing."""
        return "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]  # a plain attribute in the stubs
        return "strict"

    def reconfigure(self, **_options: object) -> None:
        """Do nothing: a line is written to the log when it ends, regardless of encoding and buffering."""

    def fileno(self) -> int:
        """Return the descriptor that subprocesses inherit; by default their output does not go to the job's log.

        With `capture_subprocesses` it does, and in a run with secrets it is masked.
        """
        return 1 if self._level is LogLevel.INFO else 2

    def writable(self) -> bool:
        return True


class LineWriter(StandardStream):
    """Writes lines to a job's log; replaces `sys.stdout` or `sys.stderr` during a run.

    One object serves all runs of the process: CPython's `print` holds no reference to its stream, so replacing the
    stream while another thread prints would crash the process.
    """

    #: Maximum characters buffered until the end of a line.
    _longest_line = 1_000_000

    def __init__(self, level: LogLevel, other: TextIO | None = None) -> None:
        """`other` receives output that belongs to no run."""
        super().__init__(level)
        self._other = other
        self._buffer: _LineBuffer | None = None
        self._job_log: JobLog | None = None
        self._is_foreign: Callable[[], bool] = lambda: False
        #: The pieces of an unfinished line; joined once, because some handlers print single characters.
        self._pieces: list[str] = []
        self._length = 0
        #: Whether the rest of a too long line is dropped.
        self._is_cut = False

    def begin(self, job_log: JobLog, is_foreign: Callable[[], bool] = lambda: False) -> None:
        """Write to a run's log from now on, except from threads where `is_foreign` returns True."""
        self._pieces, self._length, self._is_cut = [], 0, False
        # It may contain an incomplete character of the previous run.
        self._buffer = None
        self._is_foreign = is_foreign
        self._job_log = job_log

    def end(self) -> None:
        """Write the unfinished line to the run's log, and detach from that log."""
        self._flush_rest()
        self._job_log = None

    @property
    def buffer(self) -> _LineBuffer:
        """Return the byte stream; its lines also go to the job's log."""
        if self._buffer is None:
            self._buffer = _LineBuffer(self)
        return self._buffer

    def write(self, string: str) -> int:
        if not isinstance(string, str):
            raise TypeError(f"write() argument must be str, not {type(string).__name__}")
        job_log = self._job_log
        if job_log is None or self._is_foreign():
            return self._write_elsewhere(string)
        first, *others = string.split("\n")
        self._keep(first)
        for other in others:
            self._end_line(job_log)
            self._keep(other)
        return len(string)

    def _write_elsewhere(self, string: str) -> int:
        if self._other is None:
            return len(string)
        written = self._other.write(string)
        if self._job_log is not None:
            # Now, because the descriptor has the mask of the run's secrets only until the run ends.
            with suppress(OSError):
                self._other.flush()
        return written

    def _keep(self, piece: str) -> None:
        if self._is_cut:
            return
        self._pieces.append(piece)
        self._length += len(piece)
        if self._length > self._longest_line:
            self._flush_rest()
            self._is_cut = True

    def _end_line(self, job_log: JobLog) -> None:
        if not self._is_cut:
            job_log.add(self._level, self._take_pieces().rstrip("\r"))
        self._is_cut = False

    def _take_pieces(self) -> str:
        pieces, self._pieces, self._length = self._pieces, [], 0
        return "".join(pieces)

    def _flush_rest(self) -> None:
        rest = self._take_pieces()
        if rest and self._job_log is not None:
            self._job_log.add(self._level, rest)

    def close(self) -> None:
        """Stay open, because code that runs after the handler may still print."""
        self._flush_rest()


class _LineBuffer(io.BufferedIOBase):
    """The bytes of a `LineWriter`, as UTF-8: `sys.stdout.buffer`. A character may arrive in pieces."""

    def __init__(self, writer: LineWriter) -> None:
        super().__init__()
        self._writer = writer
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def fileno(self) -> int:
        return self._writer.fileno()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        view = memoryview(data)
        self._writer.write(self._decoder.decode(view.tobytes()))
        return view.nbytes

    def close(self) -> None:
        """Stay open, because a `TextIOWrapper` around it closes it when it is freed."""
