"""An outbox in an application that uses SQLAlchemy.

outbox = Outbox(metadata)

with Session(engine) as session, session.begin():
    session.add(order)
    outbox.trigger(session, "wkr_receipt", {"order": order.id})

Relay(client, outbox.on(engine)).start()
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Protocol, Unpack

from sqlalchemy import Column, Double, Engine, Index, Insert, Integer, MetaData, String, Table, Text, insert, update

from ava.client.methods import TriggerOptions
from ava.client.outbox.rows import OutboxRow, new_row


class _Executes(Protocol):
    """A `Connection` or a `Session`."""

    def execute(self, statement: Any, /) -> Any: ...


class Outbox:
    """The outbox table, created by the application's `metadata.create_all` or a migration."""

    def __init__(self, metadata: MetaData, name: str = "ava_outbox") -> None:
        #: The table, with the columns of `OutboxRow`.
        self.table = Table(
            name,
            metadata,
            Column("id", String(32), primary_key=True),
            Column("body", Text, nullable=False),
            Column("next_at", Double, nullable=True),
            Column("first_sent_at", Double, nullable=True),
            Column("attempts", Integer, nullable=False, default=0),
            Column("error", Text, nullable=True),
            Index(f"{name}_next_at", "next_at", "id"),
        )

    def trigger(
        self,
        session: _Executes,
        worker_id: str,
        input: Mapping[str, Any] | None = None,
        **options: Unpack[TriggerOptions],
    ) -> str:
        """Trigger a job once the transaction of a session or connection commits. Returns the id of its row.

        The options are those of `client.jobs.trigger`. Raises `TypeError` or `ValueError` for values that JSON cannot
        represent.
        """
        row = new_row(worker_id, input, **options)
        session.execute(insert(self.table).values(**asdict(row)))
        return row.id

    def statement(
        self, worker_id: str, input: Mapping[str, Any] | None = None, **options: Unpack[TriggerOptions]
    ) -> Insert:
        """Return the INSERT of `trigger`, for an async session."""
        return insert(self.table).values(**asdict(new_row(worker_id, input, **options)))

    def on(self, engine: Engine) -> SqlOutboxTable:
        """Return the table in a database, for the relay."""
        return SqlOutboxTable(self.table, engine)


class SqlOutboxTable:
    """The table of an outbox in one database."""

    def __init__(self, table: Table, engine: Engine) -> None:
        self._table, self._engine = table, engine

    def due(self, now: float, limit: int) -> Sequence[OutboxRow]:
        columns = self._table.c
        found = self._table.select().where(columns.next_at <= now).order_by(columns.next_at, columns.id).limit(limit)
        with self._engine.begin() as connection:
            return [OutboxRow(**row) for row in connection.execute(found).mappings()]

    def record_sending(self, ids: Sequence[str], now: float) -> None:
        columns = self._table.c
        if ids:
            noted = update(self._table).where(columns.id.in_(ids), columns.first_sent_at.is_(None))
            with self._engine.begin() as connection:
                connection.execute(noted.values(first_sent_at=now))

    def delete(self, row_ids: Sequence[str]) -> None:
        with self._engine.begin() as connection:
            connection.execute(self._table.delete().where(self._table.c.id.in_(row_ids)))

    def record_failure(self, row_id: str, *, next_at: float | None, error: str) -> None:
        values = {"next_at": next_at, "error": error, "attempts": self._table.c.attempts + 1}
        with self._engine.begin() as connection:
            connection.execute(update(self._table).where(self._table.c.id == row_id).values(**values))
