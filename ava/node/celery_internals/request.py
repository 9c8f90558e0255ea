"""How this service's messages are treated in the parent of a node: Celery's request, with stopping made exact.

Celery's own `terminate` sends a signal to whichever process it believes to run the task, and its manual warns that this
may hit the next one. Here the child is told which run is meant, and checks that it is the one it runs.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, ClassVar

from billiard.exceptions import WorkerLostError
from celery.exceptions import Ignore
from celery.worker.request import Request
from celery.worker.state import reserved_requests, task_ready

from ava.domain.messages import parse_task_id
from ava.handler import registry
from ava.node import processes
from ava.node.parent.held_run import HeldRun
from ava.node.parent.run_monitor import RunMonitor

__all__ = ["JobRequest"]

_EXIT = re.compile(r"(signal \d+|exitcode -?\d+)")
#: For a run whose handler this node does not have; it is put off at once.
_UNKNOWN_SECONDS = 3600.0


class JobRequest(Request):  # type: ignore[misc]  # Celery has no annotations
    """One message of ours, from its arrival at a node to its acknowledgement."""

    #: Both are set when the node starts; Celery makes the requests and knows nothing of them.
    run_monitor: RunMonitor
    pool_pids: Callable[[], list[int]]
    #: Whether the broker forgets a message when it hands it out (see `ava.broker.app.make_queue`).
    is_acknowledged_on_arrival = False
    #: Those whose next message may still come though it is to be kept away.
    waiting: ClassVar[set[JobRequest]] = set()
    #: What a child has been given of it.
    held: HeldRun | None = None
    #: The message that is kept away from its process.
    _following: JobRequest | None = None

    def on_accepted(self, pid: int, time_accepted: float) -> None:
        """A child has taken the message and is about to claim the job."""
        self.held = self._make_held(pid)
        self.run_monitor.track(self.held)
        super().on_accepted(pid, time_accepted)

    # When the next message comes -----------------------------------------------------------------------------------

    # Redis is asked while fewer are reserved than there are processes, RabbitMQ sends one for each that is
    # acknowledged.

    def let_next_come(self) -> None:
        """The process is about to be free: ask the broker for its next message."""
        reserved_requests.discard(self)
        self._acknowledge()
        self._let_go_of_next()

    def keep_next_away(self, following: JobRequest | None = None) -> None:
        """The process is not about to be free, after all: keep its next message from it, which has come or will.

        The job that it is for goes back to the backlog, from where it comes to whoever is free. The message itself is
        kept: as long as RabbitMQ hears nothing of it, no other is sent in its place.
        """
        if following is None:
            self.waiting.add(self)
        else:
            self.waiting.discard(self)
            self._following = following.give_back()
        if self.is_acknowledged_on_arrival:
            reserved_requests.add(self)

    def give_back(self) -> JobRequest:
        """Leave this message's job to others."""
        task_ready(self)
        self.run_monitor.return_to_queue(parse_task_id(self.id)[0])
        return self

    def _let_go_of_next(self) -> None:
        self.waiting.discard(self)
        following, self._following = self._following, None
        if following is not None:
            following.acknowledge()

    # -----------------------------------------------------------------------------------------------------------------

    def _make_held(self, pid: int) -> HeldRun:
        job_id, run_no = parse_task_id(self.id)
        handler = registry.find(self.args[2])
        return HeldRun(
            task_id=self.id,
            job_id=job_id,
            run_no=run_no,
            pid=pid,
            timeout_seconds=handler.spec.timeout_seconds if handler else _UNKNOWN_SECONDS,
            grace_seconds=handler.spec.cancel_grace_seconds if handler else 0,
        )

    def revoked(self) -> bool:
        """Whether to drop the message unheard: never, for the claim tells whether the job is still to be run."""
        return False

    def terminate(self, pool: Any, signal: Any = None) -> None:
        """A revoke has come: see now, or when the run begins, whether the database says so too."""
        if self.time_start is None:
            self._terminate_on_ack = pool, signal
        else:
            self.run_monitor.check_now()

    def cancel(self, *_: Any, **__: Any) -> None:
        """Celery gives its running tasks up at a cold shutdown: they are killed, and their jobs given back."""
        self.run_monitor.abandon()

    def acknowledge(self) -> None:
        """The message is done with, however the run has ended."""
        if self.held is not None:
            self.run_monitor.untrack(self.held)
        self._acknowledge()
        self._let_go_of_next()

    def _acknowledge(self) -> None:
        if self.is_acknowledged_on_arrival:
            self.acknowledged = True
        else:
            super().acknowledge()

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> Any:
        """The child has reported something else than success, or has died."""
        error = getattr(exc_info.exception, "exc", exc_info.exception)
        if isinstance(error, WorkerLostError):
            return self._on_lost(str(error))
        if isinstance(error, Ignore):
            self.send_event("task-revoked", terminated=True, signum="SIGTERM", expired=False)
        return super().on_failure(exc_info, send_failed_event, return_ok)

    def _on_lost(self, description: str) -> None:
        task_ready(self)
        how = _EXIT.search(description)
        error = f"WorkerLost: the worker process died ({how[1] if how else 'unknown cause'})"
        # Where nothing is held, the process died before it could say that it had begun.
        held = self.held or self._make_held(pid=0)
        if self.run_monitor.untrack(held) or not held.pid:
            self.run_monitor.rescue(held, error)
        self.acknowledge()
        self.send_event("task-failed", exception=error, traceback="")
        # What its handler had started and detached has come to us.
        processes.kill_children(keep=frozenset(self.pool_pids()))
