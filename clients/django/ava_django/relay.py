"""The table of the outbox for the relay: in a thread, `Relay(client, DjangoOutboxTable()).start()`, or a command."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db import close_old_connections

from ava.client.outbox import OutboxRow

__all__ = ["DjangoOutboxTable"]


class DjangoOutboxTable:
    """The rows of `OutboxJob` in one database."""

    def __init__(self, database: str = "default") -> None:
        self._database = database

    def due(self, now: float, limit: int) -> Sequence[OutboxRow]:
        """Return the oldest rows that are due."""
        # Once per poll: replace a connection that the database has closed.
        close_old_connections()
        found: Sequence[OutboxRow] = self._rows.due(now, limit)
        return found

    def record_sending(self, ids: Sequence[str], now: float) -> None:
        """Store the time of the first attempt of rows that have none."""
        self._rows.record_sending(ids, now)

    def delete(self, row_ids: Sequence[str]) -> None:
        """Delete rows, because their jobs exist."""
        self._rows.forget(row_ids)

    def record_failure(self, row_id: str, *, next_at: float | None, error: str) -> None:
        """Store a failure and the time of the next attempt."""
        self._rows.record_failure(row_id, next_at=next_at, error=error)

    @property
    def _rows(self) -> Any:
        from ava_django.models import OutboxJob

        return OutboxJob.objects.using(self._database)
