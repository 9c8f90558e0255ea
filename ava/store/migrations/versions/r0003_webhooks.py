"""Webhooks: endpoints and the events to which they subscribe, the events themselves, and their deliveries.

A trigger on `jobs` writes an event, in the statement that moves the job. So no statement, present or future, can omit
it, and the event exists exactly if the move does.
"""

from alembic import op

from ava.store.migrations import sql_files

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# A deleted endpoint stays as a row without its secrets until its deliveries are past retention.
ENDPOINTS = """
CREATE TABLE webhook_endpoints (
    id uuid PRIMARY KEY DEFAULT ava_uuid7(),
    tenant_id text NOT NULL,
    url text NOT NULL,
    events text[] NOT NULL CHECK (cardinality(events) > 0),
    status text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'degraded', 'disabled', 'deleted')),
    disabled_reason text CHECK (disabled_reason IN ('client', 'gone')),
    secret text,
    previous_secret text,
    previous_secret_until timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT reason_exactly_when_disabled CHECK ((status = 'disabled') = (disabled_reason IS NOT NULL)),
    CONSTRAINT no_secret_exactly_when_deleted CHECK ((status = 'deleted') = (secret IS NULL)),
    CONSTRAINT previous_secret_for_a_time CHECK ((previous_secret IS NULL) = (previous_secret_until IS NULL))
)
"""

# The leases of endpoints: which sender holds one, and how the endpoint has behaved lately. This is a table of its own
# because every move of a job reads the endpoints' rows, so those should change seldom.
LANES = """
CREATE TABLE webhook_lanes (
    endpoint_id uuid PRIMARY KEY REFERENCES webhook_endpoints ON DELETE CASCADE,
    due_at timestamptz,
    sender_id uuid,
    width smallint NOT NULL DEFAULT 1 CHECK (width >= 1),
    timeouts smallint NOT NULL DEFAULT 0,
    not_before timestamptz
) WITH (fillfactor = 50)
"""

SENDERS = """
CREATE TABLE webhook_senders (
    id uuid PRIMARY KEY,
    host text NOT NULL,
    pid integer NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    seen_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50)
"""

# The columns that may change after the event are copied here; the rest is read from the job when the body is made.
# `n` is the order of the events. It is exact for one job because its moves follow each other.
EVENTS = """
CREATE TABLE webhook_events (
    id uuid PRIMARY KEY DEFAULT ava_uuid7(),
    n bigint GENERATED ALWAYS AS IDENTITY,
    tenant_id text NOT NULL,
    type text NOT NULL,
    job_id uuid,
    sequence integer NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    status text,
    attempt smallint,
    started_at timestamptz,
    completed_at timestamptz,
    cancel_requested_at timestamptz,
    cancelled_by text,
    progress json,
    endpoint_id uuid,
    body text,
    fanned_out_at timestamptz
)
"""

# No foreign keys: to check one, PostgreSQL would lock, and so write, the endpoint's row for every delivery.
DELIVERIES = """
CREATE TABLE webhook_deliveries (
    id uuid PRIMARY KEY DEFAULT ava_uuid7(),
    endpoint_id uuid NOT NULL,
    event_id uuid NOT NULL,
    event_type text NOT NULL,
    job_id uuid,
    n bigint NOT NULL,
    status text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'delivered', 'abandoned')),
    failures smallint NOT NULL DEFAULT 0 CHECK (failures BETWEEN 0 AND 6),
    due_at timestamptz DEFAULT now(),
    history jsonb NOT NULL DEFAULT '[]',
    created_at timestamptz NOT NULL DEFAULT now(),
    completed_at timestamptz,
    CONSTRAINT due_exactly_when_pending CHECK ((status = 'pending') = (due_at IS NOT NULL)),
    CONSTRAINT final_exactly_when_completed CHECK ((status = 'pending') = (completed_at IS NULL))
) WITH (fillfactor = 85)
"""

INDEXES = (
    # Every move of a job asks whether an endpoint subscribes to it.
    "CREATE INDEX webhook_endpoints_told ON webhook_endpoints (tenant_id) WHERE status IN ('active', 'degraded')",
    "CREATE INDEX webhook_endpoints_listed ON webhook_endpoints (tenant_id, id) WHERE status <> 'deleted'",
    "CREATE INDEX webhook_lanes_due ON webhook_lanes (due_at) WHERE sender_id IS NULL AND due_at IS NOT NULL",
    "CREATE INDEX webhook_lanes_held ON webhook_lanes (sender_id) WHERE sender_id IS NOT NULL",
    "CREATE INDEX webhook_events_new ON webhook_events (n) WHERE fanned_out_at IS NULL",
    "CREATE INDEX webhook_deliveries_due ON webhook_deliveries (endpoint_id, failures, due_at, n)"
    " WHERE status = 'pending'",
    "CREATE INDEX webhook_deliveries_listed ON webhook_deliveries (endpoint_id, status, id)",
    "CREATE INDEX webhook_deliveries_of_event ON webhook_deliveries (event_id)",
)


def upgrade() -> None:
    for statement in (ENDPOINTS, LANES, SENDERS, EVENTS, DELIVERIES, *INDEXES):
        op.execute(statement)
    op.execute(sql_files.read("0003_note_event"))
    op.execute(sql_files.read("0003_note_event_triggers"))


def downgrade() -> None:
    op.execute("DROP TRIGGER note_event_of_new ON jobs")
    op.execute("DROP TRIGGER note_event_of_move ON jobs")
    op.execute("DROP FUNCTION ava_note_event()")
    for table in ("deliveries", "events", "senders", "lanes", "endpoints"):
        op.execute(f"DROP TABLE webhook_{table}")
