"""Functions that create and drop the partitions of log lines."""

from alembic import op

from ava.store.migrations import owner_functions, sql_files

revision = "0055"
down_revision = "0054"
branch_labels = None
depends_on = None

oldest_code = "0054"

_OF_OWNER = {"ava_add_log_days": "integer, integer", "ava_drop_log_days": "double precision, integer"}


def upgrade() -> None:
    op.execute(sql_files.read("0055_log_days"))
    owner_functions.create(revision, _OF_OWNER)


def downgrade() -> None:
    owner_functions.drop(_OF_OWNER)
    op.execute("DROP FUNCTION ava_log_days()")
