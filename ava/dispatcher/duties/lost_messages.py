"""Duty: republish messages that the broker lost."""

from __future__ import annotations

from dataclasses import dataclass

from ava.broker.publisher import Publisher
from ava.errors import BrokerUnavailable, QueueRefused
from ava.store.engine.database import Database
from ava.store.jobs.feed import published
from ava.store.jobs.transitions import publish, recall

_JOBS_PER_STATEMENT = 1000
#: Maximum seconds from publishing a message to the start of its job, while a process is free.
_SETTLE_SECONDS = 4.0
#: Maximum pause between two republishes to a queue whose idle nodes do not react. It bounds the time until a lost
#: message is republished to 30 s.
_LONGEST_PAUSE_SECONDS = 16.0


@dataclass(frozen=True, kw_only=True)
class _IdleRepublish:
    """The last messages that were republished to a queue because its nodes were idle."""

    next_at: float
    pause_seconds: float
    #: The jobs of these messages. If the same jobs are found lost again, lost messages were not why the nodes were
    #: idle.
    job_ids: frozenset[str]


class LostMessages:
    """Republishes lost messages, but not messages that are still in the broker (`ava.store.jobs.transitions.publish`).

    If the broker's reset marker is missing, the broker has lost everything, and all published jobs return to the
    backlog.
    """

    def __init__(self, database: Database, publisher: Publisher, *, node_dead_seconds: float) -> None:
        self._database = database
        self._publisher = publisher
        self._node_dead_seconds = node_dead_seconds
        self._idle_republishes: dict[str, _IdleRepublish] = {}
        self._was_reset = False

    def run_once(self, now: float) -> int:
        """Republish lost messages, or return their jobs to the backlog. Returns the number of jobs."""
        if self._check_reset():
            return self._recall_all()
        with self._database.connect() as connection:
            queues = published.queues(connection)
        self._idle_republishes = {queue: last for queue, last in self._idle_republishes.items() if queue in queues}
        return sum(self._republish(queue, now) for queue in queues)

    def _check_reset(self) -> bool:
        # The broker reports a reset only once, so remember it until the jobs are back in the backlog.
        self._was_reset = self._was_reset or self._publisher.was_reset()
        return self._was_reset

    def _recall_all(self) -> int:
        with self._database.connect() as connection:
            count = recall.recall_all(connection)
        self._was_reset = False
        return count

    def _republish(self, queue: str, now: float) -> int:
        last = self._idle_republishes.get(queue)
        may_wake = last is None or now >= last.next_at
        with self._database.connect() as connection:
            lost = publish.republish(
                connection,
                queue=queue,
                settle_seconds=_SETTLE_SECONDS,
                dead_after_seconds=self._node_dead_seconds,
                trust_idle_nodes=may_wake,
                limit=_JOBS_PER_STATEMENT,
            )
        if not lost:
            return 0
        if may_wake:
            self._idle_republishes[queue] = _next_republish(last, now, frozenset(job.id for job in lost))
        try:
            self._publisher.publish(lost)
        except BrokerUnavailable as error:
            with self._database.connect() as connection:
                recall.recall_unsent(connection, lost)
            # The broker may still accept messages for other queues.
            if not isinstance(error, QueueRefused):
                raise
        return len(lost)


def _next_republish(last: _IdleRepublish | None, now: float, job_ids: frozenset[str]) -> _IdleRepublish:
    had_no_effect = last is not None and not last.job_ids.isdisjoint(job_ids)
    pause = min(2 * last.pause_seconds, _LONGEST_PAUSE_SECONDS) if last and had_no_effect else _SETTLE_SECONDS
    return _IdleRepublish(next_at=now + pause, pause_seconds=pause, job_ids=job_ids)
