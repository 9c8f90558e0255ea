"""The threads that write the ends of a slot process's runs, and store the lines of running ones.

One statement writes all ends that arrived during the last one. Waits, and ends that defer a rate, are written
individually.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from ava.domain.jobs.job import JobKey, LogLine, Status
from ava.errors import DatabaseUnavailable
from ava.node.outcome import Stop
from ava.node.runs import run_reports
from ava.node.runs.run_writer import RunWriter, ended_run
from ava.node.slots.slot_run import SlotRun
from ava.store.engine.database import Database
from ava.store.jobs.moves import log_lines
from ava.store.jobs.moves.ended_runs import EndedRun

_log = logging.getLogger(__name__)

_ENDS_PER_STATEMENT = 200
#: Seconds between two polls for lines. A shorter run stores its lines with its end.
_LOOK_SECONDS = 0.1


@dataclass(eq=False, slots=True)
class _EndedRun:
    """A run with a decided end."""

    run: SlotRun
    written: asyncio.Future[None]


class SlotEnds:
    """Writes the ends of runs."""

    def __init__(self, node_id: str, database: Database, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._writer = RunWriter(database, node_id)
        self._ended: queue.SimpleQueue[_EndedRun | None] = queue.SimpleQueue()
        #: Whether a statement is in flight, or about to be sent.
        self._is_writing = False
        self._thread = threading.Thread(target=self._work, name="ava-ends", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """End the thread once all ends are written."""
        self._ended.put(None)
        # Not started if the consumer could not start.
        if self._thread.ident is not None:
            self._thread.join()
        self._writer.close()

    async def write(self, run: SlotRun) -> None:
        """Write the decided end of a run. Returns when it is written, or cannot be written."""
        ended = _EndedRun(run, self._loop.create_future())
        self._ended.put(ended)
        await ended.written

    def await_written(self, seconds: float) -> None:
        """Wait at most `seconds` until all ends are written. Called by another thread."""
        deadline = time.monotonic() + seconds
        while (not self._ended.empty() or self._is_writing) and time.monotonic() < deadline:
            time.sleep(0.01)

    # The thread ----------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        is_over = False
        while not is_over:
            batch = [self._ended.get()]
            self._is_writing = True
            while batch[-1] is not None and len(batch) < _ENDS_PER_STATEMENT:
                try:
                    batch.append(self._ended.get_nowait())
                except queue.Empty:
                    break
            is_over = batch[-1] is None
            ended = [each for each in batch if each is not None]
            self._write_all([each.run for each in ended])
            self._is_writing = False
            if ended:
                self._loop.call_soon_threadsafe(_release, ended)

    def _write_all(self, runs: Sequence[SlotRun]) -> None:
        ended: list[tuple[SlotRun, EndedRun]] = []
        for run in runs:
            # Store no line after the end.
            with run.storing:
                run.is_ending = True
            run.log.close()
            if run.end is not None and run.end.wait is None and not run.end.is_rate_limited:
                is_completed = run.end.status is Status.COMPLETED
                ended.append((run, ended_run(run, began_at=run.job.started_at if is_completed else None)))
            else:
                self._try(lambda run=run: self._write_single(run), run)  # type: ignore[misc]
        if ended:
            self._write_together(ended)
        for run in runs:
            run.span.end()
            run.forget_error()

    def _write_together(self, ended: Sequence[tuple[SlotRun, EndedRun]]) -> None:
        try:
            statuses = self._writer.end_together([each for _, each in ended])
        except Exception:
            _log.exception("Ends of %d runs not written together, they are written one by one", len(ended))
            for run, each in ended:
                self._try(lambda run=run, each=each: self._write_one(run, each), run)  # type: ignore[misc]
            return
        for run, _ in ended:
            run.is_end_written = True
            run_reports.report_end(run, statuses.get(JobKey(run.job.tenant_id, run.job.id)))

    def _write_one(self, run: SlotRun, ended: EndedRun) -> None:
        run_reports.report_end(run, self._writer.end_together([ended]).get(run.job.key))

    def _write_single(self, run: SlotRun) -> None:
        if run.end is not None:
            run_reports.report_end(run, self._writer.end(ended_run(run))[0])
            return
        if run.stopped_for is not None:
            run.span.record_failure(run.stopped_for.value)
        self._writer.end_undecided(run)

    @staticmethod
    def _try(act: Callable[[], None], run: SlotRun) -> None:
        try:
            act()
            run.is_end_written = True
        except Exception:
            # Orphan detection rescues the run.
            _log.exception("End of run not written", extra={"job_id": run.job.id})


def _release(ended: Sequence[_EndedRun]) -> None:
    for each in ended:
        # A handler may have cancelled the waiting task.
        if not each.written.done():
            each.written.set_result(None)


class SlotLines(threading.Thread):
    """Stores the lines and the progress of running runs."""

    def __init__(self, database: Database, runs: Callable[[], Collection[SlotRun]]) -> None:
        super().__init__(name="ava-lines", daemon=True)
        self._database = database
        self._runs = runs

    def run(self) -> None:
        """Poll repeatedly."""
        while True:
            time.sleep(_LOOK_SECONDS)
            try:
                self._look()
            except DatabaseUnavailable:
                # The lines stay buffered until the database is back.
                time.sleep(_LOOK_SECONDS)
            except Exception:
                _log.exception("Lines of runs not stored, will retry")

    def _look(self) -> None:
        for run in self._runs():
            is_empty = run.log.is_empty and run.progress_json is None
            if not is_empty and run.log.elapsed_ms >= 1000 * _LOOK_SECONDS and not self._store(run):
                run.stop(Stop.LOST)

    def _store(self, run: SlotRun) -> bool:
        """Return False if the run has lost its job."""
        with run.storing:
            if run.is_ending:
                return True
            lines: list[LogLine] = run.log.take()
            progress_json, run.progress_json = run.progress_json, None
            try:
                with self._database.connect() as connection:
                    return log_lines.append(
                        connection, run=run.key, claim_id=run.claim_id, lines=lines, progress_json=progress_json
                    )
            except DatabaseUnavailable:
                run.log.put_back(lines)
                run.progress_json = run.progress_json or progress_json
                raise
