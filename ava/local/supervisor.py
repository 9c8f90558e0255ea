"""Keeping programs running on one machine: started, relayed, started again when they die, ended in order.

It is one loop in the main thread, for the kernel's death signal of a child is tied to the thread that started it.
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

from ava.errors import ServerFailed, StartError, StopRequested
from ava.local.output import OutputRelay, last_words
from ava.local.program import ChildProcess, Program
from ava.local.reaper import Reaper

__all__ = ["Service", "Supervisor"]

#: Seconds of running after which a program counts as healthy, and its next end is the first one again.
_HEALTHY_SECONDS = 30.0
_LONGEST_BACKOFF_SECONDS = 30.0
#: Seconds within which several stop signals are one request.
_SAME_REQUEST_SECONDS = 0.2
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, kw_only=True)
class Service:
    """A program that is kept running."""

    #: What to run.
    program: Program
    #: Done before every start; it may raise `StartError`.
    prepare: Callable[[], None] = lambda: None
    #: Where its output goes, anew at each start; None relays it.
    log: Path | None = None


@dataclass(kw_only=True)
class _Kept:
    """A service and the state of keeping it."""

    service: Service
    child: ChildProcess | None = None
    started_at: float = 0.0
    #: When it is started again, after it died.
    start_at: float = 0.0
    #: How many times in a row it died soon.
    deaths: int = 0

    @property
    def name(self) -> str:
        return self.service.program.name


class Supervisor:
    """Use it as a context: leaving it ends every program, the last one started first."""

    def __init__(self, write: Callable[[str], None]) -> None:
        """`write` takes each line that is worth showing; when it raises `OSError`, nobody reads us and we stop."""
        self._write_line = write
        self._kept: list[_Kept] = []
        self._selector = selectors.DefaultSelector()
        self._relay = OutputRelay(self._selector, self.say)
        self._wake_read, self._wake_write = socket.socketpair()
        self._once: list[_Kept] = []
        self._asked_at: list[float] = []
        self._is_unheard = False
        #: Whether a program that dies is started again; until everything is up, it is a failed start.
        self.restarts = False
        self._handlers: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Supervisor:
        self._guardian = Reaper.start()
        for end in (self._wake_read, self._wake_write):
            end.setblocking(False)
        self._selector.register(self._wake_read, selectors.EVENT_READ)
        self._handlers = {number: signal.signal(number, self._on_stop_signal) for number in _STOP_SIGNALS}
        # The death of a child and a stop signal end the loop's wait at once.
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
            self._relay.close()
            self._selector.close()
            self._wake_read.close()
            self._wake_write.close()
            self._guardian.dismiss()

    @property
    def was_hurried(self) -> bool:
        """Whether we were asked twice to stop; what comes at once is one request, which `make` may pass on as well."""
        return bool(self._asked_at) and self._asked_at[-1] - self._asked_at[0] > _SAME_REQUEST_SECONDS

    def say(self, line: str) -> None:
        """Show a line; when nobody reads it any more, stop."""
        try:
            self._write_line(line)
        except OSError:
            self._write_line = _forget
            self._is_unheard = True

    def start(self, service: Service) -> ChildProcess:
        """Start a service and keep it running from then on."""
        kept = _Kept(service=service)
        self._kept.append(kept)
        return self._start(kept)

    def run_to_end(self, program: Program) -> None:
        """Run a program once; raises `StartError` with its own words when it fails."""
        kept = _Kept(service=Service(program=program))
        self._once.append(kept)
        child = self._start(kept)
        while child.exit_code is None:
            self.turn()
        self._once.remove(kept)
        if child.exit_code != 0:
            raise self._failed_start(kept)

    def wait_for(self, condition: Callable[[], bool], *, seconds: float, what: str) -> None:
        """Keep everything running until `condition` holds; raises `StartError`, saying `what`, if that is too late."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise StartError(f"Within {seconds:g} s {what}.")
            self.turn(0.05)

    def run(self) -> None:
        """Keep everything running until we are asked to stop."""
        with contextlib.suppress(StopRequested):
            while True:
                self.turn(1.0)

    def turn(self, seconds: float = 0.1) -> None:
        """Wait up to `seconds` for something to happen and deal with it; raises `StopRequested` when asked to stop."""
        self._listen(seconds)
        if self._asked_at or self._is_unheard:
            raise StopRequested
        for kept in self._kept:
            self._look_after(kept)

    def stop(self) -> None:
        """End every program, the last one started first, each with the time that it may take; at once when hurried."""
        children = [kept.child for kept in reversed((*self._kept, *self._once)) if kept.child]
        for child in children:
            if not self.was_hurried:
                child.ask_to_stop()
                self._await_end(child)
                child.kill()
        self._end_at_once(children)
        self._relay.drain()

    def _on_stop_signal(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the signature of a handler
        # A terminal that closes says so several times; it is in no hurry.
        if number != signal.SIGHUP or not self._asked_at:
            self._asked_at.append(time.monotonic())

    def _start(self, kept: _Kept) -> ChildProcess:
        service = kept.service
        service.prepare()
        if service.log:
            with service.log.open("wb") as output:
                child = ChildProcess.start(service.program, output)
        else:
            child = self._start_relayed(service.program)
        self._guardian.watch(child.pid)
        kept.child, kept.started_at = child, time.monotonic()
        return child

    def _start_relayed(self, program: Program) -> ChildProcess:
        read, write = os.pipe()
        try:
            # It holds the reading end too: should we be killed, what it then prints must not fail. Celery's worker
            # says that it got a signal before it obeys, and a broken pipe would keep it from obeying.
            child = ChildProcess.start(program, write, keeps=(read,))
        finally:
            os.close(write)
        self._relay.add(program.name, read)
        return child

    def _listen(self, seconds: float) -> None:
        for key, _ in self._selector.select(seconds):
            if key.fileobj is self._wake_read:
                with contextlib.suppress(BlockingIOError):
                    self._wake_read.recv(4096)
            else:
                self._relay.read(key.fd)

    def _look_after(self, kept: _Kept) -> None:
        if kept.child is None:
            if time.monotonic() >= kept.start_at:
                self._start_again(kept)
        elif kept.child.exit_code is not None:
            self._on_death(kept, kept.child)

    def _on_death(self, kept: _Kept, child: ChildProcess) -> None:
        self._relay.drain()
        if not self.restarts:
            raise self._failed_start(kept)
        child.kill()
        was_healthy = time.monotonic() - kept.started_at > _HEALTHY_SECONDS
        kept.deaths = 1 if was_healthy else kept.deaths + 1
        seconds = min(0.25 * 2**kept.deaths, _LONGEST_BACKOFF_SECONDS)
        self.say(f"ava: {kept.name} {_describe_end(child)}{self._complaint(kept)}; starting it again in {seconds:g} s")
        kept.child, kept.start_at = None, time.monotonic() + seconds

    def _start_again(self, kept: _Kept) -> None:
        try:
            self._start(kept)
        except (StartError, OSError) as problem:
            self.say(f"ava: {kept.name} cannot be started: {problem}")
            kept.start_at = time.monotonic() + _LONGEST_BACKOFF_SECONDS

    def _failed_start(self, kept: _Kept) -> StartError:
        self._relay.drain()
        log = kept.service.log
        complaint = self._relay.complaints.get(kept.name)
        if log:
            return ServerFailed(f"{kept.name} did not start: {last_words(log)} (all of it: {log}).")
        end = _describe_end(kept.child) if kept.child else "did not start"
        return StartError(complaint or f"{kept.name} {end} before everything was up.")

    def _complaint(self, kept: _Kept) -> str:
        words = self._relay.complaints.pop(kept.name, "")
        return f" ({words.rstrip('.')})" if words else ""

    def _await_end(self, child: ChildProcess) -> None:
        deadline = time.monotonic() + child.program.stop_seconds
        while child.exit_code is None and time.monotonic() < deadline and not self.was_hurried:
            self._listen(0.05)

    def _end_at_once(self, children: list[ChildProcess]) -> None:
        """End whatever still runs. PostgreSQL is told by SIGQUIT: killed, it would leave its shared memory behind."""
        for child in children:
            child.end_at_once()
        deadline = time.monotonic() + 3
        for child in children:
            child.wait(max(0.0, deadline - time.monotonic()))
            child.kill()


def _wake_up(number: int, frame: FrameType | None) -> None:
    """Nothing more: the signal has ended the loop's wait."""


def _forget(line: str) -> None:
    """What is said to nobody."""


def _describe_end(child: ChildProcess) -> str:
    code = child.exit_code
    if code is None or code >= 0:
        return f"ended with exit code {code}"
    return f"was killed by {signal.Signals(-code).name}"
