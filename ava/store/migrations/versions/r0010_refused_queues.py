"""Which queues the broker refuses to a node; `queues` are those that it consumes."""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

oldest_code = "0009"


def upgrade() -> None:
    op.execute("ALTER TABLE nodes ADD COLUMN refused_queues text[] NOT NULL DEFAULT '{}'")


def downgrade() -> None:
    op.execute("ALTER TABLE nodes DROP COLUMN refused_queues")
