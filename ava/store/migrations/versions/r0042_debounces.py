"""The keys of debounced triggers, with the job of each and the moment of its first trigger."""

from alembic import op

revision = "0042"
down_revision = "0041"
branch_labels = None
depends_on = None

oldest_code = "0041"


def upgrade() -> None:
    op.execute("""
        CREATE TABLE debounces (
            tenant_id text NOT NULL,
            worker_id text NOT NULL,
            key text NOT NULL,
            job_id uuid,
            first_at timestamptz NOT NULL DEFAULT clock_timestamp(),
            latest_at timestamptz,
            fires_at timestamptz NOT NULL DEFAULT clock_timestamp(),
            PRIMARY KEY (tenant_id, worker_id, key)
        ) WITH (fillfactor = 70)
    """)
    op.execute("CREATE INDEX debounces_by_job ON debounces (job_id)")
    op.execute("CREATE INDEX debounces_old ON debounces (fires_at)")


def downgrade() -> None:
    op.execute("DROP TABLE debounces")
