"""The threads that claim the runs of a slot process and write their ends, in batches."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Collection, Sequence
from typing import Generic, NamedTuple, TypeVar

from ava.domain.jobs.job import RunKey, Status
from ava.errors import DatabaseUnavailable
from ava.handler import registry
from ava.node.outcome import Stop
from ava.node.runs import run_reports
from ava.node.runs.new_run import NewRuns, SentClaim
from ava.node.runs.run import LINES_SECONDS, Run
from ava.node.runs.run_journal import Creators, RunJournal
from ava.node.runs.run_writer import RunWriter
from ava.node.slots.slot_run import SlotRun
from ava.settings import Settings
from ava.store.engine.database import Database
from ava.store.jobs.transitions import recall
from ava.store.jobs.transitions.ended_runs import EndedRun

Item = TypeVar("Item")
Result = TypeVar("Result")

_ITEMS_PER_BATCH = 200


class Batches(threading.Thread, Generic[Item, Result]):
    def __init__(self, name: str, loop: asyncio.AbstractEventLoop, writer: RunWriter) -> None:
        """`writer`: used by this thread only."""
        super().__init__(name=name, daemon=True)
        self._loop = loop
        self._writer = writer
        self._requests: queue.SimpleQueue[tuple[Item, asyncio.Future[Result]] | None] = queue.SimpleQueue()
        #: Whether a batch is being processed, or about to be.
        self._is_busy = False

    def request(self, item: Item) -> asyncio.Future[Result]:
        """Request the processing of an item, in the event loop. Returns the future result."""
        result: asyncio.Future[Result] = self._loop.create_future()
        self._requests.put((item, result))
        return result

    def close(self) -> None:
        """End the thread after it has processed its queue."""
        self._requests.put(None)
        # Not started if the consumer could not start.
        if self.ident is not None:
            self.join()
        self._writer.close()

    def await_idle(self, seconds: float) -> None:
        """Wait at most `seconds` until all requests are processed. Called by another thread."""
        deadline = time.monotonic() + seconds
        while (not self._requests.empty() or self._is_busy) and time.monotonic() < deadline:
            time.sleep(0.01)

    # The thread ----------------------------------------------------------------------------------------------------

    @abstractmethod
    def process(self, items: Sequence[Item]) -> Sequence[Result]:
        """Process items. Returns the result of each, and raises nothing."""

    def run(self) -> None:
        has_ended = False
        while not has_ended:
            batch = [self._requests.get()]
            self._is_busy = True
            while batch[-1] is not None and len(batch) < _ITEMS_PER_BATCH and not self._requests.empty():
                batch.append(self._requests.get())
            has_ended = batch[-1] is None
            requests = [each for each in batch if each is not None]
            results = self.process([item for item, _ in requests])
            self._is_busy = False
            if requests:
                self._loop.call_soon_threadsafe(_deliver, requests, results)


def _deliver(requests: Sequence[tuple[Item, asyncio.Future[Result]]], results: Sequence[Result]) -> None:
    for (_, future), result in zip(requests, results, strict=True):
        # A handler may have cancelled the waiting task. Orphan detection then rescues a claimed run.
        if not future.done():
            future.set_result(result)


_log = logging.getLogger(__name__)


class WantedRun(NamedTuple):
    """A run to claim, or to return to the backlog unclaimed."""

    key: RunKey
    worker_id: str
    is_recalled: bool = False


class SlotClaims(Batches[WantedRun, SlotRun | None]):
    """Claims runs, and recalls runs that this process does not execute.

    The result is None if a run cannot be claimed, or if this process lacks its worker.
    """

    def __init__(self, settings: Settings, writer: RunWriter, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__("ava-claims", loop, writer)
        self._new_runs = NewRuns(settings, lambda _began_ns: None, SlotRun, SlotJournal)

    def may_begin(self, run: Run) -> bool:
        """Return True if a run may still enter its handler; blocks.

        Raises `DatabaseUnavailable` at the first failure.
        """
        return self._writer.may_begin(run)

    def process(self, items: Sequence[WantedRun]) -> Sequence[SlotRun | None]:
        """Claim runs by worker, and then recall runs. Returns a run for each claimed one."""
        made: dict[int, SlotRun | None] = {}
        for worker_id in dict.fromkeys(each.worker_id for each in items if not each.is_recalled):
            wanted = {n: it.key for n, it in enumerate(items) if it.worker_id == worker_id and not it.is_recalled}
            try:
                self._claim_into(made, worker_id, wanted)
            except Exception:
                # Orphan detection finds claimed runs without an owner here; the dispatcher detects lost messages.
                _log.exception("Runs not claimed", extra={"worker_id": worker_id})
        if recalled := [each.key for each in items if each.is_recalled]:
            self._recall(recalled)
        return [made.get(number) for number in range(len(items))]

    def _recall(self, keys: Sequence[RunKey]) -> None:
        try:
            with self._writer.database.connect() as connection:
                recall.recall_runs(connection, keys)
        except Exception:
            # The dispatcher detects lost messages.
            _log.exception("Runs not returned to the backlog")

    def _claim_into(self, made: dict[int, SlotRun | None], worker_id: str, wanted: dict[int, RunKey]) -> None:
        handler, keys = registry.find(worker_id), list(wanted.values())
        if handler is None or not handler.spec.is_concurrent:
            self._new_runs.defer(keys, worker_id, self._writer)
            return
        shared = SentClaim.new()
        jobs = self._writer.claim_together(keys, worker_id, shared.id) if len(keys) > 1 else []
        claimed = {job.run: job for job in jobs}
        for number, key in wanted.items():
            # Only once, even if a message was delivered twice.
            if (job := claimed.pop(key, None)) is not None:
                made[number] = self._new_runs.make(job, shared, self._writer, is_shared=True)
                continue
            # It may have been lost before or may expire, for example.
            single = SentClaim.new()
            if (job := self._writer.claim_or_park(key, worker_id, single.id)) is not None:
                made[number] = self._new_runs.make(job, single, self._writer, is_shared=False)


class SlotJournal(RunJournal):
    """The journal of a run in a slot. A thread checks whether a wait is admitted, after the handler has left.

    So the event loop executes no statement. A refusal fails the attempt.
    """

    def __init__(self, run: Run, database: Database, creators: Creators) -> None:
        super().__init__(run, database, creators)
        assert isinstance(run, SlotRun)
        self._slot_run = run

    def admit_wait(self) -> None:
        self._slot_run.admit_wait = super().admit_wait


class SlotEnds(Batches[SlotRun, None]):
    """Writes the decided ends of runs. The result arrives when an end is written, or cannot be written.

    Waits, ends that defer a rate, and undecided ends are written individually, and the others together.
    """

    def __init__(self, writer: RunWriter, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__("ava-ends", loop, writer)

    def process(self, items: Sequence[SlotRun]) -> Sequence[None]:
        together: list[tuple[SlotRun, EndedRun]] = []
        for run in items:
            # Store no line after the end.
            with run.storing:
                run.is_ending = True
            run_reports.close_log(run)
            if run.end is not None and run.end.wait is None and not run.end.is_rate_limited:
                together.append((run, run_reports.ended_run(run)))
            else:
                self._write([run], lambda run=run: run_reports.write_single(run, self._writer, self._end))  # type: ignore[misc]
        if together and not self._write_together(together):
            for each in together:
                self._write_together([each])
        for run in items:
            # Also if its end could not be written.
            run.span.end()
            run.forget_error()
        return [None] * len(items)

    def _end(self, ended: EndedRun) -> Status | None:
        return self._writer.end(ended)[0]

    def _write_together(self, ended: Sequence[tuple[SlotRun, EndedRun]]) -> bool:
        runs = [run for run, _ in ended]
        written = [each for _, each in ended]
        return self._write(runs, lambda: run_reports.report_written(runs, self._writer.end_together(written)))

    @staticmethod
    def _write(runs: Sequence[SlotRun], act: Callable[[], None]) -> bool:
        """Call `act`, which writes the ends of runs. Returns False if it fails."""
        try:
            act()
        except Exception:
            # Orphan detection rescues a run whose own statement failed.
            _log.exception("Ends of %d runs not written", len(runs), extra={"job_id": runs[0].job.id})
            return False
        for run in runs:
            run.is_end_written = True
        return True


class SlotLines(threading.Thread):
    def __init__(self, writer: RunWriter, runs: Callable[[], Collection[SlotRun]]) -> None:
        super().__init__(name="ava-lines", daemon=True)
        self._writer = writer
        self._runs = runs

    def run(self) -> None:
        while True:
            time.sleep(LINES_SECONDS)
            try:
                for run in self._runs():
                    if run.has_lines and not self._store(run):
                        run.stop(Stop.LOST)
            except DatabaseUnavailable:
                # The lines stay buffered until the database is back.
                time.sleep(LINES_SECONDS)
            except Exception:
                _log.exception("Lines of runs not stored, will retry")

    def _store(self, run: SlotRun) -> bool:
        with run.storing:
            return run.is_ending or self._writer.store_lines(run)
