"""What children print, line by line, with the name of who printed it."""

from __future__ import annotations

import os
import selectors
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["OutputRelay", "last_words"]

_LONGEST_LINE = 64 * 1024


def last_words(log: Path) -> str:
    """The last line of a log file: what a program said before it ended."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else "it said nothing"


@dataclass(kw_only=True)
class _Stream:
    """One child's output."""

    #: Who prints it.
    name: str
    #: The beginning of a line whose end has not come yet.
    rest: bytes = b""


class OutputRelay:
    """Reads the outputs of children as they come, and hands on whole lines."""

    def __init__(self, selector: selectors.BaseSelector, write: Callable[[str], None]) -> None:
        self._selector = selector
        self._write = write
        self._streams: dict[int, _Stream] = {}
        #: The last `ava: …` line of each child: the one that says why it ended. Shown by whoever deals with that.
        self.complaints: dict[str, str] = {}

    def add(self, name: str, output: int) -> None:
        """Relay the pipe `output` as that of `name` from now on; it is ours to close."""
        os.set_blocking(output, False)
        self._streams[output] = _Stream(name=name)
        self._selector.register(output, selectors.EVENT_READ)

    def read(self, output: int) -> None:
        """Hand on what is there to read."""
        stream = self._streams.get(output)
        if stream is None:
            return
        try:
            chunk = os.read(output, _LONGEST_LINE)
        except BlockingIOError:
            return
        if chunk:
            *lines, stream.rest = (stream.rest + chunk).split(b"\n")
            self._hand_on(stream, lines)
        if not chunk or len(stream.rest) > _LONGEST_LINE:
            self._hand_on(stream, [stream.rest] if stream.rest else [])
            stream.rest = b""
        if not chunk:
            self._remove(output)

    def drain(self) -> None:
        """Hand on everything that is there to read, of all children."""
        for output in list(self._streams):
            while output in self._streams and self._has_more(output):
                self.read(output)

    def close(self) -> None:
        """Read no more."""
        for output in list(self._streams):
            self._remove(output)

    def _has_more(self, output: int) -> bool:
        return any(key.fd == output for key, _ in self._selector.select(0))

    def _hand_on(self, stream: _Stream, lines: list[bytes]) -> None:
        for line in lines:
            text = line.decode(errors="replace").rstrip("\r")
            if text.startswith("ava: "):
                self.complaints[stream.name] = text.removeprefix("ava: ")
            else:
                self._write(f"{stream.name:<10} | {text}")

    def _remove(self, output: int) -> None:
        self._selector.unregister(output)
        del self._streams[output]
        os.close(output)
