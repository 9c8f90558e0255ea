"""Transactions of several statements on an autocommit connection."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import psycopg2
from psycopg2 import extensions
from sqlalchemy.exc import SQLAlchemyError

from ava.store.engine.database import Connection, DedicatedConnection
from ava.store.engine.prepared import Prepared
from ava.store.engine.statement import Statement


@contextmanager
def one_transaction(connection: Connection) -> Iterator[None]:
    """Run the statements of the block in one transaction, joining an open one."""
    raw: Any = connection.connection.dbapi_connection
    if not raw.autocommit or raw.info.transaction_status != extensions.TRANSACTION_STATUS_IDLE:
        yield
        return
    connection.exec_driver_sql("BEGIN ISOLATION LEVEL READ COMMITTED")
    try:
        yield
        connection.exec_driver_sql("COMMIT")
    except BaseException:
        _roll_back(connection)
        raise


def _roll_back(connection: Connection) -> None:
    # On a broken connection, SQLAlchemy refuses the statement with its own error.
    with suppress(SQLAlchemyError, psycopg2.Error):
        connection.exec_driver_sql("ROLLBACK")


@contextmanager
def open_transaction(
    dedicated: DedicatedConnection, first: Statement, then: Prepared, parameters: Mapping[str, object]
) -> Iterator[tuple[Connection, list[tuple[Any, ...]]]]:
    """Begin a transaction in the same message as its first two statements. Yields the rows of the second.

    The second statement sees everything that was committed before the first one ended.
    """
    with dedicated as connection:
        try:
            rows = then.run(connection, parameters, before=f"BEGIN ISOLATION LEVEL READ COMMITTED; {first};")
            yield connection, rows
            connection.exec_driver_sql("COMMIT")
        except BaseException:
            _roll_back(connection)
            raise
