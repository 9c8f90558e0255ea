"""Claim jobs over HTTP and manage their leases: rows of `pulled_runs` with the run's token and heartbeat.

State transitions are the same as for all jobs: this claim sets the columns of `claim`, and `end`, `rescue_pulled` and
`end_killed_run` end the runs. A transaction that ends a run locks its row here first.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from ava.domain import ids
from ava.domain.access import tokens
from ava.domain.access.tokens import Token
from ava.domain.jobs import retry
from ava.domain.jobs.job import Job, RunKey
from ava.domain.jobs.retry import Retry
from ava.domain.limits.table import PAYLOAD_BYTES, RESPONSE_BYTES, RUNS_HELD
from ava.domain.worker import PULL_QUEUE
from ava.store.containments.scopes import IS_OF_IDENTITY
from ava.store.engine.database import Connection
from ava.store.engine.prepared import Prepared
from ava.store.engine.record_rows import RecordRows
from ava.store.engine.statement import IN_ORDER, Deletion, Statement
from ava.store.fleet import worker_settings, workers
from ava.store.jobs import rows
from ava.store.jobs.transitions import log_lines
from ava.store.jobs.transitions.claim import CLAIMED_COLUMNS, FIRST_LINES, claimed_job, claims
from ava.store.jobs.transitions.log_lines import OPENING
from ava.store.jobs.transitions.rules import CONTAINED, IS_PAUSED, IS_UNEXPIRED, is_paused_queue

#: Retention of an ended run's row in hours, so that the worker can repeat its report.
_KEPT_HOURS = 24


@dataclass(frozen=True, kw_only=True, slots=True)
class Pick:
    """A window of a claim, and the maximum number of its jobs."""

    queue: str
    priority: int
    count: int


@dataclass(frozen=True, kw_only=True, slots=True)
class PulledRun:
    job: Job
    token: Token
    timeout_at: datetime

    @property
    def light_job(self) -> Job:
        """Return the job without a large input."""
        size = rows.large_bytes(self.job.input_json)
        return self.job if size is None else replace(self.job, input_json="null", input_bytes=size)


# Serialize the claims of one API key, so that each counts the runs of the previous one. A separate statement, because a
# statement's snapshot is taken when it begins.
_LOCK_KEY = Statement("SELECT pg_advisory_xact_lock(hashtextextended('runs of ' || %(key_id)s, 0))")

# Visits windows in the order of the picks, jobs as they were offered, and stops at the capacity: it locks only jobs
# that it claims. SKIP LOCKED: do not wait for jobs that another transaction is writing. A claim stops early at the size
# limit of a response.
_CLAIM = Prepared(
    "claim_pulled",
    f"""
