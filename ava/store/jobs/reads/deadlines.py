"""The unfinished jobs whose deadline is over."""

from __future__ import annotations

from dataclasses import dataclass

from ava.domain import ids
from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement

_HAS_DEADLINE = "deadline_at IS NOT NULL AND cancel_requested_at IS NULL AND status IN ('queued', 'running')"
#: A condition: the deadline of a job is over.
ARE_OVER = f"""(SELECT deadline_at FROM jobs WHERE {_HAS_DEADLINE} AND deadline_at <= now()
    ORDER BY deadline_at LIMIT 1) IS NOT NULL"""


@dataclass(frozen=True, kw_only=True, slots=True)
class OverdueJob:
    """An unfinished job whose deadline is over."""

    tenant_id: str
    job_id: str
    #: The seconds from its creation, or its date, to its deadline.
    seconds: float


_OVERDUE = Statement(f"""
SELECT tenant_id, id::text, round(extract(epoch FROM deadline_at - greatest(created_at, scheduled_at)), 3)::float8
FROM jobs WHERE {_HAS_DEADLINE} AND deadline_at <= now() ORDER BY deadline_at LIMIT %(limit)s
""")


def overdue(connection: Connection, *, limit: int) -> list[OverdueJob]:
    """Returns overdue jobs, those first whose deadlines were first."""
    return [
        OverdueJob(tenant_id=tenant_id, job_id=ids.encode("job", uuid), seconds=seconds)
        for tenant_id, uuid, seconds in connection.exec_driver_sql(_OVERDUE, {"limit": limit})
    ]
