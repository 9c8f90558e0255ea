"""What a tenant, or the platform for all tenants (`*`), has set of a worker."""

from alembic import op

revision = "0038"
down_revision = "0037"
branch_labels = None
depends_on = None

oldest_code = "0037"

# `status_at` stays when a status is taken back, because the dispatcher finds changes of status by it.
TABLE = """
CREATE TABLE worker_settings (
    worker_id text NOT NULL,
    tenant_id text NOT NULL,
    status text CHECK (status IN ('active', 'paused', 'deprecated')),
    status_by text,
    status_at timestamptz,
    config json NOT NULL DEFAULT '{}',
    secrets json NOT NULL DEFAULT '{}',
    timeout_seconds double precision CHECK (timeout_seconds > 0 AND timeout_seconds <= 3600),
    max_retries integer CHECK (max_retries BETWEEN 0 AND 5),
    PRIMARY KEY (worker_id, tenant_id),
    CONSTRAINT status_was_set CHECK (status IS NULL OR (status_at IS NOT NULL AND status_by IS NOT NULL))
)
"""
INDEX = "CREATE INDEX worker_settings_status ON worker_settings (status_at) WHERE status_at IS NOT NULL"
# The column `workers.status` is read by the release before.
PAUSED = """
INSERT INTO worker_settings (worker_id, tenant_id, status, status_by, status_at)
SELECT id, '*', 'paused', 'usr_operator', updated_at FROM workers WHERE status = 'paused'
"""


def upgrade() -> None:
    for statement in (TABLE, INDEX, PAUSED):
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP TABLE worker_settings")
