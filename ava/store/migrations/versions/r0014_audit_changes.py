"""What a change has changed, and how many refusals an entry stands for."""

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

oldest_code = "0013"


def upgrade() -> None:
    op.execute("ALTER TABLE audit ADD COLUMN occurrences integer, ADD COLUMN changes json")


def downgrade() -> None:
    op.execute("ALTER TABLE audit DROP COLUMN occurrences, DROP COLUMN changes")
