-- The schema of version 0.1.0. The first migration, versions/r0100_baseline.py, runs this file on an empty database,
-- and later migrations start from it. Until 0.1.0 is released, a schema change is an edit of this file, afterwards a
-- separate migration.
--
-- Alembic's table `alembic_version` is not in this file.


-- Ids -----------------------------------------------------------------------------------------------------------------

-- A UUIDv7 (RFC 9562, method 3: the twelve bits after the milliseconds are their fraction). Only the database's clock
-- orders jobs. PostgreSQL 18 has this function built in, 15 to 17 do not.
DO $$ BEGIN
    IF current_setting('server_version_num')::int >= 180000 THEN
        CREATE FUNCTION ava_uuid7() RETURNS uuid LANGUAGE sql VOLATILE PARALLEL SAFE AS 'SELECT uuidv7()';
    ELSE
        CREATE FUNCTION ava_uuid7() RETURNS uuid LANGUAGE plpgsql VOLATILE PARALLEL SAFE AS $function$
        DECLARE
            micros bigint := extract(epoch FROM clock_timestamp()) * 1000000;
        BEGIN
            RETURN encode(
                substring(int8send(micros / 1000) FROM 3)
                || substring(int8send(28672 + (micros % 1000) * 4096 / 1000) FROM 7)
                || set_bit(set_bit(substring(uuid_send(gen_random_uuid()) FROM 9), 7, 1), 6, 0),
                'hex')::uuid;
        END
        $function$;
    END IF;
END $$;

-- The smallest id of a given time: its first 48 bits are the milliseconds since 1970.
CREATE FUNCTION ava_first_uuid(at timestamptz) RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid
$$;


-- The time in a UUIDv7, in milliseconds. The planner inlines it.
CREATE FUNCTION ava_uuid_time(id uuid) RETURNS timestamptz LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT to_timestamp(('x' || left(replace(id::text, '-', ''), 12))::bit(48)::bigint / 1e3)
$$;


-- Code that may run on this schema ------------------------------------------------------------------------------------

-- One row, which every process compares with its code (see `ava.store.migrations.compatibility`).
-- `baseline_digest` is the digest of this file's statements.
CREATE TABLE schema_compatibility (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    oldest_revision text NOT NULL,
    baseline_digest text NOT NULL
);


-- The id of this installation, also stored in the broker's reset marker: two installations on one Redis database would
-- take each other's messages. `api_heartbeat_at`: when an API process could last receive heartbeats of pulled runs;
-- written only if runs were ever claimed over HTTP. One row.
CREATE TABLE installation (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    api_heartbeat_at timestamptz
) WITH (fillfactor = 50);
INSERT INTO installation DEFAULT VALUES;

-- The Ed25519 keys that sign proofs of containments, former ones too. `sealed`: the private half of the current one;
-- null: it is a former one, or from a setting.
CREATE TABLE signing_keys (
    public_key text PRIMARY KEY,
    sealed text,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE UNIQUE INDEX signing_keys_current ON signing_keys ((true)) WHERE sealed IS NOT NULL;

-- Workers, nodes and queues -------------------------------------------------------------------------------------------

-- Worker definitions, written by the nodes that have their handlers, or by clients for the runtime `pull`. Each belongs
-- to a tenant or to the platform (`*`); the tenants in `tenants` may use a platform worker. `max_running`, `rate_jobs`
-- and `rate_seconds` are the effective limits: an operator's, or the handler's declared ones.
CREATE TABLE workers (
    tenant_id text NOT NULL DEFAULT '*',
    id text NOT NULL CHECK (id ~ '^wkr_[a-z][a-z0-9_]{0,58}$'),
    name text NOT NULL,
    description text NOT NULL DEFAULT '',
    runtime text NOT NULL DEFAULT 'python',
    timeout_seconds double precision NOT NULL CHECK (timeout_seconds > 0 AND timeout_seconds <= 3600),
    max_retries integer NOT NULL CHECK (max_retries BETWEEN 0 AND 25),
    cancel_grace_seconds double precision NOT NULL CHECK (cancel_grace_seconds >= 0),
    queue text NOT NULL,
    on_worker_lost text NOT NULL CHECK (on_worker_lost IN ('requeue', 'fail')),
    -- The tenants that may use it; null: all.
    tenants text[],
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    max_running integer CHECK (max_running >= 0),
    max_running_per text,
    rate_jobs integer CHECK (rate_jobs > 0),
    rate_seconds double precision CHECK (rate_seconds > 0),
    rate_per text,
    -- The JSON Schema of the input, and its version, so that a trigger detects validation against an old one.
    input_schema json,
    input_schema_version text,
    declared_max_running integer,
    declared_rate_jobs integer,
    declared_rate_seconds double precision,
    -- Retention of final jobs in days, declared by the handler.
    retention_days double precision CHECK (retention_days > 0),
    -- Seconds until unstarted jobs expire, unless their trigger or schedule sets it.
    expires_in_seconds integer CHECK (expires_in_seconds > 0),
    -- Max memory of a run in MiB; null: the node's limit.
    max_memory_mb integer CHECK (max_memory_mb > 0),
    -- Retry delays, only for pull workers.
    retry json,
    -- Seconds from a job's creation or date until it fails.
    deadline_seconds integer CHECK (deadline_seconds > 0),
    -- The kind of MCP tool, declared by the handler; null: AVA_MCP_WORKERS decides.
    mcp text CHECK (mcp IN ('answer', 'task', 'off')),
    -- The approval that its jobs need before their first start (`ava.domain.approval_rule`), declared by the handler.
    approval json,
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT schema_has_its_version CHECK ((input_schema IS NULL) = (input_schema_version IS NULL)),
    -- Runs of these workers are claimed over HTTP. A tenant can only have pull workers.
    CONSTRAINT pull_has_its_queue CHECK ((runtime = 'pull') = (queue = 'pull') AND (runtime = 'pull' OR tenant_id = '*'))
);

-- When runs of a pull worker were last claimed, by keys of a tenant or of the platform (`*`).
CREATE TABLE worker_claims (
    tenant_id text NOT NULL,
    worker_id text NOT NULL,
    claimed_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, worker_id)
) WITH (fillfactor = 50);

-- Worker settings, per tenant or platform-wide (`*`). `status_at` stays when a status is removed, because the
-- dispatcher finds status changes by it.
CREATE TABLE worker_settings (
    tenant_id text NOT NULL,
    worker_id text NOT NULL,
    status text CHECK (status IN ('active', 'paused', 'deprecated')),
    status_at timestamptz,
    paused_at timestamptz,
    paused_by jsonb,
    pause_reason text,
    config json NOT NULL DEFAULT '{}',
    secrets json NOT NULL DEFAULT '{}',
    timeout_seconds double precision CHECK (timeout_seconds > 0 AND timeout_seconds <= 3600),
    max_retries integer CHECK (max_retries BETWEEN 0 AND 25),
    -- Retry delays (`ava.domain.jobs.retry.write`).
    retry json,
    max_running integer CHECK (max_running >= 0),
    rate_jobs integer CHECK (rate_jobs > 0),
    rate_seconds double precision CHECK (rate_seconds > 0),
    -- As in `workers`: it applies if the handler's does not.
    approval json,
    PRIMARY KEY (tenant_id, worker_id),
    CONSTRAINT status_was_set CHECK (status IS NULL OR status_at IS NOT NULL),
    CONSTRAINT paused_has_its_status CHECK ((paused_at IS NOT NULL) = (status IS NOT DISTINCT FROM 'paused')),
    CONSTRAINT pause_is_whole CHECK (
        (paused_at IS NULL) = (paused_by IS NULL) AND (pause_reason IS NULL OR paused_at IS NOT NULL))
);
CREATE INDEX worker_settings_status ON worker_settings (status_at) WHERE status_at IS NOT NULL;

CREATE TABLE nodes (
    id uuid PRIMARY KEY,
    name text NOT NULL,
    host text NOT NULL,
    pid integer NOT NULL,
    version text NOT NULL,
    -- The version of its handler modules (AVA_CODE_VERSION); null: unknown.
    code_version text,
    -- The queues that it consumes, and the queues that the broker refuses to it.
    queues text[] NOT NULL,
    refused_queues text[] NOT NULL DEFAULT '{}',
    -- Reasons for refusing messages of the broker, and the time of the last refusal.
    refused_messages text[] NOT NULL DEFAULT '{}',
    refused_messages_at timestamptz,
    workers text[] NOT NULL,
    processes integer NOT NULL,
    -- Whether `processes` are slots of one process.
    has_slots boolean NOT NULL DEFAULT false,
    busy integer NOT NULL DEFAULT 0,
    -- When it last had no free process; the last heartbeat if it has none now.
    free_since timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz NOT NULL DEFAULT now(),
    seen_at timestamptz NOT NULL DEFAULT now(),
    stopped_at timestamptz,
    memory_bytes bigint,
    -- Declarations of its handler modules.
    declarations json,
    paused_at timestamptz,
    paused_by jsonb,
    pause_reason text,
    CONSTRAINT pause_is_whole CHECK (
        (paused_at IS NULL) = (paused_by IS NULL) AND (pause_reason IS NULL OR paused_at IS NOT NULL))
) WITH (fillfactor = 50);

-- The queues that operators have paused or resumed. As in every table with these columns, `paused_by` is the actor
-- (`ava.domain.access.actor`), and all three are null while the row is not paused.
CREATE TABLE queues (
    queue text PRIMARY KEY,
    paused_at timestamptz,
    paused_by jsonb,
    pause_reason text,
    CONSTRAINT pause_is_whole CHECK (
        (paused_at IS NULL) = (paused_by IS NULL) AND (pause_reason IS NULL OR paused_at IS NOT NULL))
);

-- The API must not publish to these windows (see `ava.dispatcher.feed.window`).
CREATE TABLE closed_windows (
    queue text NOT NULL,
    priority smallint NOT NULL,
    PRIMARY KEY (queue, priority)
);

-- When each rate admits its next job.
CREATE TABLE rate_states (
    key text PRIMARY KEY,
    next_at timestamptz NOT NULL,
    -- The time of the write. If the clock is earlier, it was set back, and `next_at` moves back by as much.
    written_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50);


-- The active dispatcher -----------------------------------------------------------------------------------------------

-- One row. `number` counts the holders, `renewed_at` is the last renewal; null: the lease is free.
CREATE TABLE dispatcher_lease (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    number bigint NOT NULL,
    renewed_at timestamptz
);
INSERT INTO dispatcher_lease (number) VALUES (0);

-- The timelines of PostgreSQL that dispatchers have seen: each promotion of a standby begins a new one. `running`:
-- number of active runs when the timeline was first seen; null for the very first timeline, which is no promotion.
-- `is_lossy`: a job that was seen before was missing then.
CREATE TABLE promotions (
    timeline integer PRIMARY KEY,
    seen_at timestamptz NOT NULL DEFAULT now(),
    running integer,
    is_lossy boolean NOT NULL
);


-- Jobs ----------------------------------------------------------------------------------------------------------------

