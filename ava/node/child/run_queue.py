"""The runs of a process's current message: decide the next run, and how the current one ends. No I/O, no clock.

`run_steps` executes these decisions. `now` is the monotonic time in seconds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from ava.domain.jobs import run_groups
from ava.domain.jobs.job import Job, RunKey
from ava.domain.jobs.messages import Message
from ava.store.jobs.transitions.claim import RunCheck


class Way(Enum):
    """How the end of a run is written, and which run the same statement claims."""

    #: Buffer it for the other ends of its claim; the next run begins.
    KEEP = auto()
    #: Write it with the other ends of its claim, because no run follows or the next one would delay them too much.
    TOGETHER = auto()
    #: Write it individually, and claim the next run of the message.
    WITH_NEXT = auto()
    #: Write it individually, and claim the first run of the next message if that has arrived.
    ALONE = auto()


@dataclass(eq=False, slots=True)
class QueuedRun:
    key: RunKey
    worker_id: str
    #: Shared with other runs of its message if they are claimed together.
    claim_id: str
    #: False for the first run of a message, which Celery passes to the process.
    is_within: bool = True
    #: Its job and the time of its claim, once claimed.
    job: Job | None = None
    claimed_at: float = 0.0
    #: When the claim was sent, in Unix nanoseconds, if before the end of the previous run.
    sent_ns: int = 0
    sent_at: float = 0.0
    #: Whether it shares its claim, and whether it must be claimed individually.
    is_shared: bool = False
    is_claimed_singly: bool = False
    #: Whether other runs have begun since its claim, so that it must be checked first.
    is_to_check: bool = False
    #: The check that the statement of the last run's end has made, if any.
    check: RunCheck | None = None

    @property
    def message(self) -> Message:
        return Message(self.worker_id, (self.key,))


class RunQueue:
    """The runs of one process. The main thread takes them; another thread may take the ones to requeue."""

    def __init__(self) -> None:
        self.next: QueuedRun | None = None
        self.claim_id = ""
        self._is_shared = False
        self._waiting: deque[QueuedRun] = deque()
        self._returning: list[QueuedRun] = []
        #: Whether no further run of the message begins, because a more urgent job is waiting.
        self._makes_way = False
        #: From the first time on, the current run is long, and the runs behind it must be requeued. The second is the
        #: next priority check.
        self._long_at = self._poll_at = 0.0
        #: When the handler of the first buffered end returned, 0 if none is buffered.
        self._kept_at = 0.0

    # Starting a run ------------------------------------------------------------------------------------------------

    def receive(self, message: Message, claim_id: str, now: float) -> None:
        self._return(self._waiting)
        if self.next is None or self.next.key != message.runs[0]:
            self.next = QueuedRun(message.runs[0], message.worker_id, claim_id, is_within=False)
        self.claim_id = claim_id
        self._waiting.extend(QueuedRun(run, message.worker_id, claim_id) for run in message.runs[1:])
        self._makes_way = False
        self._long_at, self._poll_at = now + run_groups.LONG_SECONDS, now + run_groups.POLL_SECONDS

    def expects(self, message: Message) -> bool:
        """Return True if a message is the next run that this queue has already named."""
        return self.next is not None and self.next.is_within and (self.next.key,) == message.runs

    def to_claim(self, max_together: int) -> Sequence[QueuedRun]:
        """Return the runs to claim now: the next one, and others behind it that share its claim."""
        assert self.next is not None
        # A copy, because the other thread may concurrently take runs.
        behind = [run for run in self._waiting.copy() if run.job is None]
        return [self.next] if self.next.is_claimed_singly else [self.next, *behind][:max_together]

    def record_claimed(self, wanted: Sequence[QueuedRun], jobs: Iterable[Job], claim_id: str, now: float) -> None:
        """Record which of the wanted runs were claimed. The others are later claimed individually."""
        claimed = {job.run: job for job in jobs}
        for run in wanted:
            run.job, run.claim_id, run.claimed_at = claimed.get(run.key), claim_id, now
            run.is_shared = run.job is not None and len(wanted) > 1
            run.is_to_check = run.is_shared and run is not self.next
            run.is_claimed_singly = run.job is None

    def begin(self, now: float) -> QueuedRun:
        run, self.next = self.next, None
        assert run is not None
        self._long_at = now + run_groups.LONG_SECONDS
        self._is_shared = run.is_shared
        return run

    def return_overdue(self, now: float) -> bool:
        """Return the rest of the message to the backlog if its claimed runs have shown as running for too long."""
        run = self.next
        if run is None or not run.is_to_check or now - run.claimed_at < run_groups.SHOWN_SECONDS:
            return False
        self.next = None
        self._returning.append(run)
        self._return(self._waiting)
        return True

    def drop_next(self) -> None:
        """Drop the next run, because it cannot be claimed or has lost its job."""
        self.next = None

    def must_poll(self, now: float) -> bool:
        return bool(self._waiting) and self.is_poll_due(now)

    def is_poll_due(self, now: float) -> bool:
        """Return True if a check for more urgent jobs is due; the next one is due after `POLL_SECONDS`."""
        if now < self._poll_at:
            return False
        self._poll_at = now + run_groups.POLL_SECONDS
        return True

    def make_way(self) -> None:
        """Begin no further unclaimed run of this message, because a more urgent job is waiting."""
        self._makes_way = True
        if self.next is not None and self.next.job is None:
            self._waiting.appendleft(self.next)
            self.next = None

    # Ending a run --------------------------------------------------------------------------------------------------

    def decide_way(self, *, is_completed: bool, goes_on: bool, next_seconds: float, now: float) -> Way:
        """Decide how the current run ends, and take the next one of its message unless a more urgent job is waiting.

        `goes_on`: the process may have another run, which takes about `next_seconds` (infinity: its end shares no
        statement).
        """
        self.take_next(goes_on=goes_on)
        if is_completed and self._is_shared:
            kept_at = self._kept_at or now
            if self.next is not None and now + next_seconds < kept_at + run_groups.END_SECONDS:
                self._kept_at = kept_at
                return Way.KEEP
            if self._kept_at:
                return Way.TOGETHER
        return Way.WITH_NEXT if self.next is not None and self.next.job is None else Way.ALONE

    @property
    def write_at(self) -> float | None:
        """Return the time at which another thread must write the buffered ends; None without any."""
        return self._kept_at + 0.9 * run_groups.END_SECONDS if self._kept_at else None

    @property
    def may_keep_ends(self) -> bool:
        """Return True if the end of the current run may be buffered, because others of its claim are waiting."""
        return self._is_shared and bool(self._waiting)

    def forget_kept(self) -> None:
        self._kept_at = 0.0

    def take_next(self, *, goes_on: bool) -> None:
        if goes_on and not self._makes_way:
            try:
                self.next = self._waiting.popleft()
            except IndexError:
                self.next = None

    def follow(self, job: Job, claim_id: str, sent_ns: int, sent_at: float, *, is_within: bool) -> None:
        """Set the next run, claimed by the statement that wrote the end of the last one; see `QueuedRun`."""
        self.next = QueuedRun(
            job.run, job.worker_id, claim_id, is_within=is_within, job=job, sent_ns=sent_ns, sent_at=sent_at
        )

    def is_long(self, now: float) -> bool:
        return now >= self._long_at

    # Requeueing runs -----------------------------------------------------------------------------------------------

    def must_requeue(self, now: float) -> bool:
        return bool(self._returning) or (bool(self._waiting) and (self._makes_way or self.is_long(now)))

    def take_to_requeue(self) -> Sequence[QueuedRun]:
        """Take the unstarted runs to requeue. They are returned again until `forget_requeued`."""
        self._return(self._waiting)
        return tuple(self._returning)

    def forget_requeued(self, requeued: Sequence[QueuedRun]) -> None:
        # The main thread may have appended further runs.
        del self._returning[: len(requeued)]

    def _return(self, runs: deque[QueuedRun]) -> None:
        while runs:
            try:
                self._returning.append(runs.popleft())
            except IndexError:
                # The other thread may have taken the last one.
                return
