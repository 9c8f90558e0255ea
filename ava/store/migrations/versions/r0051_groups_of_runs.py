"""Which nodes take messages that stand for several jobs: those of the release before drop them."""

from alembic import op

revision = "0051"
down_revision = "0050"
branch_labels = None
depends_on = None

oldest_code = "0050"


def upgrade() -> None:
    op.execute("ALTER TABLE nodes ADD COLUMN takes_groups boolean NOT NULL DEFAULT false")


def downgrade() -> None:
    op.execute("ALTER TABLE nodes DROP COLUMN takes_groups")