-- The only CHECK of `jobs`, because PostgreSQL parses each CHECK again for every statement, but a function once for each
-- connection: sixteen CHECKs took half of an UPDATE's time. It gets columns, because the row would load a large input.
CREATE FUNCTION ava_is_consistent_job(
    status text, trigger text, priority smallint, queue text, waits_for text, run_at timestamptz,
    published_at timestamptz, started_at timestamptz, completed_at timestamptz, end_no bigint, node_id uuid,
    run_no integer, attempt smallint, max_attempts smallint, error text, stop_status text,
    cancel_requested_at timestamptz, traceparent text, limit_key text, parent_id uuid, tree_id uuid
) RETURNS boolean LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    RETURN trigger IN ('manual', 'scheduled', 'webhook', 'event')
        AND priority BETWEEN 1 AND 10
        AND run_no >= 0 AND max_attempts >= 1 AND attempt BETWEEN 0 AND max_attempts
        AND traceparent ~ '^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$'
        AND (parent_id IS NULL OR tree_id IS NOT NULL)
        AND CASE status
            WHEN 'queued' THEN started_at IS NULL AND node_id IS NULL
            -- A pulled run has no node; its lease is in `pulled_runs`.
            WHEN 'running' THEN started_at IS NOT NULL AND run_no > 0
                AND (node_id IS NOT NULL OR starts_with(queue, 'pull:'))
            WHEN 'failed' THEN error IS NOT NULL
            ELSE status IN ('completed', 'cancelled') END
        AND (status IN ('completed', 'failed', 'cancelled')) = (completed_at IS NOT NULL)
        AND (completed_at IS NULL) = (end_no IS NULL)
        AND CASE WHEN waits_for IS NULL THEN run_at IS NULL
            ELSE waits_for IN ('schedule', 'retry', 'deferred', 'debounce', 'children', 'jobs', 'event', 'sleep',
                               'approval', 'permit', 'node', 'worker', 'queue', 'contained')
                AND status = 'queued' AND published_at IS NULL
                AND CASE WHEN waits_for IN ('schedule', 'retry', 'deferred', 'debounce', 'sleep') THEN run_at IS NOT NULL
                         ELSE run_at IS NULL OR waits_for IN ('children', 'event', 'approval') END
                AND (waits_for <> 'permit' OR limit_key IS NOT NULL) END
        -- The error of a cancel by the system is set with the request.
        AND (error IS NULL OR status IN ('failed', 'cancelled') OR cancel_requested_at IS NOT NULL)
        AND CASE WHEN stop_status IS NULL THEN cancel_requested_at IS NULL AND status <> 'cancelled'
            ELSE cancel_requested_at IS NOT NULL AND stop_status IN ('cancelled', 'failed')
                AND status IN ('queued', 'running', stop_status) END;
END
$$;
CREATE TABLE jobs (
    tenant_id text NOT NULL,
    id uuid NOT NULL DEFAULT ava_uuid7(),
    worker_id text NOT NULL,
    status text NOT NULL DEFAULT 'queued',
    trigger text NOT NULL,
    priority smallint NOT NULL,
    queue text NOT NULL,
    input json NOT NULL,
    triggered_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    scheduled_at timestamptz,
    -- The reason why a queued job waits (`ava.domain.jobs.waiting`); null for jobs in the backlog, published jobs
    -- and jobs that are not queued.
    waits_for text,
    -- When it returns to the backlog: its date, or the timeout of its handler's wait.
    run_at timestamptz,
    published_at timestamptz,
    started_at timestamptz,
    completed_at timestamptz,
    -- A sequence number, approximately in the order of ends.
    end_no bigint,
    node_id uuid,
    run_no integer NOT NULL DEFAULT 0,
    attempt smallint NOT NULL DEFAULT 0,
    max_attempts smallint NOT NULL,
    -- Runs that were lost with their process or node, and the part that was lost with the whole node.
    losses smallint NOT NULL DEFAULT 0,
    node_losses smallint NOT NULL DEFAULT 0,
    output json,
    error text,
    progress json,
    -- If the job was asked to stop: its future status, the time of the first request, and the requester.
    stop_status text,
    cancel_requested_at timestamptz,
    cancelled_by text,
    retry_of uuid,
    -- The id of a run's claim; a process finds the run by it after a lost response.
    claim_id uuid,
    -- W3C `traceparent`, stored because the job may run hours after its request.
    traceparent text,
    tags json,
    input_bytes integer,
    output_bytes integer,
    -- The error group of a failed job; null for other jobs, and until it is known.
    error_id uuid,
    -- In byte order, so that the keys of one worker are a range of `jobs_admitted`.
    limit_key text COLLATE "C",
    rate_key text,
    -- Deduplication key: at most one unfinished job per tenant, worker and key.
    dedupe_key text,
    -- When it is cancelled unless it has started.
    expires_at timestamptz,
    -- The run that first entered its handler, set by the claim; null if the job has not started.
    first_run_no integer,
    -- The last run that entered its handler; recorded only while a containment covers the job.
    entered_run_no integer,
    -- The job that created it, and the root of its tree; null for a job without a tree.
    parent_id uuid,
    tree_id uuid,
    -- Its name among the entries of its bulk, or among its parent's children.
    name text,
    -- Whether it is excluded from cancels of its parent, and whether a job may wait for it.
    is_detached boolean,
    is_awaited boolean,
    deadline_at timestamptz,
    -- The start of the first run of an attempt that has waited.
    first_started_at timestamptz,
    -- Resources used by its runs: total CPU time, and peak memory of a single run; null: unknown.
    cpu_us bigint,
    peak_memory_mb integer,
    -- When the current run of a job with several runs became startable; `job_runs` has the earlier runs.
    ready_at timestamptz,
    -- The identities behind it (`ava.domain.access.actor.join`): the first caused its creation, others created or
    -- changed the schedule, subscription or hook through which it came (its `changers`). Children inherit all. Null: the user or API key `triggered_by`.
    origin text,
    -- The approval rule of its trigger or schedule; applies if the worker has no rule.
    approval json,
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT jobs_consistent CHECK (ava_is_consistent_job(
        status, trigger, priority, queue, waits_for, run_at, published_at, started_at, completed_at, end_no, node_id,
        run_no, attempt, max_attempts, error, stop_status, cancel_requested_at, traceparent, limit_key, parent_id,
        tree_id))
) WITH (
    -- Free space next to a row lets PostgreSQL store new versions on the same page and write only differences to WAL.
    fillfactor = 70,
    -- A growing table is vacuumed when a twentieth of its rows are dead or new, instead of a fifth.
    autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_vacuum_insert_threshold = 10000);

-- Lists: any combination of filters reads a few ranges of an index, newest first.
CREATE INDEX jobs_by_worker ON jobs (tenant_id, worker_id, status, trigger, id);
CREATE INDEX jobs_by_status ON jobs (tenant_id, status, trigger, id);
-- Jobs that wait for one reason, by tenant, newest first. `waits_for = 'permit'` does not imply this condition, so the
-- planner never uses this index instead of one below: `ava.store.jobs.transitions.rules.IS_WAITING` requests it.
CREATE INDEX jobs_waiting ON jobs (waits_for, tenant_id, id) INCLUDE (worker_id)
    WHERE status = 'queued' AND (waits_for IS NOT NULL) IS TRUE;
-- The newest failures of a tenant's overview.
CREATE INDEX jobs_failed ON jobs (tenant_id, completed_at, id) WHERE status = 'failed';
-- For the dispatcher: startable jobs in their order, published or not …
CREATE INDEX jobs_startable ON jobs (queue, priority, published_at, id) WHERE status = 'queued' AND waits_for IS NULL;
-- … the unpublished backlog by tenant (jobs that the API publishes never enter this index) …
CREATE INDEX jobs_backlog ON jobs (queue, priority, tenant_id, (limit_key IS NULL), id)
    WHERE status = 'queued' AND waits_for IS NULL AND published_at IS NULL;
-- … jobs that return to the backlog at a given time …
CREATE INDEX jobs_dated ON jobs (run_at) WHERE status = 'queued' AND run_at IS NOT NULL;
-- … jobs that wait for a permit, and jobs that have one …
CREATE INDEX jobs_waiting_for_permit ON jobs (limit_key, priority, tenant_id, id)
    WHERE status = 'queued' AND waits_for = 'permit';
CREATE INDEX jobs_admitted ON jobs (limit_key, status, priority, id)
    WHERE limit_key IS NOT NULL AND (status = 'running' OR (status = 'queued' AND waits_for IS NULL));
-- … jobs that wait for an external condition: `ava.store.jobs.transitions.park` returns them by these groups …
CREATE INDEX jobs_parked ON jobs (waits_for, queue, priority, worker_id, tenant_id, id)
    WHERE status = 'queued' AND waits_for IN ('node', 'worker', 'queue');
-- … unfinished jobs with a deadline …
CREATE INDEX jobs_deadline ON jobs (deadline_at)
    WHERE deadline_at IS NOT NULL AND cancel_requested_at IS NULL AND status IN ('queued', 'running');
-- … and the running jobs of a node.
CREATE INDEX jobs_running ON jobs (node_id) WHERE status = 'running';
-- The next jobs to expire.
CREATE INDEX jobs_expiring ON jobs (expires_at)
    WHERE expires_at IS NOT NULL AND first_run_no IS NULL AND status = 'queued';
CREATE UNIQUE INDEX jobs_deduped ON jobs (tenant_id, worker_id, dedupe_key)
    WHERE dedupe_key IS NOT NULL AND status IN ('queued', 'running');
-- The jobs of a tree, and whether it is unfinished. A tree has a limited number of jobs, so lists sort them.
CREATE INDEX jobs_of_tree ON jobs (tenant_id, tree_id, status, id) WHERE tree_id IS NOT NULL;
CREATE INDEX jobs_of_parent ON jobs (tenant_id, parent_id, id) WHERE parent_id IS NOT NULL;
-- Retention, and recounts of a day.
CREATE INDEX jobs_completed ON jobs (completed_at) WHERE completed_at IS NOT NULL;
-- The count of ended jobs.
CREATE INDEX jobs_ended ON jobs (end_no) WHERE end_no IS NOT NULL;
-- Across tenants: whether a day has jobs, the newest job, and the measurement of storage.
CREATE INDEX jobs_by_id ON jobs (id);

-- Number the ends of jobs, so that jumps of the clock do not affect their counts. It is a trigger so that no statement,
-- present or future, can omit the number. The transaction already has its id when it takes a number, because it has
-- locked the row: `ava.store.reports.ended` depends on that, and on a sequence without cache.
CREATE SEQUENCE job_ends;
CREATE FUNCTION ava_number_end() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_current_xact_id();
    NEW.end_no := nextval('job_ends');
    RETURN NEW;
END
$$;
CREATE TRIGGER number_end_of_new BEFORE INSERT ON jobs FOR EACH ROW
    WHEN (NEW.completed_at IS NOT NULL) EXECUTE FUNCTION ava_number_end();
CREATE TRIGGER number_end_of_move BEFORE UPDATE OF status ON jobs FOR EACH ROW
    WHEN (OLD.completed_at IS NULL AND NEW.completed_at IS NOT NULL) EXECUTE FUNCTION ava_number_end();

-- Containments --------------------------------------------------------------------------------------------------------

