"""The group of errors that a failed job belongs to; null of others, and until it is known."""

from alembic import op

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None

oldest_code = "0029"


def upgrade() -> None:
    op.execute("ALTER TABLE jobs ADD COLUMN error_id uuid")


def downgrade() -> None:
    op.execute("ALTER TABLE jobs DROP COLUMN error_id")
