"""Classify errors of PostgreSQL and its driver: an outage, or a fault of the statement."""

from __future__ import annotations

from typing import Any

import psycopg2
from sqlalchemy.exc import DBAPIError

from ava.errors import (
    DatabaseReadOnly,
    DatabaseUnavailable,
    DiskFull,
    LockTimeout,
    StatementFailed,
    StatementTimeout,
)

#: SQLSTATE of a write to a read-only server, such as a demoted primary.
READ_ONLY = "25006"
NO_PRIVILEGE = "42501"
#: SQLSTATEs and their classes (PostgreSQL manual, appendix A) that mean an outage: the same statement may succeed
#: later.
_OUTAGES = (
    "08",  # The connection failed.
    "53",  # Resources are missing: connections, disk, memory.
    "57",  # An operator intervened: shutdown, statement timeout.
    "58",  # The system failed below PostgreSQL.
    READ_ONLY,
    "25P03",  # The session was ended because its transaction was idle, or …
    "25P04",  # … took too long.
    "40001",  # A standby or a concurrent transaction cancelled the statement.
    "40P01",  # The statement was the victim of a deadlock.
    "55P03",  # A lock was not available in time.
    NO_PRIVILEGE,  # Until an operator grants it again, no result may be dropped.
)
#: SQLSTATE of a value beyond a limit of PostgreSQL, and of its guard against wraparound, which refuses all writes until
#: VACUUM has frozen old rows. The guard is in these files of PostgreSQL's source.
_LIMIT = "54000"
_GUARDS = ("varsup.c", "multixact.c")
#: SQLSTATE of a write to a full disk.
DISK_FULL = "53100"
NAMED_OUTAGES = {
    "57014": StatementTimeout,
    "55P03": LockTimeout,
    DISK_FULL: DiskFull,
    READ_ONLY: DatabaseReadOnly,
}


def describe_failure(error: BaseException) -> str:
    """Return a description of an error without values of rows or parameters."""
    known = error.__cause__ if isinstance(error, DatabaseUnavailable) and error.__cause__ is not None else error
    return str(known) if isinstance(known, StatementFailed) else type(known).__name__


def without_values(error: BaseException) -> BaseException:
    """Return the error to raise instead of one of SQLAlchemy or the driver, because logs show it.

    PostgreSQL's messages quote values ("Key (url)=(https://…)", "Failing row contains (…)"), and a position repeats the
    statement with its parameters. An error without a SQLSTATE is the driver's, about a connection.
    """
    cause = cause_of(error) or error
    state, diagnostics = state_of(error), getattr(cause, "diag", None)
    if state is None:
        return cause.with_traceback(error.__traceback__)
    names = (diagnostics.table_name, diagnostics.column_name, diagnostics.constraint_name) if diagnostics else ()
    parts = [f"{type(cause).__name__}, SQLSTATE {state}", *(name for name in names if name)]
    # Messages of outages are only about the server.
    if _is_outage_state(state, diagnostics) and diagnostics and diagnostics.message_primary:
        parts.append(diagnostics.message_primary)
    return StatementFailed(": ".join(parts)).with_traceback(error.__traceback__)


def is_outage(error: BaseException) -> bool:
    """Return True if an error of SQLAlchemy or the driver means that the database is unreachable or overloaded."""
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    cause = cause_of(error)
    if (state := state_of(error)) is not None:
        return _is_outage_state(state, getattr(cause, "diag", None))
    return isinstance(cause, psycopg2.OperationalError | psycopg2.InterfaceError)


def _is_outage_state(state: str, diagnostics: Any) -> bool:
    if state == _LIMIT:
        return diagnostics is not None and (diagnostics.source_file or "").endswith(_GUARDS)
    return state.startswith(_OUTAGES)


def cause_of(error: BaseException) -> BaseException | None:
    return error.orig if isinstance(error, DBAPIError) else error


def state_of(error: BaseException) -> str | None:
    return getattr(cause_of(error), "pgcode", None)
