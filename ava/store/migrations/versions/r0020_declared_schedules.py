"""The handler module that declares a schedule; null if a client created it."""

from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

oldest_code = "0019"


def upgrade() -> None:
    op.execute("ALTER TABLE schedules ADD COLUMN handler_module text")


def downgrade() -> None:
    op.execute("ALTER TABLE schedules DROP COLUMN handler_module")
