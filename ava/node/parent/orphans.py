"""Orphans: runs that belong to a node according to the database, but that no process of the node has.

Without a rescue such a run would last as long as its node. In a pool its claim succeeded without the process learning
of it; a process that cannot end a begun run ends itself. In a slot process the run may have begun: its end could not be
written, or a handler cancelled the tasks of other runs.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Set
from dataclasses import dataclass

from ava.domain.jobs.job import RunKey
from ava.node.parent import loop_liveness
from ava.store.engine.database import Connection
from ava.store.engine.scan_rest import Rest
from ava.store.fleet import nodes
from ava.store.jobs.transitions import rescue

_log = logging.getLogger(__name__)

#: Seconds for which a run must continuously be an orphan: far more than a child's report takes.
_PATIENCE_SECONDS = 8.0


@dataclass
class Orphans:
    node_id: str

    def __post_init__(self) -> None:
        self._since: dict[RunKey, float] = {}
        # Short enough that a run is seen three times before it counts as an orphan.
        self._rest, self._next_at = Rest(_PATIENCE_SECONDS / 2), 0.0

    def find(self, connection: Connection, held: Set[RunKey]) -> list[RunKey]:
        """Return the runs that have been orphans for long enough. `held`: the runs of the node's processes.

        While Celery's loop is blocked, `held` is outdated, and no run counts as an orphan.
        """
        if not loop_liveness.is_turning():
            self._since.clear()
            return []
        if (now := time.monotonic()) < self._next_at:
            return []
        orphans = nodes.runs_of(connection, self.node_id) - held
        self._since = {orphan: self._since.get(orphan, now) for orphan in orphans}
        self._next_at = time.monotonic() + self._rest.after(time.monotonic() - now)
        return [orphan for orphan, since in self._since.items() if now - since >= _PATIENCE_SECONDS]

    def rescue(self, connection: Connection, orphan: RunKey, *, has_begun: bool) -> None:
        """Rescue an orphan: its job returns to the queue, or ends if it was lost too often.

        A run that never began does not count as a loss.
        """
        lost = "Handler lost: no process of its node runs it"
        rescue.rescue(
            connection,
            run=orphan,
            node_id=self.node_id,
            msg=lost if has_begun else "Handler not started: no process of its node has the run",
            error="WorkerLost: no process of the worker ran it any more",
            is_loss=has_begun,
            has_begun=has_begun,
        )
        self._since.pop(orphan, None)
        fields = {"job_id": orphan.job_id, "run_no": orphan.run_no, "has_begun": has_begun}
        _log.error("Orphaned run rescued: no process ran it", extra=fields)
