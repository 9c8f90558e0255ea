"""The runs of the message that a process has: which comes next, and how the current one ends. No I/O, no clock.

Every way to a next run and every way out of a run is decided here. `run_steps` does what is decided. `now` is the time
in seconds of the monotonic clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from ava.domain.jobs import run_groups
from ava.domain.jobs.job import Job, RunKey
from ava.domain.jobs.messages import Message


class Way(Enum):
    """How the end of a run is written, and what the same statement claims."""

    #: It waits to be written with the ends of its claim, and the next run begins.
    KEEP = auto()
    #: With the ends of its claim, because none follows.
    TOGETHER = auto()
    #: Alone, and the next run of the message is claimed.
    WITH_NEXT = auto()
    #: Alone, and the first run of the next message is claimed if that has come.
    ALONE = auto()


@dataclass(eq=False, slots=True)
class QueuedRun:
    """A run that has not begun."""

    key: RunKey
    worker_id: str
    #: The claim that it shares with others of its message, if they are claimed together; else that of its own.
    claim_id: str
    #: False for the first run of a message, which Celery gives to the process.
    is_within: bool = True
    #: Its job once it is claimed, and when it was.
    job: Job | None = None
    claimed_at: float = 0.0
    #: When the claim was sent, in Unix nanoseconds, if that was before the end of the run before.
    sent_ns: int = 0
    #: When a claim of it alone was sent.
    sent_at: float = 0.0
    #: Whether it shares its claim, and whether it has to be claimed alone.
    is_shared: bool = False
    is_alone: bool = False
    #: Whether other runs have begun since it was claimed, so that it is to be checked first.
    is_to_check: bool = False

    @property
    def message(self) -> Message:
        """Returns the run as a message of its own."""
        return Message(self.worker_id, (self.key,))


class RunQueue:
    """The runs of one process. The main thread takes them; another thread may take those that are late."""

    def __init__(self) -> None:
        #: The run whose turn it is, until it begins.
        self.next: QueuedRun | None = None
        #: The claim that runs of the message share.
        self.claim_id = ""
        #: Whether the current run, which has begun, shares that claim.
        self._is_shared = False
        self._waiting: deque[QueuedRun] = deque()
        #: Those that are on their way back to the backlog.
        self._late: list[QueuedRun] = []
        #: Whether no further run of the message begins, because a more urgent job waits.
        self._makes_way = False
        #: When the current run has taken so long that those behind it are late.
        self._long_at = self._look_at = 0.0

    # To a run ------------------------------------------------------------------------------------------------------

    def receive(self, message: Message, claim_id: str, now: float) -> None:
        """Begin a message: the turn of its first run has come."""
        self._set_late(self._waiting)
        if self.next is None or self.next.key != message.runs[0]:
            self.next = QueuedRun(message.runs[0], message.worker_id, claim_id, is_within=False)
        self.claim_id = claim_id
        self._waiting.extend(QueuedRun(run, message.worker_id, claim_id) for run in message.runs[1:])
        self._makes_way = False
        self._long_at, self._look_at = now + run_groups.LONG_SECONDS, now + run_groups.LOOK_SECONDS

    def expects(self, message: Message) -> bool:
        """Returns True if a message is the next run, which this queue has named before."""
        return self.next is not None and self.next.is_within and (self.next.key,) == message.runs

    def to_claim(self, max_together: int) -> Sequence[QueuedRun]:
        """Returns what is claimed now: the next run, and those behind it that share its claim. None is claimed yet."""
        assert self.next is not None
        # A copy, because the other thread may take some meanwhile.
        behind = [run for run in self._waiting.copy() if run.job is None]
        return [self.next] if self.next.is_alone else [self.next, *behind][:max_together]

    def note_claimed(self, wanted: Sequence[QueuedRun], jobs: Iterable[Job], claim_id: str, now: float) -> None:
        """Note which of the wanted runs were claimed. One that was not claimed with others is claimed alone later."""
        claimed = {job.run: job for job in jobs}
        for run in wanted:
            run.job, run.claim_id, run.claimed_at = claimed.get(run.key), claim_id, now
            run.is_shared = run.job is not None and len(wanted) > 1
            run.is_to_check = run.is_shared and run is not self.next
            run.is_alone = run.job is None

    def begin(self, now: float) -> QueuedRun:
        """Begin the next run, which is claimed."""
        run, self.next = self.next, None
        assert run is not None
        self._long_at = now + run_groups.LONG_SECONDS
        self._is_shared = run.is_shared
        return run

    def drop_next(self) -> None:
        """The next run cannot be claimed, or has lost its job."""
        self.next = None

    def is_to_look(self, now: float) -> bool:
        """Returns True if it is time to look for a more urgent job, because some of this message wait."""
        return bool(self._waiting) and self.is_look_due(now)

    def is_look_due(self, now: float) -> bool:
        """Returns True if the last look for a more urgent job was long ago; the next one is another moment later."""
        if now < self._look_at:
            return False
        self._look_at = now + run_groups.LOOK_SECONDS
        return True

    def make_way(self) -> None:
        """Begin no further run of this message that is not claimed, because a more urgent job waits."""
        self._makes_way = True
        if self.next is not None and self.next.job is None:
            self._waiting.appendleft(self.next)
            self.next = None

    # Out of a run --------------------------------------------------------------------------------------------------

    def decide_way(self, *, is_completed: bool, goes_on: bool) -> Way:
        """Decide how the current run ends, and take the next one of its message unless a more urgent job waits.

        `goes_on`: the process may have another run.
        """
        self.take_next(goes_on=goes_on)
        if is_completed and self._is_shared:
            return Way.TOGETHER if self.next is None else Way.KEEP
        return Way.WITH_NEXT if self.next is not None and self.next.job is None else Way.ALONE

    def take_next(self, *, goes_on: bool) -> None:
        """Take the next run of the message, if there is one and no more urgent job waits."""
        if goes_on and not self._makes_way:
            try:
                self.next = self._waiting.popleft()
            except IndexError:
                # The other thread may have taken the last one.
                self.next = None

    def follow(self, job: Job, claim_id: str, sent_ns: int, sent_at: float, *, is_within: bool) -> None:
        """The statement that wrote the end of the last run, and was sent then, has claimed the next one."""
        self.next = QueuedRun(
            job.run, job.worker_id, claim_id, is_within=is_within, job=job, sent_ns=sent_ns, sent_at=sent_at
        )

    def is_long(self, now: float) -> bool:
        """Returns True if the current run takes long."""
        return now >= self._long_at

    # Back to the backlog -------------------------------------------------------------------------------------------

    def has_late(self, now: float) -> bool:
        """Returns True if something is to be requeued although the current run goes on."""
        return bool(self._late) or (bool(self._waiting) and (self._makes_way or self.is_long(now)))

    def take_late(self) -> Sequence[QueuedRun]:
        """Take what has not begun and is to be requeued. It is returned again until it is forgotten."""
        self._set_late(self._waiting)
        return tuple(self._late)

    def forget_late(self, requeued: Sequence[QueuedRun]) -> None:
        """What was taken last is requeued."""
        # The main thread may have added others behind them.
        del self._late[: len(requeued)]

    def _set_late(self, runs: deque[QueuedRun]) -> None:
        while runs:
            try:
                self._late.append(runs.popleft())
            except IndexError:
                # The other thread may have taken the last one.
                return
