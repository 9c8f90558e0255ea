"""How far ended jobs can be counted: up to a moment before which no further end can appear."""

from __future__ import annotations

from datetime import datetime

from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement

__all__ = ["complete_until"]

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