-- The active containments, as claims and inserts of jobs compare them. A job is in the scope if it matches all parts; a
-- null part matches each job. `tenant_id` is `*` for a containment of all tenants. A separate table, because nearly
-- always it is empty, and then the comparison costs a claim nothing.
CREATE TABLE contained_scopes (
    tenant_id text NOT NULL,
    containment_id uuid NOT NULL,
    -- Whether triggers are refused instead of held.
    refuses boolean NOT NULL,
    worker_id text,
    tag_key text,
    tag_value text,
    tree_id uuid,
    -- A key or a user, with all keys that it has created.
    identity_ids text[],
    -- A hook, and a source of events, as `jobs.origin` has them.
    causes text[],
    PRIMARY KEY (tenant_id, containment_id)
);

-- Whether a job is in a scope of its tenant. Called only for the rows of `contained_scopes`.
CREATE FUNCTION ava_in_scope(
    c contained_scopes, worker_id text, job_id uuid, tree_id uuid, tags json, origins text
) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT coalesce(c.worker_id = worker_id, true) AND (c.tree_id IS NULL OR c.tree_id IN (job_id, tree_id)) IS TRUE
        AND (c.tag_key IS NULL OR tags ->> c.tag_key = c.tag_value) IS TRUE
        AND (c.identity_ids IS NULL
             OR split_part(split_part(origins, ',', 1), ' ', 1) = ANY(c.identity_ids)) IS TRUE
        AND (c.causes IS NULL OR c.causes <@ string_to_array(origins, ',')) IS TRUE
$$;

-- Volatile functions see each containment that was committed before they are called. A statement alone may miss one,
-- because EXECUTE takes its snapshot before it locks its tables: `ava.store.containments.scopes.writers` relies on this.

-- Whether there is an active containment of any tenant.
CREATE FUNCTION ava_are_contained() RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    RETURN EXISTS (TABLE contained_scopes);
END
$$;

-- `contained` if an active containment covers a job, otherwise null. Reads the job only while its tenant has an active
-- containment.
CREATE FUNCTION ava_contained(of_tenant text, of_job uuid) RETURNS text LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM contained_scopes AS c WHERE c.tenant_id IN (of_tenant, '*')) THEN
        RETURN NULL;
    END IF;
    RETURN (
        SELECT 'contained' FROM jobs AS j JOIN contained_scopes AS c ON c.tenant_id IN (j.tenant_id, '*')
        WHERE j.tenant_id = of_tenant AND j.id = of_job AND ava_in_scope(
            c, j.worker_id, j.id, j.tree_id, j.tags, coalesce(j.origin, j.triggered_by))
        LIMIT 1);
END
$$;

-- The records of containments, with the scope as the row of `contained_scopes` that it has while it is active.
-- `claims_ended_at`: when every transaction had ended that might have claimed or created a job of the scope without
-- seeing the containment. `swept_at`: when all startable jobs were held and all running ones were found.
CREATE TABLE containments (
    tenant_id text NOT NULL,
    id uuid NOT NULL DEFAULT ava_uuid7(),
    scope json NOT NULL,
    reason text NOT NULL,
    running text NOT NULL CHECK (running IN ('cancel', 'let_end')),
    triggers text NOT NULL CHECK (triggers IN ('refuse', 'hold')),
    state text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'lifted', 'ended')),
    by jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ends_at timestamptz,
    claims_ended_at timestamptz,
    swept_at timestamptz,
    effective_at timestamptz,
    complete_at timestamptz,
    held_count bigint NOT NULL DEFAULT 0,
    stopped_count bigint NOT NULL DEFAULT 0,
    lifted_at timestamptz,
    lifted_by jsonb,
    -- The signed records, written once when it is complete and once when it is lifted.
    complete_proof text,
    lifted_proof text,
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT lifted_exactly_when_not_active CHECK ((state = 'active') = (lifted_at IS NULL)),
    CONSTRAINT complete_after_effective CHECK (complete_at IS NULL OR effective_at IS NOT NULL)
) WITH (fillfactor = 70);
CREATE INDEX containments_active ON containments (id) WHERE state = 'active';

-- The jobs that a containment has asked to stop.
CREATE TABLE contained_stops (
    tenant_id text NOT NULL,
    containment_id uuid NOT NULL,
    job_tenant_id text NOT NULL,
    job_id uuid NOT NULL,
    PRIMARY KEY (tenant_id, containment_id, job_tenant_id, job_id)
);

-- The runs of jobs with several ---------------------------------------------------------------------------------------

-- One row per run after which its job returned to the queue, for the last run of such a job, and for lost runs. All
-- other jobs have only one run, described by the row in `jobs`. `attempt` is the attempt of the run, `wait_ms` the time
-- from when it was startable to its start; null: its handler never began.
CREATE TABLE job_runs (
    tenant_id text NOT NULL,
    job_id uuid NOT NULL,
    run_no integer NOT NULL,
    attempt smallint NOT NULL,
    started_at timestamptz NOT NULL,
    ended_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    outcome text NOT NULL
        CHECK (outcome IN ('completed', 'failed', 'cancelled', 'retried', 'deferred', 'waited', 'lost', 'interrupted',
                           'released')),
    cpu_us bigint,
    peak_memory_mb integer,
    wait_ms bigint,
    PRIMARY KEY (tenant_id, job_id, run_no)
);

-- The duration of an attempt that ends with a run: `7ms`, or with earlier runs that ended in a wait `183ms, 6412ms with
-- its waits`. Only a run with an outcome for this table may have earlier runs.
CREATE FUNCTION ava_duration(
    of_tenant text, of_job uuid, of_attempt integer, began_at timestamptz, end_at timestamptz, of_outcome text
) RETURNS text LANGUAGE plpgsql STABLE AS $$
DECLARE
    ms numeric := greatest(0, floor(extract(epoch FROM end_at - began_at) * 1000));
BEGIN
    IF of_outcome IS NULL THEN
        RETURN ms || 'ms';
    END IF;
    RETURN (
        SELECT ms + coalesce(sum(floor(extract(epoch FROM r.ended_at - r.started_at) * 1000)), 0) || 'ms'
            || coalesce(', ' || floor(extract(epoch FROM end_at - min(r.started_at)) * 1000) || 'ms with its waits', '')
        FROM job_runs AS r
        WHERE r.tenant_id = of_tenant AND r.job_id = of_job AND r.attempt = of_attempt AND r.outcome = 'waited');
END
$$;

-- Waits, edges and the journal of jobs --------------------------------------------------------------------------------

-- Current and past waits of jobs. `run_no` is the run that began the wait; 0 for a job that waits from the beginning.
-- `template` is an input with references to outputs that do not exist yet.
CREATE TABLE job_waits (
    tenant_id text NOT NULL,
    job_id uuid NOT NULL,
    run_no integer NOT NULL,
    condition text NOT NULL CHECK (condition IN ('completed', 'ended', 'failed', 'any', 'event', 'approval', 'time')),
    waiting_for json NOT NULL,
    template json,
    began_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, job_id, run_no)
);

-- The jobs awaited by a wait, in the caller's order. Rows never change: the statuses of the jobs decide
-- whether the wait has ended.
CREATE TABLE job_edges (
    tenant_id text NOT NULL,
    job_id uuid NOT NULL,
    run_no integer NOT NULL,
    after_id uuid NOT NULL,
    n integer NOT NULL,
    PRIMARY KEY (tenant_id, job_id, run_no, after_id)
);
CREATE INDEX job_edges_after ON job_edges (tenant_id, after_id);

-- Named results of a handler, replayed when it is entered again from the top. `n` is the order, `attempt` the last
-- attempt that the entry belongs to.
CREATE TABLE job_journal (
    tenant_id text NOT NULL,
    job_id uuid NOT NULL,
    kind text NOT NULL CHECK (kind IN ('step', 'child', 'sleep', 'wait', 'event', 'approval')),
    name text NOT NULL,
    attempt smallint NOT NULL,
    state text NOT NULL CHECK (state IN ('began', 'done', 'waits', 'timed_out')),
    value json,
    child_id uuid,
    -- The event that was found for a wait, or the approval that was decided.
    event_id uuid,
    until timestamptz,
    -- The key of the index that finds an event's waits (`ava.domain.events.awaited`).
    match_key uuid,
    n bigint GENERATED ALWAYS AS IDENTITY,
    written_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, job_id, kind, name),
    CONSTRAINT keyed_exactly_while_it_waits_for_an_event
        CHECK ((kind = 'event' AND state = 'waits') = (match_key IS NOT NULL))
);
-- The waits for events of a type that have no event yet.
CREATE INDEX job_journal_events ON job_journal (tenant_id, (value ->> 'type'), match_key, job_id, name)
    WHERE kind = 'event' AND state = 'waits' AND event_id IS NULL;

-- The jobs that received an event by a wait.
CREATE INDEX job_journal_found ON job_journal (tenant_id, event_id, job_id) WHERE event_id IS NOT NULL;

-- Decisions of persons that jobs wait for. A `pending` row changes once: by the deciding person, at `expires_at`, or
-- with its job's end. `decisions` are the decisions so far, `deciders` their persons.
CREATE TABLE approvals (
    tenant_id text NOT NULL,
    id uuid NOT NULL DEFAULT ava_uuid7(),
    job_id uuid NOT NULL,
    worker_id text NOT NULL,
    -- Its name in the job's journal; null: the job waits before its first start.
    name text,
    title text NOT NULL,
    payload json NOT NULL,
    payload_hash text NOT NULL,
    schema json,
    roles text[] NOT NULL,
    users text[],
    not_by boolean NOT NULL,
    -- The persons behind its job, who may not decide with `not_by`.
    requesters text[] NOT NULL DEFAULT '{}',
    count smallint NOT NULL CHECK (count >= 1),
    on_timeout text NOT NULL CHECK (on_timeout IN ('deny', 'fail')),
    decisions json NOT NULL DEFAULT '[]',
    deciders text[] NOT NULL DEFAULT '{}',
    status text NOT NULL DEFAULT 'pending'
        CHECK (status IN ('pending', 'approved', 'denied', 'expired', 'cancelled')),
    requested_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- When to send the reminder, and the roles that may decide from then on; null once it was sent.
    remind_at timestamptz,
    escalate_roles text[],
    expires_at timestamptz NOT NULL,
    decided_at timestamptz,
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT decided_exactly_when_not_pending CHECK ((status = 'pending') = (decided_at IS NULL))
);
CREATE INDEX approvals_listed ON approvals (tenant_id, status, id);
CREATE INDEX approvals_of_job ON approvals (tenant_id, job_id, name, id);
CREATE INDEX approvals_due ON approvals (expires_at) WHERE status = 'pending';
CREATE INDEX approvals_to_remind ON approvals (remind_at) WHERE status = 'pending' AND remind_at IS NOT NULL;

-- A job begins to wait for a decision before its first start. It wakes itself, so that the decision is requested even if
-- the process dies that was about to request it.
CREATE FUNCTION ava_wait_for_approval() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO job_waits (tenant_id, job_id, run_no, condition, waiting_for)
    VALUES (NEW.tenant_id, NEW.id, NEW.run_no, 'approval', '{"jobs": [], "event": null, "approval": null, "until": null}')
    ON CONFLICT DO NOTHING;
    INSERT INTO wakes (tenant_id, kind, source_id) VALUES (NEW.tenant_id, 'job', NEW.id);
    RETURN NULL;
