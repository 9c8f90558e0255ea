"""A database that is away, frozen, full or overloaded: raised as this service's own error, soon."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from sqlalchemy import event

from ava.errors import DatabaseUnavailable, StatementFailed
from ava.local.servers import Postgres
from ava.store.engine import timeouts
from ava.store.engine.database import Database
from ava.store.engine.prepared import Prepared
from ava.store.engine.transactions import open_transaction
from harness.polling import wait_until
from harness.servers.server import Server
from tests.backlog import answers


@pytest.fixture
def timeouts_installed() -> Iterator[None]:
    timeouts.install_for_threads()
    yield
    timeouts.uninstall()


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url, name="test")
    yield database
    database.close()


def _raise(database: Database, state: str) -> None:
    with database.connect() as connection:
        connection.exec_driver_sql(f"DO $$ BEGIN RAISE EXCEPTION 'on purpose' USING ERRCODE = '{state}'; END $$")


@pytest.mark.parametrize(
    "state",
    [
        *("08006", "25006", "25P03", "40001", "40P01", "42501", "53100", "53200", "53300", "55P03"),
        *("57014", "57P01", "57P03", "58030"),
    ],
)
def test_a_passing_failure_is_an_outage(database: Database, state: str) -> None:
    with pytest.raises(DatabaseUnavailable):
        _raise(database, state)
    database.ping()


def _exhaust_transaction_ids(server: Server) -> None:
    """Make PostgreSQL refuse transactions that write, until each database was vacuumed: its guard against wraparound.

    The next id is within the last 3,000,000 (`SetTransactionIdLimit`) of the 2 ** 31 after the oldest one.
    """
    postgres = server.server
    assert isinstance(postgres, Postgres)
    next_id = 2_145_000_000
    server.stop()
    program = str(Path(postgres.programs.postgres).with_name("pg_resetwal"))
    postgres._run(program, "-x", str(next_id), str(postgres.data))
    # The file of the states of the transactions around that id; each takes two bits.
    states = postgres.data / "pg_xact" / f"{next_id // (4 * 8192 * 32):04X}"
    states.write_bytes(bytes(32 * 8192))
    owner = postgres.data.stat()
    os.chown(states, owner.st_uid, owner.st_gid)
    server.start()


def test_the_guard_against_wraparound_is_an_outage(private_postgres: Server) -> None:
    _exhaust_transaction_ids(private_postgres)
    database = Database(private_postgres.url, name="test")
    database.ping()
    with pytest.raises(DatabaseUnavailable) as refused, database.connect() as connection:
        connection.exec_driver_sql(_CLOSE, {"queue": "default"})
    assert "SQLSTATE 54000" in str(refused.value.__cause__)
    database.close()


def test_a_value_beyond_a_limit_of_postgresql_is_no_outage(database: Database) -> None:
    """It has the SQLSTATE of that guard, and no repetition helps."""
    with pytest.raises(StatementFailed, match="54000"), database.connect() as connection:
        # More than a row of an index may have.
        connection.exec_driver_sql(_CLOSE, {"queue": os.urandom(9000).hex()})


@pytest.mark.parametrize("is_dedicated", [False, True])
def test_a_write_to_a_read_only_server_replaces_every_connection(database_url: str, is_dedicated: bool) -> None:
    database = Database(database_url, name="test", pool_size=2)
    # Both sessions of the pool are those of a demoted server.
    with database.connect() as one, database.connect() as two:
        for connection in (one, two):
            connection.exec_driver_sql("SET default_transaction_read_only = on")
    dedicated = database.dedicated()
    with pytest.raises(DatabaseUnavailable), dedicated if is_dedicated else database.connect() as connection:
        connection.exec_driver_sql("DELETE FROM closed_windows")
    with dedicated as one, database.connect() as two:
        for connection in (one, two):
            connection.exec_driver_sql("DELETE FROM closed_windows")
    dedicated.close()
    database.close()


_THEN = Prepared("of_a_kept_transaction", "SELECT count(*) FROM closed_windows")
_CLOSE = "INSERT INTO closed_windows (queue, priority) VALUES (%(queue)s, 5)"


@pytest.mark.parametrize("first", [_CLOSE, "SELECT 1 / 0, %(queue)s"])
def test_a_failed_transaction_of_a_kept_connection_leaves_nothing(database_url: str, first: str) -> None:
    database = Database(database_url, name="test", pool_size=1)
    dedicated = database.dedicated()
    with (
        pytest.raises(StatementFailed),
        open_transaction(dedicated, first, _THEN, {"queue": "lost"}) as (connection, _),
    ):
        connection.exec_driver_sql("SELECT 1 / 0")
    # The pool's only connection is in no transaction, and what is committed stays.
    with open_transaction(dedicated, _CLOSE, _THEN, {"queue": "one"}) as (connection, found):
        assert found == [(1,)], "the second statement sees what the first one did"
        connection.exec_driver_sql(_CLOSE, {"queue": "two"})
    dedicated.close()
    with database.connect() as connection:
        closed = connection.exec_driver_sql("DELETE FROM closed_windows RETURNING queue").scalars().all()
    assert sorted(closed) == ["one", "two"]
    database.close()


def test_a_programming_error_is_no_outage(database: Database) -> None:
    with pytest.raises(StatementFailed):
        _raise(database, "23505")


def test_a_statement_that_takes_too_long_is_an_outage(database_url: str) -> None:
    database = Database(database_url, name="test", statement_seconds=0.1)
    with pytest.raises(DatabaseUnavailable), database.connect() as connection:
        connection.exec_driver_sql("SELECT pg_sleep(5)")
    database.ping()
    database.close()


def test_an_outage_rolls_back_the_transaction(database: Database) -> None:
    with pytest.raises(DatabaseUnavailable):
        _break_off(database)
    # On a busy machine the call may have taken so long that the server counts as silent.
    database.forget_silence()
    with database.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM closed_windows").scalar() == 0


def _break_off(database: Database) -> None:
    with database.transaction() as connection:
        connection.exec_driver_sql("INSERT INTO closed_windows (queue, priority) VALUES ('q', 1)")
        connection.exec_driver_sql("SELECT pg_terminate_backend(pg_backend_pid())")


def test_after_a_restart_pooled_connections_work(private_postgres: Server) -> None:
    database = Database(private_postgres.url, name="test", pool_size=3)
    with database.connect() as one, database.connect() as two, database.connect() as three:
        for connection in (one, two, three):
            connection.exec_driver_sql("SELECT 1")
    private_postgres.kill()
    private_postgres.start()
    for _ in range(5):
        database.ping()
    database.close()


def test_a_frozen_database_is_unavailable_within_two_seconds_and_then_at_once(
    private_postgres: Server, timeouts_installed: None
) -> None:
    database = Database(private_postgres.url, name="test")
    database.ping()
    with private_postgres.frozen():
        began = time.monotonic()
        with pytest.raises(DatabaseUnavailable):
            database.ping()
        # The limits are for a busy machine. Without the time-out a ping would wait until the server thaws, and without
        # the breaker a hundred pings would take two seconds each.
        assert time.monotonic() - began < 10
        began = time.monotonic()
        for _ in range(100):
            with pytest.raises(DatabaseUnavailable):
                database.ping()
        assert time.monotonic() - began < 30
    wait_until(lambda: answers(database), what="the database answers again")
    database.close()


def test_a_slow_statement_is_no_frozen_database(database: Database, timeouts_installed: None) -> None:
    with database.connect() as connection:
        connection.exec_driver_sql("SELECT pg_sleep(2)")


def test_a_server_is_probed_at_its_address(database_url: str) -> None:
    connection = psycopg2.connect(database_url)
    assert timeouts._is_reachable(connection.info.host, connection.info.port)
    assert not timeouts._is_reachable("/nowhere", 5432)
    assert not timeouts._is_reachable("127.0.0.1", 1)
    connection.close()


def test_a_session_that_ends_before_its_transaction_leaks_no_connection(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    database, other = (Database(database_url, name="test", pool_size=1) for _ in range(2))
    with database.transaction() as connection:
        connection.exec_driver_sql(_CLOSE, {"queue": "kept"})

    def end_session(raw: Any, *_: object) -> None:
        with other.connect() as connection:
            connection.exec_driver_sql(f"SELECT pg_terminate_backend({raw.info.backend_pid}, 5000)")

    event.listen(database._engine, "checkout", end_session)
    with pytest.raises(DatabaseUnavailable), database.transaction() as connection:
        connection.exec_driver_sql(_CLOSE, {"queue": "lost"})
    event.remove(database._engine, "checkout", end_session)
    gc.collect()
    database.forget_silence()
    with database.connect() as connection:
        assert connection.exec_driver_sql("SELECT queue FROM closed_windows").scalars().all() == ["kept"]
    assert not caplog.records
    database.close()
    other.close()


def test_transactions_and_single_statements_share_a_connection(database_url: str) -> None:
    one, other = (Database(database_url, name="test", pool_size=1) for _ in range(2))
    with suppress(ZeroDivisionError), one.transaction() as connection:
        connection.exec_driver_sql(_CLOSE, {"queue": "lost"})
        _ = 1 / 0
    with one.transaction() as connection:
        connection.exec_driver_sql(_CLOSE, {"queue": "whole"})
        with other.connect() as outside:
            assert outside.exec_driver_sql("SELECT count(*) FROM closed_windows").scalar() == 0
    with one.connect() as connection, other.connect() as outside:
        connection.exec_driver_sql(_CLOSE, {"queue": "single"})
        assert outside.exec_driver_sql("SELECT count(*) FROM closed_windows").scalar() == 2
    one.close()
    other.close()
