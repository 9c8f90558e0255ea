"""Duty: carry out active containments, and release held jobs that no containment covers any more."""

from __future__ import annotations

from dataclasses import dataclass, field

from ava.broker.control import Control
from ava.dispatcher.duties.waiting_jobs import ReleaseTimes, repeat, tenants_of
from ava.domain import ids
from ava.domain.containment import ALL_TENANTS, Containment, RunningJobs
from ava.domain.jobs.job import Status
from ava.domain.notices.notice import NoticeEvent
from ava.services.fleet import revoke_all
from ava.store.containments import records, scopes
from ava.store.engine.database import Connection, Database
from ava.store.jobs import bulk_operations
from ava.store.jobs.transitions import cancel, contain
from ava.store.jobs.transitions.cancel import CancelRequest
from ava.store.jobs.transitions.park import ListPosition
from ava.store.webhooks import notice_windows

#: Seconds between the two reads of the writing transactions. A prepared statement takes its snapshot microseconds
#: before it locks its tables, so the first read may miss one.
_GAP_SECONDS = 1.0
#: Seconds from the end of the last such transaction until the containment is effective: within the first of them a
#: process enters a claimed run without asking the database (`ava.node.runs.ownership_check`).
_ENTRY_SECONDS = 2.0
#: Seconds between two counts of held jobs.
_COUNT_SECONDS = 2.0
#: Seconds after a change of the active containments during which jobs are released repeatedly, because a transaction
#: that began earlier may hold another one; and seconds between two passes at all other times.
_AFTER_CHANGE_SECONDS = 15.0
_LONGEST_PAUSE_SECONDS = 60.0
_JOBS_PER_STATEMENT = 2000
_STOPPED_PER_TRANSACTION = 500


@dataclass(kw_only=True)
class _Progress:
    """The progress of one containment that a restarted dispatcher begins anew."""

    #: The transactions that may not see the containment, and when they were read first, and for the second time.
    writers: frozenset[str] | None = None
    read_at: float = 0.0
    read_again_at: float | None = None
    #: When the last of them was known to have ended.
    ended_at: float | None = None
    counted_at: float = field(default=float("-inf"))


class ContainmentProgress:
    def __init__(self, database: Database, control: Control) -> None:
        self._database = database
        self._control = control
        self._progress: dict[str, _Progress] = {}
        self._release_times = ReleaseTimes(
            after_change_seconds=_AFTER_CHANGE_SECONDS, pause_seconds=_LONGEST_PAUSE_SECONDS
        )

    def run_once(self, now: float) -> int:
        """Advance each active containment, end those whose time is over, and release jobs. Returns their number."""
        with self._database.connect() as connection:
            active = records.active(connection)
        self._progress = {each.id: self._progress.get(each.id, _Progress()) for each in active}
        changed = sum(self._advance(each, self._progress[each.id], now) for each in active)
        if self._release_times.is_due([each.id for each in active], now):
            changed += repeat(self._database, _release, limit=_JOBS_PER_STATEMENT)
        return changed

    def _advance(self, containment: Containment, progress: _Progress, now: float) -> int:
        if containment.ends_at is not None and self._end(containment):
            return 1
        if containment.complete_at is not None:
            self._count(containment, progress, now)
            return 0
        stopped = self._stop_running(containment)
        if containment.claims_ended_at is None and not self._have_writers_ended(progress, now):
            return stopped
        progress.ended_at = now if progress.ended_at is None else progress.ended_at
        held = 0
        if containment.swept_at is None:
            tenants = tenants_of(self._database, containment.tenant_id)
            held = sum(self._hold(containment, tenant_id) for tenant_id in tenants)
        self._record(containment, progress, now, is_entered=now >= progress.ended_at + _ENTRY_SECONDS)
        return stopped + held

    def _end(self, containment: Containment) -> bool:
        with self._database.connect() as connection:
            return records.end(connection, containment, held_count=containment.held_count, by=None) is not None

    def _have_writers_ended(self, progress: _Progress, now: float) -> bool:
        """Return True once each transaction has ended that may have claimed or created a job of the scope unseen."""
        with self._database.connect() as connection:
            writing = scopes.writers(connection)
        if progress.writers is None:
            progress.writers, progress.read_at = writing, now
        elif progress.read_again_at is None and now >= progress.read_at + _GAP_SECONDS:
            progress.writers, progress.read_again_at = (progress.writers | writing), now
        progress.writers &= writing
        return progress.read_again_at is not None and not progress.writers

    def _stop_running(self, containment: Containment) -> int:
        """Ask a batch of the scope's running jobs to stop. Returns the number of jobs."""
        if containment.running_jobs is RunningJobs.LET_END:
            return 0
        with self._database.transaction() as connection:
            running = scopes.running(connection, containment.scope)
            requests = [
                CancelRequest(
                    tenant_id=tenant_id,
                    job_id=ids.encode("job", uuid),
                    cancelled_by=containment.by.name,
                    status=Status.RUNNING,
                )
                for tenant_id, uuid, is_stopped in running
                if not is_stopped
            ]
            asked = {each.job_id for each in requests[:_STOPPED_PER_TRANSACTION]}
            stopped = cancel.cancel_each(connection, requests[:_STOPPED_PER_TRANSACTION])
            recorded = [(job.tenant_id, str(ids.decode("job", job.id))) for job in stopped if job.id in asked]
            if recorded:
                records.record_stops(connection, containment, recorded)
        revoke_all(self._database, self._control, stopped)
        return len(stopped)

    def _hold(self, containment: Containment, tenant_id: str) -> int:
        count, position = 0, ListPosition()
        while True:
            with self._database.connect() as connection:
                swept = contain.hold(connection, containment.scope, tenant_id=tenant_id, after=position)
            count += swept.count
            if swept.position is None:
                return count
            position = swept.position

    def _record(self, containment: Containment, progress: _Progress, now: float, *, is_entered: bool) -> None:
        """Record how far the containment is. The runs of the scope can only become fewer from now on."""
        is_counted = now >= progress.counted_at + _COUNT_SECONDS
        with self._database.transaction() as connection:
            is_idle = not scopes.running(connection, containment.scope)
            is_effective = is_idle or (is_entered and not scopes.has_unused_claims(connection, containment.scope))
            recorded = records.advance(
                connection,
                containment,
                claims_ended=True,
                swept=True,
                effective=is_effective,
                complete=is_idle,
                held_count=scopes.count_held(connection, containment.scope) if is_counted else None,
            )
            if recorded is not None and is_idle:
                notice_windows.note(connection, [recorded.occurrence(NoticeEvent.CONTAINMENT_COMPLETED)])
        if is_counted:
            progress.counted_at = now

    def _count(self, containment: Containment, progress: _Progress, now: float) -> None:
        if now < progress.counted_at + _COUNT_SECONDS:
            return
        progress.counted_at = now
        with self._database.connect() as connection:
            held_count = scopes.count_held(connection, containment.scope)
            if held_count != containment.held_count:
                records.advance(connection, containment, held_count=held_count)


def _release(connection: Connection, limit: int) -> int:
    """Release jobs that no active containment covers, except those that an operation releases or cancels now."""
    lifting = bulk_operations.lifting(connection)
    if ALL_TENANTS in lifting:
        return 0
    return contain.release(connection, tenant_id=ALL_TENANTS, limit=limit, excluded=lifting)
