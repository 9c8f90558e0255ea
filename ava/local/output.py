"""The output of child processes: printed by line, with the name of the process as prefix."""

from __future__ import annotations

import os
import selectors
from collections.abc import Callable
from dataclasses import dataclass

from ava.domain.strings import printable

_LONGEST_LINE_BYTES = 64 * 1024


def last_line(output: str) -> str:
    """Return the line of a program's output that explains its end, without its full stop.

    It is the last line; for PostgreSQL the last fatal one, because a line about the shutdown follows it.
    """
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    fatal = [line for line in lines if " FATAL:  " in line or " PANIC:  " in line]
    return (fatal or lines)[-1].rstrip(".") if lines else "no output"


@dataclass(kw_only=True)
class _Stream:
    name: str
    #: The beginning of an incomplete line.
    rest: bytes = b""


class Output:
    """Reads the pipes of children and prints complete lines."""

    def __init__(self, selector: selectors.BaseSelector, print_line: Callable[[str], None]) -> None:
        self._selector = selector
        self._print_line = print_line
        self._streams: dict[int, _Stream] = {}
        #: Each child's last line `ava: …`, which explains its end. Such lines are not printed here.
        self.last_errors: dict[str, str] = {}

    def add(self, name: str, pipe: int) -> None:
        """Print the data of `pipe` as the output of `name`. This object closes the pipe."""
        os.set_blocking(pipe, False)
        self._streams[pipe] = _Stream(name=name)
        self._selector.register(pipe, selectors.EVENT_READ)

    def read(self, pipe: int) -> None:
        """Print the lines that can be read now."""
        stream = self._streams.get(pipe)
        if stream is None:
            return
        try:
            chunk = os.read(pipe, _LONGEST_LINE_BYTES)
        except BlockingIOError:
            return
        if chunk:
            *lines, stream.rest = (stream.rest + chunk).split(b"\n")
            self._print(stream, lines)
        if not chunk or len(stream.rest) > _LONGEST_LINE_BYTES:
            self._print(stream, [stream.rest] if stream.rest else [])
            stream.rest = b""
        if not chunk:
            self._remove(pipe)

    def drain(self) -> None:
        """Print everything that can be read now, from all children."""
        for pipe in list(self._streams):
            while pipe in self._streams and self._is_readable(pipe):
                self.read(pipe)

    def close(self) -> None:
        for pipe in list(self._streams):
            self._remove(pipe)

    def _is_readable(self, pipe: int) -> bool:
        return any(key.fd == pipe for key, _ in self._selector.select(0))

    def _print(self, stream: _Stream, lines: list[bytes]) -> None:
        for line in lines:
            message = printable(line.decode(errors="replace").rstrip("\r"), allowed="\t")
            if message.startswith("ava: "):
                self.last_errors[stream.name] = message.removeprefix("ava: ")
            else:
                self._print_line(f"{stream.name:<10} | {message}")

    def _remove(self, pipe: int) -> None:
        self._selector.unregister(pipe)
        del self._streams[pipe]
        os.close(pipe)
