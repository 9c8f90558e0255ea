"""The outbox as a model: the application writes its rows in its own transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from django.db import models

from ava.client.outbox import OutboxRow, new_row

__all__ = ["OutboxJob", "OutboxJobs"]


class OutboxJobs(models.QuerySet):
    """Rows of the outbox."""

    def trigger(self, worker_id: str, input: Mapping[str, Any] | None = None, **options: Any) -> str:
        """Trigger a job once the transaction commits, with the options of `Client.trigger`. Returns the row's id.

        Raises `TypeError` or `ValueError` for values that JSON cannot represent.
        """
        row = new_row(worker_id, input, **options)
        self.create_from(row)
        return row.id

    def create_from(self, row: OutboxRow) -> None:
        """Write a row."""
        self.create(**asdict(row))

    # The table interface of the relay; each statement is a separate transaction.
    # ------------------------------------------

    def due(self, now: float, limit: int) -> Sequence[OutboxRow]:
        """Return the oldest rows that are due."""
        found = self.filter(next_at__lte=now).order_by("next_at", "id")[:limit]
        return [OutboxRow(**values) for values in found.values()]

    def record_sending(self, ids: Sequence[str], now: float) -> None:
        """Store the time of the first attempt of rows that have none."""
        self.filter(pk__in=ids, first_sent_at=None).update(first_sent_at=now)

    def record_failure(self, row_id: str, *, next_at: float | None, error: str) -> None:
        """Store a failure and the time of the next attempt."""
        self.filter(pk=row_id).update(next_at=next_at, error=error, attempts=models.F("attempts") + 1)

    def forget(self, row_ids: Sequence[str]) -> None:
        """Delete rows, because their jobs exist."""
        self.filter(pk__in=row_ids).delete()


class OutboxJob(models.Model):
    """A job that the relay triggers."""

    id = models.CharField(primary_key=True, max_length=32)
    body = models.TextField()
    next_at = models.FloatField(null=True)
    first_sent_at = models.FloatField(null=True)
    attempts = models.IntegerField(default=0)
    error = models.TextField(null=True)

    objects = OutboxJobs.as_manager()

    class Meta:
        db_table = "ava_outbox"
        indexes = (models.Index(fields=["next_at", "id"], name="ava_outbox_next_at"),)
        verbose_name = "outbox job"

    def __str__(self) -> str:
        return self.id