WITH wanted AS (
    SELECT j.* FROM unnest(%(queues)s::text[], %(priorities)s::int[], %(counts)s::int[]) AS p (queue, priority, count)
    CROSS JOIN LATERAL (
        SELECT j.tenant_id, j.id, coalesce(j.input_bytes, {PAYLOAD_BYTES.value}) AS bytes FROM jobs AS j
        WHERE j.queue = p.queue AND j.priority = p.priority AND j.status = 'queued' AND j.waits_for IS NULL
            AND j.published_at IS NOT NULL AND {IS_UNEXPIRED} AND NOT {IS_PAUSED}
            AND {CONTAINED} IS NULL
        ORDER BY j.queue, j.priority, j.published_at, j.id LIMIT p.count FOR UPDATE OF j SKIP LOCKED
    ) AS j
    WHERE NOT {is_paused_queue(f"'{PULL_QUEUE}'")}
        AND NOT EXISTS (SELECT FROM contained_scopes AS c WHERE %(key)s = ANY(c.identity_ids) AND {IS_OF_IDENTITY})
    LIMIT least(%(capacity)s, {RUNS_HELD.value} - (SELECT count(*) FROM (
        SELECT FROM pulled_runs WHERE key_id = %(key_id)s::uuid AND ended_at IS NULL LIMIT {RUNS_HELD.value}) AS held))
), fitting AS (
    SELECT * FROM (SELECT w.*, sum(bytes) OVER (ROWS UNBOUNDED PRECEDING) - bytes AS before FROM wanted AS w) AS w
    WHERE before < {RESPONSE_BYTES.value}
), {claims("FROM fitting AS f WHERE j.tenant_id = f.tenant_id AND j.id = f.id")}, stored AS (
    {log_lines.stores(FIRST_LINES)}
), leased AS (
    INSERT INTO pulled_runs (tenant_id, job_id, run_no, claim_id, lookup, hash, key_id, name, claimed_at, timeout_at,
                             grace_seconds, end_by)
    SELECT j.tenant_id, j.id, j.run_no, j.claim_id, t.lookup, t.hash, %(key_id)s::uuid, %(name)s, j.started_at,
        s.timeout_at, s.grace_seconds, s.timeout_at + s.grace_seconds * interval '1 second'
    FROM (SELECT c.*, row_number() OVER (ORDER BY c.priority, c.published_at, c.id) AS n FROM claimed AS c) AS j
    JOIN unnest(%(lookups)s::text[], %(hashes)s::bytea[]) WITH ORDINALITY AS t (lookup, hash, n) ON t.n = j.n
    CROSS JOIN LATERAL (
        SELECT j.started_at + interval '1 second' * least(
                w.timeout_seconds, coalesce(own.timeout_seconds, platform.timeout_seconds)) AS timeout_at,
            w.cancel_grace_seconds AS grace_seconds
        FROM workers AS w
        {worker_settings.joined("j.tenant_id")}
        WHERE {workers.of("j")}
    ) AS s
    RETURNING tenant_id, job_id, lookup, timeout_at
)
SELECT l.lookup, l.timeout_at, {CLAIMED_COLUMNS}
FROM claimed AS j JOIN leased AS l ON l.tenant_id = j.tenant_id AND l.job_id = j.id
ORDER BY j.priority, j.published_at, j.id
""",
    plan_seconds=10.0,
)


def claim(
    connection: Connection,
    picks: Sequence[Pick],
    made: Sequence[Token],
    *,
    claim_id: str,
    key_id: str | None,
    name: str | None,
) -> list[PulledRun]:
    """Start runs of offered jobs, at most one per token. Returns the runs, most urgent first, then as offered.

    `key_id`: UUID of the claiming API key. `name`: the client's name for the process.
    """
    parameters = {
        "queues": [pick.queue for pick in picks],
        "priorities": [pick.priority for pick in picks],
        "counts": [pick.count for pick in picks],
        "capacity": len(made),
        "lookups": [token.lookup for token in made],
        "hashes": [tokens.hash_of(token) for token in made],
        "claim_id": claim_id,
        "key_id": key_id,
        "key": None if key_id is None else ids.encode("key", key_id),
        "name": name,
        "node_id": None,
        "opening": OPENING,
    }
    by_lookup = {token.lookup: token for token in made}
    found = _CLAIM.run(connection, parameters, before=f"{_LOCK_KEY}; {IN_ORDER}")
    return [PulledRun(token=by_lookup[row[0]], timeout_at=row[1], job=claimed_job(row[2:])) for row in found]


@dataclass(frozen=True, kw_only=True, slots=True)
class LeasedRun:
    run: RunKey
    claim_id: str
    #: Size of its log lines.
    log_bytes: int
    #: Whether the worker has ended the run, and the digest of its report and the reported status.
    has_ended: bool
    end_digest: bytes | None
    end_status: str | None
    worker_id: str
    attempt: int
    max_attempts: int
    elapsed_ms: int
    #: Whether the worker must stop: a cancel was requested or the timeout has passed.
    is_to_stop: bool
    timeout_seconds: float
    #: The last journal entry of earlier runs; None until the run uses its journal.
    journal_n: int | None
    #: Number of the journal's steps and events, and the bytes of their values, once the run uses its journal.
    journal_values: int
    journal_bytes: int
    #: None: the default. Read only when the run ends.
    retry: Retry | None = None


_RETRY = f"""(SELECT {worker_settings.RETRY} FROM workers AS w
    {worker_settings.joined("j.tenant_id")} WHERE {workers.of("j")})"""
_ROWS = RecordRows(
    LeasedRun,
    "r",
    columns={
        "claim_id": "r.claim_id::text",
        "has_ended": "r.ended_at IS NOT NULL",
        "worker_id": "j.worker_id",
        "attempt": "j.attempt",
        "max_attempts": "j.max_attempts",
        "elapsed_ms": "greatest(0, round(extract(epoch FROM clock_timestamp() - r.claimed_at) * 1000))::bigint",
        "is_to_stop": "j.cancel_requested_at IS NOT NULL OR clock_timestamp() >= r.timeout_at",
        "timeout_seconds": "extract(epoch FROM r.timeout_at - r.claimed_at)::float8",
        "retry": _RETRY,
    },
    readers={"end_digest": bytes, "retry": retry.read},
    without=("run",),
)
_KEY = "r.tenant_id, r.job_id::text, r.run_no"


def _leased(row: Any) -> LeasedRun:
    return _ROWS.read(row, run=rows.run_key(row[_ROWS.count :]))


#: Condition: the API key that claimed a run `r` is valid. Revoked keys have no row.
_KEY_IS_VALID = """(r.key_id IS NULL OR EXISTS (
    SELECT FROM api_keys AS k WHERE k.id = r.key_id AND coalesce(k.expires_at > clock_timestamp(), true)))"""
_IS_ITS_ROW = f"r.lookup = %(lookup)s AND r.hash = %(hash)s AND {_KEY_IS_VALID}"


@dataclass(frozen=True, kw_only=True, slots=True)
class RunOwner:
    tenant_id: str
    #: UUID of the API key that claimed it, and whether the key is neither revoked nor expired.
    key_uuid: str | None
    key_is_valid: bool
    #: The lookup part of the run's token.
    lookup: str


_OWNER_ROWS = RecordRows(
    RunOwner, "r", columns={"key_uuid": "r.key_id::text", "key_is_valid": f"{_KEY_IS_VALID} AS key_is_valid"}
)
_OWNER_OF = Statement(f"""
SELECT {_OWNER_ROWS.columns}
FROM unnest(%(lookups)s::text[], %(hashes)s::bytea[]) WITH ORDINALITY AS s (lookup, hash, n)
JOIN pulled_runs AS r ON r.lookup = s.lookup AND r.hash = s.hash
ORDER BY key_is_valid DESC, s.n LIMIT 1
""")


def owner_of(connection: Connection, named: Sequence[Token]) -> RunOwner | None:
    """Return the owner of the first run among these tokens, preferably one with a valid key."""
    return _OWNER_ROWS.first(connection.exec_driver_sql(_OWNER_OF, _of_tokens(named)))


def _of_tokens(named: Sequence[Token]) -> dict[str, object]:
    return {"lookups": [token.lookup for token in named], "hashes": [tokens.hash_of(token) for token in named]}


def _of_token(token: Token) -> dict[str, object]:
    return {"lookup": token.lookup, "hash": tokens.hash_of(token)}


_LOCK = Statement(f"""
SELECT {_ROWS.columns}, {_KEY} FROM pulled_runs AS r JOIN jobs AS j ON j.tenant_id = r.tenant_id AND j.id = r.job_id
WHERE {_IS_ITS_ROW} FOR UPDATE OF r
""")


def lock(connection: Connection, token: Token) -> LeasedRun | None:
    """Lock the lease of a token's run until the transaction ends. Returns None if there is none."""
    row = connection.exec_driver_sql(_LOCK, _of_token(token)).first()
    return None if row is None else _leased(row)