END
$$;
CREATE TRIGGER wait_for_approval AFTER INSERT OR UPDATE OF waits_for ON jobs FOR EACH ROW
    WHEN (NEW.waits_for = 'approval' AND NEW.first_run_no IS NULL) EXECUTE FUNCTION ava_wait_for_approval();

-- Events that may end waits: a job became final or began to wait, or an event arrived (`ava.store.jobs.wake_queue`).
-- `source_id` is the job or the event. `after_key` and `after_id` are the key and job of the last wait matched with an
-- event, if one transaction does not match all. Duplicate rows are harmless.
CREATE TABLE wakes (
    tenant_id text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('job', 'event')),
    n bigint GENERATED ALWAYS AS IDENTITY,
    source_id uuid NOT NULL,
    event_type text,
    after_key uuid,
    after_id uuid,
    PRIMARY KEY (tenant_id, kind, n),
    CONSTRAINT type_exactly_of_events CHECK ((kind = 'event') = (event_type IS NOT NULL))
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 10000);

-- The end of a job that may be awaited, or that has asked for a decision.
CREATE FUNCTION ava_wake() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE approvals SET status = 'cancelled', decided_at = clock_timestamp()
    WHERE tenant_id = NEW.tenant_id AND job_id = NEW.id AND status IS NOT DISTINCT FROM 'pending';
    INSERT INTO wakes (tenant_id, kind, source_id) VALUES (NEW.tenant_id, 'job', NEW.id);
    RETURN NULL;
END
$$;
CREATE TRIGGER wake_of_end AFTER UPDATE OF status ON jobs FOR EACH ROW
    WHEN (NEW.is_awaited AND OLD.completed_at IS NULL AND NEW.completed_at IS NOT NULL) EXECUTE FUNCTION ava_wake();

-- The tags of jobs, one per row, so that the jobs with a tag are an index range, newest first.
CREATE TABLE job_tags (
    tenant_id text NOT NULL,
    key text NOT NULL,
    value text NOT NULL,
    job_id uuid NOT NULL,
    PRIMARY KEY (tenant_id, key, value, job_id)
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_vacuum_insert_threshold = 10000);

-- Leases of runs that were claimed over HTTP, with the run's token (as in `api_keys`). `heartbeat_at` is the last
-- heartbeat.
CREATE TABLE pulled_runs (
    tenant_id text NOT NULL,
    job_id uuid NOT NULL,
    run_no integer NOT NULL,
    claim_id uuid NOT NULL,
    lookup text NOT NULL UNIQUE,
    hash bytea NOT NULL,
    -- The API key that claimed it, and the client's name for the process.
    key_id uuid,
    name text,
    claimed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    heartbeat_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Whether the token was used: until then, the run has not begun.
    is_used boolean NOT NULL DEFAULT false,
    timeout_at timestamptz NOT NULL,
    grace_seconds double precision NOT NULL,
    -- When the dispatcher ends the run: after timeout and grace, or after the grace that follows a stop request.
    end_by timestamptz NOT NULL,
    log_bytes bigint NOT NULL DEFAULT 0,
    -- Once the run has used its journal: the last entry of earlier runs, and the steps and events with their bytes.
    journal_n bigint,
    journal_values integer NOT NULL DEFAULT 0,
    journal_bytes bigint NOT NULL DEFAULT 0,
    -- When it ended or was lost; if the worker reported the end, a digest that detects a repeated report.
    ended_at timestamptz,
    end_digest bytea,
    end_status text,
    PRIMARY KEY (tenant_id, job_id, run_no)
) WITH (fillfactor = 50);
CREATE INDEX pulled_runs_heartbeat ON pulled_runs (heartbeat_at) WHERE ended_at IS NULL;
CREATE INDEX pulled_runs_due ON pulled_runs (end_by) WHERE ended_at IS NULL;
CREATE INDEX pulled_runs_held ON pulled_runs (key_id) WHERE ended_at IS NULL;
CREATE INDEX pulled_runs_ended ON pulled_runs (ended_at) WHERE ended_at IS NOT NULL;

-- Idempotency keys, each with the jobs that its request created.
CREATE TABLE idempotency_keys (
    tenant_id text NOT NULL,
    key text NOT NULL CHECK (length(key) BETWEEN 1 AND 255),
    fingerprint bytea NOT NULL,
    job_ids uuid[] NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, key)
);
CREATE INDEX idempotency_keys_created ON idempotency_keys (created_at);

-- The keys of debounced triggers, each with its job and the time of its first trigger.
CREATE TABLE debounces (
    tenant_id text NOT NULL,
    worker_id text NOT NULL,
    key text NOT NULL,
    job_id uuid,
    first_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    latest_at timestamptz,
    fires_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, worker_id, key)
) WITH (fillfactor = 70);
CREATE INDEX debounces_by_job ON debounces (job_id);
CREATE INDEX debounces_old ON debounces (fires_at);

-- Bulk operations on jobs.
CREATE TABLE bulk_operations (
    tenant_id text NOT NULL,
    id uuid NOT NULL DEFAULT ava_uuid7(),
    kind text NOT NULL CHECK (kind IN ('retry', 'cancel', 'lift')),
    filter json NOT NULL,
    state text NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'done', 'aborted')),
    total bigint NOT NULL,
    done bigint NOT NULL DEFAULT 0,
    failed bigint NOT NULL DEFAULT 0,
    signalled bigint NOT NULL DEFAULT 0,
    reason text,
    before_id uuid NOT NULL,
    next_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    created_by text NOT NULL,
    role text NOT NULL,
    request_id text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    completed_at timestamptz,
    -- Of a lift: the containment, and whether it cancels the held jobs.
    containment_id uuid,
    cancels_held boolean,
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT lift_has_its_containment CHECK (
        (kind = 'lift') = (containment_id IS NOT NULL) AND (kind = 'lift') = (cancels_held IS NOT NULL)),
    CONSTRAINT counts_are_not_negative CHECK (total >= 0 AND done >= signalled AND signalled >= 0 AND failed >= 0),
    CONSTRAINT ended_exactly_when_completed CHECK ((state = 'running') = (completed_at IS NULL))
) WITH (fillfactor = 70);
CREATE INDEX bulk_operations_ended ON bulk_operations (completed_at) WHERE completed_at IS NOT NULL;
CREATE INDEX bulk_operations_running ON bulk_operations (next_at) WHERE state = 'running';
CREATE INDEX bulk_operations_running_of ON bulk_operations (tenant_id) WHERE state = 'running';

-- The value of a string, number, true, false or null at a path in an input; NULL if there is none, or for a list or an
-- object. PostgreSQL rejects paths into an input whose strings contain NUL or unpaired surrogates, so replace these.
CREATE FUNCTION ava_input_text(input json, path text[]) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $function$
DECLARE
    found json;
BEGIN
    BEGIN
        found := input #> path;
    EXCEPTION WHEN OTHERS THEN
        found := regexp_replace(input::text, '\\u(0000|[dD][89a-fA-F][0-9a-fA-F]{2})', '\\ufffd', 'g')::json #> path;
    END;
    RETURN CASE json_typeof(found)
        WHEN 'string' THEN found #>> '{}'
        WHEN 'object' THEN NULL
        WHEN 'array' THEN NULL
        ELSE found::text
    END;
END
$function$;

