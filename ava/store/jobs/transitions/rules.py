"""Conditions and SET clauses of state transitions of a job `j`, each written once and shared by the statements."""

from __future__ import annotations

from ava.domain.jobs.wait_reasons import PARKED, WOKEN
from ava.domain.worker import PULL_QUEUE
from ava.store.fleet import nodes, workers
from ava.store.jobs import rows

#: Whether the job's worker is paused for its tenant. The tenant's own status overrides the platform's.
IS_PAUSED = """coalesce((
    SELECT s.status FROM worker_settings AS s
    WHERE s.worker_id = j.worker_id AND s.tenant_id IN (j.tenant_id, '*') AND s.status IS NOT NULL
    ORDER BY s.tenant_id = '*' LIMIT 1) = 'paused', false)"""
#: `contained` if an active containment covers the job, otherwise null.
CONTAINED = "ava_contained(j.tenant_id, j.id)"
IS_CONTAINED = f"{CONTAINED} IS NOT NULL"
#: The condition `IS_CONTAINED` in a claim. PostgreSQL evaluates its first part once for each statement, so that a claim
#: calls no function for each job while there is no active containment. Both parts see each containment that was
#: committed before the claim locked `jobs`.
IS_COVERED = f"((SELECT ava_are_contained()) AND {IS_CONTAINED})"


def is_compared(tenant_id: str = "%(tenant_id)s") -> str:
    """Return the condition that the caller has compared its new jobs with all active containments of a tenant.

    `checked`: the containments (UUIDs) with which it has compared them. It compares only if there are others, so that
    it asks nothing while there are none; a statement misses no containment that is committed before it begins.
    """
    return f"""NOT EXISTS (SELECT FROM contained_scopes
        WHERE tenant_id IN ({tenant_id}, '*') AND containment_id <> ALL(%(checked)s::uuid[]))"""


#: Whether the job may need a decision before its first start: its trigger, or its worker for its tenant, has an
#: approval. Whether it applies to the job's input is decided in Python.
MAY_ASK = f"""(j.approval IS NOT NULL
        OR EXISTS (SELECT FROM workers AS w WHERE {workers.of("j")} AND w.approval IS NOT NULL)
        OR EXISTS (SELECT FROM worker_settings AS s WHERE s.worker_id = j.worker_id
                   AND s.tenant_id IN (j.tenant_id, '*') AND s.approval IS NOT NULL))"""

#: Whether the tenant or the platform has settings for the job's worker.
HAS_SETTINGS = """EXISTS (
    SELECT FROM worker_settings AS s WHERE s.worker_id = j.worker_id AND s.tenant_id IN (j.tenant_id, '*'))"""


def is_served(*, worker: str = "j.worker_id", queue: str = "j.queue") -> str:
    """Return the condition that a live node of a queue has a worker's handler."""
    return f"""EXISTS (
    SELECT FROM nodes AS n WHERE {nodes.IS_LIVE} AND {worker} = ANY(n.workers) AND {queue} = ANY(n.queues))"""


def is_served_worker(tenant_id: str) -> str:
    """Return the condition that the worker `w` is served for a tenant: by a live node, or by HTTP claims."""
    return f"""CASE WHEN w.queue = '{PULL_QUEUE}' THEN {workers.is_claimed(tenant_id)}
        ELSE {is_served(worker="w.id", queue="w.queue")} END"""


def is_paused_queue(queue: str) -> str:
    """Return the condition that a queue, an SQL expression, is paused. All pull queues count as one."""
    return f"EXISTS (SELECT FROM queues AS p WHERE p.queue = split_part({queue}, ':', 1) AND p.paused_at IS NOT NULL)"


def limit_key(*, worker: str, row: str, tenant_id: str, input_json: str) -> str:
    """Return the key of a job's limit, null without a limit. `row` has the columns of the worker's limits."""
    per = f"CASE WHEN {row}.max_running IS NULL THEN {row}.rate_per ELSE {row}.max_running_per END"
    return f"""CASE WHEN {row}.max_running IS NOT NULL OR {row}.rate_jobs IS NOT NULL
        THEN ava_limit_key({worker}, {per}, {tenant_id}, {input_json}) END"""


def rate_key(*, worker: str, row: str, tenant_id: str, input_json: str) -> str:
    """Return the key of a job's rate, null without a rate. Takes the arguments of `limit_key`."""
    return f"""CASE WHEN {row}.rate_jobs IS NOT NULL
        THEN ava_limit_key({worker}, {row}.rate_per, {tenant_id}, {input_json}) END"""


# Statements that find a job by id compare its status with IS NOT DISTINCT FROM. It equals `=` because the column is
# never null, and keeps the planner on the primary key instead of a partial index.

#: The job is in the backlog or published.
IS_STARTABLE = "j.status IS NOT DISTINCT FROM 'queued' AND j.waits_for IS NULL"

