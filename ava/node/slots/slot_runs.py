"""The runs of a slot process, as its run monitor sees them. An overdue run ends the whole process."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Collection, Sequence, Set
from dataclasses import replace
from typing import Any, NoReturn

from ava.domain.jobs.job import RunKey
from ava.errors import DatabaseUnavailable
from ava.node.outcome import Stop
from ava.node.parent import deadlines
from ava.node.parent.deadlines import DeadlineDecision, NodeState
from ava.node.parent.pool_runs import DeadProcess, PoolRuns, TrackedRun
from ava.node.slots.slot_run import SlotRun
from ava.store.engine.database import Database
from ava.store.fleet import nodes
from ava.store.fleet.nodes import RunDirectives

_log = logging.getLogger(__name__)

#: Seconds between attempts while the database is unreachable.
_PAUSE_SECONDS = 0.1


class SlotRuns(PoolRuns):
    """The runs of one process. The event loop adds and removes them; the loop watch applies their deadlines."""

    # The monitor's thread may wait forever for a silent database server: timeouts for it would also apply to handlers'
    # connections (`ava.store.engine.timeouts`).
    has_watch = True

    def __init__(self, node_id: str, end_process: Callable[[Sequence[SlotRun]], NoReturn]) -> None:
        """`end_process` ends this process because of the given runs; the others return to the queue."""
        super().__init__(node_id)
        self._deciding = threading.Lock()
        self._end_process = end_process
        self._runs: dict[RunKey, SlotRun] = {}
        #: The few begun runs whose ends could not be written.
        self._left: set[RunKey] = set()

    def add(self, run: SlotRun) -> None:
        self._runs[run.key] = run
        self._last_started_at = time.monotonic()

    def remove(self, run: SlotRun) -> None:
        """Remove a run after its end was written or could not be written."""
        if not run.is_end_written:
            self._left.add(run.key)
        self._runs.pop(run.key, None)

    def all(self) -> Collection[SlotRun]:
        # Atomic under the GIL, because the loop concurrently changes the dictionary.
        return list(self._runs.values())

    # Used by the monitor's thread ----------------------------------------------------------------------------------

    def poll(self) -> Collection[Any]:
        return self.all()

    def apply_deadlines(self, node: NodeState, released: Collection[str]) -> Collection[TrackedRun]:
        """Stop overdue runs, and end this process if any does not stop. Returns an empty collection."""
        now = time.monotonic()
        is_calm = node == NodeState() and not released
        overdue = []
        with self._deciding:
            for run in self.all():
                # A shutdown waits for no run. Otherwise the clock of a run stops while another run blocks the loop.
                clock = now - run.lost_seconds if is_calm else now
                if is_calm and run.is_punctual(clock):
                    continue
                decision = deadlines.decide(replace(run.state, is_released=run.task_id in released), clock, node)
                self._follow(run, decision)
                if decision.is_kill_due:
                    overdue.append(run)
            claimed_pids = {os.getpid()} if self._runs else set()
            if overdue or node.is_abandoning or self._is_claim_overdue(node, now, claimed_pids):
                self._end_process(overdue)
        return ()

    def apply_directives(self, runs: Collection[Any], directives: RunDirectives) -> None:
        with self._deciding:
            super().apply_directives(runs, directives)

    def _follow(self, run: Any, decision: DeadlineDecision) -> None:
        run.state = decision.run
        if decision.send is not None:
            run.stop(decision.send)

    def ask_database(self, database: Database) -> None:
        """Retry until the database reports which runs may continue, and stop the others. Blocks the loop.

        Called in the main thread when this process continues after a freeze.
        """
        while runs := self.all():
            try:
                with database.connect() as connection:
                    directives = nodes.confirm_runs(connection, self._node_id, [run.key for run in runs])
            except DatabaseUnavailable:
                time.sleep(_PAUSE_SECONDS)
                continue
            for run in runs:
                if run.key in directives.over and run.is_open:
                    run.stop(Stop.LOST)
            return

    def kill_all(self, reason: Stop | None) -> list[DeadProcess]:
        """End this process if it has a run; the node's command then rescues its runs. Returns an empty list."""
        if self.has_runs:
            _log.warning("Slot process ends with %d runs, %s", len(self._runs), reason or "because of a failure")
            self._end_process(())
        return []

    def keys(self) -> set[RunKey]:
        return super().keys() | {run.key for run in self.all()}

    def left(self) -> Set[RunKey]:
        """Return the runs that have begun and left this process although their ends were not written."""
        return self._left

    def _count_busy(self) -> int:
        return len(self._given)

    @property
    def has_runs(self) -> bool:
        return super().has_runs or bool(self._runs)
