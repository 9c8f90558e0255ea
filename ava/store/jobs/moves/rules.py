"""The rules of moves: what decides about a job `j`, and what a move sets, each written once as a part of statements."""

from __future__ import annotations

from ava.domain.jobs import pull
from ava.domain.jobs.wait_reasons import PARKED, WOKEN
from ava.store.fleet import nodes, workers
from ava.store.jobs import rows

#: Whether the worker of the job is paused for its tenant: the tenant's own status counts before the platform's.
IS_PAUSED = """coalesce((
    SELECT s.status FROM worker_settings AS s
    WHERE s.worker_id = j.worker_id AND s.tenant_id IN (j.tenant_id, '*') AND s.status IS NOT NULL
    ORDER BY s.tenant_id = '*' LIMIT 1) = 'paused', false)"""
#: Whether the tenant of the job, or the platform, has settings of its worker.
HAS_SETTINGS = """EXISTS (
    SELECT FROM worker_settings AS s WHERE s.worker_id = j.worker_id AND s.tenant_id IN (j.tenant_id, '*'))"""


def is_served(*, worker: str = "j.worker_id", queue: str = "j.queue") -> str:
    """Returns the condition that a live node of a queue has a worker's handler."""
    return f"""EXISTS (
    SELECT FROM nodes AS n WHERE {nodes.IS_LIVE} AND {worker} = ANY(n.workers) AND {queue} = ANY(n.queues))"""


def is_served_worker(tenant_id: str) -> str:
    """Returns the condition that the worker `w` is served for a tenant: by a live node, or by claims of its runs."""
    return f"""CASE WHEN w.queue = '{pull.QUEUE}' THEN {workers.is_claimed(tenant_id)}
        ELSE {is_served(worker="w.id", queue="w.queue")} END"""


def is_paused_queue(queue: str) -> str:
    """Returns the condition that a queue is paused; `queue` is an SQL expression. All that are pulled are one."""
    return f"EXISTS (SELECT FROM paused_queues AS p WHERE p.queue = split_part({queue}, ':', 1))"


def limit_key(*, worker: str, row: str, tenant_id: str, input_json: str) -> str:
    """Returns the key of a job's limit; null without one. `row` has the columns of the worker's limits."""
    per = f"CASE WHEN {row}.max_running IS NULL THEN {row}.rate_per ELSE {row}.max_running_per END"
    return f"""CASE WHEN {row}.max_running IS NOT NULL OR {row}.rate_jobs IS NOT NULL
        THEN ava_limit_key({worker}, {per}, {tenant_id}, {input_json}) END"""


def rate_key(*, worker: str, row: str, tenant_id: str, input_json: str) -> str:
    """Returns the key of a job's rate; null without one. The arguments are those of `limit_key`."""
    return f"""CASE WHEN {row}.rate_jobs IS NOT NULL
        THEN ava_limit_key({worker}, {row}.rate_per, {tenant_id}, {input_json}) END"""


# Conditions and sets that name a job by its id compare its status with IS NOT DISTINCT FROM. It means the same as `=`
# because the column is never null, and it keeps the planner to the primary key, in place of a partial index.

#: The job's turn may come, published or not.
IS_STARTABLE = "j.status IS NOT DISTINCT FROM 'queued' AND j.waits_for IS NULL"

#: The job may start: it does not expire, has started before, or has not expired yet.
IS_UNEXPIRED = "(j.expires_at IS NULL OR j.first_run_no IS NOT NULL OR j.expires_at > clock_timestamp())"

#: A single run as a FROM item, for `OWNS`.
ONE_RUN = """(SELECT %(tenant_id)s AS tenant_id, %(id)s::uuid AS id, %(run_no)s::int AS run_no,
        %(held_claim_id)s::uuid AS claim_id)"""

#: The fence: the run `r` (`tenant_id`, `id`, `run_no`, `claim_id`) still owns the job.
OWNS = """j.tenant_id = r.tenant_id AND j.id = r.id AND j.run_no = r.run_no AND j.status IS NOT DISTINCT FROM 'running'
        AND j.claim_id IS NOT DISTINCT FROM r.claim_id"""

#: What a claim sets.
CLAIM_SET = """status = 'running', published_at = coalesce(j.published_at, clock_timestamp()),
        started_at = clock_timestamp(), node_id = %(node_id)s::uuid, claim_id = %(claim_id)s::uuid,
        run_no = j.run_no + 1, attempt = j.attempt + 1, progress = NULL,
        first_run_no = coalesce(j.first_run_no, j.run_no + 1)"""
#: When a run of a job could start.
READY_AT = "greatest(j.created_at, j.scheduled_at, j.ready_at)"

#: What a recall sets: the job is in the backlog, and a claim refuses its message, wherever that is.
RECALL_SET = "published_at = NULL, run_no = j.run_no + 1"


def park_set(reason: str) -> str:
    """Returns what parking sets; `reason` is an SQL expression. A message of the job is refused from then on."""
    return f"waits_for = {reason}, published_at = NULL, run_no = j.run_no + (j.published_at IS NOT NULL)::int"


#: The rows of the index `jobs_parked`: jobs that cannot start for a reason that is not theirs.
IS_PARKED = f"j.status = 'queued' AND j.waits_for IN {rows.reasons(PARKED)}"
#: The rows of the index `jobs_waiting`: jobs that wait. The planner uses that index for this very condition only.
IS_WAITING = "j.status = 'queued' AND (j.waits_for IS NOT NULL) IS TRUE"
#: The job waits for the time of its trigger, or of the last one of its `debounce` key.
IS_SCHEDULED = "j.waits_for IN ('schedule', 'debounce')"
#: Jobs of which a wake ends the wait, named by their ids.
IS_WOKEN = f"j.status IS NOT DISTINCT FROM 'queued' AND j.waits_for IN {rows.reasons(WOKEN)}"

#: The queue that the worker of a job names now.
_QUEUE_NOW = f"""coalesce(
        (SELECT {workers.queue("j.tenant_id")} FROM workers AS w WHERE {workers.of("j")}), j.queue)"""
#: What the return of a parked or dated job sets: what it waits for now, and the queue that its worker names now.
RETURN_SET = f"""waits_for = CASE WHEN {IS_PAUSED} THEN 'worker' WHEN j.limit_key IS NOT NULL THEN 'permit' END,
    run_at = NULL, queue = {_QUEUE_NOW}"""


def wake_set(limit_key: str = "j.limit_key") -> str:
    """Returns what the end of a job's wait sets. An entry of a bulk may have a date too, for which it waits then.

    The date of a schedule's job has come when the schedule fires.
    """
    is_dated = "j.run_no = 0 AND j.scheduled_at > now() AND left(j.triggered_by, 4) <> 'sch_'"
    return f"""waits_for = CASE WHEN {is_dated} THEN 'schedule' WHEN {IS_PAUSED} THEN 'worker'
        WHEN {limit_key} IS NOT NULL THEN 'permit' END,
    run_at = CASE WHEN {is_dated} THEN j.scheduled_at END, ready_at = clock_timestamp(), queue = {_QUEUE_NOW}"""


#: When the rate `r` admits its next job. If PostgreSQL's clock has gone back since the writing, the moment goes back by
#: as much, so that the rate waits for no more than it did then.
RATE_NEXT_AT = "r.next_at - greatest(r.written_at - clock_timestamp(), interval '0')"
