"""Duty: put failed jobs into the groups of their errors, each once, and notify of groups that are new or come back."""

from __future__ import annotations

import time
from collections.abc import Sequence

from ava.domain import fingerprint, ids
from ava.domain.error_group import (
    ErrorGroup,
    ErrorGroupUpdate,
    ErrorStatus,
    FailedJob,
    comes_back,
    gather,
    make_error_record,
)
from ava.domain.events import Event, EventType, make_body
from ava.domain.limits import ERROR_GROUPS
from ava.store.engine import clock
from ava.store.engine.database import Connection, Database
from ava.store.errors import counting
from ava.store.reports import ended
from ava.store.webhooks import events

__all__ = ["ErrorGroups"]

#: Ended jobs, failed or not, that one transaction looks at.
_BATCH = 2_000
#: Seconds for which one call of the duty goes on while there are more.
_CALL_SECONDS = 3.0


class ErrorGroups:
    """Groups the failed jobs of all tenants.

    The groups, their counts, the events and the progress are written by one transaction, so that a job counts once and
    an event is sent once, whatever process dies.
    """

    name = "error_groups"
    changes = "error groups opened"
    every_seconds = 1.0

    def __init__(self, database: Database, *, most: int = ERROR_GROUPS.value) -> None:
        """`most`: the groups that one tenant may have."""
        self._database = database
        self._most = most

    def run_once(self, _now: float) -> int:
        """Group the jobs that have failed since the last call. Returns the number of new and returned groups."""
        ends, opened, has_more = time.monotonic() + _CALL_SECONDS, 0, True
        while has_more and time.monotonic() < ends:
            with self._database.connect() as connection:
                until = ended.complete_until(connection)
            with self._database.transaction() as connection:
                since, batch_end = counting.lock(connection, until=until, limit=_BATCH)
                opened += self._group(connection, *counting.next_failed(connection, since, batch_end))
                counting.move_to(connection, batch_end)
                has_more = batch_end < until
        return opened

    def _group(self, connection: Connection, jobs: Sequence[FailedJob], unlabelled: Sequence[FailedJob]) -> int:
        if not jobs:
            return 0
        known = counting.known(connection, list({job.error_id for job in jobs}))
        ungrouped = self._without_room(connection, [job for job in jobs if job.error_id not in known])
        if ungrouped:
            known = counting.known(connection, [*known, *set(ungrouped.values())])
        labels = {job.id: job.error_id for job in unlabelled}
        counting.label(
            connection, labels | {job.id: ungrouped[job.error_id] for job in jobs if job.error_id in ungrouped}
        )
        updates = gather(jobs, ungrouped)
        new = [update for update in updates if update.id not in known]
        returned = [update for update in updates if update.id in known and comes_back(update, *known[update.id])]
        counting.store(connection, updates, [update.id for update in returned])
        for kind, changed in ((EventType.ERROR_OPENED, new), (EventType.ERROR_REGRESSED, returned)):
            for update in changed:
                _notify(connection, kind, update)
        return len(new) + len(returned)

    def _without_room(self, connection: Connection, jobs: Sequence[FailedJob]) -> dict[str, str]:
        """Returns the new groups for which their tenants have no room, each with the group of its worker instead."""
        if not jobs:
            return {}
        rooms = counting.rooms(connection, list({job.tenant_id for job in jobs}), self._most)
        decided: dict[str, str] = {}
        seen: set[str] = set()
        for job in jobs:
            if job.error_id in seen:
                continue
            seen.add(job.error_id)
            if rooms[job.tenant_id] > 0:
                rooms[job.tenant_id] -= 1
            else:
                other = fingerprint.ungrouped_id(tenant_id=job.tenant_id, worker_id=job.worker_id)
                decided[job.error_id] = str(other)
        return decided


def _notify(connection: Connection, kind: EventType, update: ErrorGroupUpdate) -> None:
    event = Event(
        id=ids.encode("evt", ids.new_uuid()),
        type=kind,
        created_at=clock.now(connection),
        tenant_id=update.tenant_id,
        sequence=0,
    )
    group = ErrorGroup(
        id=ids.encode("err", update.id),
        worker_id=update.worker_id,
        kind=update.kind,
        message=update.message,
        count=update.days.total(),
        first_seen_at=update.first_seen_at,
        last_seen_at=update.last_seen_at,
        status=ErrorStatus.OPEN,
        sample_job_id=ids.encode("job", update.sample_job_id),
    )
    events.insert(connection, event, make_body(event, make_error_record(group)))
