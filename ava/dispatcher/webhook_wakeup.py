"""Duty: senders of webhooks are told that there is something to send."""

from __future__ import annotations

from ava.broker.publisher import Publisher
from ava.store.engine.database import Database
from ava.store.webhooks import endpoint_leases

__all__ = ["WebhookNews"]


class WebhookNews:
    """Rings for the senders, so that one process looks often for all of them, however many there are."""

    name = "webhook_news"
    every_seconds = 0.1

    def __init__(self, database: Database, publisher: Publisher) -> None:
        self._database = database
        self._publisher = publisher

    def run_once(self, _now: float) -> int:
        """Ring where there is something to send. Nothing in the database is changed by that: always 0."""
        with self._database.connect() as connection:
            is_something_to_send = bool(endpoint_leases.find_work(connection))
        if is_something_to_send:
            self._publisher.wake_one_sender()
        return 0
