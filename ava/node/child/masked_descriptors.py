"""The standard output and error of this process, while a run with secrets may write to them past Python's streams."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress

from ava.domain.masking import SecretMask
from ava.node.child.process_state import BLOCKABLE_SIGNALS

__all__ = ["MaskedDescriptors"]

_DESCRIPTORS = (1, 2)
_CHUNK_BYTES = 65_536
#: Bytes that may wait for the end of their line.
_LONGEST_LINE_BYTES = 1_048_576
#: Seconds that what was written last has to pass.
_ENDING_SECONDS = 1.0


class MaskedDescriptors:
    """Passes what is written to descriptors 1 and 2 through a mask, line by line.

    A subprocess inherits the two descriptors, so what it writes to them reaches the log of the node without passing
    the log of the job. A thread copies it from a pipe to where it went before.
    """

    def __init__(self, mask: SecretMask | None) -> None:
        """Without a mask nothing is changed."""
        self._mask = mask
        self._kept: dict[int, int] = {}
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begin; called in the main thread, before the handler."""
        if self._mask is None:
            return
        for number in _DESCRIPTORS:
            kept = os.dup(number)
            reader, writer = os.pipe()
            os.dup2(writer, number)
            os.close(writer)
            self._kept[number] = kept
            # The thread has a copy of its own, because it may have to outlive this object.
            copier = threading.Thread(
                target=self._copy, args=(self._mask, reader, os.dup(kept)), name=f"ava-mask-{number}", daemon=True
            )
            copier.start()
            self._threads.append(copier)

    def stop(self) -> None:
        """End; what was written so far is passed on. Called once no subprocess of the handler is left."""
        for number, kept in self._kept.items():
            # The handler may have closed it; the restoration of the process notices that.
            with suppress(OSError):
                os.dup2(kept, number)
            with suppress(OSError):
                os.close(kept)
        for thread in self._threads:
            thread.join(_ENDING_SECONDS)

    def _copy(self, mask: SecretMask, reader: int, target: int) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, BLOCKABLE_SIGNALS)
        rest = b""
        with suppress(OSError):
            while chunk := os.read(reader, _CHUNK_BYTES):
                lines, newline, rest = (rest + chunk).rpartition(b"\n")
                if len(rest) > _LONGEST_LINE_BYTES:
                    lines, newline, rest = lines + newline + rest, b"", b""
                _write(mask, target, lines + newline)
            _write(mask, target, rest)
        for descriptor in (reader, target):
            with suppress(OSError):
                os.close(descriptor)


def _write(mask: SecretMask, target: int, data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    left = mask.text(text).encode("utf-8", "surrogateescape")
    while left:
        left = left[os.write(target, left) :]
