"""Replace descriptors 1 and 2 with pipes while a handler runs, to receive the output of subprocesses.

Subprocesses bypass Python's streams. If the handler asks for it, their lines go to the job's log. Otherwise, in a run
with secrets, they go to the original files, through the run's mask.
"""

from __future__ import annotations

import codecs
import os
import select
import signal
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Protocol

from ava.domain.jobs.job import LogLevel
from ava.domain.secrets.masking import SecretMask
from ava.node.process_tree import BLOCKABLE_SIGNALS
from ava.node.runs.job_log import JobLog, LineWriter

_LEVELS = {1: LogLevel.INFO, 2: LogLevel.WARN}
_READ_BYTES = 65_536
#: Maximum bytes buffered until the end of a line.
_LONGEST_LINE_BYTES = 1_048_576
#: Maximum seconds for passing on the last output; the file behind a descriptor may block.
_ENDING_SECONDS = 5.0


class _Sink(Protocol):
    """Destination of the bytes of one descriptor."""

    def write(self, data: bytes) -> None:
        """Write the next bytes."""

    def end(self) -> None:
        """Write the last, unfinished line; no more bytes follow."""


class DescriptorPipes:
    """Replaces descriptors with pipes. Costs each run one thread, and a pipe per descriptor."""

    def __init__(self, sinks: Mapping[int, _Sink]) -> None:
        """`sinks`: the destination of each descriptor. Raises `OSError` if no descriptors are left."""
        #: The sink of each pipe, by the pipe's read end.
        self._sinks: dict[int, _Sink] = {}
        self._stop, self._stopping = os.pipe()
        starts: dict[int, int] = {}
        try:
            for number, sink in sinks.items():
                end, starts[number] = os.pipe()
                os.set_blocking(end, False)
                self._sinks[end] = sink
        except OSError:
            for descriptor in (self._stop, self._stopping, *starts.values(), *self._sinks):
                os.close(descriptor)
            raise
        self._thread = threading.Thread(target=self._run, name="ava-descriptor-pipes", daemon=True)
        self._thread.start()
        for number, start in starts.items():
            os.dup2(start, number)
            os.close(start)

    def close(self) -> None:
        """Pass on the remaining output, once the descriptors are restored and the handler's subprocesses have ended."""
        # The handler may have closed it.
        with suppress(OSError):
            os.close(self._stopping)
        self._thread.join(_ENDING_SECONDS)

    def _run(self) -> None:
        # The main thread handles signals.
        signal.pthread_sigmask(signal.SIG_BLOCK, BLOCKABLE_SIGNALS)
        with suppress(OSError):
            self._read()
        for sink in self._sinks.values():
            sink.end()
        for descriptor in (*self._sinks, self._stop):
            with suppress(OSError):
                os.close(descriptor)

    def _read(self) -> None:
        poll = select.poll()
        for descriptor in (*self._sinks, self._stop):
            poll.register(descriptor, select.POLLIN)
        while self._stop not in (ready := [descriptor for descriptor, _ in poll.poll()]):
            for end in ready:
                if data := _read_now(end):
                    self._sinks[end].write(data)
                else:
                    # All writers have closed it.
                    poll.unregister(end)
        for end, sink in self._sinks.items():
            # A detached process may hold a pipe open, so that it never reaches its end.
            while data := _read_now(end):
                sink.write(data)


def redirect(log: JobLog, *, captures_subprocesses: bool, mask: SecretMask | None) -> DescriptorPipes | None:
    """Start to pass on the output of subprocesses. Returns None if it is not redirected.

    Without free descriptors, the log says that the output is not captured; a run with secrets raises `OSError`.
    """
    if captures_subprocesses:
        try:
            return DescriptorPipes({number: _LogSink(log, level) for number, level in _LEVELS.items()})
        except OSError as error:
            log.add(LogLevel.WARN, f"The output of subprocesses is not captured: {error}")
    if mask is not None:
        return DescriptorPipes({number: _MaskedSink(mask, os.dup(number)) for number in _LEVELS})
    return None


class _LogSink:
    def __init__(self, log: JobLog, level: LogLevel) -> None:
        self._writer = LineWriter(level)
        self._writer.begin(log)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def write(self, data: bytes) -> None:
        self._writer.write(self._decoder.decode(data))

    def end(self) -> None:
        self._writer.end()


class _MaskedSink:
    def __init__(self, mask: SecretMask, target: int) -> None:
        """`target` is closed at the end."""
        self._mask = mask
        self._target = target
        self._rest = b""

    def write(self, data: bytes) -> None:
        lines, newline, self._rest = (self._rest + data).rpartition(b"\n")
        if len(self._rest) > _LONGEST_LINE_BYTES:
            lines, newline, self._rest = lines + newline + self._rest, b"", b""
        self._pass_on(lines + newline)

    def end(self) -> None:
        self._pass_on(self._rest)
        with suppress(OSError):
            os.close(self._target)

    def _pass_on(self, data: bytes) -> None:
        string = data.decode("utf-8", "surrogateescape")
        left = self._mask.string(string).encode("utf-8", "surrogateescape")
        # Output that a closed or full file rejects is lost, as it would be without the mask.
        with suppress(OSError):
            while left:
                left = left[os.write(self._target, left) :]


def _read_now(descriptor: int) -> bytes:
    """Return the available bytes of a pipe; none if it is empty or at its end."""
    try:
        return os.read(descriptor, _READ_BYTES)
    except BlockingIOError:
        return b""
