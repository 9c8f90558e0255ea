"""Functions that create and drop the partitions of events, deliveries and the audit trail."""

from alembic import op

from ava.store.migrations import owner_functions, sql_files

revision = "0059"
down_revision = "0058"
branch_labels = None
depends_on = None

oldest_code = "0055"

_OF_OWNER = {"ava_add_partitions": "text, integer, integer", "ava_drop_partition": "text, double precision"}


def upgrade() -> None:
    op.execute(sql_files.read("0059_partitions"))
    owner_functions.create(revision, _OF_OWNER)


def downgrade() -> None:
    owner_functions.drop(_OF_OWNER)
    op.execute("DROP FUNCTION ava_partitions(text)")
