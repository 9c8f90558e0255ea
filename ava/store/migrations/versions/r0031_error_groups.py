"""Failed jobs, grouped by the fingerprint of their errors, and counted by day."""

from alembic import op

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None

oldest_code = "0030"

GROUPS = """
CREATE TABLE error_groups (
    -- A hash of the tenant, the worker and the fingerprint.
    id uuid PRIMARY KEY,
    tenant_id text NOT NULL,
    worker_id text NOT NULL,
    kind text NOT NULL,
    message text NOT NULL,
    status text NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'ignored', 'resolved')),
    resolved_at timestamptz,
    first_seen_at timestamptz NOT NULL,
    last_seen_at timestamptz NOT NULL,
    sample_job_id uuid NOT NULL,
    CONSTRAINT moment_exactly_when_resolved CHECK ((status = 'resolved') = (resolved_at IS NOT NULL))
) WITH (fillfactor = 70)
"""
DAYS = """
CREATE TABLE error_days (
    error_id uuid NOT NULL,
    day timestamptz NOT NULL,
    jobs bigint NOT NULL,
    PRIMARY KEY (error_id, day)
) WITH (fillfactor = 70)
"""


def upgrade() -> None:
    op.execute(GROUPS)
    op.execute("CREATE INDEX error_groups_listed ON error_groups (tenant_id, last_seen_at, id)")
    op.execute("CREATE INDEX error_groups_old ON error_groups (last_seen_at)")
    op.execute(DAYS)
    op.execute("CREATE INDEX error_days_old ON error_days (day)")


def downgrade() -> None:
    op.execute("DROP TABLE error_days")
    op.execute("DROP TABLE error_groups")
