"""Database writes of the process that runs jobs; each is retried while the database is unreachable."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import count
from typing import TypeVar

from ava.broker.untrusted_messages import DROPPED
from ava.domain.jobs.job import Job, JobKey, LogLine, RunKey, Status
from ava.domain.jobs.messages import Message
from ava.domain.jobs.waits import LoadedJournal
from ava.domain.worker import WorkerSettings
from ava.errors import DatabaseUnavailable
from ava.node.outcome import Stop
from ava.node.runs.run import Run
from ava.store.engine.database import Connection, Database
from ava.store.fleet import nodes, worker_settings
from ava.store.jobs import journal
from ava.store.jobs.transitions import claim, end, log_lines, park, permits, rescue, wait
from ava.store.jobs.transitions.claim import NO_PRIORITY, Claim, RunCheck
from ava.store.jobs.transitions.ended_runs import EndedRun

Result = TypeVar("Result")

HOLD_SECONDS = 300.0


class RunWriter:
    """Writes the jobs of one process. Its methods raise `DatabaseUnavailable` after `HOLD_SECONDS`."""

    def __init__(self, database: Database, node_id: str) -> None:
        self.database = database
        self._dedicated = database.dedicated()
        self._node_id = node_id

    def claim(self, run: RunKey, worker_id: str, claim_id: str) -> Job | None:
        """Start a run. Returns None if it cannot be claimed."""
        wanted = self._claim(run, worker_id, claim_id)
        # An earlier try may have claimed the run and lost the reply; `claimed` finds that claim.
        return self._persist(lambda c: claim.claim(c, wanted) or claim.claimed(c, wanted))

    def claim_or_park(self, run: RunKey, worker_id: str, claim_id: str) -> Job | None:
        """Start a run. If it cannot be claimed, return None, and park the job if it is contained or its
        worker is paused.

        A message that names another worker than the job's row counts as dropped.
        """
        job = self.claim(run, worker_id, claim_id)
        if job is None and not self._park_paused(run, worker_id) and self._names_other_worker(run, worker_id):
            DROPPED.drop("worker")
        return job

    def _claim(self, run: RunKey, worker_id: str, claim_id: str) -> Claim:
        return Claim(run=run, worker_id=worker_id, node_id=self._node_id, claim_id=claim_id)

    def claim_together(self, wanted: Sequence[RunKey], worker_id: str, claim_id: str) -> list[Job]:
        """Start runs of one worker. Returns the jobs that could be claimed."""
        tries = count()

        def attempt(connection: Connection) -> list[Job]:
            act = claim.claim_together if next(tries) == 0 else claim.claim_together_again
            return act(connection, wanted, worker_id=worker_id, node_id=self._node_id, claim_id=claim_id)

        return self._persist(attempt)

    def check(self, job: Job, claim_id: str | None, *, outranked_by: int) -> RunCheck | None:
        """Return the checks before a claimed run begins, or None if it must not: it has lost its job, or is contained.

        A contained run returns to the queue.
        """

        def act(connection: Connection) -> RunCheck | None:
            found = claim.check(connection, run=job.run, claim_id=claim_id, outranked_by=outranked_by)
            return _released_if_contained(connection, job, claim_id or "", found)

        return self._persist(act)

    def worker_settings(self, job: Job) -> tuple[WorkerSettings | None, WorkerSettings | None]:
        """Return the tenant's and the platform's settings for a job's worker."""
        return self._persist(lambda c: worker_settings.read(c, tenant_id=job.tenant_id, worker_id=job.worker_id))

    def _park_paused(self, run: RunKey, worker_id: str) -> bool:
        """Park a job that could not be claimed. Returns False unless it is contained or its worker is paused."""
        return self._persist(lambda c: park.park_unclaimed(c, run=run, worker_id=worker_id))

    def _names_other_worker(self, run: RunKey, worker_id: str) -> bool:
        return self._persist(lambda c: claim.names_other_worker(c, run=run, worker_id=worker_id))

    def defer(self, run: RunKey, worker_id: str, *, dead_after_seconds: float) -> None:
        """Park a job, because this node lacks its handler."""
        self._persist(
            lambda c: park.park_unclaimed(
                c, run=run, worker_id=worker_id, lacks_handler=True, dead_after_seconds=dead_after_seconds
            )
        )

    def owns_job(self, run: Run) -> bool:
        """Return True if a run still owns its job and no rescue because of a freeze until now can change that.

        May write the node's heartbeat. Raises `DatabaseUnavailable` at the first failure. Uses a pooled connection,
        because a signal handler calls it while the dedicated one may be in use.
        """
        with self.database.connect() as connection:
            nodes.heartbeat_if_silent(connection, self._node_id, silent_seconds=nodes.FRESH_SECONDS)
            return claim.owns_job(connection, run=run.job.run, claim_id=run.claim_id)

    def may_begin(self, run: Run) -> bool:
        """Return True if a claimed run may still enter its handler: it owns its job, and no containment covers it.

        A contained run returns to the queue. Raises like `owns_job`.
        """
        if not self.owns_job(run):
            return False
        with self.database.connect() as connection:
            if is_contained := claim.is_contained(connection, run=run.job.run):
                rescue.release(connection, [(run.job.run, run.claim_id or "")])
            return not is_contained

    def store_lines(self, run: Run) -> bool:
        """Store a run's buffered lines and its progress. Returns False if the run has lost its job.

        Raises `DatabaseUnavailable` at the first failure; the lines then stay buffered. Uses a pooled connection.
        """
        lines, progress_json = run.log.take(), run.progress_json
        run.progress_json = None
        try:
            with self.database.connect() as connection:
                return log_lines.append(
                    connection, run=run.job.run, claim_id=run.claim_id, lines=lines, progress_json=progress_json
                )
        except DatabaseUnavailable:
            run.log.put_back(lines)
            run.progress_json = run.progress_json or progress_json
            raise

    def end(
        self, ended: EndedRun, following: tuple[Message, str] | None = None, *, outranked_by: int = NO_PRIORITY
    ) -> tuple[Status | None, Job | None, bool]:
        """Write a run's outcome, and claim the `following` run in the same transaction if possible.

        `following`: the message with that run as its first, and the claim's id. `outranked_by`: do not claim if a
        message of this or a more urgent priority is waiting.

        Returns the status of the ended run's job, or None if the run has lost it; the claimed job; and whether such a
        message is waiting. After a stopped or requeued job, nothing is claimed.
        """
        if ended.outcome.is_rate_limited:
            # Before the end, so that no other job of the key is admitted in between.
            self._persist(lambda c: _defer_rate(c, ended))
        if following is None or not ended.is_plain:
            act = wait.end_waiting if ended.outcome.wait is not None else end.end
            return self._persist_end(ended, lambda c: act(c, ended)), None, False
        message, next_claim_id = following
        wanted = self._claim(message.runs[0], message.worker_id, next_claim_id)
        claimed: Job | None = None
        is_outranked = False

        def end_and_claim(connection: Connection) -> Status | None:
            nonlocal claimed, is_outranked
            status, job, is_outranked = end.end_and_claim(connection, ended, wanted, outranked_by=outranked_by)
            claimed = job or claim.claimed(connection, wanted)
            return status or end.end_stopped(connection, [ended]).get(ended.key)

        return self._persist_end(ended, end_and_claim), claimed, is_outranked

    def _persist_end(self, ended: EndedRun, act: Callable[[Connection], Status | None]) -> Status | None:
        tries = count()

        def attempt(connection: Connection) -> Status | None:
            is_first = next(tries) == 0
            status = act(connection)
            # An earlier attempt may have written the end and lost the reply.
            return status or (None if is_first else end.written(connection, [ended]).get(ended.key))

        return self._persist(attempt)

    def end_together(self, ended: Sequence[EndedRun]) -> dict[JobKey, Status]:
        """Write runs' outcomes. Returns the status of each job, except jobs that their runs have lost."""
        return self._persist_ends(ended, lambda c: end.end_each(c, ended))

    def end_and_check(
        self, ended: Sequence[EndedRun], following: Job, claim_id: str, *, outranked_by: int
    ) -> tuple[dict[JobKey, Status], RunCheck | None]:
        """Write runs' outcomes, and check the `following` run, which shares its claim, in the same statement.

        Returns the statuses as `end_together` does, and the checks as `check` does.
        """
        if not all(each.is_final for each in ended):
            return self.end_together(ended), self.check(following, claim_id, outranked_by=outranked_by)
        checked: RunCheck | None = None

        def act(connection: Connection) -> dict[JobKey, Status]:
            nonlocal checked
            statuses, found = end.end_and_check(connection, ended, following.run, claim_id, outranked_by=outranked_by)
            checked = _released_if_contained(connection, following, claim_id, found)
            return statuses

        return self._persist_ends(ended, act), checked

    def _persist_ends(
        self, ended: Sequence[EndedRun], act: Callable[[Connection], dict[JobKey, Status]]
    ) -> dict[JobKey, Status]:
        tries = count()

        def attempt(connection: Connection) -> dict[JobKey, Status]:
            is_first = next(tries) == 0
            statuses = act(connection)
            # An earlier attempt may have written the ends and lost the reply.
            if is_first or len(statuses) == len(ended):
                return statuses
            return end.written(connection, ended) | statuses

        return self._persist(attempt)

    def end_undecided(self, run: Run) -> None:
        """Requeue the job of a run that ended without a decision, unless the run has lost it."""
        if run.is_expired:
            self._requeue_unstarted(run, run.log.take())
        elif run.stopped_for is Stop.SHUTDOWN:
            self._requeue(run, run.log.take())

    def _requeue_unstarted(self, run: Run, lines: Sequence[LogLine]) -> None:
        def act(connection: Connection) -> None:
            if log_lines.append(connection, run=run.job.run, claim_id=run.claim_id, lines=lines):
                rescue.release(connection, [(run.job.run, run.claim_id or "")])

        self._persist(act)

    def load_journal(self, job: Job, claim_id: str) -> LoadedJournal | None:
        return self._persist(lambda c: journal.load(c, run=job.run, claim_id=claim_id, attempt=job.attempt))

    def _requeue(self, run: Run, lines: Sequence[LogLine]) -> None:
        def act(connection: Connection) -> None:
            if not log_lines.append(connection, run=run.job.run, claim_id=run.claim_id, lines=lines):
                return
            rescue.rescue(
                connection,
                run=run.job.run,
                node_id=self._node_id,
                msg="Handler interrupted, the worker is shutting down",
                error="WorkerLost: the worker was shut down",
                is_loss=False,
                usage=run.usage,
            )

        self._persist(act)

    def _persist(self, act: Callable[[Connection], Result]) -> Result:
        def attempt() -> Result:
            with self._dedicated as connection:
                return act(connection)

        return persist(attempt)

    def close(self) -> None:
        self._dedicated.close()


def _released_if_contained(connection: Connection, job: Job, claim_id: str, found: RunCheck | None) -> RunCheck | None:
    if found is None or not found.is_contained or found.is_to_be_cancelled:
        return found
    rescue.release(connection, [(job.run, claim_id)])
    return None


def _defer_rate(connection: Connection, ended: EndedRun) -> bool:
    return permits.defer_rate(
        connection, run=ended.outcome.run, claim_id=ended.claim_id, seconds=ended.outcome.delay_seconds or 0
    )


def persist(act: Callable[[], Result], hold_seconds: Callable[[], float] = lambda: HOLD_SECONDS) -> Result:
    """Call `act`, retried while the database is unreachable, and return its result.

    Raises `DatabaseUnavailable` after `hold_seconds`, which may change in between.
    """
    began = time.monotonic()
    pause = 0.1
    while True:
        try:
            return act()
        except DatabaseUnavailable:
            if time.monotonic() >= began + hold_seconds():
                raise
            time.sleep(pause)
            pause = min(2.0, pause * 1.5)
