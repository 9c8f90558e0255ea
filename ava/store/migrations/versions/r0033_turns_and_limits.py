"""Turns of tenants, limits of workers and tenants, and paused queues."""

from alembic import op

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None

oldest_code = "0032"


def upgrade() -> None:
    op.execute("ALTER TABLE jobs ADD COLUMN limit_key text, ADD COLUMN rate_key text")
    op.execute("""
        ALTER TABLE workers
            ADD COLUMN max_running integer CHECK (max_running >= 0),
            ADD COLUMN max_running_per text,
            ADD COLUMN rate_jobs integer CHECK (rate_jobs > 0),
            ADD COLUMN rate_seconds double precision CHECK (rate_seconds > 0),
            ADD COLUMN rate_per text
    """)
    op.execute("""
        CREATE TABLE tenant_limits (
            tenant_id text PRIMARY KEY,
            max_running integer CHECK (max_running >= 0),
            weight double precision CHECK (weight > 0),
            most_urgent_priority smallint CHECK (most_urgent_priority BETWEEN 1 AND 10),
            updated_by text NOT NULL,
            updated_at timestamptz NOT NULL DEFAULT now()
        )
    """)
    op.execute("""
        CREATE TABLE paused_queues (
            queue text PRIMARY KEY,
            paused_by text NOT NULL,
            paused_at timestamptz NOT NULL DEFAULT now()
        )
    """)


def downgrade() -> None:
    op.execute("DROP TABLE paused_queues")
    op.execute("DROP TABLE tenant_limits")
    op.execute("""
        ALTER TABLE workers DROP COLUMN max_running, DROP COLUMN max_running_per, DROP COLUMN rate_jobs,
            DROP COLUMN rate_seconds, DROP COLUMN rate_per
    """)
    op.execute("ALTER TABLE jobs DROP COLUMN limit_key, DROP COLUMN rate_key")
