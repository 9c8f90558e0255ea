"""A job as the model sees it: everything that decides on its transitions, without times."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ava.domain import ids
from ava.store.engine.database import Connection

#: What a queued job waits for. None: nothing; it may be published, and started.
SCHEDULE, RETRY, DEFERRED, DEBOUNCE = "schedule", "retry", "deferred", "debounce"
CHILDREN, JOBS, EVENT, SLEEP = "children", "jobs", "event", "sleep"
PERMIT, NODE, WORKER, QUEUE = "permit", "node", "worker", "queue"
#: The types of events.
EVENT_TYPES = ("ordered", "paid")
FINAL = ("completed", "failed", "cancelled")


@dataclass(frozen=True, kw_only=True, slots=True)
class JobState:
    """One job."""

    id: str = ""
    tenant: str
    worker: str
    trigger: str = "manual"
    triggered_by: str
    retry_of: str | None = None
    priority: int
    queue: str
    input: str = "{}"
    tags: str | None = None
    dedupe_key: str | None = None
    max_attempts: int
    status: str = "queued"
    waits: str | None = None
    #: The condition of its wait, and the jobs that it is for.
    condition: str | None = None
    after: tuple[str, ...] = ()
    is_published: bool = False
    run_no: int = 0
    attempt: int = 0
    losses: int = 0
    node_losses: int = 0
    node: str | None = None
    claim: str | None = None
    is_started: bool = False
    is_cancel_asked: bool = False
    cancelled_by: str | None = None
    output: str | None = None
    error: str | None = None
    progress: str | None = None
    limit_key: str | None = None
    rate_key: str | None = None
    #: The run in which its handler was entered first.
    first_run: int | None = None
    parent: str | None = None
    tree: str | None = None
    name: str | None = None
    is_detached: bool = False
    is_awaited: bool = False
    #: Whether its attempt has waited.
    has_waited: bool = False
    #: The events that its handler waits for, as types, and whether one has come that the handler has not got yet.
    events: tuple[tuple[str, bool], ...] = ()
    #: The entries of its journal, each with its kind, its name and the attempt that it belongs to.
    journal: frozenset[tuple[str, str, int]] = frozenset()
    #: Whether its run was claimed over HTTP and has a lease.
    is_leased: bool = False
    #: What its runs have used: each adds a millisecond, and has as many MiB as its number.
    cpu_us: int | None = None
    peak_mb: int | None = None
    #: Seconds from now until it is due, until it expires, and until its deadline.
    due: float | None = field(default=None, compare=False)
    expires: float | None = field(default=None, compare=False)
    deadline: float | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        # The waits of a job that has ended decide nothing: a duty deletes them later.
        if self.is_final:
            object.__setattr__(self, "events", ())
            object.__setattr__(self, "journal", frozenset())
        if not self.is_running:
            object.__setattr__(self, "is_leased", False)

    def with_entries(self, entries: Iterable[tuple[str, str]]) -> JobState:
        """Return the job after its run has written entries, each a kind and a name, into its journal."""
        written = {(kind, name, self.attempt) for kind, name in entries}
        names = {each[:2] for each in written}
        return replace(self, journal=frozenset({each for each in self.journal if each[:2] not in names} | written))

    @property
    def is_final(self) -> bool:
        return self.status in FINAL

    @property
    def is_running(self) -> bool:
        return self.status == "running"

    @property
    def is_startable(self) -> bool:
        return self.status == "queued" and self.waits is None

    @property
    def has_expired(self) -> bool:
        return self.status == "queued" and self.first_run is None and self.expires is not None and self.expires <= 0

    @property
    def is_waiting(self) -> bool:
        return self.status == "queued" and self.waits in (CHILDREN, JOBS, EVENT, SLEEP)

    @property
    def is_overdue(self) -> bool:
        """Returns True if its deadline has stopped it, or stops it when its run ends."""
        return (
            self.is_cancel_asked
            and self.cancelled_by is None
            and (self.error or "").startswith("Timeout: exceeded its")
        )

    @property
    def has_permit(self) -> bool:
        """Returns True if it is counted by the limit of its key."""
        return self.limit_key is not None and (self.is_running or self.is_startable)

    @property
    def account(self) -> str | None:
        account: str | None = json.loads(self.input).get("account")
        return account


#: The event of a wake `e` has come since the job `j` was made.
IS_SINCE = """('x' || left(replace(e.source_id::text, '-', ''), 12))::bit(48)::bigint
    >= floor(extract(epoch FROM j.created_at) * 1000)"""
_FIELDS = f"""
    id::text, tenant_id, worker_id, trigger, triggered_by, retry_of::text, priority, queue, input::text, tags::text,
    dedupe_key, max_attempts, status,
    waits_for,
    CASE WHEN waits_for IN ('children', 'jobs') AND cancel_requested_at IS NULL THEN (
        SELECT condition FROM job_waits AS w
        WHERE w.tenant_id = j.tenant_id AND w.job_id = j.id AND w.run_no = j.run_no) END,
    ARRAY(SELECT e.after_id::text FROM job_edges AS e WHERE e.tenant_id = j.tenant_id AND e.job_id = j.id
        AND e.run_no = j.run_no AND j.waits_for IN ('children', 'jobs')
        AND j.cancel_requested_at IS NULL ORDER BY e.n),
    status = 'queued' AND published_at IS NOT NULL, run_no, attempt, losses, node_losses, node_id::text, claim_id::text,
    started_at IS NOT NULL, cancel_requested_at IS NOT NULL, cancelled_by, output::text,
    regexp_replace(error, '(exceeded its deadline) of .*', '\\1'), progress::text,
    limit_key, rate_key, first_run_no, parent_id::text, tree_id::text, name, coalesce(is_detached, false),
    coalesce(is_awaited, false), first_started_at IS NOT NULL,
    ARRAY(SELECT k.name || CASE WHEN k.event_id IS NOT NULL OR EXISTS (
              SELECT FROM wakes AS e WHERE e.tenant_id = k.tenant_id AND e.kind = 'event'
                  AND e.event_type = k.value ->> 'type' AND ({IS_SINCE})) THEN '!' ELSE '' END
        FROM job_journal AS k WHERE k.tenant_id = j.tenant_id AND k.job_id = j.id AND k.kind = 'event'
            AND k.state = 'waits' ORDER BY k.name),
    ARRAY(SELECT k.kind || ' ' || k.name || ' ' || k.attempt FROM job_journal AS k
        WHERE k.tenant_id = j.tenant_id AND k.job_id = j.id),
    EXISTS (SELECT FROM pulled_runs AS r WHERE r.tenant_id = j.tenant_id AND r.job_id = j.id AND r.run_no = j.run_no
        AND r.claim_id = j.claim_id AND r.ended_at IS NULL),
    cpu_us, peak_memory_mb,
    CASE WHEN status = 'queued' THEN extract(epoch FROM run_at - now())::float8 END,
    CASE WHEN status = 'queued' THEN extract(epoch FROM expires_at - now())::float8 END,
    extract(epoch FROM deadline_at - now())::float8
