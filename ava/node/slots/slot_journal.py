"""The journal of a run in a slot: no statement of it is done in the event loop."""

from __future__ import annotations

from ava.node.child.run_journal import Creators, RunJournal
from ava.node.slots.slot_run import SlotRun
from ava.store.engine.database import Database


class SlotJournal(RunJournal):
    """Whether a wait is admitted is asked once the handler has left, in a thread. A refusal fails the attempt."""

    def __init__(self, run: SlotRun, database: Database, creators: Creators) -> None:
        super().__init__(run, database, creators)
        self._slot_run = run

    def admit_wait(self) -> None:
        """Note that a wait is to be admitted."""
        self._slot_run.admit_wait = super().admit_wait
