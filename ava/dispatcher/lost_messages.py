"""Duty: a message that the broker lost is published again once its job's turn has come."""

from __future__ import annotations

from dataclasses import dataclass

from ava.broker.publisher import Publisher
from ava.errors import BrokerUnavailable
from ava.store.engine.database import Database
from ava.store.jobs import client_moves, messages

__all__ = ["LostMessages"]

_BATCH = 1000
#: Seconds that a message may take from being published to its job's start while a process is free.
_SETTLE_SECONDS = 4.0
#: The longest pause between two attempts to wake a queue that seems not to hear; a lost message is found within 30 s.
_LONGEST_PAUSE_SECONDS = 16.0


@dataclass(frozen=True, kw_only=True)
class _Waking:
    """What was sent again into a queue because nodes were idle."""

    #: From when on that may be done again, and how long the pause was.
    next_at: float
    pause_seconds: float
    #: Whose messages these were: the same again means that it was not for want of messages.
    job_ids: frozenset[str]


class LostMessages:
    """Publishes again what the broker lost, never a living backlog: see `ava.store.jobs.messages.republish`.

    A broker that has lost everything is known by its canary; then all that was out goes back to the backlog at once,
    and the windows are fed from there.
    """

    name = "lost_messages"
    every_seconds = 1.0

    def __init__(self, database: Database, publisher: Publisher, *, node_dead_seconds: float) -> None:
        self._database = database
        self._publisher = publisher
        self._node_dead_seconds = node_dead_seconds
        self._wakings: dict[str, _Waking] = {}
        self._has_forgotten = False

    def run_once(self, now: float) -> int:
        """Publish what was lost, or put it back into the backlog; how many."""
        if self._forgot():
            return self._take_back_all()
        with self._database.connect() as connection:
            waiting = messages.published_queues(connection)
        self._wakings = {queue: waking for queue, waking in self._wakings.items() if queue in waiting}
        return sum(self._republish(queue, now) for queue in waiting)

    def _forgot(self) -> bool:
        # Kept until it has been followed, for the broker says so only once.
        self._has_forgotten = self._has_forgotten or self._publisher.was_reset()
        return self._has_forgotten

    def _take_back_all(self) -> int:
        with self._database.connect() as connection:
            count = messages.unpublish_all(connection)
        self._has_forgotten = False
        return count

    def _republish(self, queue: str, now: float) -> int:
        last = self._wakings.get(queue)
        may_wake = last is None or now >= last.next_at
        with self._database.connect() as connection:
            lost = messages.republish(
                connection,
                queue=queue,
                settle_seconds=_SETTLE_SECONDS,
                dead_after_seconds=self._node_dead_seconds,
                may_wake=may_wake,
                limit=_BATCH,
            )
        if not lost:
            return 0
        if may_wake:
            self._wakings[queue] = _next_waking(last, now, frozenset(job.id for job in lost))
        try:
            self._publisher.publish(lost)
        except BrokerUnavailable:
            with self._database.connect() as connection:
                client_moves.unpublish(connection, [job.id for job in lost])
            raise
        return len(lost)


def _next_waking(last: _Waking | None, now: float, job_ids: frozenset[str]) -> _Waking:
    is_in_vain = last is not None and not last.job_ids.isdisjoint(job_ids)
    pause = min(2 * last.pause_seconds, _LONGEST_PAUSE_SECONDS) if last and is_in_vain else _SETTLE_SECONDS
    return _Waking(next_at=now + pause, pause_seconds=pause, job_ids=job_ids)
