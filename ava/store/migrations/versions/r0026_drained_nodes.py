"""Since when a node is drained, and who asked for it; null of a node that takes jobs."""

from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

oldest_code = "0025"


def upgrade() -> None:
    op.execute("ALTER TABLE nodes ADD COLUMN drained_at timestamptz, ADD COLUMN drained_by text")


def downgrade() -> None:
    op.execute("ALTER TABLE nodes DROP COLUMN drained_at, DROP COLUMN drained_by")
