"""Operations on many jobs."""

from alembic import op

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None

oldest_code = "0031"

BULK_OPERATIONS = """
CREATE TABLE bulk_operations (
    id uuid PRIMARY KEY DEFAULT ava_uuid7(),
    tenant_id text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('retry', 'cancel')),
    filter json NOT NULL,
    state text NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'done', 'aborted')),
    total bigint NOT NULL,
    done bigint NOT NULL DEFAULT 0,
    failed bigint NOT NULL DEFAULT 0,
    signalled bigint NOT NULL DEFAULT 0,
    reason text,
    -- The jobs with smaller ids are still to come.
    before_id uuid NOT NULL,
    -- When the next batch may run; the operation that has waited the longest has the next turn.
    next_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    created_by text NOT NULL,
    role text NOT NULL,
    request_id text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    completed_at timestamptz,
    CONSTRAINT ended_exactly_when_completed CHECK ((state = 'running') = (completed_at IS NULL)),
    CONSTRAINT counts_are_not_negative CHECK (total >= 0 AND done >= signalled AND signalled >= 0 AND failed >= 0)
) WITH (fillfactor = 70)
"""
INDEXES = (
    "CREATE INDEX bulk_operations_running ON bulk_operations (next_at) WHERE state = 'running'",
    "CREATE INDEX bulk_operations_running_of ON bulk_operations (tenant_id) WHERE state = 'running'",
    "CREATE INDEX bulk_operations_listed ON bulk_operations (tenant_id, id)",
    "CREATE INDEX bulk_operations_ended ON bulk_operations (completed_at) WHERE completed_at IS NOT NULL",
)


def upgrade() -> None:
    for statement in (BULK_OPERATIONS, *INDEXES):
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP TABLE bulk_operations")
