"""The runs of the message that a child has: it runs them one after another, and gives back what it does not begin."""

from __future__ import annotations

import threading
import time
from collections import deque

from ava.domain import run_groups
from ava.domain.messages import Message
from ava.store.engine.database import Database
from ava.store.jobs import turns

__all__ = ["RunGroup"]


class RunGroup:
    """The runs of one message that have not begun. The main thread takes them; the companion thread gives them back."""

    def __init__(self) -> None:
        self._worker_id = ""
        self._waiting: deque[tuple[str, int]] = deque()
        #: What was taken last, until it is claimed.
        self.following: Message | None = None
        #: What is still to be given back.
        self._returning: list[tuple[str, int]] = []
        self._giving_back = threading.Lock()
        self._ends_at = 0.0

    def begin(self, message: Message) -> None:
        """Begin a message; the caller runs its first run now."""
        self._worker_id, self.following = message.worker_id, None
        self._ends_at = time.monotonic() + run_groups.SECONDS
        self._waiting.extend(message.runs[1:])

    def is_at(self, message: Message) -> bool:
        """Returns True, once, if a message is what was taken last."""
        following, self.following = self.following, None
        return following is not None and following == message

    def take(self) -> Message | None:
        """Take the next run, as a message of its own. Returns None if there is none, or the group has had its time."""
        if time.monotonic() >= self._ends_at:
            return None
        try:
            self.following = Message(self._worker_id, (self._waiting.popleft(),))
        except IndexError:
            # The other thread may have given the last one back.
            return None
        return self.following

    @property
    def is_late(self) -> bool:
        """Returns True if something is to be given back."""
        return bool(self._returning) or (bool(self._waiting) and time.monotonic() >= self._ends_at)

    def give_back(self, database: Database) -> None:
        """Return what has not begun to the backlog. If it raises `DatabaseUnavailable`, a later call tries again."""
        if not self._waiting and not self._returning:
            return
        with self._giving_back:
            while self._waiting:
                self._returning.append(self._waiting.popleft())
            with database.connect() as connection:
                turns.recall_runs(connection, self._returning)
            self._returning.clear()
