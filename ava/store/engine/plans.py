"""How PostgreSQL plans statements that each have an index made for them."""

from __future__ import annotations

#: The statements of an admission are planned once for each connection and second, because planning takes longer than
#: they run, and an admission is on the way from the end of a job to the start of the next.
PLAN_SECONDS = 1.0

#: Put before a statement, it makes the rest of the transaction use indexes in whose order rows are wanted, not others
#: whose rows are sorted then. The tables change so fast that the planner often takes a large one for nearly empty, and
#: then reads and sorts all rows of a smaller index for each row that is wanted. While a snapshot is held, an index that
#: has few rows has many pages of dead ones, and the planner takes each of its rows for as dear as all of another index.
IN_ORDER = "SELECT set_config('enable_sort', 'off', true), set_config('enable_seqscan', 'off', true);"

#: Put before a statement, it makes the rest of the transaction read no table from end to end. PostgreSQL takes the
#: partition of the next day for as empty as it is when the statement is planned, and keeps the plan when it has grown.
BY_INDEX = "SELECT set_config('enable_seqscan', 'off', true);"

#: The CTE `waiting`: each queue and priority that has waiting jobs, found by one step in the index
#: `jobs_startable` each (a loose index scan), so the cost grows with those that have jobs.
WAITING_WINDOWS = """waiting AS (
    (SELECT queue, priority FROM jobs WHERE status = 'queued' AND waits_for IS NULL ORDER BY queue, priority LIMIT 1)
    UNION ALL
    SELECT next.queue, next.priority FROM waiting AS w CROSS JOIN LATERAL (
        SELECT j.queue, j.priority FROM jobs AS j
        WHERE j.status = 'queued' AND j.waits_for IS NULL AND (j.queue, j.priority) > (w.queue, w.priority)
        ORDER BY j.queue, j.priority LIMIT 1) AS next
)"""
