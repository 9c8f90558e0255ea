"""Jobs, their log lines, workers and nodes.

Migrations are plain SQL because the statements that use these tables are plain SQL too.
"""

from alembic import context, op

from ava.store.migrations import sql_files

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

WORKERS = """
CREATE TABLE workers (
    id text PRIMARY KEY CHECK (id ~ '^wkr_[a-z][a-z0-9_]{0,58}$'),
    name text NOT NULL,
    description text NOT NULL DEFAULT '',
    runtime text NOT NULL DEFAULT 'python',
    status text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'paused')),
    timeout_seconds double precision NOT NULL CHECK (timeout_seconds > 0 AND timeout_seconds <= 3600),
    max_retries integer NOT NULL CHECK (max_retries BETWEEN 0 AND 5),
    cancel_grace_seconds double precision NOT NULL CHECK (cancel_grace_seconds >= 0),
    queue text NOT NULL,
    on_worker_lost text NOT NULL CHECK (on_worker_lost IN ('requeue', 'fail')),
    tenants text[],
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
)
"""

NODES = """
CREATE TABLE nodes (
    id uuid PRIMARY KEY,
    name text NOT NULL,
    host text NOT NULL,
    pid integer NOT NULL,
    version text NOT NULL,
    queues text[] NOT NULL,
    workers text[] NOT NULL,
    processes integer NOT NULL,
    busy integer NOT NULL DEFAULT 0,
    quiet_since timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz NOT NULL DEFAULT now(),
    seen_at timestamptz NOT NULL DEFAULT now(),
    stopped_at timestamptz
) WITH (fillfactor = 50)
"""

JOBS = """
CREATE TABLE jobs (
    id uuid PRIMARY KEY DEFAULT ava_uuid7(),
    tenant_id text NOT NULL,
    worker_id text NOT NULL,
    status text NOT NULL DEFAULT 'queued'
        CHECK (status IN ('queued', 'running', 'completed', 'failed', 'cancelled')),
    trigger text NOT NULL CHECK (trigger IN ('manual', 'scheduled', 'webhook', 'event')),
    priority smallint NOT NULL CHECK (priority BETWEEN 1 AND 10),
    queue text NOT NULL,
    input json NOT NULL,
    triggered_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    scheduled_at timestamptz,
    run_at timestamptz,
    published_at timestamptz,
    started_at timestamptz,
    completed_at timestamptz,
    node_id uuid,
    run_no integer NOT NULL DEFAULT 0 CHECK (run_no >= 0),
    attempt smallint NOT NULL DEFAULT 0,
    max_attempts smallint NOT NULL CHECK (max_attempts >= 1),
    losses smallint NOT NULL DEFAULT 0,
    output json,
    error text,
    progress json,
    cancel_requested_at timestamptz,
    cancelled_by text,
    retry_of uuid,
    CONSTRAINT final_exactly_when_completed
        CHECK ((status IN ('completed', 'failed', 'cancelled')) = (completed_at IS NOT NULL)),
    CONSTRAINT running_somewhere_since
        CHECK (status <> 'running' OR (started_at IS NOT NULL AND node_id IS NOT NULL AND run_no > 0)),
    CONSTRAINT queued_has_not_started
        CHECK (status <> 'queued' OR (started_at IS NULL AND node_id IS NULL)),
    CONSTRAINT only_queued_waits_for_its_time CHECK (run_at IS NULL OR status IN ('queued', 'cancelled')),
    CONSTRAINT dated_is_not_published CHECK (run_at IS NULL OR published_at IS NULL),
    CONSTRAINT error_exactly_when_failed CHECK ((status = 'failed') = (error IS NOT NULL)),
    CONSTRAINT queued_was_not_cancelled CHECK (status <> 'queued' OR cancel_requested_at IS NULL),
    CONSTRAINT cancelled_was_asked CHECK (status <> 'cancelled' OR cancel_requested_at IS NOT NULL),
    CONSTRAINT attempt_within_its_most CHECK (attempt BETWEEN 0 AND max_attempts)
) WITH (fillfactor = 85)
"""

# Lists: any combination of filters reads a few ranges of one of the first two, newest first.
INDEXES = (
    "CREATE INDEX jobs_by_worker ON jobs (tenant_id, worker_id, status, trigger, id)",
    "CREATE INDEX jobs_by_status ON jobs (tenant_id, status, trigger, id)",
    # The dispatcher's: jobs that can start, in their order, published or not …
    "CREATE INDEX jobs_startable ON jobs (queue, priority, published_at, id)"
    " WHERE status = 'queued' AND run_at IS NULL",
    # … jobs whose time has not come …
    "CREATE INDEX jobs_dated ON jobs (run_at) WHERE status = 'queued' AND run_at IS NOT NULL",
    # … and the jobs that a node runs.
    "CREATE INDEX jobs_running ON jobs (node_id) WHERE status = 'running'",
    # Retention.
    "CREATE INDEX jobs_completed ON jobs (completed_at) WHERE completed_at IS NOT NULL",
)

JOB_LOGS = """
CREATE TABLE job_logs (
    job_id uuid NOT NULL,
    seq bigint NOT NULL,
    ts timestamptz NOT NULL,
    level text NOT NULL CHECK (level IN ('info', 'warn', 'error')),
    msg text NOT NULL,
    PRIMARY KEY (job_id, seq)
)
"""

# The windows to which the API publishes no more messages (see `ava.dispatcher.window`).
CLOSED_WINDOWS = """
CREATE TABLE closed_windows (
    queue text NOT NULL,
    priority smallint NOT NULL,
    closed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (queue, priority)
)
"""


def upgrade() -> None:
    # Not `op.get_bind()`, which has no server while the SQL is only printed.
    has_uuid7 = (context.config.attributes["connection"].dialect.server_version_info or (0,)) >= (18,)
    uuid7 = sql_files.read("0001_uuid7_postgresql_18" if has_uuid7 else "0001_uuid7")
    for statement in (uuid7, WORKERS, NODES, JOBS, *INDEXES, JOB_LOGS, CLOSED_WINDOWS):
        op.execute(statement)


def downgrade() -> None:
    for statement in ("closed_windows", "job_logs", "jobs", "nodes", "workers"):
        op.execute(f"DROP TABLE {statement}")
    op.execute("DROP FUNCTION ava_uuid7()")
