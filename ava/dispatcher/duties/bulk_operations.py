"""Duty: run the batches of operations on many jobs."""

from __future__ import annotations

import time

from ava.dispatcher.duty import Duty
from ava.services.bulk_batches import BulkBatches

#: Seconds for which one call runs batches without a pause.
_CALL_SECONDS = 2.0


class BulkOperationBatches(Duty):
    """Runs batches, of one operation after the other in turn, so that none waits for the end of another."""

    name = "bulk_operations"
    changes = "jobs retried or cancelled by operations"
    #: If `WorkProbe` does not wake it.
    every_seconds = 1.0

    def __init__(self, batches: BulkBatches) -> None:
        super().__init__()
        self._batches = batches

    def run_once(self, _now: float) -> int:
        """Run the batches that are due. Returns the number of jobs."""
        changed, until = 0, time.monotonic() + _CALL_SECONDS
        while time.monotonic() < until and (count := self._batches.run_next()) is not None:
            changed += count
        return changed
