"""Ended jobs, counted by tenant, worker, trigger and hour or day, with the distribution of their times."""

from alembic import op

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None

oldest_code = "0027"

# A worker_id of '' stands for all workers of the tenant, a trigger of '' for all triggers. The key is in the order in
# which a period is read: the sums of all triggers by worker are beside each other.
COUNTS = """
CREATE TABLE job_counts (
    tenant_id text NOT NULL,
    span text NOT NULL CHECK (span IN ('hour', 'day')),
    trigger text NOT NULL,
    worker_id text NOT NULL,
    starts_at timestamptz NOT NULL,
    completed bigint NOT NULL,
    failed bigint NOT NULL,
    cancelled bigint NOT NULL,
    -- How many of them have run, and the sum of their duration_ms.
    ran bigint NOT NULL,
    ran_ms bigint NOT NULL,
    PRIMARY KEY (tenant_id, span, trigger, worker_id, starts_at)
) WITH (fillfactor = 70)
"""
TIMES = """
CREATE TABLE job_times (
    tenant_id text NOT NULL,
    worker_id text NOT NULL,
    day timestamptz NOT NULL,
    kind text NOT NULL CHECK (kind IN ('wait', 'run')),
    bucket smallint NOT NULL,
    jobs bigint NOT NULL,
    PRIMARY KEY (tenant_id, worker_id, day, kind, bucket)
) WITH (fillfactor = 70)
"""
# What each count has taken into account. It begins before all jobs, so that jobs of the release before are counted.
PROGRESS = """
CREATE TABLE count_progress (
    name text PRIMARY KEY,
    counted_until timestamptz NOT NULL
)
"""


def upgrade() -> None:
    op.execute(COUNTS)
    op.execute("CREATE INDEX job_counts_old ON job_counts (starts_at)")
    op.execute(TIMES)
    op.execute("CREATE INDEX job_times_old ON job_times (day)")
    op.execute(PROGRESS)
    op.execute("INSERT INTO count_progress VALUES ('analytics', '-infinity'), ('errors', '-infinity')")


def downgrade() -> None:
    for table in ("job_counts", "job_times", "count_progress"):
        op.execute(f"DROP TABLE {table}")
