"""Claim the runs of a message. `(run_no, claim_id)` is the fencing token.

The run number is not enough: after a failover that lost transactions, another claim may get the same one. `end` claims
the next run in the statement that ends the previous one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ava.domain.jobs import priority, run_groups
from ava.domain.jobs.job import Job, RunKey
from ava.store.engine.database import Connection
from ava.store.engine.prepared import Prepared
from ava.store.engine.statement import IN_ORDER, Statement, array, text_array
from ava.store.engine.transactions import one_transaction
from ava.store.jobs import rows
from ava.store.jobs.journal import HAS_JOURNAL
from ava.store.jobs.transitions import log_lines
from ava.store.jobs.transitions.log_lines import CONTINUING, OPENING, SEQ_PER_RUN
from ava.store.jobs.transitions.rules import (
    CLAIM_SET,
    HAS_SETTINGS,
    IS_CONTAINED,
    IS_COVERED,
    IS_PAUSED,
    IS_STARTABLE,
    IS_UNEXPIRED,
    ONE_RUN,
    OWNS,
)

#: For `outranked_by`: do not check for more urgent jobs.
NO_PRIORITY = priority.FIRST - 1
#: The columns of a job `j` that `claimed_job` reads.
CLAIMED_COLUMNS = f"{rows.STARTED_COLUMNS}, {HAS_SETTINGS}, {HAS_JOURNAL}"


def claims(where: str) -> str:
    """Return the CTE `claimed`, which claims jobs `j`; `where` may begin with FROM items."""
    return f"""claimed AS (
    UPDATE jobs AS j SET {CLAIM_SET}
    {where}
    RETURNING j.*
)"""


#: Condition: `j` is the job of a single claim and can be claimed.
IS_WANTED = f"""j.tenant_id = %(next_tenant_id)s AND j.id = %(next_id)s::uuid
        AND j.run_no = %(next_run_no)s - 1 AND {IS_STARTABLE}
        AND j.worker_id IS NOT DISTINCT FROM %(next_worker_id)s AND {IS_UNEXPIRED} AND NOT {IS_PAUSED}
        AND NOT {IS_COVERED}"""
#: The opening log lines of the runs in `claimed`, as rows of `job_logs`.
FIRST_LINES = f"""    SELECT tenant_id, id, run_no * {SEQ_PER_RUN}, ARRAY[started_at], 'i',
        ARRAY[CASE WHEN first_started_at IS NULL THEN %(opening)s ELSE '{CONTINUING}' END] FROM claimed"""

_CLAIM = Prepared(
    "claim",
    f"""
WITH {claims(f"WHERE {IS_WANTED}")}, stored AS (
    {log_lines.stores(FIRST_LINES)}
)
SELECT {CLAIMED_COLUMNS} FROM claimed AS j
""",
)


@dataclass(frozen=True, kw_only=True)
class Claim:
    run: RunKey
    #: The worker named by the message; the job's row must have the same.
    worker_id: str
    node_id: str
    #: A UUID, part of the fencing token. `claimed` finds the claim by it after a lost response.
    claim_id: str | None = None
    opening: str = OPENING

    @property
    def parameters(self) -> dict[str, object]:
        return {
            "next_tenant_id": self.run.tenant_id,
            "next_id": rows.job_uuid(self.run.job_id),
            "next_run_no": self.run.run_no,
            "next_worker_id": self.worker_id,
            "node_id": self.node_id,
            "opening": self.opening,
            "claim_id": self.claim_id,
        }


def claim(connection: Connection, wanted: Claim) -> Job | None:
    """Start a run.

    Returns None if the message is a duplicate or names another worker, the job is not due or has expired, or its worker
    is paused.
    """
    found = _CLAIM.run(connection, wanted.parameters)
    return claimed_job(found[0]) if found else None


def claimed_job(row: Any) -> Job:
    return rows.job(row, has_settings=row[-2], has_journal=row[-1])


_CLAIMED = Statement(f"""
SELECT {CLAIMED_COLUMNS} FROM jobs AS j
WHERE j.tenant_id = %(next_tenant_id)s AND j.id = %(next_id)s::uuid AND j.run_no = %(next_run_no)s
    AND j.claim_id = %(claim_id)s::uuid AND j.status IS NOT DISTINCT FROM 'running'
""")


def claimed(connection: Connection, wanted: Claim) -> Job | None:
    """Return the job of a claim after its response was lost; None if the claim did not commit."""
    row = connection.exec_driver_sql(_CLAIMED, wanted.parameters).first()
    return None if row is None else claimed_job(row)


#: Seconds between replans of statements for several runs. A plan made while the table is nearly empty reads all of it.
_PLAN_SECONDS = 60.0

# Two kinds of jobs are claimed individually: jobs that have lost a process, so that a handler that kills its process
# takes no other run with it; and jobs that may expire, right before their handlers start, because the claim counts as
# the start. SKIP LOCKED: do not wait for rows that another transaction is writing.
_CLAIM_TOGETHER = Prepared(
    "claim_together",
    f"""
