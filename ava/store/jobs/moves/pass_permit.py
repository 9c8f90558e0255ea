"""The permit of a limit passes from a run that ends to the job that waits next for it, in one statement.

The number of permits that are taken does not change, so it takes no lock (`ava.store.jobs.feed.limits`). The dispatcher
gives all other permits: those that it takes turns, a rate or a choice between queues to give.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence

from ava.domain import ids
from ava.domain.jobs import priority, run_groups
from ava.domain.jobs.job import Job, LogLine, RunEnd, RunKey, Status
from ava.store.engine.database import Connection
from ava.store.engine.plans import IN_ORDER
from ava.store.engine.prepared import Prepared
from ava.store.engine.statement import Statement
from ava.store.jobs import rows
from ava.store.jobs.moves.claim import CLAIMED_COLUMNS, claimed_job, claims
from ava.store.jobs.moves.end import ENDED, ENDED_AND_CLAIMED, end_parameters
from ava.store.jobs.moves.log_lines import OPENING
from ava.store.jobs.moves.permits import STATE
from ava.store.jobs.moves.rules import IS_PAUSED, IS_UNEXPIRED

#: Seconds after which the statement is planned anew, at the size that its tables have then.
_PLAN_SECONDS = 10.0

# `claim_after` in SQL, of the claim of a job `a`.
_CLAIM_AFTER = "md5('after ' || a.claim_id)::uuid"

# The job that comes next is of the most urgent priority that waits. It gets the permit unless a job of another tenant
# waits with that priority, because they take turns, or another job is to start before it: one in the broker, or one of
# a window that is closed. Others of the key in the broker have permits, and processes that are free or soon will be.
# As the tenant stays the same, it has no more running jobs than before.
#
# The ended run is among those that are counted, because a statement sees the rows as they were. As in
# `end.end_and_claim`, the ended job's row is locked first, and the other's row is not waited for.
_NEXT = f"""WHERE j.tenant_id = (SELECT tenant_id FROM next) AND j.id = (
        SELECT j.id FROM next CROSS JOIN LATERAL (
            SELECT j.id FROM jobs AS j
            WHERE j.limit_key = next.key AND j.priority = next.priority AND j.tenant_id = next.tenant_id
                AND j.status = 'queued' AND j.waits_for = 'permit' AND j.worker_id = next.worker_id
                AND {IS_UNEXPIRED} AND NOT {IS_PAUSED}
            ORDER BY j.limit_key, j.priority, j.tenant_id, j.id LIMIT 1 FOR UPDATE SKIP LOCKED
        ) AS j)"""
_END_AND_PASS = Prepared(
    "end_and_pass",
    f"""
WITH {ENDED}, next AS (
    SELECT k.key, k.worker_id, head.priority, head.tenant_id
    FROM (SELECT limit_key AS key, tenant_id, worker_id, queue FROM ended) AS k
    {STATE}
    WHERE head.worker_id = k.worker_id AND w.queue = k.queue AND w.rate_jobs IS NULL
        AND head.tenant_id = k.tenant_id AND last.tenant_id = k.tenant_id AND permits.taken <= w.max_running
        AND NOT EXISTS (
            SELECT FROM tenant_limits AS t WHERE t.tenant_id = head.tenant_id AND t.max_running IS NOT NULL)
        AND NOT EXISTS (SELECT FROM paused_queues AS p WHERE p.queue = k.queue)
        AND NOT EXISTS (SELECT FROM closed_windows AS c WHERE c.queue = k.queue AND c.priority <= head.priority)
        AND NOT EXISTS (
            SELECT FROM generate_series({priority.FIRST}, head.priority) AS p (priority), LATERAL (
                SELECT FROM jobs AS u
                WHERE u.queue = k.queue AND u.priority = p.priority AND u.status = 'queued' AND u.waits_for IS NULL
                    AND u.published_at > now() - interval '{run_groups.URGENT_SECONDS} seconds'
                    AND (u.limit_key IS DISTINCT FROM k.key OR u.priority < head.priority)
                ORDER BY u.queue, u.priority, u.published_at, u.id LIMIT 1
            ) AS before)
), {claims(_NEXT)}, {ENDED_AND_CLAIMED}
""",
    plan_seconds=_PLAN_SECONDS,
)


def claim_after(claim_id: str) -> str:
    """Returns the id of the claim that gets the permit of a run with another claim.

    So what passed a permit is known from the rows, if its process dies before it has reported that.
    """
    return str(uuid.UUID(hashlib.md5(f"after {claim_id}".encode(), usedforsecurity=False).hexdigest()))


def end_and_pass(
    connection: Connection,
    run_end: RunEnd,
    lines: Sequence[LogLine],
    progress_json: str | None,
    *,
    claim_id: str | None,
    node_id: str,
    next_claim_id: str,
) -> tuple[Status | None, Job | None]:
    """End a run and start the one that gets its permit in the same process. Returns what `end` and `claim` return.

    `next_claim_id` is `claim_after` of the ended run's claim. No job gets the permit if the dispatcher has to give it.
    """
    parameters = _parameters(run_end, lines, progress_json, claim_id, node_id, next_claim_id)
    ((status, *job),) = _END_AND_PASS.run(connection, parameters, before=IN_ORDER)
    return Status(status) if status else None, claimed_job(job) if job[0] else None


def _parameters(
    run_end: RunEnd,
    lines: Sequence[LogLine],
    progress_json: str | None,
    claim_id: str | None,
    node_id: str,
    next_claim_id: str,
) -> dict[str, object]:
    ended = end_parameters(run_end, lines, progress_json, claim_id)
    return ended | {"node_id": node_id, "claim_id": next_claim_id, "opening": OPENING}


_PASSED = Statement(f"""
SELECT {CLAIMED_COLUMNS} FROM jobs AS j
WHERE j.node_id = %(node_id)s::uuid AND j.status = 'running' AND j.claim_id = %(claim_id)s::uuid
""")


def passed(connection: Connection, *, node_id: str, next_claim_id: str) -> Job | None:
    """Returns the job of an `end_and_pass` whose result was lost. Returns None if it passed no permit on."""
    row = connection.exec_driver_sql(_PASSED, {"node_id": node_id, "claim_id": next_claim_id}).first()
    return None if row is None else claimed_job(row)


_PASSED_BY = Statement(f"""
SELECT j.tenant_id, j.id::text, j.run_no FROM jobs AS a
JOIN jobs AS j ON j.node_id = %(node_id)s::uuid AND j.status = 'running' AND j.claim_id = {_CLAIM_AFTER}
WHERE a.tenant_id = %(tenant_id)s AND a.id = %(id)s::uuid AND a.run_no = %(run_no)s
""")


def passed_by(connection: Connection, *, run: RunKey, node_id: str) -> RunKey | None:
    """Returns the run on a node that has got the permit of an ended one; None if there is none."""
    parameters = rows.run_parameters(run) | {"node_id": node_id}
    row = connection.exec_driver_sql(_PASSED_BY, parameters).first()
    return None if row is None else RunKey(row[0], ids.encode("job", row[1]), row[2])
