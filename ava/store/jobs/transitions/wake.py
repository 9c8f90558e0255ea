"""Wake waiting jobs: start or end a job once the jobs or events it waits for satisfy its condition.

A job that ends and may be awaited writes a wake in its own transaction, and so does a job that begins to wait. The
awaited jobs' final statuses decide whether the wait has ended. So wakes are idempotent, and two dispatchers may process
them concurrently.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from ava.domain import ids
from ava.domain.jobs.job import Job, Status
from ava.store.engine.database import Connection
from ava.store.engine.prepared import Prepared
from ava.store.engine.record_rows import RecordRows
from ava.store.engine.statement import Statement
from ava.store.fleet import workers
from ava.store.jobs import rows
from ava.store.jobs.transitions.rules import IS_WOKEN, WOKEN_NEEDS_APPROVAL, limit_key, rate_key, wake_set


class WaitVerdict(StrEnum):
    """Next step of a job after its wait ends."""

    START = "start"
    #: No decision was requested yet that the job needs before its first start, if its input needs one.
    ASK = "ask"
    #: The condition cannot become true any more.
    UNMET = "unmet"


@dataclass(frozen=True, kw_only=True, slots=True)
class EndedWait:
    tenant_id: str
    uuid: str
    run_no: int
    verdict: WaitVerdict
    #: Whether its input refers to other jobs' outputs.
    has_template: bool = False
    #: If UNMET: the first awaited job with the wrong outcome.
    unmet_uuid: str | None = None
    unmet_name: str | None = None
    unmet_status: Status | None = None


_VERDICT = """CASE WHEN w.condition = 'start' AND NOT EXISTS (
            SELECT FROM approvals AS a WHERE a.tenant_id = w.tenant_id AND a.job_id = w.id AND a.name IS NULL)
        THEN 'ask'
        WHEN w.condition IN ('ended', 'any', 'event', 'approval', 'start')
            OR (w.condition = 'failed') = (unmet.completed IS FALSE)
        THEN 'start' ELSE 'unmet' END"""
_ROWS = RecordRows(
    EndedWait,
    "w",
    columns={
        "uuid": "w.id::text",
        "verdict": _VERDICT,
        "unmet_uuid": "unmet.id::text",
        "unmet_name": "unmet.name",
        "unmet_status": "unmet.status",
    },
)


# A wait for many jobs ends with the last one, probably the newest. So check the newest edge first: a wait that is still
# pending costs one lookup.
_DECIDE = Prepared(
    "decide_waits",
    f"""
