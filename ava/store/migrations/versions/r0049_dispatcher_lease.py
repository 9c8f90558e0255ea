"""The lease of the active dispatcher, for installations in which no connection has a session of its own."""

from alembic import op

revision = "0049"
down_revision = "0048"
branch_labels = None
depends_on = None

oldest_code = "0048"

# One row. `number` is that of the holder, `renewed_at` when it renewed the lease; null: the lease is free.
LEASE = """
CREATE TABLE dispatcher_lease (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    number bigint NOT NULL,
    renewed_at timestamptz
)
"""


def upgrade() -> None:
    op.execute(LEASE)
    op.execute("INSERT INTO dispatcher_lease (number) VALUES (0)")


def downgrade() -> None:
    op.execute("DROP TABLE dispatcher_lease")
