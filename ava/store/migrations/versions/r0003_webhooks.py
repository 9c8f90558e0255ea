"""Webhooks: who is told of which events, the events themselves, and what became of each delivery.

An event is written by a trigger on `jobs`, in the very statement that moves the job. So no statement, present or
future, can forget it, and it is there exactly if the move is.
"""

from alembic import op

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

# Which endpoint is sent to by which sender, and how it has behaved lately. Apart from the endpoints, whose rows every
# move of a job looks at and which therefore change seldom.
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

# What may change of a job after the event is kept here; the rest is read from the job when the body is made. `n` is the
# order in which they happened: the moves of one job follow each other, so it is exact for those.
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

# No foreign keys: to check one, PostgreSQL would lock, and so write, the endpoint's row with every delivery.
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
    # What every move of a job asks: is anybody subscribed?
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

# A job's sequence numbers follow from its run: 3 for each, of which the first is its start, the second that the job
# waits (again), the third that it is final. They ascend with gaps, whoever is subscribed to what.
NOTE_EVENT = """
CREATE FUNCTION ava_note_event() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    event text := 'ava.job.' || CASE NEW.status WHEN 'running' THEN 'started' ELSE NEW.status END;
BEGIN
    IF EXISTS (SELECT 1 FROM webhook_endpoints AS e
               WHERE e.tenant_id = NEW.tenant_id AND e.status IN ('active', 'degraded') AND event = ANY(e.events)) THEN
        INSERT INTO webhook_events (tenant_id, type, job_id, sequence, status, attempt, started_at, completed_at,
                                    cancel_requested_at, cancelled_by, progress)
        VALUES (NEW.tenant_id, event, NEW.id,
                NEW.run_no * 3 + CASE NEW.status WHEN 'running' THEN 0 WHEN 'queued' THEN 1 ELSE 2 END,
                NEW.status, NEW.attempt, NEW.started_at, NEW.completed_at, NEW.cancel_requested_at, NEW.cancelled_by,
                NEW.progress);
    END IF;
    RETURN NULL;
END
$$
"""
TRIGGERS = (
    "CREATE TRIGGER note_event_of_new AFTER INSERT ON jobs FOR EACH ROW EXECUTE FUNCTION ava_note_event()",
    "CREATE TRIGGER note_event_of_move AFTER UPDATE OF status ON jobs FOR EACH ROW"
    " WHEN (OLD.status <> NEW.status) EXECUTE FUNCTION ava_note_event()",
)


def upgrade() -> None:
    for statement in (ENDPOINTS, LANES, SENDERS, EVENTS, DELIVERIES, *INDEXES, NOTE_EVENT, *TRIGGERS):
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP TRIGGER note_event_of_new ON jobs")
    op.execute("DROP TRIGGER note_event_of_move ON jobs")
    op.execute("DROP FUNCTION ava_note_event()")
    for table in ("deliveries", "events", "senders", "lanes", "endpoints"):
        op.execute(f"DROP TABLE webhook_{table}")
