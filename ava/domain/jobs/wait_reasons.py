"""Wait reasons of queued jobs: the values of `waits_for`."""

from __future__ import annotations

from enum import StrEnum


class WaitsFor(StrEnum):
    """Why a queued job may not start yet."""

    #: Its `scheduled_at`.
    SCHEDULE = "schedule"
    #: The retry delay after a failed attempt.
    RETRY = "retry"
    #: The time set when its handler, or a node without the handler, deferred it.
    DEFERRED = "deferred"
    #: The end of a burst of triggers with its `debounce` key.
    DEBOUNCE = "debounce"
    #: The children, or the first of several things, that its handler waits for. A stopped job: its running descendants.
    CHILDREN = "children"
    #: Its predecessors in the bulk, or the previous job of its schedule.
    JOBS = "jobs"
    #: An event for its handler.
    EVENT = "event"
    #: The decision of a person.
    APPROVAL = "approval"
    #: The end of its handler's sleep.
    SLEEP = "sleep"
    #: A permit of its limit.
    PERMIT = "permit"
    #: A live node with its handler.
    NODE = "node"
    #: The end of its worker's pause.
    WORKER = "worker"
    #: The end of its queue's pause.
    QUEUE = "queue"
    #: The end of the containments that cover it.
    CONTAINED = "contained"
    #: A reason that this release does not know; never stored.
    UNKNOWN = "unknown"

    @classmethod
    def _missing_(cls, _value: object) -> WaitsFor:
        return cls.UNKNOWN


#: All known reasons, in display order.
KNOWN = tuple(each for each in WaitsFor if each is not WaitsFor.UNKNOWN)
#: The job waits for a time, but not inside its handler: the dispatcher returns it to the backlog at `run_at`.
DATED = (WaitsFor.SCHEDULE, WaitsFor.RETRY, WaitsFor.DEFERRED, WaitsFor.DEBOUNCE)
#: A wake-up ends the wait: another job's end, an event, or a decision.
WOKEN = (WaitsFor.CHILDREN, WaitsFor.JOBS, WaitsFor.EVENT, WaitsFor.APPROVAL)
#: The job waits for other jobs, an event, a decision or a sleep. It occupies nothing and counts for no queue.
SUSPENDED = (*WOKEN, WaitsFor.SLEEP)
#: The job cannot start for reasons outside itself.
PARKED = (WaitsFor.NODE, WaitsFor.WORKER, WaitsFor.QUEUE)
#: `run_at` ends the wait, at the latest.
TIMED = (*DATED, WaitsFor.CHILDREN, WaitsFor.EVENT, WaitsFor.APPROVAL, WaitsFor.SLEEP)