-- The key of a limit: the worker, and the value that the limit is per. A value from an input is combined with the
-- tenant; the key has its JSON, or a hash of long JSON; a missing value is null. An input that PostgreSQL cannot walk,
-- because a string in it contains NUL, has a separate key.
CREATE FUNCTION ava_limit_key(worker_id text, per text, tenant_id text, input json) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    value text;
BEGIN
    IF per IS NULL THEN
        RETURN worker_id;
    ELSIF per = 'tenant' THEN
        RETURN worker_id || ' ' || tenant_id;
    END IF;
    BEGIN
        value := coalesce((input #> string_to_array(substr(per, length('input.') + 1), '.'))::text, 'null');
    EXCEPTION WHEN OTHERS THEN
        value := input::text;
    END;
    IF octet_length(value) > 200 THEN
        value := 'md5:' || md5(value);
    END IF;
    RETURN worker_id || ' ' || tenant_id || ' ' || value;
END
$$;

-- Wakes the active dispatcher when a job with a limit releases its permit or begins to wait for one. Never called for
-- jobs without a limit.
CREATE FUNCTION ava_notify_limit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('ava_limits', NEW.limit_key);
    RETURN NULL;
END
$$;
CREATE TRIGGER notify_limit_of_new AFTER INSERT ON jobs FOR EACH ROW
    WHEN (NEW.waits_for = 'permit') EXECUTE FUNCTION ava_notify_limit();
CREATE TRIGGER notify_limit_of_move AFTER UPDATE OF status ON jobs FOR EACH ROW
    WHEN (NEW.limit_key IS NOT NULL AND OLD.status <> NEW.status AND NEW.status <> 'running')
    EXECUTE FUNCTION ava_notify_limit();


-- Log lines -----------------------------------------------------------------------------------------------------------

-- A row has up to 16 lines that were stored together, because a row and its index entry are larger than a line. `seq`
-- is the number of the first line; the others follow without gaps. `levels` has one letter per line: i, w, e. A job's
-- id begins with its creation time, so all lines of a job are in one partition.
CREATE TABLE job_logs (
    tenant_id text NOT NULL,
    job_id uuid NOT NULL,
    seq bigint NOT NULL,
    times timestamptz[] NOT NULL,
    levels text NOT NULL,
    msgs text[] NOT NULL,
    PRIMARY KEY (tenant_id, job_id, seq),
    CONSTRAINT one_to_sixteen_lines CHECK (
        length(levels) BETWEEN 1 AND 16 AND cardinality(times) = length(levels) AND cardinality(msgs) = length(levels))
) PARTITION BY RANGE (job_id);
-- The few lines that are not `info`, so that a search for them does not read the others.
CREATE INDEX job_logs_with_warnings ON job_logs (tenant_id, job_id, seq) WHERE levels LIKE '%w%';
CREATE INDEX job_logs_with_errors ON job_logs (tenant_id, job_id, seq) WHERE levels LIKE '%e%';

-- The individual lines. `first_seq` and `levels` are columns of the row, for conditions that use an index.
CREATE VIEW job_lines AS
SELECT r.tenant_id, r.job_id, r.seq AS first_seq, r.levels, r.seq + l.n - 1 AS seq, l.ts,
    CASE substr(r.levels, l.n::int, 1) WHEN 'i' THEN 'info' WHEN 'w' THEN 'warn' ELSE 'error' END AS level, l.msg
FROM job_logs AS r CROSS JOIN LATERAL unnest(r.times, r.msgs) WITH ORDINALITY AS l (ts, msg, n);

CREATE TABLE job_logs_rest PARTITION OF job_logs DEFAULT WITH (
    autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_vacuum_insert_threshold = 10000);


-- Schedules -----------------------------------------------------------------------------------------------------------

CREATE TABLE schedules (
    tenant_id text NOT NULL,
    id uuid NOT NULL DEFAULT ava_uuid7(),
    worker_id text NOT NULL,
    name text,
    -- A pattern in a time zone, or an interval.
    cron text,
    timezone text,
    every_seconds smallint CHECK (every_seconds BETWEEN 1 AND 59),
    input json NOT NULL,
    priority smallint NOT NULL CHECK (priority BETWEEN 1 AND 10),
    overlap text NOT NULL CHECK (overlap IN ('allow', 'skip', 'queue_one', 'cancel_running')),
    catch_up text NOT NULL CHECK (catch_up IN ('last', 'none', 'all')),
    catch_up_seconds integer NOT NULL CHECK (catch_up_seconds >= 0),
    spread_seconds integer NOT NULL CHECK (spread_seconds >= 0),
    starts_at timestamptz,
    ends_at timestamptz,
    -- The firings until this time are decided.
    decided_until timestamptz NOT NULL,
    next_run_at timestamptz,
    last_run_at timestamptz,
    last_job_id uuid,
    gone smallint NOT NULL DEFAULT 0,
    -- The time zone data version used for the next firing.
    timezone_data text NOT NULL,
    created_by text NOT NULL,
    changers text,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- The handler module that declares it; null if a client created it.
    handler_module text,
    -- Whether a platform role created it: its jobs may then be more urgent than a tenant's roles allow.
    may_be_urgent boolean NOT NULL DEFAULT false,
    -- An unstarted job expires this many seconds after its slot; null: the worker's setting.
    expires_in_seconds integer CHECK (expires_in_seconds > 0),
    -- As in `jobs`.
    approval json,
    paused_at timestamptz,
    paused_by jsonb,
    pause_reason text,
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT pause_is_whole CHECK (
        (paused_at IS NULL) = (paused_by IS NULL) AND (pause_reason IS NULL OR paused_at IS NOT NULL)),
    CONSTRAINT paused_does_not_fire CHECK (paused_at IS NULL OR next_run_at IS NULL),
    CONSTRAINT pattern_or_interval CHECK (
        (cron IS NULL) = (timezone IS NULL) AND (cron IS NULL) = (every_seconds IS NOT NULL)),
    CONSTRAINT ends_after_its_start CHECK (ends_at > starts_at)
) WITH (fillfactor = 85);
CREATE INDEX schedules_due ON schedules (next_run_at) WHERE next_run_at IS NOT NULL;
CREATE INDEX schedules_timezone_data ON schedules (timezone_data) WHERE next_run_at IS NOT NULL;
-- A worker has at most one declared schedule per tenant.
CREATE UNIQUE INDEX schedules_declared_once ON schedules (tenant_id, worker_id) WHERE handler_module IS NOT NULL;

-- The key includes the zone, because a schedule that moves to another zone may meet the same local time again. When
-- clocks are set back, local times repeat, with fold 1 the second time (PEP 495). No foreign key, so that deleting a
-- schedule with many firings is fast; retention deletes them.
CREATE TABLE schedule_firings (
    tenant_id text NOT NULL,
    schedule_id uuid NOT NULL,
    timezone text NOT NULL,
    slot timestamp NOT NULL,
    fold smallint NOT NULL CHECK (fold IN (0, 1)),
    at timestamptz NOT NULL,
    outcome text NOT NULL CHECK (outcome IN ('fired', 'skipped', 'missed')),
    reason text,
    job_id uuid,
    PRIMARY KEY (tenant_id, schedule_id, timezone, slot, fold),
    CONSTRAINT job_exactly_when_fired CHECK ((outcome = 'fired') = (job_id IS NOT NULL)),
    CONSTRAINT reason_exactly_when_not_fired CHECK ((outcome = 'fired') = (reason IS NULL))
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_vacuum_insert_threshold = 10000);
CREATE INDEX schedule_firings_listed ON schedule_firings (tenant_id, schedule_id, at, slot, fold);
CREATE INDEX schedule_firings_old ON schedule_firings (at);


-- Webhooks ------------------------------------------------------------------------------------------------------------

-- A deleted endpoint keeps its row, without secrets, until its deliveries are past retention.
CREATE TABLE webhook_endpoints (
    tenant_id text NOT NULL,
    id uuid NOT NULL DEFAULT ava_uuid7(),
    url text NOT NULL,
    events text[] NOT NULL CHECK (cardinality(events) > 0),
    status text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'degraded', 'deleted')),
    paused_at timestamptz,
    paused_by jsonb,
    pause_reason text,
    secret text,
    previous_secret text,
    previous_secret_until timestamptz,
    -- Whether it receives no events of child jobs.
    roots_only boolean NOT NULL DEFAULT false,
    -- Of a notice, an endpoint with its own messages: `url` describes its target, which is sealed in `secret`.
    channel text CHECK (channel IN ('slack', 'teams', 'email', 'webhook')),
    name text,
    rules json,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT notice_is_whole CHECK ((channel IS NULL) = (name IS NULL) AND (channel IS NULL) = (rules IS NULL)),
    CONSTRAINT pause_is_whole CHECK ((paused_at IS NULL) = (paused_by IS NULL)
        AND (pause_reason IS NULL OR paused_at IS NOT NULL)),
    CONSTRAINT no_secret_exactly_when_deleted CHECK ((status = 'deleted') = (secret IS NULL)),
    CONSTRAINT previous_secret_for_a_time CHECK ((previous_secret IS NULL) = (previous_secret_until IS NULL))
);
-- Every state transition of a job checks whether an endpoint subscribes to it.
CREATE INDEX webhook_endpoints_told ON webhook_endpoints (tenant_id)
    WHERE status <> 'deleted' AND paused_at IS NULL AND channel IS NULL;
CREATE INDEX webhook_endpoints_notices ON webhook_endpoints (tenant_id)
    WHERE status <> 'deleted' AND paused_at IS NULL AND channel IS NOT NULL;
CREATE INDEX webhook_endpoints_deleted ON webhook_endpoints (id) WHERE status = 'deleted';

-- The leases of endpoints: the sender that holds it, and the endpoint's recent behavior. A separate table because every
-- state transition of a job reads the endpoints' rows, which should therefore change rarely.
CREATE TABLE webhook_lanes (
    tenant_id text NOT NULL,
    endpoint_id uuid NOT NULL,
    due_at timestamptz,
    sender_id uuid,
    width smallint NOT NULL DEFAULT 1 CHECK (width >= 1),
    timeouts smallint NOT NULL DEFAULT 0,
    not_before timestamptz,
    PRIMARY KEY (tenant_id, endpoint_id),
    FOREIGN KEY (tenant_id, endpoint_id) REFERENCES webhook_endpoints ON DELETE CASCADE
) WITH (fillfactor = 50);
CREATE INDEX webhook_lanes_due ON webhook_lanes (due_at) WHERE sender_id IS NULL AND due_at IS NOT NULL;
CREATE INDEX webhook_lanes_held ON webhook_lanes (sender_id, endpoint_id) WHERE sender_id IS NOT NULL;

-- The events of a notice since its last message, for each rule and error group (`subject`, empty without a group), and
-- its window: until `ends_at`, `messages_left` further messages may be sent.
CREATE TABLE notice_windows (
    tenant_id text NOT NULL,
    endpoint_id uuid NOT NULL,
    rule smallint NOT NULL,
    subject text NOT NULL,
    events bigint NOT NULL,
    -- Of the last event.
    facts json NOT NULL,
    -- When the next message is due.
    due_at timestamptz,
    messages_left smallint NOT NULL DEFAULT 0,
    ends_at timestamptz,
    PRIMARY KEY (tenant_id, endpoint_id, rule, subject),
    CONSTRAINT due_exactly_with_events CHECK ((events = 0) = (due_at IS NULL)),
    CONSTRAINT new_window_is_due CHECK (due_at IS NOT NULL OR ends_at IS NOT NULL)
) WITH (fillfactor = 70);
CREATE INDEX notice_windows_due ON notice_windows (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX notice_windows_ended ON notice_windows (ends_at) WHERE due_at IS NULL;

-- The mails of a tenant's notices, one for each address.
CREATE TABLE notice_mails (
    tenant_id text NOT NULL,
    day date NOT NULL,
    mails integer NOT NULL,
    PRIMARY KEY (tenant_id, day)
) WITH (fillfactor = 50);

CREATE TABLE webhook_senders (
    id uuid PRIMARY KEY,
    host text NOT NULL,
    pid integer NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    seen_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);

-- Columns that may change after the event are copied here; the others are read from the job when the body is created.
-- `n` is the order of the events; it is exact for one job, because its transitions are sequential. It is no identity
-- column, because before PostgreSQL 17 partitions cannot share one.
CREATE SEQUENCE webhook_events_n_seq;
CREATE TABLE webhook_events (
    tenant_id text NOT NULL,
    id uuid NOT NULL DEFAULT ava_uuid7(),
    n bigint NOT NULL DEFAULT nextval('webhook_events_n_seq'),
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
    fanned_out_at timestamptz,
    traceparent text
        CONSTRAINT webhook_events_traceparent_form CHECK (traceparent ~ '^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$'),
    -- Whether it belongs to a child job; null if not.
    is_of_child boolean,
    -- The last endpoint with a delivery while others are missing; null for nearly every event.
    fanned_out_to uuid,
    PRIMARY KEY (tenant_id, id)
) PARTITION BY RANGE (id);
-- Across tenants: the fan-out, retention and the measurement of storage.
CREATE INDEX webhook_events_by_id ON webhook_events (id);
CREATE INDEX webhook_events_new ON webhook_events (n) WHERE fanned_out_at IS NULL;
-- For round-robin between tenants in the fan-out.
CREATE INDEX webhook_events_turns ON webhook_events (tenant_id, n) WHERE fanned_out_at IS NULL;

CREATE TABLE webhook_events_rest PARTITION OF webhook_events DEFAULT WITH (
    autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_vacuum_insert_threshold = 10000);

-- Dead letters: rows of queues that fail even on their own. A separate table because it is almost always empty. No
-- foreign key, as for deliveries; retention deletes its rows.
CREATE TABLE dead_letters (
    tenant_id text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('webhook_event', 'event_jobs', 'event_wake', 'job_wake')),
    -- The event or job.
    row_id uuid NOT NULL,
    error text NOT NULL,
    failed_at timestamptz NOT NULL DEFAULT now(),
    -- The last subscription with a created job of an event.
    continues_after uuid,
    PRIMARY KEY (tenant_id, kind, row_id)
);

