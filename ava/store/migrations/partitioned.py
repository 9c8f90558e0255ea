"""Steps of migrations that make a live table partitions by range of its `id`, without blocking writers for long.

The table until now becomes the first partition, `<table>_first`. A constraint that is valid before the partition is
attached says that its ids are before a moment about a week ahead; thus nothing is copied, and no row is read under a
lock. The constraint refuses later ids, so an upgrade that was interrupted must be repeated within a week.
`<table>_rest` takes the ids for which there is no partition.
"""

from __future__ import annotations

from alembic import op

from ava.store.migrations import sql_files

__all__ = ["join", "split"]

#: Statements that come after one that waits for the lock wait as long, so this is much less than other migrations wait.
_LOCK_TIMEOUT = "lock_timeout = '100ms'"
#: No statement of a process waits for a lock that validating waits for; an autovacuum gives way within it.
_VALIDATION_TIMEOUT = "lock_timeout = '10s'"


def split(table: str, *constraints: str) -> None:
    """Make a table partitions. `constraints` are those that were not valid; a partition with such a one is refused."""
    # Each statement of the block is a transaction, so that rows are read without the lock of the first.
    with op.get_context().autocommit_block():
        op.execute(_of_table("0056_bound", table))
        op.execute(f"SET {_VALIDATION_TIMEOUT}")
        for constraint in (f"{table}_bound", *constraints):
            op.execute(f"ALTER TABLE {table} VALIDATE CONSTRAINT {constraint}")
        op.execute("RESET lock_timeout")
    op.execute(_of_table("0056_partition", table))


def join(table: str) -> None:
    """Make the partitions one table again. It copies the rows of all but the first under a lock.

    Within a week of the upgrade there are none.
    """
    op.execute(f"SET LOCAL {_LOCK_TIMEOUT}")
    op.execute(_of_table("0056_join", table))


def _of_table(name: str, table: str) -> str:
    return sql_files.read(name).replace("TABLE_NAME", table)
