"""The days that final jobs of a worker are kept, as its handler declares."""

from alembic import op

revision = "0052"
down_revision = "0051"
branch_labels = None
depends_on = None

oldest_code = "0051"


def upgrade() -> None:
    op.execute("ALTER TABLE workers ADD COLUMN retention_days double precision CHECK (retention_days > 0)")


def downgrade() -> None:
    op.execute("ALTER TABLE workers DROP COLUMN retention_days")
