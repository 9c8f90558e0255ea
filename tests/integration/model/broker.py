"""A broker in memory, and the publisher in front of it: messages that are late, lost or come twice."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ava.domain.jobs import run_groups
from ava.domain.jobs.job import Job, RunKey
from ava.domain.worker import is_pulled
from ava.errors import BrokerUnavailable, QueueRefused


@dataclass(frozen=True, kw_only=True)
class Message:
    """Some runs of one worker, which a process may start."""

    queue: str
    priority: int
    worker: str
    runs: tuple[RunKey, ...]


class Broker:
    """Takes the place of `ava.broker.publisher.Publisher` and of `ava.broker.control.Control`."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        #: Every message there ever was: each may come late, and twice.
        self.all: list[Message] = []
        #: What this step has sent.
        self.sent: list[Message] = []
        self.is_away = False
        self.refused: set[str] = set()
        self.has_lost_all = False

    def publish(self, jobs: Iterable[Job], group_sizes: Mapping[str, int] = run_groups.NONE) -> None:
        unsent = []
        # Pulled jobs have no messages.
        sent = [job for job in jobs if not is_pulled(job.queue)]
        for group in run_groups.form(sent, group_sizes):
            if self.is_away:
                raise BrokerUnavailable
            if group[0].queue in self.refused:
                unsent += [job.id for job in group]
            else:
                self._send(group)
        if unsent:
            raise QueueRefused(unsent)

    def _send(self, group: Sequence[Job]) -> None:
        runs = tuple(job.next_run for job in group)
        first = group[0]
        message = Message(queue=first.queue, priority=first.priority, worker=first.worker_id, runs=runs)
        for messages in (self.messages, self.all, self.sent):
            messages.append(message)

    def purge(self, queue: str) -> None:
        self.messages = [message for message in self.messages if message.queue != queue]

    def is_refused(self, queue: str) -> bool:
        return queue in self.refused

    def was_reset(self) -> bool:
        lost, self.has_lost_all = self.has_lost_all, False
        return lost

    def revoke(self, **_: Any) -> None:
        """A cancel's message is lost: the database decides."""

    def revoke_all(self, **_: Any) -> None:
        """Likewise."""
