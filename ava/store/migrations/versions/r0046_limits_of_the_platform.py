"""The limits of workers that operators set."""

from alembic import op

revision = "0046"
down_revision = "0045"
branch_labels = None
depends_on = None

oldest_code = "0045"


def upgrade() -> None:
    op.execute("""
        ALTER TABLE worker_settings
            ADD COLUMN max_running integer CHECK (max_running >= 0),
            ADD COLUMN rate_jobs integer CHECK (rate_jobs > 0),
            ADD COLUMN rate_seconds double precision CHECK (rate_seconds > 0)
    """)


def downgrade() -> None:
    op.execute("""
        ALTER TABLE worker_settings DROP COLUMN max_running, DROP COLUMN rate_jobs, DROP COLUMN rate_seconds
    """)
