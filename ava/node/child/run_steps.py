"""Execute the steps between runs of one process: `RunQueue` decides them, and `RunWriter` sends the statements.

Celery's signals trigger the steps (`ava.node.signals`): a run is claimed when its task begins, and its end is written
after the task.

Short runs of a message may share a claim (`HandlerTimes.max_together`). Each still checks for a cancel in the database
before it begins, mostly in the statement that ends the previous one. The ends of very short ones share a statement.
"""

from __future__ import annotations

import logging
import math
import os
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

from ava.domain.jobs import run_groups
from ava.domain.jobs.job import JobKey, RunKey, Status
from ava.domain.jobs.messages import Message
from ava.domain.jobs.run_outcome import RunOutcome
from ava.errors import DatabaseUnavailable
from ava.handler import registry
from ava.node.celery_internals.pool_child import TakeAhead
from ava.node.child.handler_times import HandlerTimes
from ava.node.child.process_run import ProcessRun
from ava.node.child.run_queue import QueuedRun, RunQueue, Way
from ava.node.outcome import Stop
from ava.node.run_board import CurrentRun, Phase, ProcessBoard
from ava.node.runs import run_reports
from ava.node.runs.new_run import NewRuns, SentClaim
from ava.node.runs.run import LINES_SECONDS
from ava.node.runs.run_writer import RunWriter
from ava.settings import Settings
from ava.store.jobs.transitions import claim, end, recall, rescue
from ava.store.jobs.transitions.ended_runs import EndedRun

_log = logging.getLogger(__name__)

#: Maximum seconds to wait for the companion thread's write, which may never end on a connection that the handler has
#: closed.
_WRITE_SECONDS = 0.5


