"""What the handlers of `tests.acceptance.handlers` have told in their files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.polling import wait_until


@dataclass(frozen=True, kw_only=True)
class Word:
    """One line of such a file."""

    word: str
    #: The process that wrote it, and when, in seconds since the epoch.
    pid: int
    at: float


class Told:
    """One file of words."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def input(self) -> dict[str, str]:
        """What to give a handler, so that it tells here."""
        return {"file": str(self.path)}

    def read(self) -> list[Word]:
        """Everything so far, in order."""
        if not self.path.exists():
            return []
        parts = [line.split() for line in self.path.read_text().splitlines()]
        return [Word(word=word, pid=int(pid), at=float(at)) for word, pid, at in parts]

    @property
    def words(self) -> list[str]:
        """Just the words."""
        return [word.word for word in self.read()]

    def wait_for(self, word: str, *, seconds: float = 15) -> Word:
        """Wait for a word; the first of them."""
        return wait_until(
            lambda: next((told for told in self.read() if told.word == word), None),
            seconds=seconds,
            what=lambda: f"{word} is told; it is {self.words}",
        )
