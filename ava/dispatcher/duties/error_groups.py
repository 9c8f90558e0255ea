"""Puts failed jobs into the groups of their errors, and notifies of groups that are new or come back."""

from __future__ import annotations

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
from ava.domain.limits.table import ERROR_GROUPS
from ava.domain.webhooks.events import Event, EventType, make_body
from ava.store.engine import clock
from ava.store.engine.database import Connection
from ava.store.errors import counting
from ava.store.reports.ended import Failed
from ava.store.webhooks import events


class ErrorGroups:
    """The groups of all tenants."""

    def __init__(self, *, most: int = ERROR_GROUPS.value) -> None:
        """`most`: the groups that one tenant may have."""
        self._most = most

    def add(self, connection: Connection, failed: Failed) -> int:
        """Add failed jobs in the transaction that counts them, so that a job counts once and an event is sent once,
        whatever process dies. Returns the number of new and returned groups.
        """
        jobs, unlabelled = failed.jobs, failed.unlabelled
        if not jobs:
            return 0
        tenants = {job.error_id: job.tenant_id for job in jobs}
        known = counting.known(connection, tenants)
        ungrouped = self._without_room(connection, [job for job in jobs if job.error_id not in known])
        if ungrouped:
            others = {other: tenants[error_id] for error_id, other in ungrouped.items()}
            known = counting.known(connection, {error_id: tenants[error_id] for error_id in known} | others)
        labels = {(job.tenant_id, job.id): job.error_id for job in unlabelled}
        labels |= {(job.tenant_id, job.id): ungrouped[job.error_id] for job in jobs if job.error_id in ungrouped}
        counting.label(connection, labels)
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