WITH wanted AS (
    SELECT j.tenant_id, j.id
    FROM unnest(%(tenants)s::text[], %(ids)s::uuid[], %(run_nos)s::int[]) AS r (tenant_id, id, run_no)
    JOIN jobs AS j ON j.tenant_id = r.tenant_id AND j.id = r.id
    WHERE j.run_no = r.run_no - 1 AND {IS_STARTABLE} AND j.worker_id IS NOT DISTINCT FROM %(worker_id)s
        AND j.losses = 0 AND (j.expires_at IS NULL OR j.first_run_no IS NOT NULL) AND NOT {IS_PAUSED}
        AND NOT {IS_COVERED}
    FOR UPDATE OF j SKIP LOCKED
), {claims("FROM wanted WHERE j.tenant_id = wanted.tenant_id AND j.id = wanted.id")}
SELECT {CLAIMED_COLUMNS} FROM claimed AS j
""",
    plan_seconds=_PLAN_SECONDS,
)


def claim_together(
    connection: Connection, wanted: Sequence[RunKey], *, worker_id: str, node_id: str, claim_id: str
) -> list[Job]:
    """Start runs of one worker with one claim id. Returns the claimed jobs.

    Their opening log lines are stored later, together with the other lines.
    """
    parameters = {**_runs(wanted), "worker_id": worker_id, "node_id": node_id, "claim_id": claim_id}
    return [claimed_job(row) for row in _CLAIM_TOGETHER.run(connection, parameters)]


def _runs(wanted: Sequence[RunKey]) -> dict[str, object]:
    return {
        "tenants": text_array([run.tenant_id for run in wanted]),
        "ids": array([str(rows.job_uuid(run.job_id)) for run in wanted]),
        "run_nos": array([str(run.run_no) for run in wanted]),
    }


# An earlier attempt may lock these rows until it commits. `claim_together` would skip them, and `claimed_together`
# would not see the claim.
_AWAIT_TOGETHER = Statement("""
SELECT FROM unnest(%(tenants)s::text[], %(ids)s::uuid[]) AS r (tenant_id, id)
JOIN jobs AS j ON j.tenant_id = r.tenant_id AND j.id = r.id
ORDER BY j.id FOR NO KEY UPDATE OF j
""")
_CLAIMED_TOGETHER = Statement(f"""
SELECT {CLAIMED_COLUMNS} FROM unnest(%(tenants)s::text[], %(ids)s::uuid[]) AS r (tenant_id, id)
JOIN jobs AS j ON j.tenant_id = r.tenant_id AND j.id = r.id
WHERE j.claim_id = %(claim_id)s::uuid AND j.status IS NOT DISTINCT FROM 'running'
""")


def claimed_together(connection: Connection, wanted: Sequence[RunKey], *, claim_id: str) -> list[Job]:
    """Return the jobs of a claim of several runs after its response was lost."""
    found = connection.exec_driver_sql(_CLAIMED_TOGETHER, _runs(wanted) | {"claim_id": claim_id})
    return [claimed_job(row) for row in found]


def claim_together_again(
    connection: Connection, wanted: Sequence[RunKey], *, worker_id: str, node_id: str, claim_id: str
) -> list[Job]:
    """Repeat a claim of several runs after a lost response: return the jobs that it claimed, or claim them now.

    Waits for the earlier attempt. If that reaches the server later, it finds the rows locked and claims none.
    """
    with one_transaction(connection):
        connection.exec_driver_sql(_AWAIT_TOGETHER, _runs(wanted))
        return claimed_together(connection, wanted, claim_id=claim_id) or claim_together(
            connection, wanted, worker_id=worker_id, node_id=node_id, claim_id=claim_id
        )


class RunCheck(NamedTuple):
    """The state of a run, read before its handler starts."""

    is_to_be_cancelled: bool
    #: Whether a more urgent job's message waits in the same queue.
    is_outranked: bool
    #: Whether an active containment covers the job, so that its handler must not be entered.
    is_contained: bool = False
    #: Whether the run must not begin: it has lost its job, or has returned to the queue because of a containment.
    is_lost: bool = False


NOTHING = RunCheck(is_to_be_cancelled=False, is_outranked=False)
LOST = RunCheck(is_to_be_cancelled=False, is_outranked=False, is_lost=True)


def is_outranked(queue: str) -> str:
    """Return the condition that a published job with a priority up to `outranked_by` waits in a queue.

    It scans a few index entries per priority and skips unpublished jobs (there may be thousands). Without its ORDER BY,
    and `IN_ORDER` before the statement, the planner may read all queued jobs per priority.
    """
    return f"""EXISTS (
    SELECT FROM generate_series({priority.FIRST}, %(outranked_by)s::int) AS p (priority), LATERAL (
        SELECT FROM jobs AS u
        WHERE u.queue = {queue} AND u.priority = p.priority AND u.status = 'queued' AND u.waits_for IS NULL
            AND u.published_at > now() - %(urgent_seconds)s::float8 * interval '1 second'
        ORDER BY u.queue, u.priority, u.published_at, u.id LIMIT 1
    ) AS urgent)"""


def outranked_parameters(outranked_by: int) -> dict[str, object]:
    """Return the parameters of `is_outranked`. `outranked_by`: the least urgent priority to check for."""
    return {"outranked_by": outranked_by, "urgent_seconds": run_groups.URGENT_SECONDS}


#: The fields of `RunCheck` of a claimed run; no row if it has lost its job.
CHECKS = f"""SELECT j.cancel_requested_at IS NOT NULL, {is_outranked("j.queue")},
    EXISTS (TABLE contained_scopes) AND {IS_CONTAINED}
