"""What a handler saw: it appends lines to a file, which survive however its process ends, and a test reads them."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.polling import wait_until


@dataclass(frozen=True, kw_only=True)
class Word:
    """One line of such a file."""

    word: str
    #: The process that wrote it, and when, in seconds since the epoch.
    pid: int
    at: float


def record(payload: dict[str, Any], word: str) -> None:
    """Append a line to the file that the job's input names: the word, the process and the time."""
    line = f"{word} {os.getpid()} {time.time()}\n".encode()
    descriptor = os.open(payload["file"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, line)
    os.close(descriptor)


class Witness:
    """One file of words."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def input(self) -> dict[str, str]:
        """The input of a job whose handler records here."""
        return {"file": str(self.path)}

    def read(self) -> list[Word]:
        """Returns every line so far, in order."""
        if not self.path.exists():
            return []
        parts = [line.split() for line in self.path.read_text().splitlines()]
        return [Word(word=word, pid=int(pid), at=float(at)) for word, pid, at in parts]

    @property
    def words(self) -> list[str]:
        """The words of all lines so far."""
        return [word.word for word in self.read()]

    def wait_for(self, word: str, *, seconds: float = 15) -> Word:
        """Wait for a word. Returns its first line."""
        return wait_until(
            lambda: next((line for line in self.read() if line.word == word), None),
            seconds=seconds,
            what=lambda: f"{word} is recorded; recorded are {self.words}",
        )
