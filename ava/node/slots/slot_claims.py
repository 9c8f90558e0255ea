"""The thread that claims runs for the slots of a process. One statement claims all runs that arrived during the
last.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from ava.domain.jobs.job import Job, RunKey
from ava.handler import registry
from ava.node.runs import run_reports
from ava.node.runs.new_run import NewRuns
from ava.node.runs.run_journal import Creators, RunJournal
from ava.node.runs.run_writer import RunWriter
from ava.node.slots.slot_run import SlotRun
from ava.settings import Settings
from ava.store.engine.database import Database
from ava.store.jobs.moves import recall

_log = logging.getLogger(__name__)

_RUNS_PER_STATEMENT = 200


@dataclass(eq=False, slots=True)
class _WantedRun:
    """A run to claim."""

    key: RunKey
    worker_id: str
    #: Receives the run, or None if it could not be claimed.
    claimed: asyncio.Future[SlotRun | None]


class SlotClaims:
    """Claims runs, and requeues runs that this process does not execute. Its methods are called in the event loop."""

    def __init__(self, settings: Settings, node_id: str, database: Database, loop: asyncio.AbstractEventLoop) -> None:
        self._settings = settings
        self._database = database
        self._loop = loop
        self._writer = RunWriter(database, node_id)
        self._new_runs = NewRuns(settings, lambda _began_ns: None, SlotRun, SlotJournal)
        self._wanted: queue.SimpleQueue[_WantedRun | Sequence[RunKey] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="ava-claims", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """End the thread after it has processed its queue."""
        self._wanted.put(None)
        # Not started if the consumer could not start.
        if self._thread.ident is not None:
            self._thread.join()
        self._writer.close()

    async def claim(self, key: RunKey, worker_id: str) -> SlotRun | None:
        """Start a run. Returns None if it cannot be claimed, or if this process lacks its worker."""
        wanted = _WantedRun(key, worker_id, self._loop.create_future())
        self._wanted.put(wanted)
        return await wanted.claimed

    def owns_job(self, run: SlotRun) -> bool:
        """Return True if a run still owns its job; blocks. Raises `DatabaseUnavailable` at the first failure."""
        return self._writer.owns_job(run)

    def recall(self, keys: Sequence[RunKey]) -> None:
        """Return unclaimed runs to the backlog."""
        self._wanted.put(keys)

    # The thread ----------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        while (first := self._wanted.get()) is not None:
            if not isinstance(first, _WantedRun):
                self._recall(first)
                continue
            by_worker = {first.worker_id: [first]}
            further: _WantedRun | Sequence[RunKey] | None = first
            for _ in range(_RUNS_PER_STATEMENT - 1):
                try:
                    further = self._wanted.get_nowait()
                except queue.Empty:
                    break
                if not isinstance(further, _WantedRun):
                    # Keep the order: recall these after the claims.
                    break
                by_worker.setdefault(further.worker_id, []).append(further)
            for worker_id, wanted in by_worker.items():
                self._claim_all(worker_id, wanted)
            if further is None:
                return
            if not isinstance(further, _WantedRun):
                self._recall(further)

    def _recall(self, keys: Sequence[RunKey]) -> None:
        try:
            with self._database.connect() as connection:
                recall.recall_runs(connection, keys)
        except Exception:
            # The dispatcher detects lost messages.
            _log.exception("Runs not returned to the backlog")

    def _claim_all(self, worker_id: str, wanted: Sequence[_WantedRun]) -> None:
        made: list[SlotRun | None] = [None] * len(wanted)
        try:
            handler = registry.find(worker_id)
            if handler is None or not handler.spec.is_concurrent:
                for each in wanted:
                    self._writer.defer(each.key, worker_id, dead_after_seconds=self._settings.node_dead_seconds)
            else:
                self._claim_into(made, worker_id, wanted)
        except Exception:
            # Orphan detection finds claimed runs without an owner here; the dispatcher detects lost messages.
            _log.exception("Runs not claimed", extra={"worker_id": worker_id})
        self._loop.call_soon_threadsafe(_deliver, wanted, made)

    def _claim_into(self, made: list[SlotRun | None], worker_id: str, wanted: Sequence[_WantedRun]) -> None:
        began_ns, sent_at, claim_id = time.time_ns(), time.monotonic(), str(uuid.uuid4())
        claimed: dict[RunKey, Job] = {}
        if len(wanted) > 1:
            jobs = self._writer.claim_together([each.key for each in wanted], worker_id, claim_id)
            claimed = {job.run: job for job in jobs}
        for number, each in enumerate(wanted):
            # Only once, even if a message was delivered twice.
            if (job := claimed.pop(each.key, None)) is not None:
                run = self._make(job, claim_id, began_ns, sent_at)
                run_reports.open_log(run)
                made[number] = run
            else:
                made[number] = self._claim_alone(each)

    def _claim_alone(self, wanted: _WantedRun) -> SlotRun | None:
        """Claim a single run that could not be claimed with others, because it was lost before or may expire, for
        example.
        """
        began_ns, sent_at, claim_id = time.time_ns(), time.monotonic(), str(uuid.uuid4())
        job = self._writer.claim_or_park(wanted.key, wanted.worker_id, claim_id)
        return None if job is None else self._make(job, claim_id, began_ns, sent_at)

    def _make(self, job: Job, claim_id: str, began_ns: int, sent_at: float) -> SlotRun:
        run = self._new_runs.make(job, claim_id, began_ns, self._writer)
        if job.start_seconds is not None:
            run.begins_before = sent_at + job.start_seconds
        return run


def _deliver(wanted: Sequence[_WantedRun], made: Sequence[SlotRun | None]) -> None:
    for each, run in zip(wanted, made, strict=True):
        # A handler may have cancelled the waiting task. Orphan detection then rescues the run.
        if not each.claimed.done():
            each.claimed.set_result(run)


class SlotJournal(RunJournal):
    """The journal of a run in a slot. Whether a wait is admitted is checked in a thread after the handler has left.

    So the event loop executes no statement. A refusal fails the attempt.
    """

    def __init__(self, run: SlotRun, database: Database, creators: Creators) -> None:
        super().__init__(run, database, creators)
        self._slot_run = run

    def admit_wait(self) -> None:
        """Schedule the check that admits a wait."""
        self._slot_run.admit_wait = super().admit_wait