FROM jobs AS j
WHERE j.tenant_id = %(next_tenant_id)s AND j.id = %(next_id)s::uuid AND j.run_no = %(next_run_no)s
    AND j.status IS NOT DISTINCT FROM 'running' AND j.claim_id = %(claim_id)s::uuid"""
_CHECK = Prepared("check_before_begin", CHECKS, plan_seconds=_PLAN_SECONDS)


def check_parameters(run: RunKey, claim_id: str | None, outranked_by: int) -> dict[str, object]:
    return {
        "next_tenant_id": run.tenant_id,
        "next_id": rows.job_uuid(run.job_id),
        "next_run_no": run.run_no,
        "claim_id": claim_id,
        **outranked_parameters(outranked_by),
    }


def check(
    connection: Connection, *, run: RunKey, claim_id: str | None, outranked_by: int = NO_PRIORITY
) -> RunCheck | None:
    """Return a claimed run's state before its handler starts; None if the run has lost its job.

    `outranked_by`: the least urgent priority to check for; by default none.
    """
    found = _CHECK.run(connection, check_parameters(run, claim_id, outranked_by), before=IN_ORDER)
    return RunCheck(*found[0]) if found else None


# The lock waits for a rescue of the run that is under way.
_OWNS_JOB = Statement(f"""
SELECT FROM jobs AS j, {ONE_RUN} AS r WHERE {OWNS} FOR KEY SHARE OF j
""")


def owns_job(connection: Connection, *, run: RunKey, claim_id: str | None = None) -> bool:
    parameters = rows.run_parameters(run) | {"held_claim_id": claim_id}
    return connection.exec_driver_sql(_OWNS_JOB, parameters).first() is not None


_IS_CONTAINED = Statement(f"""
SELECT {IS_CONTAINED} FROM jobs AS j WHERE j.tenant_id = %(tenant_id)s AND j.id = %(id)s::uuid
""")


def is_contained(connection: Connection, *, run: RunKey) -> bool:
    """Return True if an active containment covers the job of a run."""
    return bool(connection.exec_driver_sql(_IS_CONTAINED, rows.run_parameters(run)).scalar())


_NAMES_OTHER_WORKER = Statement("""
SELECT 1 FROM jobs WHERE tenant_id = %(tenant_id)s AND id = %(id)s::uuid AND worker_id <> %(worker_id)s
""")


def names_other_worker(connection: Connection, *, run: RunKey, worker_id: str) -> bool:
    """Return True if the job's row has another worker, so that a message with `worker_id` was forged."""
    parameters = rows.run_parameters(run) | {"worker_id": worker_id}
    return connection.exec_driver_sql(_NAMES_OTHER_WORKER, parameters).first() is not None


_LOCK = Statement("""
SELECT FROM jobs AS j WHERE j.tenant_id = %(tenant_id)s AND j.id = %(id)s::uuid AND j.run_no = %(run_no)s
    AND j.status IS NOT DISTINCT FROM 'running' FOR UPDATE
""")


def lock(connection: Connection, run: RunKey) -> Job | None:
    """Lock the job of a run until the transaction ends. Returns the job; None if the run has ended.

    A second statement reads the row: one that waited for a lock still sees other tables as they were when it began.
    """
    if connection.exec_driver_sql(_LOCK, rows.run_parameters(run)).first() is None:
        return None
    return show(connection, run)


_SHOW = Statement(f"SELECT {rows.JOB_COLUMNS} FROM jobs AS j WHERE j.tenant_id = %(tenant_id)s AND j.id = %(id)s::uuid")


def show(connection: Connection, run: RunKey) -> Job | None:
    row = connection.exec_driver_sql(_SHOW, rows.run_parameters(run)).first()
    return None if row is None else rows.job(row)
