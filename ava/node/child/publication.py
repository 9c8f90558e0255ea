"""Publish a child's current run, for the node's parent to read at any time."""

from __future__ import annotations

import math

from ava.domain.jobs.job import RunKey
from ava.node.child.run import Run
from ava.node.run_board import CurrentRun, Phase, ProcessBoard


class Publication:
    """Publishes the current run of one process. Used by the main thread."""

    def __init__(self, board: ProcessBoard) -> None:
        self._board = board

    def claiming(self, run: RunKey, claim_id: str) -> None:
        """Publish a run that is about to be claimed, or checked before it begins."""
        self._board.publish(CurrentRun(key=run, phase=Phase.CLAIMING, claim_id=claim_id, timeout_seconds=math.inf))

    def running(self, run: Run) -> None:
        """Publish that the handler of a run is about to begin."""
        self._publish(run, Phase.RUNNING)

    def ending(self, run: Run, next_run: RunKey | None = None) -> None:
        """Publish that the end of a run is about to be written, by a statement that may claim `next_run`."""
        self._publish(run, Phase.ENDING, next_run)

    def ended(self, run: Run) -> None:
        """Publish that the end of a run is written or buffered, so that this process continues with the next run."""
        self._publish(run, Phase.ENDED)

    def nothing(self) -> None:
        """Publish that this process has no run."""
        self._board.publish(None)

    def _publish(self, run: Run, phase: Phase, next_run: RunKey | None = None) -> None:
        self._board.publish(
            CurrentRun(
                key=run.job.run,
                phase=phase,
                claim_id=run.claim_id or "",
                began_ns=run.began_ns,
                timeout_seconds=run.timeout_seconds,
                grace_seconds=run.handler.spec.cancel_grace_seconds,
                max_memory_mb=run.max_memory_mb,
                cpu_us=run.cpu_before_us,
                next_run=next_run,
            )
        )
