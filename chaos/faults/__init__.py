"""Every fault, in the order of the table in chaos/RESULTS.md."""

from __future__ import annotations

from chaos.fault import Fault
from chaos.faults import (
    awaited_events,
    chords,
    clocks,
    containments,
    deploys,
    fairness,
    groups,
    histories,
    hooks,
    lost_commits,
    outbox,
    policies,
    processes,
    pulls,
    queues,
    schedules,
    servers,
    slots,
)

__all__ = ["FAULTS", "fault_named"]

FAULTS = (
    *processes.FAULTS,
    *slots.FAULTS,
    *fairness.FAULTS,
    *groups.FAULTS,
    *chords.FAULTS,
    *pulls.FAULTS,
    *servers.FAULTS,
    *queues.FAULTS,
    *deploys.FAULTS,
    *clocks.FAULTS,
    *schedules.FAULTS,
    *hooks.FAULTS,
    *outbox.FAULTS,
    *policies.FAULTS,
    *awaited_events.FAULTS,
    *containments.FAULTS,
    *histories.FAULTS,
    *lost_commits.FAULTS,
)


def fault_named(name: str) -> Fault:
    """Return the fault of that name."""
    return next(fault for fault in FAULTS if fault.name == name)
