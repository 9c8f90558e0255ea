"""The threads that write the ends of a slot process's runs, and store the lines of running ones."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Collection, Sequence

from ava.domain.jobs.job import Status
from ava.errors import DatabaseUnavailable
from ava.node.outcome import Stop
from ava.node.runs import run_reports
from ava.node.runs.run import LINES_SECONDS
from ava.node.runs.run_writer import RunWriter
from ava.node.slots.batches import Batches
from ava.node.slots.slot_run import SlotRun
from ava.store.jobs.transitions.ended_runs import EndedRun

_log = logging.getLogger(__name__)


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
