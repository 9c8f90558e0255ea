"""A message in the parent of a node: Celery's request, with an exact stop and with messages that come ahead.

Celery's own `terminate` sends a signal to the process that it believes to run the task, and its manual warns that this
may hit the next task. Here the child is asked to stop one named run, and compares it with the run that it has.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from functools import cached_property
from typing import Any

from billiard.exceptions import WorkerLostError
from celery.exceptions import Ignore
from celery.worker.request import Request
from celery.worker.state import reserved_requests, task_ready

from ava.domain.messages import Message, read_arguments
from ava.handler import registry
from ava.node import processes
from ava.node.outcome import Retirement
from ava.node.parent.held_run import HeldRun
from ava.node.parent.run_monitor import RunMonitor

__all__ = ["JobRequest"]

_EXIT = re.compile(r"(signal \d+|exitcode -?\d+)")
_RETIREMENTS = {f"exitcode {code:d}": code for code in Retirement}
#: The time limit of a run whose handler this node does not have; the child defers its job at once.
_UNKNOWN_SECONDS = 3600.0


class JobRequest(Request):  # type: ignore[misc]  # Celery has no annotations
    """One message of ours, from its arrival at a node to its acknowledgement."""

    #: Set when the node starts, because Celery makes the requests.
    run_monitor: RunMonitor
    pool_pids: Callable[[], list[int]]
    #: True if the broker forgets a message when it delivers it (see `ava.broker.app.make_queue`).
    is_acknowledged_on_arrival = False
    #: The runs that a child was given with this message.
    held: tuple[HeldRun, ...] = ()

    def on_accepted(self, pid: int, time_accepted: float) -> None:
        """A child has taken the message and is about to claim the job."""
        self.held = self._make_held(pid)
        self.run_monitor.track(self.held)
        super().on_accepted(pid, time_accepted)

    @cached_property
    def message(self) -> Message:
        """Returns what the message says."""
        message = read_arguments(self.args)
        # `inbound.admit` has dropped every other message.
        assert message is not None
        return message

    def pass_place(self, job_id: str, run_no: int) -> None:
        """The child has ended its run, and runs another job with the same place of a limit."""
        ended, self.held = self.held, (self.held[-1].next_with_place(job_id, run_no),)
        self.run_monitor.track(self.held)
        for each in ended:
            self.run_monitor.untrack(each)

    def _make_held(self, pid: int) -> tuple[HeldRun, ...]:
        handler = registry.find(self.message.worker_id)
        held = tuple(
            HeldRun(
                job_id=job_id,
                run_no=run_no,
                pid=pid,
                timeout_seconds=handler.spec.timeout_seconds if handler else _UNKNOWN_SECONDS,
                grace_seconds=handler.spec.cancel_grace_seconds if handler else 0,
                may_pass_place=handler is not None and handler.spec.limits.max_running is not None,
            )
            for job_id, run_no in self.message.runs
        )
        for each in held:
            each.group = held
        return held

    # When the next message comes -----------------------------------------------------------------------------------

    # The node asks Redis while it has fewer reserved requests than processes. RabbitMQ sends one message for each that
    # is acknowledged.

    def fetch_next(self) -> None:
        """The child is about to be free: ask the broker for its next message."""
        reserved_requests.discard(self)
        self._acknowledge()

    def give_up(self) -> None:
        """No child takes this message. Its jobs return to the queue with new numbers, so that none can claim it."""
        task_ready(self)
        for held in self._make_held(pid=0):
            self.run_monitor.rescue(held, "WorkerLost: no process of the worker took it")
        self.acknowledge()

    # Stopping ------------------------------------------------------------------------------------------------------

    def revoked(self) -> bool:
        """Returns False: no message is dropped here, because the claim decides whether the job still has to run."""
        return False

    def terminate(self, pool: Any, signal: Any = None) -> None:
        """A revoke has come: ask the database, now or when the run begins, what is to be cancelled."""
        if self.time_start is None:
            self._terminate_on_ack = pool, signal
        else:
            self.run_monitor.check_now()

    def cancel(self, *_: Any, **__: Any) -> None:
        """Celery cancels its running tasks at a cold shutdown: kill their processes and return their jobs."""
        self.run_monitor.abandon()

    # The end -------------------------------------------------------------------------------------------------------

    def acknowledge(self) -> None:
        """The runs are over, in whatever way."""
        for held in self.held:
            self.run_monitor.untrack(held)
        self._acknowledge()

    def _acknowledge(self) -> None:
        if self.is_acknowledged_on_arrival:
            self.acknowledged = True
        else:
            super().acknowledge()

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> Any:
        """The child has reported an end without success, or has died."""
        error = getattr(exc_info.exception, "exc", exc_info.exception)
        if isinstance(error, WorkerLostError):
            return self._on_lost(str(error))
        if isinstance(error, Ignore):
            self.send_event("task-revoked", terminated=True, signum="SIGTERM", expired=False)
        return super().on_failure(exc_info, send_failed_event, return_ok)

    def _on_lost(self, description: str) -> None:
        task_ready(self)
        how = _EXIT.search(description)
        cause = how[1] if how else "unknown cause"
        error = f"WorkerLost: the worker process died ({cause})"
        # Nothing is held if the process died before it accepted the message.
        for held in self.held or self._make_held(pid=0):
            if self.run_monitor.untrack(held) or not held.pid:
                self.run_monitor.rescue(held, error)
        self.acknowledge()
        self._send_end_event(error, _RETIREMENTS.get(cause))
        # This process has adopted what the handler had started and detached.
        processes.kill_children(keep=frozenset(self.pool_pids()))

    def _send_end_event(self, error: str, retirement: Retirement | None) -> None:
        """Send the event of a run whose process ended before it reported the end; Flower shows it."""
        if retirement is Retirement.COMPLETED:
            runtime = time.time() - (self.time_start or time.time())
            self.send_event("task-succeeded", result="'completed'", runtime=runtime)
        elif retirement is Retirement.STOPPED:
            self.send_event("task-revoked", terminated=True, signum="SIGTERM", expired=False)
        else:
            error = "JobFailed: its process was replaced" if retirement is Retirement.FAILED else error
            self.send_event("task-failed", exception=error, traceback="")
