"""What operators see: final jobs counted by minute and in total, the memory of nodes, and the audit trail."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# Final jobs, counted once by the dispatcher, so that neither a chart nor a scrape counts jobs. The buckets are those of
# `ava.store.reports.statistics`; -1 means that a job has no such time, because it never ran or started more than once.
COUNTED = """
    worker_id text NOT NULL,
    status text NOT NULL,
    wait_bucket smallint NOT NULL,
    run_bucket smallint NOT NULL,
    jobs bigint NOT NULL,
    retries bigint NOT NULL,
    losses bigint NOT NULL,
    wait_seconds double precision NOT NULL,
    run_seconds double precision NOT NULL,
"""
MINUTES = f"""
CREATE TABLE job_minutes (
    tenant_id text NOT NULL,
    minute timestamptz NOT NULL,
    {COUNTED}
    PRIMARY KEY (tenant_id, minute, worker_id, status, wait_bucket, run_bucket)
)
"""
TOTALS = f"""
CREATE TABLE job_totals (
    {COUNTED}
    PRIMARY KEY (worker_id, status, wait_bucket, run_bucket)
) WITH (fillfactor = 50)
"""
PROGRESS = """
CREATE TABLE statistics_progress (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    counted_until timestamptz NOT NULL
)
"""

AUDIT = """
CREATE TABLE audit (
    id uuid PRIMARY KEY DEFAULT ava_uuid7(),
    tenant_id text NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    user_id text NOT NULL,
    role text NOT NULL,
    action text NOT NULL,
    target text,
    status smallint NOT NULL,
    address text NOT NULL,
    request_id text NOT NULL
)
"""


def upgrade() -> None:
    op.execute("ALTER TABLE nodes ADD COLUMN memory_bytes bigint")
    for statement in (MINUTES, TOTALS, PROGRESS, AUDIT):
        op.execute(statement)
    op.execute("CREATE INDEX job_minutes_by_minute ON job_minutes (minute)")
    op.execute("CREATE INDEX audit_by_tenant ON audit (tenant_id, id)")
    op.execute("INSERT INTO statistics_progress (counted_until) VALUES (now() - interval '1 hour')")


def downgrade() -> None:
    for table in ("audit", "statistics_progress", "job_totals", "job_minutes"):
        op.execute(f"DROP TABLE {table}")
    op.execute("ALTER TABLE nodes DROP COLUMN memory_bytes")
