"""Transactions on a connection that one thread keeps, for those on whose speed the start of a job depends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

import psycopg2
from sqlalchemy.exc import DBAPIError

from ava.store.engine.database import Connection, DedicatedConnection
from ava.store.engine.statement import Statement

__all__ = ["kept_transaction"]


@contextmanager
def kept_transaction(
    kept: DedicatedConnection, first: Statement, parameters: Mapping[str, object]
) -> Iterator[Connection]:
    """One transaction, which begins in the same message to the server as its first statement."""
    with kept as connection:
        try:
            connection.exec_driver_sql(f"BEGIN ISOLATION LEVEL READ COMMITTED; {first}", dict(parameters))
            yield connection
            connection.exec_driver_sql("COMMIT")
        except BaseException:
            # The connection may be broken.
            with suppress(DBAPIError, psycopg2.Error):
                connection.exec_driver_sql("ROLLBACK")
            raise