"""
_NAMES = tuple(JobState.__dataclass_fields__)
_ROWS = "EXECUTE model_rows"
#: To be sent on each connection once: it is read after each step, and its plan takes longer than its rows.
PREPARE = f"PREPARE model_rows AS SELECT {_FIELDS} FROM jobs AS j ORDER BY id"
# The group of its error is given to a final job.
_FINAL_ROWS = "SELECT id::text, to_jsonb(j) - 'error_id' FROM jobs AS j WHERE completed_at IS NOT NULL"


def read(connection: Connection) -> dict[str, JobState]:
    """Returns all jobs by id, oldest first."""
    return {state.id: state for row in connection.exec_driver_sql(_ROWS) for state in [_state(row)]}


def job_id(uuid: str) -> str:
    return ids.encode("job", uuid)


def _state(row: Sequence[Any]) -> JobState:
    state = dict(zip(_NAMES, row, strict=True))
    state["id"] = ids.encode("job", state["id"])
    for other in ("retry_of", "parent", "tree"):
        state[other] = state[other] and ids.encode("job", state[other])
    state["events"] = tuple((name.removesuffix("!"), name.endswith("!")) for name in state["events"])
    entries = (entry.split() for entry in state["journal"])
    state["journal"] = frozenset((kind, name, int(attempt)) for kind, name, attempt in entries)
    state["after"] = tuple(ids.encode("job", other) for other in state["after"])
    return JobState(**state)


def read_final_rows(connection: Connection) -> dict[str, Any]:
    """Returns the whole rows of final jobs by id."""
    return {ids.encode("job", id_): row for id_, row in connection.exec_driver_sql(_FINAL_ROWS)}
