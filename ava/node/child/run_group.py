"""The runs of the message that a child has: it runs them one after another, and gives back what it does not begin."""

from __future__ import annotations

import threading
import time
import uuid
from collections import deque
from contextlib import suppress

from ava.domain import run_groups
from ava.domain.job import Job
from ava.domain.messages import Message
from ava.store.engine.database import Database
from ava.store.jobs import shared_claims, turns

__all__ = ["RunGroup"]

#: Seconds after which a process that runs one job of a limit after the other asks for its next message, so that it
#: takes its turn at what waits in the broker, and notices that its node shuts down.
_PASSING_SECONDS = 0.5


class RunGroup:
    """The runs of one message that have not begun. The main thread takes them; the companion thread gives them back."""

    def __init__(self) -> None:
        self._worker_id = ""
        #: What has not begun, with the id of the claim that runs of its message share.
        self._waiting: deque[tuple[str, int, str]] = deque()
        #: What was taken last, until it is claimed.
        self.following: Message | None = None
        #: The id of the claim that runs of this message share, unless each is claimed when its turn comes.
        self.claim_id = ""
        #: What is still to be given back.
        self._returning: list[tuple[str, int, str]] = []
        self._giving_back = threading.Lock()
        self._ends_at = self._look_at = self._passes_until = 0.0

    def begin(self, message: Message) -> None:
        """Begin a message; the caller runs its first run now."""
        self._worker_id, self.following, self.claim_id = message.worker_id, None, str(uuid.uuid4())
        now = time.monotonic()
        self._ends_at, self._look_at = now + run_groups.SECONDS, now + run_groups.LOOK_SECONDS
        self._passes_until = now + _PASSING_SECONDS
        self._waiting.extend((job_id, run_no, self.claim_id) for job_id, run_no in message.runs[1:])

    @property
    def waiting(self) -> list[tuple[str, int]]:
        """Returns the runs that wait behind the one whose turn it is."""
        # A copy, because the other thread may give some back meanwhile.
        return [(job_id, run_no) for job_id, run_no, _ in self._waiting.copy()]

    def is_at(self, message: Message) -> bool:
        """Returns True, once, if a message is what was taken last."""
        following, self.following = self.following, None
        return following is not None and following == message

    def take(self) -> Message | None:
        """Take the next run, as a message of its own. Returns None if there is none, or the group has had its time."""
        if self.is_over_time:
            return None
        try:
            job_id, run_no, _ = self._waiting.popleft()
        except IndexError:
            # The other thread may have given the last one back.
            return None
        self.following = Message(self._worker_id, ((job_id, run_no),))
        return self.following

    @property
    def may_pass_place(self) -> bool:
        """Returns True if nothing waits behind the current run, and the process may go on without another message."""
        return self.following is None and not self._waiting and time.monotonic() < self._passes_until

    def follow_by_place(self, job: Job) -> None:
        """Begin with the job next that was claimed because it has got the place of the run before."""
        self.following = Message(job.worker_id, ((job.id, job.run_no),))

    @property
    def is_over_time(self) -> bool:
        """Returns True if the message has had its time."""
        return time.monotonic() >= self._ends_at

    def is_to_look(self) -> bool:
        """Returns True if it is time to look for a more urgent job, because some of this message wait."""
        now = time.monotonic()
        if not self._waiting or now < self._look_at:
            return False
        self._look_at = now + run_groups.LOOK_SECONDS
        return True

    def make_way(self) -> None:
        """Begin no further run of this message."""
        self._ends_at = 0.0

    @property
    def is_late(self) -> bool:
        """Returns True if something is to be given back."""
        return bool(self._returning) or (bool(self._waiting) and self.is_over_time)

    def give_back(self, database: Database) -> None:
        """Return what has not begun to the backlog. If it raises `DatabaseUnavailable`, a later call tries again."""
        if not self._waiting and not self._returning:
            return
        with self._giving_back:
            # The main thread may take the last one meanwhile.
            with suppress(IndexError):
                while True:
                    self._returning.append(self._waiting.popleft())
            with database.connect() as connection:
                # In this order: once a run is recalled, a claim that is on its way cannot get it.
                turns.recall_runs(connection, [(job_id, run_no) for job_id, run_no, _ in self._returning])
                shared_claims.give_back(connection, self._returning)
            self._returning.clear()
