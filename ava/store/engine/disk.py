"""Whether PostgreSQL's disk has space: a query that writes a temporary file fails on a full one, and changes nothing.

A row may still find space inside the files of its table when the disk is full, so a write that succeeds says nothing.
"""

from __future__ import annotations

from ava.errors import DiskFull
from ava.store.engine.database import Database
from ava.store.engine.statement import Statement

# Both parts are one transaction, in which the rows do not fit into memory.
_WRITE_MIB = Statement("""SELECT set_config('work_mem', '64kB', true);
SELECT count(*) FROM unnest(array_fill(repeat('x', 8192), ARRAY[128])) AS lines (line)
""")


def require_space(database: Database) -> None:
    """Write a temporary file of a MiB. Raises `DiskFull`, or `DatabaseUnavailable` if the database is unreachable."""
    with database.connect() as connection:
        connection.exec_driver_sql(_WRITE_MIB)


def is_full(database: Database) -> bool:
    """Return True if the disk is full. Raises `DatabaseUnavailable`."""
    try:
        require_space(database)
    except DiskFull:
        return True
    return False
