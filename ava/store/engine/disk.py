"""Check PostgreSQL's disk space: a query that writes a temporary file fails on a full disk, and changes nothing.

A successful write proves nothing, because a row may find space inside its table's files on a full disk.
"""

from __future__ import annotations

from ava.errors import DiskFull
from ava.store.engine.database import Database
from ava.store.engine.statement import Statement

# One transaction, with a `work_mem` that is too small for the rows.
_WRITE_MIB = Statement("""SELECT set_config('work_mem', '64kB', true);
SELECT count(*) FROM unnest(array_fill(repeat('x', 8192), ARRAY[128])) AS lines (line)
""")


def require_space(database: Database) -> None:
    """Write a temporary file of 1 MiB. Raises `DiskFull`, or `DatabaseUnavailable` if the database is unreachable."""
    with database.connect() as connection:
        connection.exec_driver_sql(_WRITE_MIB)


def is_full(database: Database) -> bool:
    """Return True if the disk is full. Raises `DatabaseUnavailable`."""
    try:
        require_space(database)
    except DiskFull:
        return True
    return False
