"""Duty: carry out active containments, and release held jobs that no containment covers any more."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from ava.broker.control import Control
from ava.dispatcher.duties.lost_runs import rescue_silent
from ava.dispatcher.duties.waiting_jobs import ReleaseTimes, repeat, tenants_of
from ava.domain import ids
from ava.domain.containment import ALL_TENANTS, Containment, RunningJobs
from ava.domain.jobs.job import RunKey, Status
from ava.services.fleet import revoke_all
from ava.services.signing import ContainmentSigner
from ava.store.containments import records, scopes
from ava.store.containments.scopes import RunInScope
from ava.store.engine.database import Connection, Database
from ava.store.jobs import bulk_operations
from ava.store.jobs.transitions import cancel, contain
from ava.store.jobs.transitions.cancel import CancelRequest
from ava.store.jobs.transitions.park import ListPosition

#: Min seconds between two counts of held jobs, and their ratio to the seconds that a count takes.
_COUNT_SECONDS = 2.0
_COUNT_RATIO = 20
#: Seconds after a change of the active containments during which jobs are released repeatedly, because a transaction
#: that began earlier may hold another one; and seconds between two passes at all other times.
_AFTER_CHANGE_SECONDS = 15.0
_LONGEST_PAUSE_SECONDS = 60.0
_JOBS_PER_STATEMENT = 2000
_STOPPED_PER_TRANSACTION = 500


@dataclass(kw_only=True)
class _Progress:
    """The progress of one containment. A restarted dispatcher starts again."""

    #: The transactions that may not see the containment, and have not ended.
    writers: frozenset[str] | None = None
    #: The first heartbeat of each used run over HTTP. The next one shows that its program has entered the handler.
    heartbeats: dict[RunKey, datetime] = field(default_factory=dict)
    #: When the held jobs are counted next.
    count_at: float = field(default=float("-inf"))

    def has_entered(self, running: RunInScope) -> bool:
        """Return True if the handler of a claimed run was entered."""
        if running.heartbeat_at is None:
            return running.is_entered
        return running.is_used and self.heartbeats.setdefault(running.run, running.heartbeat_at) != running.heartbeat_at


class ContainmentProgress:
    def __init__(self, database: Database, control: Control, signer: ContainmentSigner) -> None:
        self._database = database
        self._signer = signer
        self._control = control
        self._progress: dict[str, _Progress] = {}
        self._release_times = ReleaseTimes(
            after_change_seconds=_AFTER_CHANGE_SECONDS, pause_seconds=_LONGEST_PAUSE_SECONDS
        )

    def run_once(self, now: float) -> int:
        """Advance each active containment, end expired ones, and release jobs. Returns the number of changes."""
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
            with self._database.connect() as connection:
                held_count = _count(connection, containment, progress, now)
                if held_count not in (None, containment.held_count):
                    records.advance(connection, containment, held_count=held_count)
            return 0
        has_claims = containment.claims_ended_at is None and not self._have_writers_ended(progress)
        with self._database.connect() as connection:
            running = scopes.running(connection, containment.scope)
        changed = self._stop_running(containment, running)
        if has_claims:
            return changed
        pulled = [(each, each.heartbeat_at) for each in running if each.heartbeat_at is not None]
        changed += rescue_silent(self._database, [(each.run, at) for each, at in pulled if not each.is_used])
        is_effective = not [each for each in running if not progress.has_entered(each)]
        if containment.swept_at is None:
            # A sweep may take seconds.
            with self._database.connect() as connection:
                records.advance(connection, containment, claims_ended=True, effective=is_effective)
            tenants = tenants_of(self._database, containment.tenant_id)
            changed += sum(self._hold(containment, tenant_id) for tenant_id in tenants)
        self._record(containment, progress, now, is_effective=is_effective, is_idle=not running)
        return changed

    def _end(self, containment: Containment) -> bool:
        with self._database.transaction() as connection:
            return self._signer.end(connection, containment, by=None) is not None

    def _have_writers_ended(self, progress: _Progress) -> bool:
        """Return True once each transaction has ended that may have claimed a job of the scope unseen."""
        with self._database.connect() as connection:
            writing = scopes.writers(connection)
        progress.writers = writing if progress.writers is None else progress.writers & writing
        return not progress.writers

    def _stop_running(self, containment: Containment, running: Sequence[RunInScope]) -> int:
        """Ask a batch of the scope's running jobs to stop. Returns the number of jobs."""
        requests = [
            CancelRequest(
                tenant_id=each.run.tenant_id,
                job_id=each.run.job_id,
                cancelled_by=containment.by.name,
                status=Status.RUNNING,
            )
            for each in running
            if each.may_stop and not each.is_stopped
        ][:_STOPPED_PER_TRANSACTION]
        if containment.running_jobs is RunningJobs.LET_END or not requests:
            return 0
        with self._database.transaction() as connection:
            asked = {each.job_id for each in requests}
            stopped = cancel.cancel_each(connection, requests)
            recorded = [(job.tenant_id, str(ids.decode("job", job.id))) for job in stopped if job.id in asked]
            if recorded:
                records.record_stops(connection, containment, recorded)
        revoke_all(self._database, self._control, stopped)
        return len(stopped)

    def _hold(self, containment: Containment, tenant_id: str) -> int:
        count, position = 0, ListPosition()
        while True:
            began = time.monotonic()
            with self._database.connect() as connection:
                swept = contain.hold(connection, containment, tenant_id=tenant_id, after=position)
            count += swept.count
            if swept.position is None:
                return count
            position = swept.position
            # Leaves half of a processor to other tenants.
            time.sleep(time.monotonic() - began)

    def _record(
        self, containment: Containment, progress: _Progress, now: float, *, is_effective: bool, is_idle: bool
    ) -> None:
        """Record how far the containment is. The runs of the scope can only become fewer from now on."""
        with self._database.transaction() as connection:
            recorded = records.advance(
                connection,
                containment,
                claims_ended=True,
                swept=True,
                effective=is_effective,
                complete=is_idle,
                held_count=_count(connection, containment, progress, now, is_last=is_idle),
            )
            if recorded is not None and is_idle:
                self._signer.write(connection, recorded)


def _count(
    connection: Connection, containment: Containment, progress: _Progress, now: float, *, is_last: bool = False
) -> int | None:
    """Return the number of held jobs; None between two counts. `is_last`: count in any case."""
    if now < progress.count_at and not is_last:
        return None
    began = time.monotonic()
    held_count = scopes.count_held(connection, containment.scope)
    progress.count_at = now + max(_COUNT_SECONDS, _COUNT_RATIO * (time.monotonic() - began))
    return held_count


def _release(connection: Connection, limit: int) -> int:
    """Release jobs that no active containment covers, unless a lift's operation is releasing or cancelling them."""
    lifting = bulk_operations.lifting(connection)
    if ALL_TENANTS in lifting:
        return 0
    return contain.release(connection, tenant_id=ALL_TENANTS, limit=limit, excluded=lifting)