WITH woken AS (
    SELECT DISTINCT * FROM unnest(%(tenants)s::text[], %(ids)s::uuid[]) AS w (tenant_id, id)
), about AS (
    SELECT e.tenant_id, e.job_id AS id
    FROM woken AS w JOIN job_edges AS e ON e.tenant_id = w.tenant_id AND e.after_id = w.id
    UNION SELECT tenant_id, id FROM woken
), waiting AS (
    SELECT j.tenant_id, j.id, j.run_no, c.template IS NOT NULL AS has_template,
        CASE WHEN j.waits_for = 'approval' AND j.first_run_no IS NULL THEN 'start' ELSE c.condition END AS condition
    FROM about AS a JOIN jobs AS j ON j.tenant_id = a.tenant_id AND j.id = a.id
    JOIN job_waits AS c ON c.tenant_id = j.tenant_id AND c.job_id = j.id AND c.run_no = j.run_no
    WHERE {IS_WOKEN}
        AND j.cancel_requested_at IS NULL
)
SELECT {_ROWS.columns}
FROM waiting AS w CROSS JOIN LATERAL (
    SELECT CASE WHEN w.condition = 'start' THEN NOT EXISTS (
        SELECT FROM approvals AS a
        WHERE a.tenant_id = w.tenant_id AND a.job_id = w.id AND a.name IS NULL AND a.status <> 'approved'
    ) WHEN w.condition IN ('any', 'event', 'approval') AND EXISTS (
        SELECT FROM job_journal AS k WHERE k.tenant_id = w.tenant_id AND k.job_id = w.id
            AND k.kind IN ('event', 'approval') AND k.state = 'waits' AND k.event_id IS NOT NULL
    ) THEN true WHEN w.condition IN ('event', 'approval') THEN false WHEN w.condition = 'any' THEN NOT EXISTS (
        SELECT FROM job_edges AS e WHERE e.tenant_id = w.tenant_id AND e.job_id = w.id AND e.run_no = w.run_no
    ) OR EXISTS (
        SELECT FROM job_edges AS e CROSS JOIN LATERAL (
            SELECT status FROM jobs WHERE tenant_id = e.tenant_id AND id = e.after_id LIMIT 1) AS a
        WHERE e.tenant_id = w.tenant_id AND e.job_id = w.id AND e.run_no = w.run_no
            AND a.status NOT IN ('queued', 'running')
    ) ELSE NOT EXISTS (
        SELECT FROM (
            SELECT e.tenant_id, e.after_id FROM job_edges AS e
            WHERE e.tenant_id = w.tenant_id AND e.job_id = w.id AND e.run_no = w.run_no ORDER BY e.after_id DESC
        ) AS e CROSS JOIN LATERAL (
            SELECT status FROM jobs WHERE tenant_id = e.tenant_id AND id = e.after_id LIMIT 1) AS a
        WHERE a.status IN ('queued', 'running')
    ) END AS is_satisfied OFFSET 0
) AS judged LEFT JOIN LATERAL (
    SELECT e.after_id AS id, a.name, a.status, a.status = 'completed' AS completed
    FROM job_edges AS e CROSS JOIN LATERAL (
        SELECT name, status FROM jobs WHERE tenant_id = e.tenant_id AND id = e.after_id LIMIT 1) AS a
    WHERE e.tenant_id = w.tenant_id AND e.job_id = w.id AND e.run_no = w.run_no
        AND w.condition IN ('completed', 'failed')
    ORDER BY a.status = 'completed', e.n LIMIT 1
) AS unmet ON judged.is_satisfied
WHERE judged.is_satisfied
ORDER BY w.id
""",
    plan_seconds=10.0,
)


def decide(connection: Connection, woken: Sequence[tuple[str, str]]) -> list[EndedWait]:
    """Return the jobs with ended waits, among the woken jobs and the jobs waiting for them."""
    return [_ROWS.read(row) for row in _DECIDE.run(connection, _keys(woken))]


# Jobs with a cancel request that wait for their children, among the woken jobs and their parents.
_ABOUT_MARKED = """woken AS (
    SELECT DISTINCT * FROM unnest(%(tenants)s::text[], %(ids)s::uuid[]) AS w (tenant_id, id)
), about AS (
    SELECT c.tenant_id, c.parent_id AS id
    FROM woken AS w JOIN jobs AS c ON c.tenant_id = w.tenant_id AND c.id = w.id WHERE c.parent_id IS NOT NULL
    UNION SELECT tenant_id, id FROM woken
)"""
_IS_MARKED = """j.status IS NOT DISTINCT FROM 'queued' AND j.waits_for = 'children'
        AND j.cancel_requested_at IS NOT NULL"""
_LOCK = Statement(f"""
WITH {_ABOUT_MARKED}, moved AS (
    SELECT j.tenant_id, j.id FROM about AS a JOIN jobs AS j ON j.tenant_id = a.tenant_id AND j.id = a.id
    WHERE {_IS_MARKED}
    UNION SELECT tenant_id, id FROM unnest(%(over_tenants)s::text[], %(over_ids)s::uuid[]) AS o (tenant_id, id)
)
SELECT FROM moved AS m JOIN jobs AS j ON j.tenant_id = m.tenant_id AND j.id = m.id
WHERE j.status IS NOT DISTINCT FROM 'queued' ORDER BY j.id FOR UPDATE OF j
""")


def lock(connection: Connection, woken: Sequence[tuple[str, str]], over: Sequence[EndedWait]) -> None:
    """Lock the jobs that several statements of this transaction change, ordered by id as `cancel` locks them."""
    given = {"over_tenants": [each.tenant_id for each in over], "over_ids": [each.uuid for each in over]}
    connection.exec_driver_sql(_LOCK, _keys(woken) | given)


# Wait for locked rows, because their wakes are deleted. Lock in the order of ids, as `cancel` does.
_CHOSEN = f"""
    SELECT j.tenant_id, j.id, {WOKEN_NEEDS_APPROVAL}{{columns}}
    FROM unnest(%(tenants)s::text[], %(ids)s::uuid[], %(run_nos)s::int[]{{arrays}})
         AS s (tenant_id, id, run_no{{names}})
    JOIN jobs AS j ON j.tenant_id = s.tenant_id AND j.id = s.id
    WHERE j.run_no = s.run_no AND {IS_WOKEN}
        AND j.cancel_requested_at IS NULL
    ORDER BY j.id FOR UPDATE OF j"""
_START = Statement(f"""
WITH chosen AS ({_CHOSEN.format(columns="", arrays="", names="")}
)
UPDATE jobs AS j SET {wake_set("chosen")} FROM chosen WHERE j.tenant_id = chosen.tenant_id AND j.id = chosen.id
""")


def start(connection: Connection, over: Sequence[EndedWait]) -> int:
    """Return jobs to the backlog after their waits. Returns their number."""
    return connection.exec_driver_sql(_START, _waits(over)).rowcount if over else 0


_ITS_INPUT = {"worker": "j.worker_id", "row": "w", "tenant_id": "j.tenant_id", "input_json": "chosen.input"}
_START_RESOLVED = Statement(f"""
WITH chosen AS ({
    _CHOSEN.format(
        columns=", s.input::json AS input, s.input_bytes",
        arrays=", %(inputs)s::text[], %(sizes)s::int[]",
        names=", input, input_bytes",
    )
}
), keyed AS (
    SELECT chosen.*, {limit_key(**_ITS_INPUT)} AS limit_key, {rate_key(**_ITS_INPUT)} AS rate_key
    FROM chosen JOIN jobs AS j ON j.tenant_id = chosen.tenant_id AND j.id = chosen.id
    LEFT JOIN workers AS w ON {workers.of("j")}
)
UPDATE jobs AS j SET input = k.input, input_bytes = k.input_bytes, limit_key = k.limit_key, rate_key = k.rate_key,
    {wake_set("k", "k.limit_key")}