#: Its expiry counts only until its first start.
IS_UNEXPIRED = "(j.expires_at IS NULL OR j.first_run_no IS NOT NULL OR j.expires_at > clock_timestamp())"

#: A single run as a FROM item, for `OWNS`.
ONE_RUN = """(SELECT %(tenant_id)s AS tenant_id, %(id)s::uuid AS id, %(run_no)s::int AS run_no,
        %(held_claim_id)s::uuid AS claim_id)"""

#: The fencing token: the run `r` (`tenant_id`, `id`, `run_no`, `claim_id`) still owns the job.
OWNS = """j.tenant_id = r.tenant_id AND j.id = r.id AND j.run_no = r.run_no AND j.status IS NOT DISTINCT FROM 'running'
        AND j.claim_id IS NOT DISTINCT FROM r.claim_id"""

CLAIM_SET = """status = 'running', published_at = coalesce(j.published_at, clock_timestamp()),
        started_at = clock_timestamp(), node_id = %(node_id)s::uuid, claim_id = %(claim_id)s::uuid,
        run_no = j.run_no + 1, attempt = j.attempt + 1, progress = NULL,
        first_run_no = coalesce(j.first_run_no, j.run_no + 1)"""
#: When the job's next run became startable.
READY_AT = "greatest(j.created_at, j.scheduled_at, j.ready_at)"

#: The job returns to the backlog, and claims refuse its message from then on.
RECALL_SET = "published_at = NULL, run_no = j.run_no + 1"


def park_set(reason: str) -> str:
    """Return the columns that parking sets; `reason` is an SQL expression. Claims refuse the job's message then."""
    return f"waits_for = {reason}, published_at = NULL, run_no = j.run_no + (j.published_at IS NOT NULL)::int"


#: The rows of the index `jobs_parked`: jobs that an external condition keeps from starting.
IS_PARKED = f"j.status = 'queued' AND j.waits_for IN {rows.reasons(PARKED)}"
#: The rows of the index `jobs_waiting`. The planner uses that index only for exactly this condition.
IS_WAITING = "j.status = 'queued' AND (j.waits_for IS NOT NULL) IS TRUE"
#: The job waits for the date of its trigger, or of the last trigger with its `debounce` key.
IS_SCHEDULED = "j.waits_for IN ('schedule', 'debounce')"
#: Jobs that a wake may start, found by their ids.
IS_WOKEN = f"j.status IS NOT DISTINCT FROM 'queued' AND j.waits_for IN {rows.reasons(WOKEN)}"

#: The current queue of the job's worker.
_QUEUE_NOW = f"""coalesce(
        (SELECT {workers.queue("j.tenant_id")} FROM workers AS w WHERE {workers.of("j")}), j.queue)"""


def _return_set(first: str = "") -> str:
    """Return the columns set when a parked or dated job returns. `first`: the first case of its next reason to wait."""
    return f"""waits_for = CASE {first}WHEN {IS_CONTAINED} THEN 'contained' WHEN {IS_PAUSED} THEN 'worker'
        WHEN j.limit_key IS NOT NULL THEN 'permit' END,
    run_at = NULL, queue = {_QUEUE_NOW}"""


RETURN_SET = _return_set()
#: For dated jobs: the input of a debounced one is final now, so it may need a decision.
DUE_SET = _return_set(f"WHEN j.waits_for = 'debounce' AND {MAY_ASK} THEN 'approval' ")
#: Whether a woken job may need a decision, because its input, made of other jobs' outputs, is final now.
WOKEN_NEEDS_APPROVAL = f"j.waits_for = 'jobs' AND {MAY_ASK} AS needs_approval"


def wake_set(chosen: str, limit_key: str = "j.limit_key") -> str:
    """Return the columns set when a job's wait ends. An entry of a bulk may also have a date, which it waits for next.

    A schedule's job does not: its date has passed when the schedule fires. The row `chosen` has
    `WOKEN_NEEDS_APPROVAL`: a decision is a further wait, with a number of its own.
    """
    needs_approval = f"{chosen}.needs_approval"
    is_dated = "j.first_run_no IS NULL AND j.scheduled_at > now() AND left(j.triggered_by, 4) <> 'sch_'"
    return f"""run_no = j.run_no + {needs_approval}::int,
    waits_for = CASE WHEN {needs_approval} THEN 'approval' WHEN {is_dated} THEN 'schedule'
        WHEN {IS_CONTAINED} THEN 'contained' WHEN {IS_PAUSED} THEN 'worker'
        WHEN {limit_key} IS NOT NULL THEN 'permit' END,
    run_at = CASE WHEN {is_dated} AND NOT {needs_approval} THEN j.scheduled_at END,
    ready_at = clock_timestamp(), queue = {_QUEUE_NOW}"""


#: When the rate `r` admits its next job. If PostgreSQL's clock was set back after the write, the time moves back by the
#: same amount, so that the rate never waits longer than intended.
RATE_NEXT_AT = "r.next_at - greatest(r.written_at - clock_timestamp(), interval '0')"
