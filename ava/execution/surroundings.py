"""What a handler finds around it, and what is put right after it: streams, logging, warnings, signals, folders."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from ava.domain.job import LogLevel
from ava.execution.joblog import JobLog, LineWriter, LogCapture

__all__ = ["Surroundings"]

#: The signals whose handling a handler may change; SIGKILL and SIGSTOP cannot be, and faults are not ours.
_SIGNALS = sorted(
    signal.valid_signals()
    - {signal.SIGKILL, signal.SIGSTOP, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL}
)


class Surroundings:
    """The state of this process before any handler has run, to which it returns after each."""

    def __init__(self) -> None:
        self._environment = dict(os.environ)
        self._folder = os.getcwd()
        self._umask = os.umask(0o022)
        os.umask(self._umask)
        self._streams = (sys.stdin, sys.stdout, sys.stderr)
        self._descriptors = [os.dup(number) for number in range(3)]
        self._signals = {number: signal.getsignal(number) for number in _SIGNALS}
        self._root_handlers = list(logging.root.handlers)
        self._root_level = logging.root.level
        self._disabled_level = logging.root.manager.disable
        self._threads = threading.active_count()

    @contextmanager
    def of_run(self, log: JobLog) -> Iterator[logging.Logger]:
        """Surround one handler: what it prints, logs or warns of goes to its job's log. Yields its logger."""
        # Threads that an earlier handler left behind may go on, but not in this job's log.
        foreign = frozenset(t.ident for t in threading.enumerate() if t.ident and t is not threading.main_thread())
        capture = LogCapture(log, foreign)
        out, err = LineWriter(log, LogLevel.INFO), LineWriter(log, LogLevel.WARN)
        logging.root.handlers = [capture]
        _set_level(logging.INFO)
        sys.stdout, sys.stderr = out, err
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("default")
                warnings.showwarning = _show_warning(log)
                yield logging.getLogger("ava.job")
        finally:
            with suppress(Exception):
                out.finish()
                err.finish()
            self._restore()

    def _restore(self) -> None:
        sys.stdin, sys.stdout, sys.stderr = self._streams
        logging.root.handlers = list(self._root_handlers)
        _set_level(self._root_level)
        logging.disable(self._disabled_level)
        job_logger = logging.getLogger("ava.job")
        job_logger.handlers, job_logger.propagate, job_logger.disabled = [], True, False
        job_logger.setLevel(logging.NOTSET)
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        for number, action in self._signals.items():
            if signal.getsignal(number) is not action:
                self._restore_signal(number, action)
        self._restore_process()

    @staticmethod
    def _restore_signal(number: int, action: Any) -> None:
        # A signal that is still due runs the handler's own handler once more, which may raise.
        for _ in range(3):
            with suppress(BaseException):
                signal.signal(number, action)
                return

    def _restore_process(self) -> None:
        if os.environ != self._environment:
            os.environ.clear()
            os.environ.update(self._environment)
        with suppress(OSError):
            os.chdir(self._folder)
        os.umask(self._umask)
        for number, kept in enumerate(self._descriptors):
            if not _is_same_file(number, kept):
                os.dup2(kept, number)


def _set_level(level: int) -> None:
    # Setting a level makes every logger forget what it knew, so not without need.
    if logging.root.level != level:
        logging.root.setLevel(level)


def _is_same_file(one: int, other: int) -> bool:
    try:
        return os.path.samestat(os.fstat(one), os.fstat(other))
    except OSError:
        return False


def _show_warning(log: JobLog) -> Any:
    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if file is not None:
            file.write(warnings.formatwarning(message, category, filename, lineno, line))
        else:
            log.add(LogLevel.WARN, f"{category.__name__}: {message} ({os.path.basename(filename)}:{lineno})")

    return show