FROM keyed AS k WHERE j.tenant_id = k.tenant_id AND j.id = k.id
""")


@dataclass(frozen=True, kw_only=True, slots=True)
class ResolvedInput:
    """The input of a waiting job with the outputs inserted, as JSON, or the reason why that failed."""

    job: EndedWait
    input_json: str = ""
    error: str | None = None


def start_resolved(connection: Connection, resolved: Sequence[ResolvedInput]) -> int:
    """Return jobs to the backlog with their resolved inputs and limit keys. Returns their number."""
    if not resolved:
        return 0
    given = _waits([each.job for each in resolved]) | {
        "inputs": [each.input_json for each in resolved],
        "sizes": [rows.large_bytes(each.input_json) for each in resolved],
    }
    return connection.exec_driver_sql(_START_RESOLVED, given).rowcount


_FAIL_UNRESOLVED = Statement(f"""
WITH chosen AS ({_CHOSEN.format(columns=", s.error", arrays=", %(errors)s::text[]", names=", error")}
)
UPDATE jobs AS j SET status = 'failed', completed_at = clock_timestamp(), waits_for = NULL, run_at = NULL,
    error = chosen.error
FROM chosen WHERE j.tenant_id = chosen.tenant_id AND j.id = chosen.id
""")


def fail_unresolved(connection: Connection, failed: Sequence[ResolvedInput]) -> int:
    """Fail jobs with unresolvable inputs. Returns their number."""
    if not failed:
        return 0
    given = _waits([each.job for each in failed]) | {"errors": [each.error for each in failed]}
    return connection.exec_driver_sql(_FAIL_UNRESOLVED, given).rowcount


# A job with a cancel request creates no children, so none can appear after this check.
_CANCEL_MARKED = Statement(f"""
WITH {_ABOUT_MARKED}, chosen AS (
    SELECT j.tenant_id, j.id FROM about AS a JOIN jobs AS j ON j.tenant_id = a.tenant_id AND j.id = a.id
    WHERE {_IS_MARKED}
        AND NOT EXISTS (
            SELECT FROM jobs AS c WHERE c.tenant_id = j.tenant_id AND c.parent_id = j.id
                AND c.is_detached IS NOT TRUE AND c.completed_at IS NULL)
    ORDER BY j.id FOR UPDATE OF j
)
UPDATE jobs AS j SET status = j.stop_status, completed_at = clock_timestamp(), waits_for = NULL, run_at = NULL
FROM chosen WHERE j.tenant_id = chosen.tenant_id AND j.id = chosen.id
RETURNING {rows.JOB_COLUMNS}
""")


def cancel_marked(connection: Connection, woken: Sequence[tuple[str, str]]) -> list[Job]:
    """End waiting jobs with a cancel request once all their attached children have ended. Returns the jobs."""
    return [rows.job(row) for row in connection.exec_driver_sql(_CANCEL_MARKED, _keys(woken))]


def _keys(woken: Sequence[tuple[str, str]]) -> dict[str, object]:
    return {"tenants": [tenant_id for tenant_id, _ in woken], "ids": [uuid for _, uuid in woken]}


def _waits(waiting: Sequence[EndedWait]) -> dict[str, object]:
    return {
        "tenants": [each.tenant_id for each in waiting],
        "ids": [each.uuid for each in waiting],
        "run_nos": [each.run_no for each in waiting],
    }


# `output_bytes` is null for small outputs.
_TEMPLATE = Statement("""
SELECT c.template::text, j.worker_id,
    (SELECT json_object_agg(a.name, json_build_array(a.id, CASE WHEN a.status = 'completed'
        THEN coalesce(a.output_bytes, octet_length(a.output::text)) END))
     FROM job_edges AS e JOIN jobs AS a ON a.tenant_id = e.tenant_id AND a.id = e.after_id
     WHERE e.tenant_id = c.tenant_id AND e.job_id = c.job_id AND e.run_no = c.run_no AND a.name IS NOT NULL)
FROM job_waits AS c JOIN jobs AS j ON j.tenant_id = c.tenant_id AND j.id = c.job_id
WHERE c.tenant_id = %(tenant_id)s AND c.job_id = %(id)s::uuid AND c.run_no = %(run_no)s AND c.template IS NOT NULL
""")


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredOutput:
    job_id: str
    #: 0 if the job has none, or has not completed.
    bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class InputTemplate:
    worker_id: str
    template_json: str
    #: Of the jobs that it may refer to, by their names.
    outputs: Mapping[str, StoredOutput]


def template(connection: Connection, job: EndedWait) -> InputTemplate | None:
    """Return a waiting job's input with references; None if it waits no longer."""
    given = {"tenant_id": job.tenant_id, "id": job.uuid, "run_no": job.run_no}
    row = connection.exec_driver_sql(_TEMPLATE, given).first()
    if row is None:
        return None
    template_json, worker_id, outputs = row
    found = {
        name: StoredOutput(job_id=ids.encode("job", uuid), bytes=size or 0)
        for name, (uuid, size) in (outputs or {}).items()
    }
    return InputTemplate(worker_id=worker_id, template_json=template_json, outputs=found)
