"""The supervisor of one machine: start programs, print their output, restart them, and stop all in order.

It is a single loop in the main thread, because a child's death signal fires when the thread that started it ends.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from ava.errors import StartError, StopRequested
from ava.local.data_folder import open_private
from ava.local.output import Output
from ava.local.program import ChildProcess, Program
from ava.local.reaper import Reaper
from ava.local.start import failed_start

#: A program that runs for longer counts as healthy, which resets its backoff.
_HEALTHY_SECONDS = 30.0
_LONGEST_BACKOFF_SECONDS = 30.0
#: Stop signals within this time count as one request.
_SAME_REQUEST_SECONDS = 0.2
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, kw_only=True)
class Service:
    """A program that is restarted when it ends."""

    program: Program
    #: Called before every start. It may raise `StartError`.
    prepare: Callable[[], None] = lambda: None
    #: Overwritten at each start; None: the output is printed.
    log: Path | None = None


@dataclass(kw_only=True)
class _ServiceState:
    service: Service
    #: None while a restart is pending.
    child: ChildProcess | None = None
    started_at: float = 0.0
    #: When a pending restart is due.
    restart_at: float = 0.0
    #: Number of consecutive exits before it counted as healthy.
    early_exits: int = 0

    @property
    def name(self) -> str:
        return self.service.program.name


class Supervisor:
    """Keeps services running. On exit, this context manager stops all programs, the last started first."""

    def __init__(self, write: Callable[[str], None]) -> None:
        """`write` is called with each output line. If it raises `OSError`, the reader is gone and the system stops."""
        self._write_line = write
        self._services: list[_ServiceState] = []
        self._selector = selectors.DefaultSelector()
        self._output = Output(self._selector, self.print_line)
        self._wake_read, self._wake_write = socket.socketpair()
        self._one_shots: list[_ServiceState] = []
        #: Replaced processes that finish their work.
        self._replaced: list[ChildProcess] = []
        self._stop_signals_at: list[float] = []
        self._is_output_closed = False
        #: Whether to restart a program that ends. Before the system is ready, an end is a failed start.
        self.restarts = False
        self._handlers: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Supervisor:
        self._reaper = Reaper.start()
        for end in (self._wake_read, self._wake_write):
            end.setblocking(False)
        self._selector.register(self._wake_read, selectors.EVENT_READ)
        self._handlers = {number: signal.signal(number, self._on_stop_signal) for number in _STOP_SIGNALS}
        # A child's end and a stop signal wake the loop immediately.
        self._handlers[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, _wake_up)
        signal.set_wakeup_fd(self._wake_write.fileno(), warn_on_full_buffer=False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.stop()
        finally:
            signal.set_wakeup_fd(-1)
            for number, handler in self._handlers.items():
                signal.signal(number, handler)
            self._output.close()
            self._selector.close()
            self._wake_read.close()
            self._wake_write.close()
            self._reaper.dismiss()

    @property
    def is_stop_urgent(self) -> bool:
        """Whether a second stop was requested. Simultaneous signals count as one, because `make` forwards signals."""
        times = self._stop_signals_at
        return bool(times) and times[-1] - times[0] > _SAME_REQUEST_SECONDS

    def print_line(self, line: str) -> None:
        """Print a line. If the output is closed, request a stop."""
        try:
            self._write_line(line)
        except OSError:
            self._write_line = _discard
            self._is_output_closed = True

    def start(self, service: Service) -> ChildProcess:
        state = _ServiceState(service=service)
        self._services.append(state)
        return self._start(state)

    def replace(self, name: str) -> None:
        """Start another process of a service, and ask the current one to stop in its own time."""
        state = next(each for each in self._services if each.name == name)
        if state.child is not None:
            self._replaced.append(state.child)
            state.child.ask_to_stop()
        self._restart(state)

    def run_to_end(self, program: Program) -> None:
        """Run a program to its end. Raise `StartError` with its error message if it fails."""
        state = _ServiceState(service=Service(program=program))
        self._one_shots.append(state)
        child = self._start(state)
        while child.exit_code is None:
            self.step()
        self._one_shots.remove(state)
        if child.exit_code != 0:
            raise self._failed_start(state)

    def wait_for(self, condition: Callable[[], bool], *, seconds: float, what: str) -> None:
        """Keep everything running until `condition` holds. Raise `StartError` with `what` after `seconds`."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise StartError(f"Within {seconds:g} s {what}.")
            self.step(0.05)

    def run(self) -> None:
        """Keep everything running until a stop is requested."""
        with contextlib.suppress(StopRequested):
            while True:
                self.step(1.0)

    def step(self, seconds: float = 0.1) -> None:
        """Wait up to `seconds` for an event and handle it. Raise `StopRequested` if a stop was requested."""
        self._wait_for_events(seconds)
        if self._stop_signals_at or self._is_output_closed:
            raise StopRequested
        for state in self._services:
            self._check(state)
        for child in [each for each in self._replaced if each.exit_code is not None]:
            child.kill()
            self._replaced.remove(child)

    def stop(self) -> None:
        """Stop all programs, the last started first, each within its `stop_seconds`; immediately if urgent."""
        states = reversed((*self._services, *self._one_shots))
        children = [*self._replaced, *(state.child for state in states if state.child)]
        for child in children:
            if not self.is_stop_urgent:
                child.ask_to_stop()
                self._wait_for_end(child)
                child.kill()
        self._end_at_once(children)
        self._output.drain()

    def _on_stop_signal(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the signature of a handler
        # A closing terminal sends SIGHUP several times, which is not a second request.
        if number != signal.SIGHUP or not self._stop_signals_at:
            self._stop_signals_at.append(time.monotonic())

    def _start(self, state: _ServiceState) -> ChildProcess:
        service = state.service
        service.prepare()
        if service.log:
            with open_private(service.log) as output:
                child = ChildProcess.start(service.program, output)
        else:
            child = self._start_with_pipe(service.program)
        self._reaper.watch(child.pid)
        state.child, state.started_at = child, time.monotonic()
        return child

    def _start_with_pipe(self, program: Program) -> ChildProcess:
        read, write = os.pipe()
        try:
            # The child also holds the read end, so that it can print after this process was killed: Celery's worker
            # prints that it received a signal before it obeys, and a broken pipe would prevent that.
            child = ChildProcess.start(program, write, keeps=(read,))
        finally:
            os.close(write)
        self._output.add(program.name, read)
        return child

    def _wait_for_events(self, seconds: float) -> None:
        for key, _ in self._selector.select(seconds):
            if key.fileobj is self._wake_read:
                with contextlib.suppress(BlockingIOError):
                    self._wake_read.recv(4096)
            else:
                self._output.read(key.fd)

    def _check(self, state: _ServiceState) -> None:
        if state.child is None:
            if time.monotonic() >= state.restart_at:
                self._restart(state)
        elif state.child.exit_code is not None:
            self._on_exit(state, state.child)

    def _on_exit(self, state: _ServiceState, child: ChildProcess) -> None:
        self._output.drain()
        if not self.restarts:
            raise self._failed_start(state)
        child.kill()
        was_healthy = time.monotonic() - state.started_at > _HEALTHY_SECONDS
        state.early_exits = 1 if was_healthy else state.early_exits + 1
        seconds = min(0.25 * 2**state.early_exits, _LONGEST_BACKOFF_SECONDS)
        end = f"{_describe_end(child)}{self._take_last_error(state)}"
        self.print_line(f"ava: {state.name} {end}; starting it again in {seconds:g} s")
        state.child, state.restart_at = None, time.monotonic() + seconds

    def _restart(self, state: _ServiceState) -> None:
        try:
            self._start(state)
        except (StartError, OSError) as problem:
            self.print_line(f"ava: {state.name} cannot be started: {problem}")
            state.restart_at = time.monotonic() + _LONGEST_BACKOFF_SECONDS

    def _failed_start(self, state: _ServiceState) -> StartError:
        self._output.drain()
        if state.service.log:
            return failed_start(state.name, state.service.log)
        end = _describe_end(state.child) if state.child else "did not start"
        last_error = self._output.last_errors.get(state.name)
        return StartError(last_error or f"{state.name} {end} before the system was ready.")

    def _take_last_error(self, state: _ServiceState) -> str:
        error = self._output.last_errors.pop(state.name, "")
        return f" ({error.rstrip('.')})" if error else ""

    def _wait_for_end(self, child: ChildProcess) -> None:
        deadline = time.monotonic() + child.program.stop_seconds
        while child.exit_code is None and time.monotonic() < deadline and not self.is_stop_urgent:
            self._wait_for_events(0.05)

    def _end_at_once(self, children: list[ChildProcess]) -> None:
        """End the remaining children. PostgreSQL gets SIGQUIT first, because SIGKILL would leak its shared memory."""
        for child in children:
            child.end_at_once()
        deadline = time.monotonic() + 3
        for child in children:
            child.wait(max(0.0, deadline - time.monotonic()))
            child.kill()


def _wake_up(number: int, frame: FrameType | None) -> None:
    """Do nothing; the signal has woken the loop through its wake-up socket."""


def _discard(line: str) -> None:
    """Discard the line, because the output is closed."""


def _describe_end(child: ChildProcess) -> str:
    code = child.exit_code
    if code is None or code >= 0:
        return f"ended with exit code {code}"
    return f"was killed by {signal.Signals(-code).name}"
