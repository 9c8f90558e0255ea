"""A message in a node's parent: Celery's request, with an exact stop and take-ahead.

Celery's `terminate` signals the process that it believes to run the task, and may hit the next task. Here the child is
asked to stop one named run, and compares it with its current run.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

from billiard.exceptions import WorkerLostError
from celery.exceptions import Ignore
from celery.worker.request import Request
from celery.worker.state import reserved_requests, task_ready

from ava.domain.jobs.messages import Message
from ava.node import process_tree
from ava.node.outcome import Retirement
from ava.node.parent.pool_runs import GivenRuns
from ava.node.parent.run_monitor import RunMonitor

_EXIT = re.compile(r"(signal \d+|exitcode -?\d+)")
_RETIREMENTS = {f"exitcode {code:d}": code for code in Retirement}


class JobRequest(Request):  # type: ignore[misc]  # Celery has no annotations
    """A job message, from its arrival at a node to its acknowledgement."""

    #: Set when the node starts, because Celery creates the requests.
    run_monitor: RunMonitor
    pool_pids: Callable[[], list[int]]
    #: Whether the broker deletes a message on delivery (see `ava.broker.celery_app.make_queue`).
    is_acknowledged_on_arrival = False
    #: The runs that a child has accepted with this message.
    given: GivenRuns | None = None

    def on_accepted(self, pid: int, time_accepted: float) -> None:
        """Record that a child has taken the message and is about to claim the job."""
        self.given = GivenRuns(pid=pid, runs=self.job_message.runs)
        self.run_monitor.give(self.given)
        super().on_accepted(pid, time_accepted)

    @property
    def job_message(self) -> Message:
        """Return the message as parsed by `inbound.admit`; `message` is Celery's own."""
        says: Message = self.message.job_message
        return says

    # Fetching the next message -------------------------------------------------------------------------------------

    # Redis is asked for messages while fewer requests are reserved than there are processes; RabbitMQ sends one per
    # acknowledgement.

    def fetch_next(self) -> None:
        """Request the next message, because the child will soon be free."""
        reserved_requests.discard(self)
        self._acknowledge()

    def give_up(self) -> None:
        """Requeue the jobs of a message that no child takes, with new run numbers, so that it can claim none."""
        task_ready(self)
        self.run_monitor.rescue(self._given_to_none(), "WorkerLost: no process of the worker took it")
        self.acknowledge()

    def finish(self, retirement: Retirement) -> None:
        """Acknowledge a slot's message after the ends of its runs are written."""
        task_ready(self)
        self.acknowledge()
        self._send_end_event("AttemptFailed: failed", retirement)

    # Stopping ------------------------------------------------------------------------------------------------------

    def revoked(self) -> bool:
        """Return False: the claim decides whether the job still has to run."""
        return False

    def terminate(self, pool: Any, signal: Any = None) -> None:
        """Make the run monitor check the database for cancels, now or when the run begins."""
        if self.time_start is None:
            self._terminate_on_ack = pool, signal
        else:
            self.run_monitor.check_now()

    # The end -------------------------------------------------------------------------------------------------------

    def acknowledge(self) -> None:
        """Release and acknowledge the message."""
        if self.given is not None:
            self.run_monitor.take_back(self.given)
        self._acknowledge()

    def _acknowledge(self) -> None:
        if self.is_acknowledged_on_arrival:
            self.acknowledged = True
        else:
            super().acknowledge()

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> Any:
        """Handle a child's report of an unsuccessful end, or its death."""
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
        if self.given is None:
            # The process died before it accepted the message.
            self.run_monitor.rescue(self._given_to_none(), error)
        elif self.run_monitor.take_back(self.given):
            self.run_monitor.rescue(self.given, error)
        self.acknowledge()
        self._send_end_event(error, _RETIREMENTS.get(cause))
        # This process adopted the processes that the handler had detached.
        process_tree.kill_children(keep=frozenset(self.pool_pids()))

    def _given_to_none(self) -> GivenRuns:
        return GivenRuns(pid=0, runs=self.job_message.runs)

    def _send_end_event(self, error: str, retirement: Retirement | None) -> None:
        """Send Flower's event of a run whose process ended before reporting it."""
        if retirement is Retirement.COMPLETED:
            runtime = time.time() - (self.time_start or time.time())
            self.send_event("task-succeeded", result="'completed'", runtime=runtime)
        elif retirement is Retirement.STOPPED:
            self.send_event("task-revoked", terminated=True, signum="SIGTERM", expired=False)
        else:
            error = "AttemptFailed: its process was replaced" if retirement is Retirement.FAILED else error
            self.send_event("task-failed", exception=error, traceback="")