-- No foreign keys: to check one, PostgreSQL would lock, and so write, the endpoint's row for every delivery.
CREATE TABLE webhook_deliveries (
    tenant_id text NOT NULL,
    id uuid NOT NULL DEFAULT ava_uuid7(),
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
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT due_exactly_when_pending CHECK ((status = 'pending') = (due_at IS NOT NULL)),
    CONSTRAINT final_exactly_when_completed CHECK ((status = 'pending') = (completed_at IS NULL))
) PARTITION BY RANGE (id);
-- Across tenants: the senders, retention and the measurement of storage.
CREATE INDEX webhook_deliveries_by_id ON webhook_deliveries (id);
CREATE INDEX webhook_deliveries_by_type ON webhook_deliveries (endpoint_id, status, event_type, id);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (endpoint_id, failures, due_at, n) WHERE status = 'pending';
CREATE INDEX webhook_deliveries_listed ON webhook_deliveries (endpoint_id, status, id);
-- Job ids ascend with the time, so the new entries of this index share few pages.
CREATE INDEX webhook_deliveries_of_job ON webhook_deliveries (job_id, id) WHERE job_id IS NOT NULL;
CREATE INDEX webhook_deliveries_of_event ON webhook_deliveries (event_id);

CREATE TABLE webhook_deliveries_rest PARTITION OF webhook_deliveries DEFAULT WITH (fillfactor = 85,
    autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_vacuum_insert_threshold = 10000);

-- Stores the event of a job's state transition if an endpoint of its tenant subscribes to it. It is a trigger, so that
-- no statement, present or future, can omit the event, and the event exists exactly if the transition does. Each run
-- has three sequence numbers: the start, the return to the queue, and the final status. They ascend with gaps,
-- independent of the subscriptions.
CREATE FUNCTION ava_record_event() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    event text := 'ava.job.' || CASE NEW.status WHEN 'running' THEN 'started' ELSE NEW.status END;
BEGIN
    IF EXISTS (SELECT 1 FROM webhook_endpoints AS e
               WHERE e.tenant_id = NEW.tenant_id AND e.status <> 'deleted' AND e.paused_at IS NULL
                   AND e.channel IS NULL AND event = ANY(e.events) AND (NEW.parent_id IS NULL OR NOT e.roots_only)) THEN
        INSERT INTO webhook_events (tenant_id, type, job_id, sequence, status, attempt, started_at, completed_at,
                                    cancel_requested_at, cancelled_by, progress, is_of_child)
        VALUES (NEW.tenant_id, event, NEW.id,
                NEW.run_no * 3 + CASE NEW.status WHEN 'running' THEN 0 WHEN 'queued' THEN 1 ELSE 2 END,
                NEW.status, NEW.attempt, coalesce(NEW.first_started_at, NEW.started_at), NEW.completed_at,
                NEW.cancel_requested_at, NEW.cancelled_by,
                NEW.progress, nullif(NEW.parent_id IS NOT NULL, false));
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER record_event_of_new AFTER INSERT ON jobs FOR EACH ROW EXECUTE FUNCTION ava_record_event();
-- A handler that waits or continues creates no event.
CREATE TRIGGER record_transition_event AFTER UPDATE OF status ON jobs FOR EACH ROW
    WHEN (OLD.status <> NEW.status AND (NEW.completed_at IS NOT NULL OR NEW.first_started_at IS NULL))
    EXECUTE FUNCTION ava_record_event();


-- Incoming events -----------------------------------------------------------------------------------------------------

-- Event types, and the jobs that they start.
CREATE TABLE subscriptions (
    tenant_id text NOT NULL,
    id uuid NOT NULL DEFAULT ava_uuid7(),
    event_type text NOT NULL,
    worker_id text NOT NULL,
    name text,
    match json,
    input json,
    priority smallint NOT NULL CHECK (priority BETWEEN 1 AND 10),
    paused_at timestamptz,
    paused_by jsonb,
    pause_reason text,
    created_by text NOT NULL,
    changers text,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- The version of the tenant's subscriptions that its last change created.
    since_version bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT pause_is_whole CHECK ((paused_at IS NULL) = (paused_by IS NULL)
        AND (pause_reason IS NULL OR paused_at IS NOT NULL))
) WITH (fillfactor = 85);

-- Former states of unpaused subscriptions, before a change, pause or deletion, valid from `since_version` until before
-- `until_version`: the fan-out of an event uses the version of the event.
CREATE TABLE former_subscriptions (
    LIKE subscriptions,
    until_version bigint NOT NULL,
    ended_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id, since_version)
);
CREATE INDEX former_subscriptions_old ON former_subscriptions (ended_at);

-- Incremented by each change of a tenant's subscriptions, so that a process can check whether its cached ones are
-- current. A tenant that never had subscriptions has no row.
CREATE TABLE subscription_versions (
    tenant_id text PRIMARY KEY,
    version bigint NOT NULL
) WITH (fillfactor = 50);

-- URLs that receive providers' webhooks. As in `api_keys`, the lookup part of a token finds the row, and the secret
-- part is stored as a hash; a replaced token may stay valid for some time.
CREATE TABLE hooks (
    tenant_id text NOT NULL,
    id uuid NOT NULL DEFAULT ava_uuid7(),
    name text NOT NULL,
    provider text NOT NULL,
    -- The verifier of a `custom` hook.
    verifier json,
    -- The sealed secrets, newest first: `{"sealed", "until"}`.
    secrets json NOT NULL DEFAULT '[]',
    worker_id text,
    event_type text,
    match json,
    input json,
    priority smallint NOT NULL CHECK (priority BETWEEN 1 AND 10),
    dedupe text NOT NULL CHECK (dedupe IN ('id', 'body', 'both', 'none')),
    tolerance_seconds integer NOT NULL CHECK (tolerance_seconds > 0),
    paused_at timestamptz,
    paused_by jsonb,
    pause_reason text,
    lookup text NOT NULL UNIQUE,
    hash bytea NOT NULL,
    previous_lookup text UNIQUE,
    previous_hash bytea,
    previous_until timestamptz,
    created_by text NOT NULL,
    changers text,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT pause_is_whole CHECK ((paused_at IS NULL) = (paused_by IS NULL)
        AND (pause_reason IS NULL OR paused_at IS NOT NULL)),
    CONSTRAINT job_or_event CHECK (worker_id IS NULL OR event_type IS NULL),
    CONSTRAINT input_is_of_a_job CHECK (input IS NULL OR worker_id IS NOT NULL),
    CONSTRAINT previous_token_for_a_time
        CHECK ((previous_lookup IS NULL) = (previous_until IS NULL)
            AND (previous_lookup IS NULL) = (previous_hash IS NULL))
) WITH (fillfactor = 85);

-- Deduplication keys of events and deliveries: a digest of the id or body, the hook (the nil UUID for a posted event),
-- and the first event or delivery with the key.
CREATE TABLE received_keys (
    tenant_id text NOT NULL,
    hook_id uuid NOT NULL,
    digest bytea NOT NULL,
    first_id uuid NOT NULL,
    until timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, hook_id, digest)
);
CREATE INDEX received_keys_old ON received_keys (until);

-- Events that clients posted or hooks received. `fanned_out_to` is the last subscription with a created job while
-- others are missing; null for nearly every event.
CREATE TABLE events (
    tenant_id text NOT NULL,
    id uuid NOT NULL DEFAULT ava_uuid7(),
    type text NOT NULL,
    source text NOT NULL,
    source_id text,
    subject text,
    time timestamptz,
    data json NOT NULL,
    extensions json NOT NULL,
    headers json,
    created_at timestamptz NOT NULL DEFAULT now(),
    hook_id uuid,
    delivery_id uuid,
    job_ids uuid[] NOT NULL DEFAULT '{}',
    -- Subscriptions without a job, because creating it failed: `{"subscription_id", "reason"}`.
    refused json NOT NULL DEFAULT '[]',
    -- Number of jobs left to create when it was stored.
    more_count integer NOT NULL DEFAULT 0,
    fanned_out_to uuid,
    -- The version of the tenant's subscriptions at its arrival, if the fan-out creates jobs.
    subscriptions_version bigint,
    -- Bytes of the inputs of its jobs so far, for the limit `event_copied_bytes`.
    copied_bytes integer NOT NULL DEFAULT 0,
    traceparent text
        CONSTRAINT events_traceparent_form CHECK (traceparent ~ '^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$'),
    -- As `jobs.origin`.
    sender text NOT NULL DEFAULT 'system',
    PRIMARY KEY (tenant_id, id)
) PARTITION BY RANGE (id);
-- A tenant's events of a type, or of a source, by creation time.
CREATE INDEX events_by_type ON events (tenant_id, type, id);
CREATE INDEX events_by_source ON events (tenant_id, source, id);
-- Across tenants: the fan-out, retention and the measurement of storage.
CREATE INDEX events_by_id ON events (id);
-- For round-robin between tenants in the fan-out.
CREATE INDEX events_unfinished ON events (tenant_id, id) WHERE fanned_out_to IS NOT NULL;

CREATE TABLE events_rest PARTITION OF events DEFAULT WITH (
    autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_vacuum_insert_threshold = 10000);

-- The requests that hooks have received, including refused ones. No foreign keys, as for `webhook_deliveries`.
CREATE TABLE hook_deliveries (
    tenant_id text NOT NULL,
    id uuid NOT NULL DEFAULT ava_uuid7(),
    hook_id uuid NOT NULL,
    status text NOT NULL CHECK (status IN ('accepted', 'duplicate', 'refused', 'skipped')),
    response_status smallint NOT NULL,
    reason text,
    event_id uuid,
    event_type text,
    source_id text,
    job_ids uuid[] NOT NULL DEFAULT '{}',
    duplicate_of uuid,
    replay_of uuid,
    address text NOT NULL,
    headers json NOT NULL,
    -- The query parameters of the URL, and the raw bytes of the body.
    query json NOT NULL DEFAULT '{}',
    body bytea,
    body_bytes integer NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT first_exactly_of_a_duplicate CHECK ((status = 'duplicate') = (duplicate_of IS NOT NULL)),
    CONSTRAINT reason_exactly_when_not_processed CHECK ((status IN ('refused', 'skipped')) = (reason IS NOT NULL))
) PARTITION BY RANGE (id);
CREATE INDEX hook_deliveries_listed ON hook_deliveries (tenant_id, hook_id, status, id);
CREATE INDEX hook_deliveries_by_type ON hook_deliveries (tenant_id, hook_id, status, event_type, id);
CREATE INDEX hook_deliveries_by_id ON hook_deliveries (id);

CREATE TABLE hook_deliveries_rest PARTITION OF hook_deliveries DEFAULT WITH (
    autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_vacuum_insert_threshold = 10000);


-- Counts of ended jobs ------------------------------------------------------------------------------------------------

-- How far ended jobs are counted (`ava.store.reports.ended`): up to the number `counted_to`. The mark is the next
-- high-water mark: its number, the id of the first transaction that cannot have a number up to it, and the time when it
-- was set. All ends stored before `counted_until` are counted.
CREATE TABLE count_progress (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    counted_to bigint NOT NULL DEFAULT 0,
    counted_until timestamptz NOT NULL DEFAULT now(),
    high_water_no bigint NOT NULL DEFAULT 0,
    high_water_before bigint NOT NULL DEFAULT 0,
    high_water_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT counted_within_the_mark CHECK (counted_to <= high_water_no)
);
INSERT INTO count_progress DEFAULT VALUES;

