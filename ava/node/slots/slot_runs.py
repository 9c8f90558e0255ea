"""The runs of a slot process, as its run monitor sees them. A run that must end and does not ends the process."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Collection, Sequence, Set
from dataclasses import replace
from typing import NoReturn

from ava.domain.jobs.job import RunKey
from ava.errors import DatabaseUnavailable
from ava.node.outcome import Stop
from ava.node.parent import deadlines
from ava.node.parent.deadlines import Decision, NodeState
from ava.node.parent.pool_runs import PoolRuns
from ava.node.parent.tracked_run import DeadProcess, TrackedRun
from ava.node.slots.slot_run import SlotRun
from ava.store.engine.database import Database
from ava.store.fleet import nodes
from ava.store.fleet.nodes import RunDirectives

_log = logging.getLogger(__name__)

#: Seconds between two questions while the database is away.
_PAUSE_SECONDS = 0.1


class SlotRuns(PoolRuns):
    """The runs of one process. The event loop adds and removes them; the loop watch applies their deadlines.

    What the event loop of Celery reports is kept as for a pool.
    """

    # The time-outs of a silent server would be those of the handlers' connections too (`ava.store.engine.timeouts`).
    has_watch = True

    def __init__(self, node_id: str, end_process: Callable[[Sequence[SlotRun]], NoReturn]) -> None:
        """`end_process` ends this process because of these runs; the others return to the queue."""
        super().__init__(node_id)
        #: Held while the state of a run changes.
        self._deciding = threading.Lock()
        self._end_process = end_process
        self._runs: dict[RunKey, SlotRun] = {}
        #: Runs that have begun and whose ends were not written. There are few.
        self._left: set[RunKey] = set()

    def add(self, run: SlotRun) -> None:
        """A run was claimed."""
        self._runs[run.key] = run
        self._last_started_at = time.monotonic()

    def remove(self, run: SlotRun) -> None:
        """The end of a run is written, or cannot be."""
        if not run.is_end_written:
            self._left.add(run.key)
        self._runs.pop(run.key, None)

    def all(self) -> Collection[SlotRun]:
        """Returns the runs."""
        # In one step of the interpreter, because the loop changes the dictionary.
        return list(self._runs.values())

    # What the monitor's thread asks --------------------------------------------------------------------------------

    def look(self) -> Collection[SlotRun]:  # type: ignore[override]  # they are not tracked from outside
        """Returns the runs."""
        return self.all()

    def apply_deadlines(self, node: NodeState, released: Collection[str]) -> Collection[TrackedRun]:
        """Stop the runs whose time is over, and end this process if one of them does not stop. Returns none."""
        with self._deciding:
            self._apply_deadlines(node, released)
        return ()

    def _apply_deadlines(self, node: NodeState, released: Collection[str]) -> None:
        now = time.monotonic()
        is_calm = node == NodeState() and not released
        late = []
        for run in self.all():
            # The node's own end waits for no run. Otherwise the clock of a run stands still while another one blocks.
            clock = now - run.lost_seconds if is_calm else now
            if is_calm and run.state.stop is None and run.phase is not run.phase.ENDING and clock < run.overdue_at:
                continue
            state = replace(run.state, phase=run.phase, since=run.since, is_released=run.task_id in released)
            decision = deadlines.decide(state, clock, node)
            self._apply(run, decision)
            if decision.is_kill_due:
                late.append(run)
        claimed_pids = {os.getpid()} if self._runs else set()
        if late or node.is_abandoning or self._is_claim_overdue(node, now, claimed_pids):
            self._end_process(late)

    def apply_directives(self, runs: Collection[SlotRun], directives: RunDirectives) -> None:  # type: ignore[override]
        """Stop the runs that the database calls over, or to be cancelled."""
        if not directives.over and not directives.cancelled:
            return
        now = time.monotonic()
        with self._deciding:
            for run in runs:
                is_over, is_cancelled = run.key in directives.over, run.key in directives.cancelled
                state = replace(run.state, phase=run.phase, since=run.since)
                clock = now - run.lost_seconds
                self._apply(run, deadlines.decide_directive(state, clock, is_over=is_over, is_cancelled=is_cancelled))

    @staticmethod
    def _apply(run: SlotRun, decision: Decision) -> None:
        run.state = decision.run
        if decision.send is not None:
            run.stop(decision.send)

    def ask_database(self, database: Database, node_id: str) -> None:
        """Ask until the database says which runs go on, and stop the others. The loop waits meanwhile.

        Called in the main thread when this process was continued after a freeze.
        """
        while runs := self.all():
            try:
                with database.connect() as connection:
                    directives = nodes.check_runs(connection, node_id, [run.key for run in runs])
            except DatabaseUnavailable:
                time.sleep(_PAUSE_SECONDS)
                continue
            for run in runs:
                if run.key in directives.over and run.phase is run.phase.RUNNING:
                    run.stop(Stop.LOST)
            return

    def kill_all(self, reason: Stop | None) -> list[DeadProcess]:
        """End this process if it has a run; the node's command then rescues them. Returns nothing."""
        if self._runs or self._given:
            _log.warning("Slot process ends with %d runs, %s", len(self._runs), reason or "because of a failure")
            self._end_process(())
        return []

    def keys(self) -> set[RunKey]:
        """Returns all runs that this process has, or was given."""
        with self._lock:
            given = {run for each in self._given for run in each.runs}
        return given | {run.key for run in self.all()}

    def left(self) -> Set[RunKey]:
        """Returns the runs that have begun and that this process has no more, although their ends were not written."""
        return self._left

    def killed_keys(self) -> set[RunKey]:
        """Returns none."""
        return set()

    @property
    def busy(self) -> int:
        """Returns the number of slots that are taken."""
        with self._lock:
            return len(self._given)

    @property
    def has_runs(self) -> bool:
        """Returns True if a slot is taken."""
        return bool(self._given) or bool(self._runs)
