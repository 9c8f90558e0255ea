"""Log lines in partitions by the day of their job's id, of which the table until now becomes the first.

A job's id begins with its moment, so all lines of a job are in one partition. The first partition holds the lines of
the jobs until about a week after the migration. A constraint, valid before the partition is attached, says so; thus
nothing is copied, and no row is read under a lock. It refuses the lines of later jobs, so an upgrade that was
interrupted must be repeated within a week.

The downgrade copies the lines of the other partitions into the first, under a lock. Within a week there are none.
"""

from alembic import op

from ava.store.migrations import sql_files

revision = "0054"
down_revision = "0053"
branch_labels = None
depends_on = None

oldest_code = "0053"

#: Statements that come after one that waits for the lock wait as long, so this is much less than other migrations wait.
_LOCK_TIMEOUT = "lock_timeout = '100ms'"
#: No statement of a process waits for a lock that validating waits for; an autovacuum gives way within it.
_VALIDATION_TIMEOUT = "lock_timeout = '10s'"


def upgrade() -> None:
    op.execute(sql_files.read("0054_first_uuid"))
    # Each statement of the block is a transaction, so that rows are read without the lock of the first.
    with op.get_context().autocommit_block():
        op.execute(sql_files.read("0054_bound_logs"))
        op.execute(f"SET {_VALIDATION_TIMEOUT}")
        op.execute("ALTER TABLE job_logs VALIDATE CONSTRAINT job_logs_bound")
        op.execute("RESET lock_timeout")
    op.execute(sql_files.read("0054_partition_logs"))


def downgrade() -> None:
    op.execute(f"SET LOCAL {_LOCK_TIMEOUT}")
    op.execute(sql_files.read("0054_join_logs"))
    op.execute("DROP FUNCTION ava_first_uuid(timestamptz)")