-- By minute and in total, so that neither charts nor scrapes count jobs. `ava.store.reports.statistics` defines the
-- buckets; -1 means that a job has no such time, because it never ran or started more than once.
CREATE TABLE job_minutes (
    tenant_id text NOT NULL,
    minute timestamptz NOT NULL,
    worker_id text NOT NULL,
    status text NOT NULL,
    wait_bucket smallint NOT NULL,
    run_bucket smallint NOT NULL,
    jobs bigint NOT NULL,
    retries bigint NOT NULL,
    losses bigint NOT NULL,
    wait_seconds double precision NOT NULL,
    run_seconds double precision NOT NULL,
    PRIMARY KEY (tenant_id, minute, worker_id, status, wait_bucket, run_bucket)
);
CREATE INDEX job_minutes_by_minute ON job_minutes (minute);

CREATE TABLE job_totals (
    worker_id text NOT NULL,
    status text NOT NULL,
    wait_bucket smallint NOT NULL,
    run_bucket smallint NOT NULL,
    jobs bigint NOT NULL,
    retries bigint NOT NULL,
    losses bigint NOT NULL,
    wait_seconds double precision NOT NULL,
    run_seconds double precision NOT NULL,
    PRIMARY KEY (worker_id, status, wait_bucket, run_bucket)
) WITH (fillfactor = 50);

-- By tenant, worker, trigger and hour or day. worker_id '' means all workers of the tenant, trigger '' all triggers.
-- The key has the order of the reads of a period: the sums of all triggers by worker are adjacent.
CREATE TABLE job_counts (
    tenant_id text NOT NULL,
    span text NOT NULL CHECK (span IN ('hour', 'day')),
    trigger text NOT NULL,
    worker_id text NOT NULL,
    starts_at timestamptz NOT NULL,
    completed bigint NOT NULL,
    failed bigint NOT NULL,
    cancelled bigint NOT NULL,
    -- The cancelled jobs that expired.
    expired bigint NOT NULL,
    ran bigint NOT NULL,
    ran_ms bigint NOT NULL,
    -- CPU time of the jobs that ran, and their time from due to start.
    cpu_ms bigint NOT NULL,
    wait_ms bigint NOT NULL,
    PRIMARY KEY (tenant_id, span, trigger, worker_id, starts_at)
) WITH (fillfactor = 70);
-- In the key, hourly rows and other triggers' rows separate the days of a worker.
CREATE INDEX job_counts_days ON job_counts (tenant_id, worker_id, starts_at)
    INCLUDE (completed, failed, cancelled, expired, ran, ran_ms, cpu_ms, wait_ms) WHERE span = 'day' AND trigger = '';
CREATE INDEX job_counts_old ON job_counts (starts_at);

-- The times of a worker's jobs of one day in one row. `jobs[n]` is the count of the bucket `buckets[n]`; buckets
-- ascend. A row has up to 900 buckets of six bytes, and stays in its page: it is written too often to be compressed.
CREATE TABLE job_time_histograms (
    tenant_id text NOT NULL,
    worker_id text NOT NULL,
    day timestamptz NOT NULL,
    kind text NOT NULL CHECK (kind IN ('wait', 'run')),
    buckets smallint[] NOT NULL,
    jobs integer[] NOT NULL,
    PRIMARY KEY (tenant_id, worker_id, day, kind),
    CHECK (cardinality(jobs) = cardinality(buckets))
) WITH (fillfactor = 50, toast_tuple_target = 8160);
CREATE INDEX job_time_histograms_old ON job_time_histograms (day);

-- Add counts to a histogram: `more_jobs` of `more_buckets` to `jobs` of the ascending `buckets`. A count adds few
-- buckets to a row with hundreds, so search for each; GROUP BY over both takes thirty times as long.
CREATE FUNCTION ava_add_times(
    INOUT buckets smallint[], INOUT jobs integer[], more_buckets smallint[], more_jobs integer[]
) LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    bucket_index integer;
BEGIN
    FOR n IN 1 .. cardinality(more_buckets) LOOP
        -- The number of buckets that are at or below this one.
        bucket_index := width_bucket(more_buckets[n], buckets);
        IF bucket_index > 0 AND buckets[bucket_index] = more_buckets[n] THEN
            jobs[bucket_index] := jobs[bucket_index] + more_jobs[n];
        ELSE
            buckets := buckets[1:bucket_index] || more_buckets[n] || buckets[bucket_index + 1:];
            jobs := jobs[1:bucket_index] || more_jobs[n] || jobs[bucket_index + 1:];
        END IF;
    END LOOP;
END
$$;

-- Series for charts, by minute for two days and by hour for 90 (`ava.store.reports.series`); tenant '*' has the sums of
-- all tenants. The subject of a row is a worker, or '' for all workers; of a backlog it is a queue. `part` is the
-- priority of a backlog, the kind of error of failures, and whether a pause is of a worker or a queue. `jobs` is the
-- number of running, waiting or failed jobs, `max_jobs` the concurrency limit. Deploys and pauses are hourly rows from
-- `starts_at` to `ends_at`.
CREATE TABLE series (
    tenant_id text NOT NULL,
    span text NOT NULL CHECK (span IN ('minute', 'hour')),
    kind text NOT NULL CHECK (kind IN ('worker', 'backlog', 'failures', 'deploy', 'pause')),
    subject text NOT NULL,
    part text NOT NULL,
    starts_at timestamptz NOT NULL,
    ends_at timestamptz,
    completed bigint,
    failed bigint,
    cancelled bigint,
    -- Ended jobs by bucket of their time to start and their run time, as in `job_minutes`; the first is bucket 0.
    wait_jobs integer[],
    run_jobs integer[],
    jobs bigint,
    max_jobs bigint,
    PRIMARY KEY (tenant_id, span, kind, subject, part, starts_at)
) WITH (fillfactor = 90);
CREATE INDEX series_old ON series (span, starts_at);

-- Failed jobs, grouped by the fingerprint of their errors, and counted by day. The group's message is the first variant.
CREATE TABLE error_groups (
    tenant_id text NOT NULL,
    id uuid NOT NULL,
    worker_id text NOT NULL,
    kind text NOT NULL,
    variants text[] NOT NULL CHECK (cardinality(variants) > 0),
    status text NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'ignored', 'resolved')),
    resolved_at timestamptz,
    first_seen_at timestamptz NOT NULL,
    last_seen_at timestamptz NOT NULL,
    sample_job_id uuid NOT NULL,
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT resolved_at_exactly_when_resolved CHECK ((status = 'resolved') = (resolved_at IS NOT NULL))
) WITH (fillfactor = 70);
CREATE INDEX error_groups_listed ON error_groups (tenant_id, last_seen_at, id);
CREATE INDEX error_groups_old ON error_groups (last_seen_at);

CREATE TABLE error_days (
    tenant_id text NOT NULL,
    error_id uuid NOT NULL,
    day timestamptz NOT NULL,
    jobs bigint NOT NULL,
    PRIMARY KEY (tenant_id, error_id, day)
) WITH (fillfactor = 70);
CREATE INDEX error_days_old ON error_days (day);


-- Tenants, access and the audit trail ---------------------------------------------------------------------------------

-- Tenant settings by operators.
CREATE TABLE tenant_limits (
    tenant_id text PRIMARY KEY,
    max_running integer CHECK (max_running >= 0),
    weight double precision CHECK (weight > 0),
    most_urgent_priority smallint CHECK (most_urgent_priority BETWEEN 1 AND 10),
    updated_by text NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    -- Retention of final jobs in days.
    retention_days double precision CHECK (retention_days > 0)
);

-- The stored bytes of each tenant, as last measured.
CREATE TABLE tenant_storage (
    tenant_id text PRIMARY KEY,
    stored_bytes bigint NOT NULL CHECK (stored_bytes >= 0),
    measured_at timestamptz NOT NULL DEFAULT now()
);

-- Tokens for a tenant and a role. The lookup part of a token finds the row, for any tenant; the secret part is stored
-- as a hash. A revoked key has no row, so it is as unknown as any other token.
CREATE TABLE api_keys (
    tenant_id text NOT NULL,
    id uuid NOT NULL DEFAULT ava_uuid7(),
    name text NOT NULL,
    role text NOT NULL,
    lookup text NOT NULL UNIQUE,
    hash bytea NOT NULL,
    created_by text NOT NULL,
    -- The key that created it. This key is deleted with it, and expires no later.
    made_with uuid,
    -- The user who created the first key of that chain.
    person text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    last_used_at timestamptz,
    -- Whether its holder may see payloads.
    payloads boolean NOT NULL DEFAULT true,
    -- For the role `worker`: it may claim runs of these workers, and whether of every tenant.
    workers text[],
    is_of_platform boolean NOT NULL DEFAULT false,
    -- Its runs may create children of these workers; `*` stands for all.
    triggers text[] NOT NULL DEFAULT '{}',
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, made_with) REFERENCES api_keys ON DELETE CASCADE,
    CONSTRAINT workers_of_the_role_worker CHECK ((role = 'worker') = (workers IS NOT NULL))
) WITH (fillfactor = 85);
-- To find the key that claimed a run, possibly the platform's.
CREATE UNIQUE INDEX api_keys_by_id ON api_keys (id);
CREATE INDEX api_keys_made_with ON api_keys (tenant_id, made_with) WHERE made_with IS NOT NULL;

-- Revoked keys, for `AVA_AUDIT_DAYS`: who stands behind a job or an audit entry stays known.
CREATE TABLE former_keys (
    tenant_id text NOT NULL,
    id uuid NOT NULL,
    made_with uuid,
    person text NOT NULL,
    revoked_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX former_keys_made_with ON former_keys (tenant_id, made_with) WHERE made_with IS NOT NULL;
CREATE INDEX former_keys_person ON former_keys (tenant_id, person);
CREATE INDEX former_keys_old ON former_keys (revoked_at);

-- A trigger, because the foreign key deletes the keys of the chain.
CREATE FUNCTION ava_keep_former_key() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO former_keys (tenant_id, id, made_with, person)
    VALUES (OLD.tenant_id, OLD.id, OLD.made_with, OLD.person) ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$$;
CREATE TRIGGER keep_former_key AFTER DELETE ON api_keys FOR EACH ROW EXECUTE FUNCTION ava_keep_former_key();

-- Dashboard sessions, and the links that start them. Ended sessions and used links have no row. The sessions of an API
-- key end with it.
CREATE TABLE sessions (
    tenant_id text NOT NULL,
    id uuid NOT NULL DEFAULT ava_uuid7(),
    user_id text NOT NULL,
    role text NOT NULL,
    key_id uuid,
    is_link boolean NOT NULL,
    -- As in `api_keys`, but hashed with one of the installation's shared keys.
    lookup text NOT NULL UNIQUE,
    hash bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, key_id) REFERENCES api_keys ON DELETE CASCADE
);
CREATE INDEX sessions_by_end ON sessions (expires_at);
CREATE INDEX sessions_of_key ON sessions (tenant_id, key_id) WHERE key_id IS NOT NULL;
CREATE INDEX sessions_of_user ON sessions (tenant_id, user_id);

