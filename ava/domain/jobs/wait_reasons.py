"""The reasons for which a queued job waits before its turn can come: the values of `waits_for`."""

from __future__ import annotations

from enum import StrEnum


class WaitsFor(StrEnum):
    """What a queued job waits for before its turn can come."""

    #: Its `scheduled_at`.
    SCHEDULE = "schedule"
    #: The retry delay after a failed attempt.
    RETRY = "retry"
    #: The time to which its handler has deferred it, or a node that lacks its handler.
    DEFERRED = "deferred"
    #: The end of a burst of triggers with its `debounce` key.
    DEBOUNCE = "debounce"
    #: The jobs, or the first of several things, that its handler waits for. A stopped job: the running jobs below it.
    CHILDREN = "children"
    #: The jobs that it comes after in its bulk, or the previous job of its schedule.
    JOBS = "jobs"
    #: The event that its handler waits for.
    EVENT = "event"
    #: The end of its handler's sleep.
    SLEEP = "sleep"
    #: A permit of its limit.
    PERMIT = "permit"
    #: A live node with its worker's handler.
    NODE = "node"
    #: Its worker, which is paused for its tenant.
    WORKER = "worker"
    #: Its queue, which is paused.
    QUEUE = "queue"
    #: A reason that this release does not know; the database never has this value.
    UNKNOWN = "unknown"

    @classmethod
    def _missing_(cls, _value: object) -> WaitsFor:
        return cls.UNKNOWN


#: The reasons that the database knows, in the order in which users read them.
KNOWN = tuple(each for each in WaitsFor if each is not WaitsFor.UNKNOWN)
#: The job waits for a time, and its handler does not wait: the dispatcher returns it to the backlog at `run_at`.
DATED = (WaitsFor.SCHEDULE, WaitsFor.RETRY, WaitsFor.DEFERRED, WaitsFor.DEBOUNCE)
#: A wake ends the wait: the end of another job, or an event.
WOKEN = (WaitsFor.CHILDREN, WaitsFor.JOBS, WaitsFor.EVENT)
#: The job waits for other jobs, an event or the end of a sleep. It holds nothing, and counts for no queue.
SUSPENDED = (*WOKEN, WaitsFor.SLEEP)
#: The job cannot start for a reason that is not its own.
PARKED = (WaitsFor.NODE, WaitsFor.WORKER, WaitsFor.QUEUE)
#: `run_at` ends the wait, or ends it at the latest.
TIMED = (*DATED, WaitsFor.CHILDREN, WaitsFor.EVENT, WaitsFor.SLEEP)
