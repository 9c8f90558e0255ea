"""Whether a role of the platform decided a schedule: its jobs may be more urgent than those of a tenant's roles."""

from alembic import op

revision = "0060"
down_revision = "0059"
branch_labels = None
depends_on = None

oldest_code = "0059"


def upgrade() -> None:
    op.execute("ALTER TABLE schedules ADD COLUMN may_be_urgent boolean NOT NULL DEFAULT false")


def downgrade() -> None:
    op.execute("ALTER TABLE schedules DROP COLUMN may_be_urgent")
