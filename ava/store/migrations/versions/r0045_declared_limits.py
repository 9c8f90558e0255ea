"""What handlers declare as the limits of workers, beside the limits that hold."""

from alembic import op

revision = "0045"
down_revision = "0044"
branch_labels = None
depends_on = None

oldest_code = "0044"


def upgrade() -> None:
    op.execute("""
        ALTER TABLE workers ADD COLUMN declared_max_running integer, ADD COLUMN declared_rate_jobs integer,
            ADD COLUMN declared_rate_seconds double precision
    """)
    op.execute("""
        UPDATE workers SET declared_max_running = max_running, declared_rate_jobs = rate_jobs,
            declared_rate_seconds = rate_seconds
        WHERE max_running IS NOT NULL OR rate_jobs IS NOT NULL
    """)


def downgrade() -> None:
    op.execute("""
        UPDATE workers SET max_running = declared_max_running, rate_jobs = declared_rate_jobs,
            rate_seconds = declared_rate_seconds, updated_at = clock_timestamp()
        WHERE (max_running, rate_jobs, rate_seconds)
            IS DISTINCT FROM (declared_max_running, declared_rate_jobs, declared_rate_seconds)
    """)
    op.execute("""
        ALTER TABLE workers DROP COLUMN declared_max_running, DROP COLUMN declared_rate_jobs,
            DROP COLUMN declared_rate_seconds
    """)
