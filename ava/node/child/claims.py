"""The claims of a child: each run of a message is claimed when its turn comes, or together with others."""

from __future__ import annotations

import time
import uuid

from ava.broker.dropped import DROPPED
from ava.domain import priority
from ava.domain.job import Job
from ava.domain.messages import Message
from ava.node.child.handler_times import HandlerTimes
from ava.node.child.new_run import NewRuns
from ava.node.child.publication import Publication
from ava.node.child.run import Run
from ava.node.child.run_group import RunGroup
from ava.node.child.run_writer import RunWriter
from ava.node.child.shared_runs import SharedRuns
from ava.node.outcome import Stop
from ava.node.run_board import ProcessBoard
from ava.settings import Settings
from ava.store.jobs import shared_claims

__all__ = ["Claims"]


class Claims:
    """Claims the runs of one process. The main thread uses it."""

    def __init__(self, settings: Settings, handler_times: HandlerTimes, board: ProcessBoard) -> None:
        self._new_runs = NewRuns(settings)
        self._handler_times = handler_times
        self.publication = Publication(board)
        #: The runs of the message at hand that have not begun, and those of them that share a claim.
        self.group, self.shared = RunGroup(), SharedRuns(board)
        #: The next run, if it was claimed by the statement that wrote the end of the one before.
        self._next_run: Run | None = None

    def claim(self, message: Message, run_writer: RunWriter) -> Run | None:
        """Start the first run of a message. Returns None if it cannot be claimed."""
        began_ns, is_first = time.time_ns(), not self.group.is_at(message)
        if is_first:
            self.group.begin(message)
        next_run, self._next_run = self._next_run, None
        job_id, run_no = message.runs[0]
        if next_run is not None and (next_run.job.id, next_run.job.run_no) == (job_id, run_no):
            return self._beside_urgent(next_run, run_writer)
        self._handler_times.note_begin(is_first=is_first)
        if not self.shared.holds(job_id, run_no) and len(wanted := self._wanted_together(message)) > 1:
            claim_id = self.group.claim_id
            self.publication.claiming(message.runs[0], claim_id)
            self.shared.begin(run_writer.claim_together(wanted, message.worker_id, claim_id), claim_id)
            # It was claimed just now.
            is_first = True
        if (job := self.shared.take(job_id, run_no)) is not None:
            return self._begin_shared(job, began_ns, run_writer, is_first=is_first)
        return self._beside_urgent(self._claim_alone(message, began_ns, run_writer), run_writer)

    def are_shared(self, message: Message) -> bool:
        """Returns True if the first run of a message is claimed together with others, or will be."""
        return self.shared.holds(*message.runs[0]) or (
            len(message.runs) > 1 and self._handler_times.max_together(message.worker_id) > 1
        )

    def keep_next(self, job: Job | None, claim_id: str, began_ns: int, run_writer: RunWriter) -> None:
        """Keep the job of the next message, if it was claimed already; else `claim` tries it again."""
        self._next_run = None if job is None else self._new_runs.make(job, claim_id, began_ns, run_writer)

    def _wanted_together(self, message: Message) -> list[tuple[str, int]]:
        """Returns the run whose turn it is, and those behind it that are claimed with it."""
        if not (waiting := self.group.waiting):
            return []
        return [message.runs[0], *waiting][: self._handler_times.max_together(message.worker_id)]

    def _begin_shared(self, job: Job, began_ns: int, run_writer: RunWriter, *, is_first: bool) -> Run | None:
        claim_id = self.shared.claim_id
        if not is_first:
            self.publication.claiming((job.id, job.run_no), claim_id)
        # The others were claimed some time ago.
        check = shared_claims.NOTHING if is_first else run_writer.check(job, claim_id, outranked_by=self._outranks(job))
        if check is None:
            return None
        if check.is_outranked:
            self.group.make_way()
        run = self._new_runs.make(job, claim_id, began_ns, run_writer)
        self.shared.open_log(run)
        if check.is_to_be_cancelled:
            # The handler is not entered.
            run.stop(Stop.CANCEL)
        return run

    def _outranks(self, job: Job) -> int:
        """Returns the least urgent priority for which the runs behind a job make way, if it is time to look for it."""
        return job.priority - 1 if self.group.is_to_look() else priority.FIRST - 1

    def _beside_urgent(self, run: Run | None, run_writer: RunWriter) -> Run | None:
        """Have the runs behind one that was claimed alone make way if something more urgent waits. Returns that one."""
        if run is not None and (outranked_by := self._outranks(run.job)) >= priority.FIRST:
            check = run_writer.check(run.job, run.claim_id, outranked_by=outranked_by)
            if check is not None and check.is_outranked:
                self.group.make_way()
        return run

    def _claim_alone(self, message: Message, began_ns: int, run_writer: RunWriter) -> Run | None:
        claim_id, (worker_id, ((job_id, run_no), *_)) = str(uuid.uuid4()), message
        self.publication.claiming((job_id, run_no), claim_id)
        if (job := run_writer.claim(job_id, run_no, worker_id, claim_id)) is not None:
            return self._new_runs.make(job, claim_id, began_ns, run_writer)
        if not run_writer.park_paused(job_id, run_no, worker_id) and run_writer.names_other_worker(job_id, worker_id):
            DROPPED.drop("worker")
        return None
