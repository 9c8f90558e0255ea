"""Duty: wake webhook senders when there is something to send."""

from __future__ import annotations

from ava.broker.publisher import Publisher
from ava.store.engine.database import Database
from ava.store.webhooks import endpoint_leases

__all__ = ["WebhookWakeup"]


class WebhookWakeup:
    """Queues wake-ups, so that one process polls the database often on behalf of all senders, however many run."""

    name = "webhook_wakeup"
    changes = "senders woken"
    #: If it is not woken (`WorkProbe`).
    every_seconds = 1.0

    def __init__(self, database: Database, publisher: Publisher) -> None:
        self._database = database
        self._publisher = publisher

    def run_once(self, _now: float) -> int:
        """Queue a wake-up if there is something to send. Returns 0, because it changes nothing in the database."""
        with self._database.connect() as connection:
            has_work = bool(endpoint_leases.find_work(connection))
        if has_work:
            self._publisher.wake_one_sender()
        return 0
