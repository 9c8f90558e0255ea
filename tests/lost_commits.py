"""Work through a proxy that loses the responses of commits, repeated as its caller repeats it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TypeVar

from ava.errors import DatabaseUnavailable
from ava.store.engine.database import Database
from harness.commit_cuts import CommitCuts
from harness.polling import wait_until

Result = TypeVar("Result")
#: The rows of each table, as text.
Tables = Mapping[str, list[str]]

_TRIES, _PAUSE_SECONDS = 100, 0.1
_OPEN_TRANSACTIONS = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND xact_start IS NOT NULL AND pid <> pg_backend_pid()
    AND backend_type = 'client backend'
"""
_TABLES = """
SELECT relname FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition ORDER BY relname
"""


@contextmanager
def through(cuts: CommitCuts) -> Iterator[Database]:
    """A database that a process reaches through the proxy."""
    database = Database(cuts.url, name="tests")
    try:
        yield database
    finally:
        database.close()


def insist(act: Callable[[], Result]) -> Result:
    """Call `act` again while the database is unavailable, as the dispatcher does. Returns the last result."""
    for _ in range(_TRIES):
        with suppress(DatabaseUnavailable):
            return act()
        time.sleep(_PAUSE_SECONDS)
    raise AssertionError("the database stayed unavailable")


def settle(database: Database) -> None:
    """Wait for the slow commits that are under way."""
    with database.connect() as connection:
        wait_until(lambda: connection.exec_driver_sql(_OPEN_TRANSACTIONS).scalar() == 0, what="no transaction is open")


def read_tables(database: Database) -> Tables:
    """Returns the rows of every table."""
    with database.connect() as connection:
        names = connection.exec_driver_sql(_TABLES).scalars().all()
        return {
            name: sorted(connection.exec_driver_sql(f"SELECT t::text FROM {name} AS t").scalars()) for name in names
        }


def cut_statements(cuts: CommitCuts) -> set[str]:
    """Returns the names of the statements whose transactions were cut."""
    return {name for kind in cuts.cut for name in kind}
