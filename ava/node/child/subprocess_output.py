"""What the subprocesses of a handler write to its standard streams, line by line to the job's log."""

from __future__ import annotations

import codecs
import os
import select
import threading
from collections.abc import Sequence

from ava.domain.job import LogLevel
from ava.node.child.job_log import JobLog, LineWriter

__all__ = ["SubprocessOutput", "capture"]

_READ_BYTES = 65_536


class SubprocessOutput:
    """Replaces descriptors 1 and 2 by pipes while a handler runs; a thread reads both.

    It costs a run a thread and three pipes, so only handlers that ask for it have it.
    """

    def __init__(self, log: JobLog, kept: Sequence[int]) -> None:
        """`kept`: copies of descriptors 0, 1 and 2 of this process. Raises `OSError` if no descriptors are left."""
        self._kept = kept
        self._writers = {1: LineWriter(LogLevel.INFO), 2: LineWriter(LogLevel.WARN)}
        for writer in self._writers.values():
            writer.begin(log)
        self._ends: dict[int, int] = {}
        self._stop, self._stopped = os.pipe()
        try:
            for number in self._writers:
                self._redirect(number)
        except OSError:
            self._close_descriptors()
            raise
        self._thread = threading.Thread(target=self._read, name="subprocess output", daemon=True)
        self._thread.start()

    def _redirect(self, number: int) -> None:
        end, start = os.pipe()
        self._ends[end] = number
        os.set_blocking(end, False)
        os.dup2(start, number)
        os.close(start)

    def close(self) -> None:
        """Restore the descriptors, and write what is in the pipes to the log. The run's signals are blocked."""
        for number in self._writers:
            os.dup2(self._kept[number], number)
        os.write(self._stopped, b"x")
        self._thread.join()
        for writer in self._writers.values():
            writer.end()
        self._close_descriptors()

    def _close_descriptors(self) -> None:
        for number in self._writers:
            os.dup2(self._kept[number], number)
        for descriptor in (*self._ends, self._stop, self._stopped):
            os.close(descriptor)

    def _read(self) -> None:
        decoders = {end: codecs.getincrementaldecoder("utf-8")("replace") for end in self._ends}
        poll = select.poll()
        for descriptor in (*self._ends, self._stop):
            poll.register(descriptor, select.POLLIN)
        is_stopped = False
        while not is_stopped:
            ready = [descriptor for descriptor, _ in poll.poll()]
            is_stopped = self._stop in ready
            # A process that outlives the handler may hold the pipe open, so that it has no end: what is there is read.
            for end in self._ends if is_stopped else ready:
                while chunk := _chunk(end):
                    self._writers[self._ends[end]].write(decoders[end].decode(chunk))
                    if not is_stopped:
                        break


def capture(log: JobLog, kept: Sequence[int]) -> SubprocessOutput | None:
    """Begin to capture. Returns None if there are no descriptors left, and says so in the log."""
    try:
        return SubprocessOutput(log, kept)
    except OSError as error:
        log.add(LogLevel.WARN, f"The output of subprocesses is not captured: {error}")
        return None


def _chunk(descriptor: int) -> bytes:
    """Returns what a pipe holds; nothing if it is empty."""
    try:
        return os.read(descriptor, _READ_BYTES)
    except BlockingIOError:
        return b""
