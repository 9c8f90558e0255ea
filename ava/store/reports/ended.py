"""How far ended jobs can be counted, and are: each count of `count_progress` moves on in the statement that counts."""

from __future__ import annotations

from datetime import datetime

from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement

__all__ = ["PLAN_SECONDS", "complete_until", "day_span", "lock", "moved", "next_span"]

#: Seconds after which a count is planned anew. Each runs once a second, and its planning takes longer than a count of
#: few jobs.
PLAN_SECONDS = 60.0

# A job's `completed_at` is read from the clock within the transaction that ends it, so it is later than the start of
# the transaction. The lag covers the moment between that reading and the transaction's number. A commit may take
# longer, as while a synchronous standby is away; then the transaction is still in the list. One that lasts for longer
# than any of our statements may is not ours, and must not stop the counts.
_COMPLETE_UNTIL = Statement("""
SELECT least(clock_timestamp() - %(lag)s * interval '1 second', (
    SELECT min(a.xact_start) FROM pg_stat_activity AS a
    WHERE a.datname = current_database() AND a.backend_xid IS NOT NULL
        AND a.xact_start > clock_timestamp() - interval '10 minutes'))
""")
#: Seconds after which every statement that ends a job is in the list of transactions, or has committed.
_LAG_SECONDS = 2.0


def complete_until(connection: Connection) -> datetime:
    """Returns a moment of the past: every job that ended before it is visible to the statements that follow.

    It has to be a statement of its own, because the snapshot of the one that counts must be younger.
    """
    found: datetime = connection.exec_driver_sql(_COMPLETE_UNTIL, {"lag": _LAG_SECONDS}).scalar_one()
    return found


def next_span(name: str) -> str:
    """Returns the text of `span`: the jobs that a count takes next, up to `until`, and about `limit`.

    It locks the row with the progress, so two dispatchers count no job twice.
    """
    return f"""span AS (
    SELECT p.counted_until AS since, least(%(until)s::timestamptz, (
        SELECT completed_at FROM jobs WHERE completed_at >= p.counted_until
        ORDER BY completed_at OFFSET %(limit)s LIMIT 1)) AS until
    FROM count_progress AS p WHERE p.name = '{name}' FOR UPDATE
)"""


def moved(name: str) -> str:
    """Returns the text that moves the progress of a count to the end of `span`."""
    return f"""moved AS (
    UPDATE count_progress AS p SET counted_until = s.until FROM span AS s
    WHERE p.name = '{name}' AND s.until > s.since
)"""


def lock(name: str) -> str:
    """Returns the text of the statement that locks the progress of a count."""
    return f"SELECT counted_until FROM count_progress WHERE name = '{name}' FOR UPDATE"


def day_span(name: str) -> str:
    """Returns the text of `span`: the jobs from `day` to `end` which a count has taken."""
    return f"""span AS (
    SELECT %(day)s::timestamptz AS since, least(%(end)s::timestamptz, p.counted_until) AS until
    FROM count_progress AS p WHERE p.name = '{name}'
)"""
