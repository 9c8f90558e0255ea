"""The rules of moves: what decides about a job `j`, and what a move sets, each written once as a part of statements."""

from __future__ import annotations

from ava.store.fleet import workers

__all__ = ["HAS_SETTINGS", "IS_PARKED", "IS_PAUSED", "RETURN_SET", "WAITS_FOR_NOW", "is_served", "park_set"]

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
    SELECT FROM nodes AS n WHERE n.stopped_at IS NULL AND {worker} = ANY(n.workers) AND {queue} = ANY(n.queues)
        AND n.seen_at > now() - %(dead_after)s * interval '1 second')"""


#: The rows of the index `jobs_parked`: jobs that wait for something else than a date or a permit.
IS_PARKED = "j.status = 'queued' AND j.waits_for NOT IN ('date', 'permit')"

#: What the job waits for once nothing else keeps it from its turn.
WAITS_FOR_NOW = f"CASE WHEN {IS_PAUSED} THEN 'worker' WHEN j.limit_key IS NOT NULL THEN 'permit' END"

#: What the return of a parked or dated job sets. It goes to the queue that its worker names now.
RETURN_SET = f"""waits_for = {WAITS_FOR_NOW}, run_at = NULL,
    queue = coalesce((SELECT w.queue FROM workers AS w WHERE {workers.of("j")}), j.queue)"""


def park_set(reason: str) -> str:
    """Returns what parking sets; `reason` is an SQL expression. A message of the job is refused from then on."""
    return f"waits_for = {reason}, published_at = NULL, run_no = j.run_no + (j.published_at IS NOT NULL)::int"
