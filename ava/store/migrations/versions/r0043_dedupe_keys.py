"""The key of a job of which only one may be unfinished."""

from alembic import op

revision = "0043"
down_revision = "0042"
branch_labels = None
depends_on = None

oldest_code = "0042"


def upgrade() -> None:
    op.execute("ALTER TABLE jobs ADD COLUMN dedupe_key text")


def downgrade() -> None:
    op.execute("ALTER TABLE jobs DROP COLUMN dedupe_key")