class RunSteps:
    """The steps of one process, taken by its main thread.

    During a long run the companion thread requeues the waiting runs and writes the buffered ends.
    """

    def __init__(self, settings: Settings, take_ahead: TakeAhead, board: ProcessBoard, writer: RunWriter) -> None:
        self.run: ProcessRun | None = None
        self.last_end: RunOutcome | None = None
        #: Whether this process ends after its run, because no other handler may run in it.
        self.is_retiring = False
        self.writer = writer
        #: Locked while lines are stored, so that none is stored after the end of its run.
        self.storing = threading.Lock()
        self._new_runs = NewRuns(settings, board.peak_bytes, ProcessRun)
        self._take_ahead = take_ahead
        self._board = board
        self.publication = Publication(board)
        self.handler_times = HandlerTimes()
        self._queue = RunQueue()
        #: How the current run ends, and the buffered ends with their runs.
        self._way = Way.ALONE
        self._buffered: list[tuple[ProcessRun, EndedRun]] = []
        self._requeuing = threading.Lock()

    # Starting a run ------------------------------------------------------------------------------------------------

    def claim(self, message: Message) -> None:
        """Start the first run of a message if it can be claimed. Waits while the database is unreachable.

        The job's row decides which handler runs: the claim fails if it names another worker.
        """
        if registry.find(message.worker_id) is None:
            self._new_runs.defer(message.runs, message.worker_id, self.writer)
            return
        queue, began_ns = self._queue, time.time_ns()
        is_first = not queue.expects(message)
        if is_first:
            queue.receive(message, str(uuid.uuid4()), time.monotonic())
        assert queue.next is not None
        self.handler_times.record_begin(is_first=is_first)
        if queue.next.job is None:
            self._claim_next(message.worker_id)
        if queue.next.job is None:
            queue.drop_next()
        elif queue.return_overdue(time.monotonic()):
            with suppress(DatabaseUnavailable):
                self.requeue()
        else:
            self.run = self._begin(queue.next, began_ns)

    def _claim_next(self, worker_id: str) -> None:
        queue = self._queue
        assert queue.next is not None
        if len(wanted := queue.to_claim(self.handler_times.max_together(worker_id))) > 1:
            self.publication.claiming(queue.next.key, queue.claim_id)
            jobs = self.writer.claim_together([run.key for run in wanted], worker_id, queue.claim_id)
            queue.record_claimed(wanted, jobs, queue.claim_id, time.monotonic())
        if queue.next.job is None:
            self._claim_single(queue.next)

    def _claim_single(self, queued: QueuedRun) -> None:
        claim_id, queued.sent_at = str(uuid.uuid4()), time.monotonic()
        self.publication.claiming(queued.key, claim_id)
        if (job := self.writer.claim_or_park(queued.key, queued.worker_id, claim_id)) is not None:
            self._queue.record_claimed([queued], [job], claim_id, time.monotonic())

    def _begin(self, queued: QueuedRun, began_ns: int) -> ProcessRun | None:
        """Return the run of a claimed job, or None if it has lost its job since, or is contained."""
        queue, job = self._queue, queued.job
        assert job is not None
        assert job.started_at is not None
        check = queued.check
        if check is None:
            must_poll = queued.is_shared and queue.must_poll(time.monotonic())
            outranked_by = job.priority - 1 if must_poll else claim.NO_PRIORITY
            check = claim.NOTHING
            if queued.is_to_check or outranked_by > claim.NO_PRIORITY:
                self.publication.claiming(queued.key, queued.claim_id)
                check = self.writer.check(job, queued.claim_id, outranked_by=outranked_by) or claim.LOST
        if check.is_lost:
            queue.drop_next()
            return None
        if check.is_outranked:
            queue.make_way()
        if queued.is_shared:
            waited = timedelta(seconds=time.monotonic() - queued.claimed_at)
            job = replace(job, started_at=job.started_at + waited)
        sent = SentClaim(queued.claim_id, queued.sent_ns or began_ns, queued.sent_at)
        run = self._new_runs.make(job, sent, self.writer, is_shared=queued.is_shared)
        if check.is_to_be_cancelled:
            # The handler is not entered.
            run.stop(Stop.CANCEL)
        queue.begin(time.monotonic())
        return run

    # Ending a run --------------------------------------------------------------------------------------------------

    @property
    def _goes_on(self) -> bool:
        """Return False if this process must end after its run, or if the node ends.

        A cancel or timeout affects only its own run.
        """
        return not self.is_retiring and (self.run is None or self.run.stopped_for in (None, Stop.CANCEL, Stop.TIMEOUT))

    def decide_way(self) -> bool:
        """Decide how the current run ends. Returns True if another one of its message may follow."""
        if (run := self.run) is None:
            self._queue.take_next(goes_on=self._goes_on)
        else:
            is_completed = run.end is not None and run.end.status is Status.COMPLETED
            next_seconds = self.handler_times.next_end_seconds(run.job.worker_id)
            self._way = self._queue.decide_way(
                is_completed=is_completed, goes_on=self._goes_on, next_seconds=next_seconds, now=time.monotonic()
            )
        return self._queue.next is not None

    @property
    def following(self) -> Message | None:
        """Return the next run of the message as a separate message; None if there is none."""
        queued = self._queue.next
        return queued.message if queued is not None and queued.is_within else None

    def write_end(self) -> None:
        """Write the end of the run if it is decided, and clear the run. Waits while the database is unreachable."""
        run = self.run if self.run is not None and self.run.is_decided else None
        if run is not None:
            run_reports.close_log(run)
        try:
            with self.storing:
                self._write_end(run)
                if run is not None:
                    self.run, self.last_end = None, run.end
        except Exception:
            # The node rescues the job of a process that ends without writing the end.
            _log.exception("End of run not written, process exits", extra={"job_id": run.job.id if run else None})
            os._exit(os.EX_SOFTWARE)
        if self.following is None:
            # Not earlier, because the next message, already requested, may be urgent. If the database is unreachable,
            # the companion thread requeues the remaining runs.
            with suppress(DatabaseUnavailable):
                self.requeue()
        if run is not None:
            self.publication.ended(run)
            run.forget_error()

    def _write_end(self, run: ProcessRun | None) -> None:
        """Write the decided end of a run, after the buffered ones."""
        writer = self.writer
        if run is None:
            if self.following is None:
                self._write_buffered(writer.end_together)
            return
        if run.end is not None and self._way in (Way.KEEP, Way.TOGETHER):
            is_seen = self._keep(run)
            if is_seen and self._way is Way.KEEP:
                return
            self.publication.ending(run)
            if self._way is Way.TOGETHER and self._queue.next is None:
                self._announce_end()
            self._write_buffered(self._end_together)
            return
        self.publication.ending(run)
        self._write_buffered(writer.end_together)
        run_reports.write_single(run, writer, lambda ended: self._write_single(run, ended))

    def _keep(self, run: ProcessRun) -> bool:
        """Buffer the end of a run. Returns False if the run board is full, so that the parent cannot see it."""
        ended = run_reports.ended_run(run)
        self._buffered.append((run, ended))
        return self._board.keep_end(ended)

    def _write_single(self, run: ProcessRun, ended: EndedRun) -> Status | None:
        writer = self.writer
        if ended.outcome.wait is not None:
            self._announce_end()
            return writer.end(ended)[0]
        queued = self._queue.next
        if queued is None:
            self._announce_end()
            queued = self._take_ahead_first() if self._goes_on else None
        if queued is not None and queued.is_to_check:
            return self._end_and_check([ended], queued).get(ended.key)
        if queued is None or queued.job is not None or self._shares_next_claim(queued):
            return writer.end(ended)[0]
        claiming = SentClaim.new()
        self.publication.ending(run, queued.key)
        must_poll = queued.is_within and self._queue.is_poll_due(claiming.sent_at)
        outranked_by = run.job.priority - 1 if must_poll else claim.NO_PRIORITY
        status, job, is_outranked = writer.end(ended, (queued.message, claiming.id), outranked_by=outranked_by)
        if job is not None:
            self._queue.follow(job, claiming.id, claiming.sent_ns, claiming.sent_at, is_within=queued.is_within)
        elif is_outranked:
            self._queue.make_way()
            self._announce_end()
        return status

    def _end_together(self, ended: Sequence[EndedRun]) -> dict[JobKey, Status]:
        queued = self._queue.next
        if queued is not None and queued.is_to_check:
            return self._end_and_check(ended, queued)
        return self.writer.end_together(ended)

    def _end_and_check(self, ended: Sequence[EndedRun], queued: QueuedRun) -> dict[JobKey, Status]:
        assert queued.job is not None
        must_poll = self._queue.must_poll(time.monotonic())
        outranked_by = queued.job.priority - 1 if must_poll else claim.NO_PRIORITY
        # If the process is frozen after the check, the run is checked again (`ownership_check`).
        queued.sent_ns = time.time_ns()
        statuses, check = self.writer.end_and_check(ended, queued.job, queued.claim_id, outranked_by=outranked_by)
        queued.check = check or claim.LOST
        return statuses

    def _shares_next_claim(self, queued: QueuedRun) -> bool:
        """Return True if the next run of the message shares its claim, which is then another statement."""
        return queued.is_within and len(self._queue.to_claim(self.handler_times.max_together(queued.worker_id))) > 1

    def _take_ahead_first(self) -> QueuedRun | None:
        """Return the first run of the next message, if that has arrived and its runs are not claimed together."""
        message = self._take_ahead.take_next()
        if message is None or registry.find(message.worker_id) is None:
            return None
        if len(message.runs) > 1 and self.handler_times.max_together(message.worker_id) > 1:
            return None
        return QueuedRun(message.runs[0], message.worker_id, "", is_within=False)

    def _announce_end(self) -> None:
        if self._goes_on:
            self._take_ahead.announce_soon_free()

    def _write_buffered(self, act: Callable[[Sequence[EndedRun]], dict[JobKey, Status]]) -> None:
        """Write the buffered ends with `act`, and report them. They stay buffered if it raises."""
        if not self._buffered:
            return
        statuses = act([ended for _, ended in self._buffered])
        written, self._buffered = self._buffered, []
        self._queue.forget_kept()
        self._board.forget_ends()
        run_reports.report_written([run for run, _ in written], statuses)

    # During a long run ---------------------------------------------------------------------------------------------

    @property
    def poll_seconds(self) -> float:
        """Return the seconds until the companion thread must call again."""
        if (write_at := self._queue.write_at) is not None:
            return min(LINES_SECONDS, max(0.0, write_at - time.monotonic()))
        return run_groups.END_SECONDS / 2 if self._queue.may_keep_ends else LINES_SECONDS

    @property
    def must_write_ends(self) -> bool:
        write_at = self._queue.write_at
        return write_at is not None and time.monotonic() >= write_at

    def write_buffered_ends(self) -> None:
        with self.writer.database.connect() as connection:
            self._write_buffered(lambda ended: end.end_each(connection, ended))

    @property
    def must_requeue(self) -> bool:
        return self._queue.must_requeue(time.monotonic())

    def requeue(self) -> None:
        """Requeue the unstarted runs. After `DatabaseUnavailable`, a later call retries."""
        with self._requeuing:
            if not (unstarted := self._queue.take_to_requeue()):
                return
            with self.writer.database.connect() as connection:
                # Recall first: then an in-flight claim can no longer get a run.
                recall.recall_runs(connection, [run.key for run in unstarted])
                rescue.release(connection, [(run.key, run.claim_id) for run in unstarted])
            self._queue.forget_requeued(unstarted)

    def replace_writer(self, writer: RunWriter) -> None:
        is_free = self.storing.acquire(timeout=_WRITE_SECONDS)
        self.writer = writer
        if is_free:
            self.storing.release()
        else:
            self.storing = threading.Lock()


