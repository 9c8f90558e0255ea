"""The times of a worker's jobs of one day in one row, because a read of 90 days visited tens of thousands of rows.

The times have a progress of their own from here on. `job_times` stays for the release before, which writes it:

- While dispatchers of both releases run, the active one counts for its own release. The first active dispatcher of this
  release then counts what is missing in this table, from the jobs.
- After a roll-back, with or without a downgrade, `job_times` lacks what was counted for this table alone. `ava db
  recount` adds it for the days whose jobs are all kept, and the next upgrade after a downgrade copies it.
"""

from alembic import op

from ava.store.migrations import sql_files

revision = "0048"
down_revision = "0047"
branch_labels = None
depends_on = None

oldest_code = "0047"

# A worker_id of '' stands for all workers of the tenant. The n-th number of `jobs` is of the n-th of the ascending
# `buckets`. A row has up to 900 buckets of six bytes, and stays in its page: it is written too often to be compressed.
HISTOGRAMS = """
CREATE TABLE job_time_histograms (
    tenant_id text NOT NULL,
    worker_id text NOT NULL,
    day timestamptz NOT NULL,
    kind text NOT NULL CHECK (kind IN ('wait', 'run')),
    buckets smallint[] NOT NULL,
    jobs integer[] NOT NULL CHECK (cardinality(jobs) = cardinality(buckets)),
    PRIMARY KEY (tenant_id, worker_id, day, kind)
) WITH (fillfactor = 50, toast_tuple_target = 8160)
"""
# One statement has one snapshot, so the copy ends where the progress says, and locks nothing.
COPY = """
WITH progress AS (
    INSERT INTO count_progress (name, counted_until)
    SELECT 'times', counted_until FROM count_progress WHERE name = 'analytics'
)
INSERT INTO job_time_histograms (tenant_id, worker_id, day, kind, buckets, jobs)
SELECT tenant_id, worker_id, day, kind, array_agg(bucket ORDER BY bucket), array_agg(jobs::integer ORDER BY bucket)
FROM job_times GROUP BY tenant_id, worker_id, day, kind
"""


def upgrade() -> None:
    op.execute(HISTOGRAMS)
    op.execute("CREATE INDEX job_time_histograms_old ON job_time_histograms (day)")
    op.execute(sql_files.read("0048_add_times"))
    op.execute(COPY)


def downgrade() -> None:
    op.execute("DROP FUNCTION ava_add_times(smallint[], integer[], smallint[], integer[])")
    op.execute("DROP TABLE job_time_histograms")
    op.execute("DELETE FROM count_progress WHERE name = 'times'")
