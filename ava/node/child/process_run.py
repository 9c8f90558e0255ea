"""A run in a process of its own: how its handler is entered, and interrupted by a signal."""

from __future__ import annotations

# The C module below `signal`. `signal` converts actions to enum members, which takes as long as a log line.
import _signal  # type: ignore[import-not-found]
import asyncio
import contextvars
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, suppress
from typing import Any

from ava.handler.errors import Interruption
from ava.node.child import descriptor_pipes
from ava.node.child.descriptor_pipes import DescriptorPipes
from ava.node.child.process_state import ProcessState
from ava.node.outcome import Stop
from ava.node.runs.run import Run


class ProcessRun(Run):
    """The run of a job in a child process.

    Only a stop of this run may interrupt the handler, and only between `_open` and `_close`. These and `stop` take the
    same lock, so a SIGTERM never arrives too early or too late, and never reaches the next run.
    """

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self._is_open = False
        #: The SIGTERM action before the handler changes it.
        self._sigterm_action: object = None
        self._is_interrupted = self._is_swallowed = False
        #: Processor time of this process in microseconds before the handler.
        self.cpu_before_us = 0
        self._deadline = time.monotonic() + self.timeout_seconds

    def isolated_in(self, process_state: ProcessState) -> AbstractContextManager[logging.Logger]:
        """Return the context for the call of the handler."""
        return process_state.isolated(self.log)

    def redirect(self) -> DescriptorPipes | None:
        captures_subprocesses = self.handler.spec.captures_subprocesses
        return descriptor_pipes.redirect(self.log, captures_subprocesses=captures_subprocesses, mask=self.mask)

    @property
    def is_overdue(self) -> bool:
        return time.monotonic() >= self._deadline

    def call(self, logger: Any, block_signals: Callable[[], None], timer_stops: Iterable[object] = ()) -> None:
        """Call the handler and store its return value or exception, including interruptions.

        `timer_stops` and `block_signals` end the handling of signals in this thread; see `ProcessState`.
        """
        try:
            try:
                self._open()
                # In a copied context, so that the handler's context variables end with it.
                self.output = contextvars.copy_context().run(self._invoke, logger)
            finally:
                # One bytecode instruction, because the signals of a short timer would interrupt any further code.
                _ = [*timer_stops]
                # Twice, because a signal handler may raise between the handler's last line and the first `_close`.
                try:
                    self._close(block_signals)
                finally:
                    self._close(block_signals)
        except BaseException as error:
            self.raised = error

    def _invoke(self, logger: Any) -> Any:
        arguments = self.make_arguments(logger)
        if not self.handler.is_async:
            if self._has_expired():
                return None
            self.is_entered = True
            return self._as_json(self.handler.function(*arguments))
        with asyncio.Runner() as runner:
            return runner.run(self._await(arguments))

    def _open(self) -> None:
        with self._lock:
            self._sigterm_action = _signal.getsignal(signal.SIGTERM)
            self._is_open = True
        if self.stopped_for is not None and not self.handler.is_async:
            raise self._interruption()

    def _close(self, block_signals: Callable[[], None]) -> None:
        self._is_open = False
        block_signals()
        # Once this lock is free, no thread is about to send the signal, and the signal is blocked.
        with self._lock:
            pass

    def stop(self, reason: Stop) -> None:
        """Stop the handler. Other threads may call it repeatedly; the first reason counts.

        The signal goes to the main thread, so that a SIGTERM handler of the job's handler also runs; it is then sent
        once. Otherwise each call sends it until the handler is interrupted: if a signal arrives just before a blocking
        call, CPython records it but the call does not end.
        """
        with self._lock:
            is_first = self.stopped_for is None
            self.stopped_for = self.stopped_for or reason
            if is_first or (not self._is_interrupted and _signal.getsignal(signal.SIGTERM) is self._sigterm_action):
                self._signal()

    @property
    def is_open(self) -> bool:
        return self._is_open

    def stop_as_lost(self) -> None:
        """Stop the handler immediately, because the run has lost its job.

        Called by a signal handler in the main thread, so it takes no lock, which that thread may already hold.
        """
        if self.stopped_for is None:
            self.stopped_for = Stop.LOST
        self.on_sigterm()

    def _signal(self) -> None:
        if self._is_open and (main_thread_id := threading.main_thread().ident) is not None:
            signal.pthread_kill(main_thread_id, signal.SIGTERM)

    def on_sigterm(self) -> None:
        """Interrupt the handler if a stop was requested. Called by the main thread's SIGTERM handler.

        Raises the `Interruption` in a sync handler and cancels the task of an async one. Without a stop, or a second
        time, it has no effect.
        """
        if not self._is_open or self.stopped_for is None or self._is_interrupted:
            return
        if not self.handler.is_async:
            raise self._interruption()
        if self._async_task is not None:
            self._is_interrupted = True
            # A closed loop has no task.
            with suppress(RuntimeError):
                self._async_task.get_loop().call_soon_threadsafe(self._async_task.cancel)

    def _interruption(self) -> Interruption:
        assert self.stopped_for is not None
        self._is_interrupted = True
        return self.stopped_for.exception(self._exceeded)

    def mark_swallowed(self) -> None:
        """Record that Python dropped the interruption, raised in a `__del__` or a similar place."""
        self._is_swallowed = True

    def interrupt_again_if_swallowed(self) -> None:
        """Interrupt the handler again, from another thread, if Python dropped the first interruption."""
        if self._is_swallowed:
            with self._lock:
                self._is_swallowed = self._is_interrupted = False
                self._signal()
