"""Duties: delete what is past retention, in batches so small that they disturb no other statement."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ava.store.engine.database import Connection, Database
from ava.store.fleet import nodes
from ava.store.jobs import backlog, idempotency
from ava.store.webhooks import events

__all__ = ["Retention", "of_events", "of_jobs"]

_BATCH = 500
#: Seconds for which the row of an ended node is kept.
_ENDED_NODE_SECONDS = 3600.0


class Retention:
    """Deletes one kind of old rows."""

    every_seconds = 1.0

    def __init__(self, name: str, database: Database, delete_batch: Callable[[Connection], int], changes: str) -> None:
        """`delete_batch` deletes one batch and returns the number of `changes`."""
        self.name = name
        self.changes = changes
        self._database = database
        self._delete_batch = delete_batch

    def run_once(self, _now: float) -> int:
        """Delete one batch. Returns the number of rows that it counts."""
        with self._database.connect() as connection:
            return self._delete_batch(connection)


def of_jobs(database: Database, *, retention_days: float) -> Retention:
    """Returns the duty that deletes final jobs with their log lines, expired idempotency keys and ended nodes."""
    return Retention("retention", database, partial(_delete_jobs, retention_days=retention_days), "jobs deleted")


def of_events(database: Database, *, retention_days: float) -> Retention:
    """Returns the duty that deletes events with their deliveries, and the rest of deleted webhooks."""
    delete_batch = partial(events.delete_old, retention_days=retention_days, limit=_BATCH)
    return Retention("old_events", database, delete_batch, "webhook events deleted")


def _delete_jobs(connection: Connection, *, retention_days: float) -> int:
    nodes.delete_old(connection, after_seconds=_ENDED_NODE_SECONDS)
    idempotency.delete_expired(connection, limit=_BATCH)
    return backlog.delete_old_jobs(connection, retention_days=retention_days, limit=_BATCH)