class Publication:
    """Publishes the current run of one process, from its main thread, except that its handler was entered."""

    def __init__(self, board: ProcessBoard) -> None:
        self._board = board

    def claiming(self, run: RunKey, claim_id: str) -> None:
        """Publish a run that is about to be claimed, or checked before it begins."""
        self._board.publish(CurrentRun(key=run, phase=Phase.CLAIMING, claim_id=claim_id, timeout_seconds=math.inf))

    def running(self, run: ProcessRun) -> None:
        self._publish(run, Phase.RUNNING)

    def entered(self, run: ProcessRun) -> None:
        """Publish that the handler was entered. Called by the companion thread, which has seen it."""
        self._board.show_entered(run.began_ns)

    def ending(self, run: ProcessRun, next_run: RunKey | None = None) -> None:
        """Publish that the end of a run is about to be written, by a statement that may claim `next_run`."""
        self._publish(run, Phase.ENDING, next_run)

    def ended(self, run: ProcessRun) -> None:
        """Publish that the end of a run is written or buffered."""
        self._publish(run, Phase.ENDED)

    def nothing(self) -> None:
        self._board.publish(None)

    def _publish(self, run: ProcessRun, phase: Phase, next_run: RunKey | None = None) -> None:
        self._board.publish(
            CurrentRun(
                key=run.job.run,
                phase=phase,
                claim_id=run.claim_id or "",
                began_ns=run.began_ns,
                timeout_seconds=run.timeout_seconds,
                grace_seconds=run.handler.spec.cancel_grace_seconds,
                max_memory_mb=run.max_memory_mb,
                cpu_us=run.cpu_before_us,
                next_run=next_run,
            )
        )
