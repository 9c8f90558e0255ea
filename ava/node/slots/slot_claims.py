"""The thread that claims runs for the slots of a process."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import NamedTuple

from ava.domain.jobs.job import RunKey
from ava.handler import registry
from ava.node.runs.new_run import NewRuns, SentClaim
from ava.node.runs.run import Run
from ava.node.runs.run_journal import Creators, RunJournal
from ava.node.runs.run_writer import RunWriter
from ava.node.slots.batches import Batches
from ava.node.slots.slot_run import SlotRun
from ava.settings import Settings
from ava.store.engine.database import Database
from ava.store.jobs.transitions import recall

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