# The grace period starts with the response that reports the cancel.
_IS_ALIVE = """heartbeat_at = clock_timestamp(), is_used = true, end_by = CASE WHEN j.cancel_requested_at IS NOT NULL
        THEN least(r.end_by, clock_timestamp() + r.grace_seconds * interval '1 second') ELSE r.end_by END"""
_RENEW = Statement(f"""
UPDATE pulled_runs AS r SET {_IS_ALIVE}, log_bytes = r.log_bytes + %(bytes)s
FROM jobs AS j
WHERE {_IS_ITS_ROW} AND r.ended_at IS NULL AND j.tenant_id = r.tenant_id AND j.id = r.job_id AND j.run_no = r.run_no
    AND j.claim_id = r.claim_id AND j.status IS NOT DISTINCT FROM 'running'
RETURNING {_ROWS.select(retry="NULL")}, {_KEY}
""")


def renew(connection: Connection, token: Token, *, log_bytes: int = 0) -> LeasedRun | None:
    """Renew a run's lease and add the size of its next log lines. Returns the lease; None if the run lost its job."""
    row = connection.exec_driver_sql(_RENEW, _of_token(token) | {"bytes": log_bytes}).first()
    return None if row is None else _leased(row)


# Locks the rows in the order of their tokens.
_RENEW_ALL = Prepared(
    "renew_all",
    f"""
WITH locked AS (
    SELECT r.* FROM unnest(%(lookups)s::text[], %(hashes)s::bytea[]) AS s (lookup, hash)
    JOIN pulled_runs AS r ON r.lookup = s.lookup AND r.hash = s.hash
    WHERE r.ended_at IS NULL AND {_KEY_IS_VALID} ORDER BY r.lookup FOR UPDATE OF r
), owned AS (
    SELECT l.lookup, l.tenant_id, j.cancel_requested_at,
        j.cancel_requested_at IS NOT NULL OR clock_timestamp() >= l.timeout_at AS is_to_stop
    FROM locked AS l JOIN jobs AS j ON j.tenant_id = l.tenant_id AND j.id = l.job_id AND j.run_no = l.run_no
        AND j.claim_id = l.claim_id AND j.status IS NOT DISTINCT FROM 'running'
), renewed AS (
    UPDATE pulled_runs AS r SET {_IS_ALIVE}
    FROM owned AS j WHERE r.tenant_id = j.tenant_id AND r.lookup = j.lookup
)
SELECT lookup, is_to_stop FROM owned
""",
    plan_seconds=60.0,
)


