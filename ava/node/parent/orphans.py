"""Runs that the database believes a node to hold, and that no process of it runs: nobody would ever end them.

No fault that we know leaves one behind. This is for those that we do not know.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Set
from dataclasses import dataclass

from ava.node.parent import loop_liveness
from ava.store.engine.database import Connection
from ava.store.fleet import nodes
from ava.store.jobs import rescues

__all__ = ["Orphan", "Orphans"]

_log = logging.getLogger(__name__)

#: Seconds that a run must have been an orphan without a break; many times what Celery's loop takes to hear a child.
_PATIENCE_SECONDS = 8.0

Orphan = tuple[str, int]


@dataclass
class Orphans:
    """What one node has seen of its orphans."""

    node_id: str

    def __post_init__(self) -> None:
        self._since: dict[Orphan, float] = {}

    def find(self, connection: Connection, held: Set[Orphan]) -> list[Orphan]:
        """The runs of the node that have been orphans for long enough; `held` are those that its processes run.

        While Celery's loop stands still, who runs what is not known, and nobody is judged.
        """
        if not loop_liveness.is_turning():
            self._since.clear()
            return []
        now = time.monotonic()
        orphans = nodes.runs_of(connection, self.node_id) - held
        self._since = {orphan: self._since.get(orphan, now) for orphan in orphans}
        return [orphan for orphan, since in self._since.items() if now - since >= _PATIENCE_SECONDS]

    def rescue(self, connection: Connection, orphan: Orphan) -> None:
        """Give an orphan back."""
        job_id, run_no = orphan
        rescues.rescue(
            connection,
            job_id=job_id,
            run_no=run_no,
            node_id=self.node_id,
            msg="Handler lost: no process of its node runs it",
            error="WorkerLost: no process of the worker ran it any more",
            is_loss=True,
        )
        self._since.pop(orphan, None)
        _log.error("A run was taken back that no process ran.", extra={"job_id": job_id, "run_no": run_no})
