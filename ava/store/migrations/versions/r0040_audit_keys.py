"""The API key, if one was used, of an entry in the audit trail."""

from alembic import op

revision = "0040"
down_revision = "0039"
branch_labels = None
depends_on = None

oldest_code = "0039"


def upgrade() -> None:
    op.execute("ALTER TABLE audit ADD COLUMN key_id text")


def downgrade() -> None:
    op.execute("ALTER TABLE audit DROP COLUMN key_id")
