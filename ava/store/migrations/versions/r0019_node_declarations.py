"""What the handler modules of a node declare; null of nodes of earlier releases."""

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

oldest_code = "0018"


def upgrade() -> None:
    op.execute("ALTER TABLE nodes ADD COLUMN declarations json")


def downgrade() -> None:
    op.execute("ALTER TABLE nodes DROP COLUMN declarations")
