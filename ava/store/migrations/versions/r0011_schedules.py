"""Schedules and their firings."""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

oldest_code = "0010"

SCHEDULES = """
CREATE TABLE schedules (
    id uuid PRIMARY KEY DEFAULT ava_uuid7(),
    tenant_id text NOT NULL,
    worker_id text NOT NULL,
    name text,
    cron text NOT NULL,
    timezone text NOT NULL,
    input json NOT NULL,
    priority smallint NOT NULL CHECK (priority BETWEEN 1 AND 10),
    enabled boolean NOT NULL,
    overlap text NOT NULL CHECK (overlap IN ('allow', 'skip', 'queue_one', 'cancel_running')),
    catch_up text NOT NULL CHECK (catch_up IN ('last', 'none', 'all')),
    catch_up_seconds integer NOT NULL CHECK (catch_up_seconds >= 0),
    spread_seconds integer NOT NULL CHECK (spread_seconds >= 0),
    starts_at timestamptz,
    ends_at timestamptz,
    -- Every slot up to this instant is decided; the next firing is that of the first slot after it.
    decided_until timestamptz NOT NULL,
    next_run_at timestamptz,
    last_run_at timestamptz,
    last_job_id uuid,
    -- A job that is held until another one is final (queue_one).
    waiting_job_id uuid,
    waits_for_job_id uuid,
    -- For how many firings in a row the worker was gone.
    gone smallint NOT NULL DEFAULT 0,
    -- The version of the time zone data from which next_run_at was computed.
    timezone_data text NOT NULL,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT disabled_does_not_fire CHECK (enabled OR next_run_at IS NULL),
    CONSTRAINT ends_after_its_start CHECK (ends_at > starts_at),
    CONSTRAINT waits_for_another CHECK ((waiting_job_id IS NULL) = (waits_for_job_id IS NULL))
) WITH (fillfactor = 85)
"""
INDEXES = (
    "CREATE INDEX schedules_due ON schedules (next_run_at) WHERE next_run_at IS NOT NULL",
    "CREATE INDEX schedules_listed ON schedules (tenant_id, id)",
    "CREATE INDEX schedules_waiting ON schedules (id) WHERE waiting_job_id IS NOT NULL",
    "CREATE INDEX schedules_timezone_data ON schedules (timezone_data) WHERE next_run_at IS NOT NULL",
)

# The zone is in the key, because a schedule that moves to another zone may meet the same local time again. In the
# overlap of a cadence each local time comes twice, the second time with fold 1 (PEP 495). There is no foreign key, so
# that deleting a schedule with many firings takes a moment; retention deletes them.
FIRINGS = """
CREATE TABLE schedule_firings (
    schedule_id uuid NOT NULL,
    timezone text NOT NULL,
    slot timestamp NOT NULL,
    fold smallint NOT NULL CHECK (fold IN (0, 1)),
    at timestamptz NOT NULL,
    outcome text NOT NULL CHECK (outcome IN ('fired', 'skipped', 'missed')),
    reason text,
    job_id uuid,
    PRIMARY KEY (schedule_id, timezone, slot, fold),
    CONSTRAINT job_exactly_when_fired CHECK ((outcome = 'fired') = (job_id IS NOT NULL)),
    CONSTRAINT reason_exactly_when_not_fired CHECK ((outcome = 'fired') = (reason IS NULL))
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000,
        autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_vacuum_insert_threshold = 10000)
"""
FIRING_INDEXES = (
    "CREATE INDEX schedule_firings_listed ON schedule_firings (schedule_id, at, slot, fold)",
    "CREATE INDEX schedule_firings_old ON schedule_firings (at)",
)


def upgrade() -> None:
    for statement in (SCHEDULES, *INDEXES, FIRINGS, *FIRING_INDEXES):
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP TABLE schedule_firings")
    op.execute("DROP TABLE schedules")
