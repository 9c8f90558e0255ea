"""Approvals that jobs need before their first start: find the jobs without a request, and request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ava.domain.access import actor
from ava.domain.approval import ApprovalRequest
from ava.domain.jobs.waits import Wait, WaitCondition
from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement
from ava.store.fleet import worker_settings, workers
from ava.store.jobs import approvals
from ava.store.jobs.transitions import edges
from ava.store.jobs.transitions.wait import waiting_for_json
from ava.store.jobs.transitions.wake import EndedWait, WaitVerdict

_GIVEN = "unnest(%(tenants)s::text[], %(ids)s::uuid[]) AS u (tenant_id, id)"
_LOCK = Statement(f"""
SELECT j.id::text FROM {_GIVEN} JOIN jobs AS j ON j.tenant_id = u.tenant_id AND j.id = u.id
WHERE j.status IS NOT DISTINCT FROM 'queued' AND j.waits_for = 'approval' AND j.first_run_no IS NULL
ORDER BY j.id FOR NO KEY UPDATE OF j
""")
# A separate statement, because a statement that waits for a lock still reads other tables in its old snapshot. The
# first rule that applies counts, so no tenant weakens the rules of the handler and the platform, and no trigger weakens
# any of these.
_READ = Statement(f"""
SELECT j.tenant_id, j.id::text, j.run_no, j.worker_id, j.input::text, coalesce(j.origin, j.triggered_by),
    w.approval::text, platform.approval::text, own.approval::text, j.approval::text
FROM {_GIVEN} JOIN jobs AS j ON j.tenant_id = u.tenant_id AND j.id = u.id
LEFT JOIN workers AS w ON {workers.of("j")}
{worker_settings.joined("j.tenant_id", worker_id="j.worker_id")}
WHERE j.status IS NOT DISTINCT FROM 'queued' AND j.waits_for = 'approval' AND j.first_run_no IS NULL
    AND NOT EXISTS (SELECT FROM approvals AS a WHERE a.tenant_id = j.tenant_id AND a.job_id = j.id AND a.name IS NULL)
ORDER BY j.id
""")


@dataclass(frozen=True, kw_only=True, slots=True)
class UnaskedJob:
    """A job that waits for a decision before its first start, without a request for it."""

    wait: EndedWait
    worker_id: str
    input_json: str
    #: As `actor.join` writes them.
    identities: str
    #: The rules that may apply, the strongest first.
    rules: Sequence[str | None]


def lock_unasked(connection: Connection, jobs: Sequence[tuple[str, str]]) -> list[UnaskedJob]:
    """Lock jobs, given as tenant and UUID, in a transaction. Returns the jobs without a request."""
    given = {"tenants": [tenant_id for tenant_id, _ in jobs], "ids": [uuid for _, uuid in jobs]}
    connection.exec_driver_sql(_LOCK, given)
    return [
        UnaskedJob(
            wait=EndedWait(tenant_id=tenant_id, uuid=uuid, run_no=run_no, verdict=WaitVerdict.START),
            worker_id=worker_id,
            input_json=input_json,
            identities=identities,
            rules=rules,
        )
        for tenant_id, uuid, run_no, worker_id, input_json, identities, *rules in connection.exec_driver_sql(
            _READ, given
        )
    ]


_SHOW_WAIT = Statement("""
UPDATE job_waits AS w SET waiting_for = %(waiting_for)s::json
WHERE w.tenant_id = %(tenant_id)s AND w.job_id = %(id)s::uuid AND w.run_no = %(run_no)s
""")


def request(connection: Connection, job: UnaskedJob, wanted: ApprovalRequest) -> None:
    """Request the decision about a job that `lock_unasked` has locked."""
    wait = job.wait
    asked = approvals.insert(
        connection,
        wanted,
        tenant_id=wait.tenant_id,
        job_uuid=wait.uuid,
        worker_id=job.worker_id,
        name=None,
        identities=actor.split(job.identities),
    )
    shown = waiting_for_json(Wait(condition=WaitCondition.APPROVAL, approval_id=asked.id))
    given = {"tenant_id": wait.tenant_id, "id": wait.uuid, "run_no": wait.run_no, "waiting_for": shown}
    connection.exec_driver_sql(_SHOW_WAIT, given)
    # So that the end of the job withdraws the request.
    edges.mark_awaited(connection, [(wait.tenant_id, wait.uuid)])