def renew_all(connection: Connection, named: Sequence[Token]) -> dict[str, bool]:
    """Renew leases. Returns the runs that still own their jobs: `lookup` to whether the worker must stop."""
    return dict(_RENEW_ALL.run(connection, _of_tokens(named)))


_MARK_ENDED = Statement("""
UPDATE pulled_runs SET ended_at = clock_timestamp(), end_digest = %(digest)s, end_status = %(status)s
WHERE tenant_id = %(tenant_id)s AND lookup = %(lookup)s
""")


def mark_ended(connection: Connection, token: Token, *, tenant_id: str, digest: bytes, status: str) -> None:
    """Store the outcome of a run that `lock` has locked, to recognize a repeated report."""
    parameters = {"tenant_id": tenant_id, "lookup": token.lookup, "digest": digest, "status": status}
    connection.exec_driver_sql(_MARK_ENDED, parameters)


_MARK_LOST = Statement("""
UPDATE pulled_runs AS r SET ended_at = clock_timestamp()
FROM unnest(%(tenants)s::text[], %(ids)s::uuid[], %(run_nos)s::int[]) AS l (tenant_id, id, run_no)
WHERE r.tenant_id = l.tenant_id AND r.job_id = l.id AND r.run_no = l.run_no
""")


def mark_lost(connection: Connection, runs: Collection[RunKey]) -> None:
    """Mark runs as ended because they lost their jobs. The caller has locked their rows."""
    ordered = list(runs)
    parameters = {
        "tenants": [run.tenant_id for run in ordered],
        "ids": [str(ids.decode("job", run.job_id)) for run in ordered],
        "run_nos": [run.run_no for run in ordered],
    }
    connection.exec_driver_sql(_MARK_LOST, parameters)


# A heartbeat in the future has expired too: PostgreSQL's clock was set back.
_MISSED = Statement("""
SELECT tenant_id, job_id::text, run_no, heartbeat_at FROM pulled_runs
WHERE ended_at IS NULL AND heartbeat_at < now() - %(seconds)s * interval '1 second'
UNION ALL
SELECT tenant_id, job_id::text, run_no, heartbeat_at FROM pulled_runs
WHERE ended_at IS NULL AND heartbeat_at > now() + interval '1 second'
LIMIT %(limit)s
""")


def missed(connection: Connection, *, seconds: float, limit: int) -> dict[RunKey, datetime]:
    """Return the last heartbeats of runs that are older than `seconds` by PostgreSQL's clock."""
    found = connection.exec_driver_sql(_MISSED, {"seconds": seconds, "limit": limit})
    return {rows.run_key(run): at for *run, at in found}


_LOCK_EXPIRED = Statement("""
SELECT r.tenant_id, r.job_id::text, r.run_no, r.claim_id::text, r.is_used
FROM unnest(%(tenants)s::text[], %(ids)s::uuid[], %(run_nos)s::int[], %(heard)s::timestamptz[])
    AS s (tenant_id, id, run_no, heartbeat_at)
JOIN pulled_runs AS r ON r.tenant_id = s.tenant_id AND r.job_id = s.id AND r.run_no = s.run_no
WHERE r.ended_at IS NULL AND r.heartbeat_at = s.heartbeat_at ORDER BY r.lookup FOR UPDATE OF r SKIP LOCKED
""")


def lock_expired(connection: Connection, silent: Sequence[tuple[RunKey, datetime]]) -> list[tuple[RunKey, str, bool]]:
    """Lock runs that sent no heartbeat since. Returns each run, its claim id, and whether the worker started it."""
    parameters = {
        "tenants": [run.tenant_id for run, _ in silent],
        "ids": [str(ids.decode("job", run.job_id)) for run, _ in silent],
        "run_nos": [run.run_no for run, _ in silent],
        "heard": [heartbeat_at for _, heartbeat_at in silent],
    }
    found = connection.exec_driver_sql(_LOCK_EXPIRED, parameters)
    return [(rows.run_key(run), claim_id, is_used) for *run, claim_id, is_used in found]


_LOCK_OVERDUE = Statement(f"""
SELECT {_ROWS.columns}, {_KEY} FROM pulled_runs AS r JOIN jobs AS j ON j.tenant_id = r.tenant_id AND j.id = r.job_id
WHERE r.ended_at IS NULL AND r.end_by <= now() ORDER BY r.end_by LIMIT %(limit)s FOR UPDATE OF r SKIP LOCKED
""")


def lock_overdue(connection: Connection, *, limit: int) -> list[LeasedRun]:
    """Lock and return the leases that have passed their timeout or grace period."""
    return [_leased(row) for row in connection.exec_driver_sql(_LOCK_OVERDUE, {"limit": limit})]


#: Deletes leases of runs that ended more than a day ago.
delete_old = Deletion("pulled_runs", f"ended_at < now() - interval '{_KEPT_HOURS} hours'", order="ended_at")
