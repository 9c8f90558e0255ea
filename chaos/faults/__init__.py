"""Every fault, in the order of the table in chaos/RESULTS.md."""

from __future__ import annotations

from chaos.fault import Fault
from chaos.faults import (
    clocks,
    containments,
    deploys,
    fairness,
    groups,
    histories,
    lost_commits,
    processes,
    pulls,
    queues,
    servers,
    slots,
)

__all__ = ["FAULTS", "fault_named"]

FAULTS = (
    *processes.FAULTS,
    *slots.FAULTS,
    *fairness.FAULTS,
    *groups.FAULTS,
    *pulls.FAULTS,
    *servers.FAULTS,
    *queues.FAULTS,
    *deploys.FAULTS,
    *clocks.FAULTS,
    *containments.FAULTS,
    *histories.FAULTS,
    *lost_commits.FAULTS,
)


def fault_named(name: str) -> Fault:
    """Return the fault of that name."""
    return next(fault for fault in FAULTS if fault.name == name)
