"""Find pending work of all the dispatcher's duties with one statement."""

from __future__ import annotations

from collections.abc import Set
from enum import Enum

from ava.store.engine.database import Connection
from ava.store.engine.prepared import Prepared
from ava.store.events import events
from ava.store.jobs import approvals, bulk_operations, wake_queue
from ava.store.jobs.transitions import cancel, park
from ava.store.schedules import due


class Work(Enum):
    """A kind of work. The value is the SQL condition that there is some; an index answers it."""

    DUE_JOBS = park.ARE_DUE
    EXPIRED_JOBS = cancel.ARE_EXPIRED
    SCHEDULES = due.ARE_DUE
    BULK_OPERATIONS = bulk_operations.IS_DUE
    EVENT_JOBS = events.ARE_UNFINISHED
    WAKES = wake_queue.ARE_THERE
    DEADLINES = cancel.ARE_OVERDUE
    APPROVALS = approvals.ARE_DUE


# Replanned before a table that was empty has grown much.
_FIND = Prepared("pending_work", f"SELECT {', '.join(work.value for work in Work)}", plan_seconds=5.0)


def find(connection: Connection) -> Set[Work]:
    """Return the kinds of pending work. Polled ten times per second, so the statement is cheap."""
    (row,) = _FIND.run(connection, {})
    return {work for work, is_there in zip(Work, row, strict=True) if is_there}