-- The identity provider's claims about a session's person, as of the last successful check. `sessions.expires_at`
-- follows the checks, so a session that cannot be checked expires.
CREATE TABLE oidc_sessions (
    tenant_id text NOT NULL,
    session_id uuid NOT NULL,
    -- The provider's ids of the person and of the provider's session; a back-channel logout has either.
    subject text NOT NULL,
    sid text,
    name text,
    -- The role by tenant.
    roles jsonb NOT NULL,
    -- The refresh token, or without one the access token, sealed.
    token text NOT NULL,
    is_refresh boolean NOT NULL,
    -- When and how the person authenticated, if the provider reports it.
    authenticated_at timestamptz,
    acr text,
    next_check_at timestamptz NOT NULL,
    -- No check extends the session beyond this.
    ends_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, session_id),
    FOREIGN KEY (tenant_id, session_id) REFERENCES sessions ON DELETE CASCADE
);
CREATE INDEX oidc_sessions_of_subject ON oidc_sessions (subject);
CREATE INDEX oidc_sessions_of_sid ON oidc_sessions (sid) WHERE sid IS NOT NULL;

-- Hashes of the identity provider's nonces and logout tokens. Each can be used once.
CREATE TABLE oidc_used (
    hash bytea PRIMARY KEY,
    expires_at timestamptz NOT NULL
);
CREATE INDEX oidc_used_by_end ON oidc_used (expires_at);

CREATE TABLE audit (
    tenant_id text NOT NULL,
    id uuid NOT NULL DEFAULT ava_uuid7(),
    at timestamptz NOT NULL DEFAULT now(),
    -- The actor (`ava.domain.access.actor`): its identity, how it proved it, and the user that its API key named.
    actor_id text,
    via text,
    label text,
    role text NOT NULL,
    action text NOT NULL,
    target text,
    status smallint NOT NULL,
    address text NOT NULL,
    request_id text NOT NULL,
    -- Number of refusals that the entry represents.
    occurrences integer,
    -- The changed values.
    changes json,
    PRIMARY KEY (tenant_id, id)
) PARTITION BY RANGE (id);
CREATE INDEX audit_by_action ON audit (tenant_id, action, id);
CREATE INDEX audit_by_target ON audit (tenant_id, target, id) WHERE target IS NOT NULL;
CREATE INDEX audit_by_actor ON audit (tenant_id, actor_id, id);
CREATE INDEX audit_by_label ON audit (tenant_id, label, id) WHERE label IS NOT NULL;
CREATE INDEX audit_old ON audit (id);

CREATE TABLE audit_rest PARTITION OF audit DEFAULT;


-- Partitions ----------------------------------------------------------------------------------------------------------

-- Six tables are partitioned by range of a UUIDv7, and so by time. `<table>_first` has the ids until about a week after
-- the database was created; `<table>_rest` is the default partition. The dispatcher adds and drops all others, each for
-- one or several days, with the functions below.

-- The partitions of a table by their bounds, except the default partition. The first one has no lower bound.
CREATE FUNCTION ava_partitions(of_table text) RETURNS TABLE (name text, first_id uuid, bound uuid)
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN QUERY
    SELECT c.relname::text, substring(b.text FROM 'FROM \(''([0-9a-f-]{36})''')::uuid,
           substring(b.text FROM 'TO \(''([0-9a-f-]{36})''')::uuid
    FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
    CROSS JOIN LATERAL pg_get_expr(c.relpartbound, c.oid) AS b (text)
    WHERE i.inhparent = to_regclass(of_table) AND b.text <> 'DEFAULT' ORDER BY 3;
END
$$;

-- Create the partitions of a table that begin within `days_ahead`. Returns their number. Skips days that have begun,
-- because their rows may be in the default partition, and days with rows there, created by a process with a fast clock.
CREATE FUNCTION ava_add_partitions(of_table text, days_ahead integer, width_days integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET lock_timeout = '100ms' AS $$
DECLARE
    today timestamptz := date_trunc('day', now(), 'UTC');
    starts timestamptz := greatest(today + interval '24 hours', (
        SELECT to_timestamp(('x' || left(replace(max(bound::text), '-', ''), 12))::bit(48)::bigint / 1000)
        FROM ava_partitions(of_table)));
    key text := CASE of_table WHEN 'job_logs' THEN 'job_id' ELSE 'id' END;
    options text;
    ends timestamptz;
    name text;
    has_rows boolean;
    added integer := 0;
BEGIN
    IF of_table NOT IN ('audit', 'events', 'hook_deliveries', 'job_logs', 'webhook_deliveries', 'webhook_events') THEN
        RAISE EXCEPTION 'no partitions of % are created', of_table;
    END IF;
    SELECT ' WITH (' || array_to_string(reloptions, ', ') || ')' INTO options FROM pg_class
    WHERE oid = to_regclass(of_table || '_rest');
    WHILE starts < today + days_ahead * interval '24 hours' LOOP
        ends := starts + width_days * interval '24 hours';
        EXECUTE format('SELECT EXISTS (SELECT FROM %I WHERE %I >= $1 AND %I < $2)', of_table || '_rest', key, key)
            INTO has_rows USING ava_first_uuid(starts), ava_first_uuid(ends);
        IF has_rows THEN
            starts := ends;
            CONTINUE;
        END IF;
        name := of_table || '_' || to_char(starts AT TIME ZONE 'UTC', 'YYYYMMDD');
        -- A separately created table is attached under a lock that writers do not wait for.
        EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING INDEXES '
                       'INCLUDING STORAGE)', name, of_table) || coalesce(options, '');
        EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', of_table, name,
                       ava_first_uuid(starts), ava_first_uuid(ends));
        starts := ends;
        added := added + 1;
    END LOOP;
    RETURN added;
EXCEPTION WHEN lock_not_available OR check_violation THEN
    RETURN 0;
END
$$;

-- Detach the oldest partition of a table if all its ids are past retention, or drop a detached one; separately, because
-- deleting the files of a large table takes time. Returns the number of partitions: 1 or 0.
-- Event partitions are retained while they have deliveries, which the fan-out may have created on a later day.
CREATE FUNCTION ava_drop_partition(of_table text, retention_days double precision) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET lock_timeout = '100ms' AS $$
DECLARE
    part record;
BEGIN
    IF of_table NOT IN ('audit', 'events', 'hook_deliveries', 'webhook_deliveries', 'webhook_events') THEN
        RAISE EXCEPTION 'no partition of % is dropped', of_table;
    END IF;
    FOR part IN SELECT relname AS name FROM pg_class WHERE relkind = 'r' AND NOT relispartition
        AND relnamespace = current_schema()::regnamespace AND relname ~ ('^' || of_table || '_(first|[0-9]{8})$')
    LOOP
        EXECUTE format('DROP TABLE %I', part.name);
        RETURN 1;
    END LOOP;
    FOR part IN SELECT name, bound FROM ava_partitions(of_table)
        WHERE bound <= ava_first_uuid(now() - greatest(retention_days, 0) * interval '24 hours') LIMIT 1
    LOOP
        IF of_table = 'webhook_events'
            AND (SELECT event_id FROM webhook_deliveries ORDER BY event_id LIMIT 1) < part.bound THEN
            RETURN 0;
        END IF;
        EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE', of_table);
        -- A fan-out may have created deliveries before the lock.
        IF of_table = 'webhook_events'
            AND (SELECT event_id FROM webhook_deliveries ORDER BY event_id LIMIT 1) < part.bound THEN
            RETURN 0;
        END IF;
        EXECUTE format('ALTER TABLE %I DETACH PARTITION %I', of_table, part.name);
        RETURN 1;
    END LOOP;
    RETURN 0;
EXCEPTION WHEN lock_not_available THEN
    RETURN 0;
END
$$;

-- Detach the oldest partition of job_logs that no job needs, or drop a detached one; separately, because deleting the
-- files of a large table takes time. Returns the number of partitions: 1 or 0.
-- Jobs that ended late may remain in a partition after the others of their day have passed retention. If they have few
-- lines, these move to the default partition.
CREATE FUNCTION ava_drop_log_days(retention_days double precision, max_lines integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET lock_timeout = '100ms' AS $$
DECLARE
    part record;
    has_jobs boolean;
    lines bigint;
BEGIN
    FOR part IN SELECT relname AS name FROM pg_class WHERE relkind = 'r' AND NOT relispartition
        AND relnamespace = current_schema()::regnamespace AND relname ~ '^job_logs_(first|[0-9]{8})$'
    LOOP
        EXECUTE 'DROP TABLE ' || part.name;
        RETURN 1;
    END LOOP;
    -- No transaction that started an hour ago still inserts a job.
    FOR part IN SELECT name, coalesce(first_id, ava_first_uuid('epoch')) AS first_id, bound
        FROM ava_partitions('job_logs') WHERE bound < ava_first_uuid(now() - interval '1 hour')
    LOOP
        has_jobs := EXISTS (SELECT FROM jobs WHERE id >= part.first_id AND id < part.bound);
        IF has_jobs THEN
            CONTINUE WHEN part.bound >= ava_first_uuid(now() - (retention_days + 1) * interval '24 hours');
            EXECUTE 'SELECT count(*) FROM (SELECT FROM jobs AS j JOIN ' || part.name || ' AS l '
                'ON l.tenant_id = j.tenant_id AND l.job_id = j.id WHERE j.id >= $1 AND j.id < $2 LIMIT $3) AS left_over'
                INTO lines USING part.first_id, part.bound, max_lines;
            CONTINUE WHEN lines >= max_lines;
        END IF;
        LOCK TABLE job_logs IN ACCESS EXCLUSIVE MODE;
        EXECUTE 'ALTER TABLE job_logs DETACH PARTITION ' || part.name;
        IF has_jobs THEN
            EXECUTE 'INSERT INTO job_logs SELECT l.* FROM jobs AS j JOIN ' || part.name || ' AS l '
                'ON l.tenant_id = j.tenant_id AND l.job_id = j.id WHERE j.id >= $1 AND j.id < $2' USING part.first_id, part.bound;
        END IF;
        RETURN 1;
    END LOOP;
    RETURN 0;
EXCEPTION WHEN lock_not_available THEN
    RETURN 0;
END
$$;

DO $$
DECLARE
    bound text := quote_literal(ava_first_uuid(date_trunc('day', now(), 'UTC') + interval '192 hours'));
    of_table text;
    options text;
BEGIN
    FOREACH of_table IN ARRAY
        ARRAY['audit', 'events', 'hook_deliveries', 'job_logs', 'webhook_deliveries', 'webhook_events'] LOOP
        SELECT ' WITH (' || array_to_string(reloptions, ', ') || ')' INTO options FROM pg_class
        WHERE oid = to_regclass(of_table || '_rest');
        EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (MINVALUE) TO (%s)',
                       of_table || '_first', of_table, bound) || coalesce(options, '');
    END LOOP;
END $$;


-- Functions of the owner ----------------------------------------------------------------------------------------------

-- The processes' role owns no table, so some functions run as their owner. Their search path prevents other schemas and
-- temporary tables from replacing ours. `ava db upgrade` lets the processes' role call them.
DO $$
DECLARE
    function regprocedure;
BEGIN
    FOR function IN SELECT oid FROM pg_proc WHERE pronamespace = current_schema()::regnamespace AND prosecdef LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = %I, pg_temp', function, current_schema());
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', function);
    END LOOP;
END $$;
