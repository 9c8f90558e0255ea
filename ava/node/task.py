"""The one Celery task: the body of a run, between the receivers that claim it and write its end."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from celery import Celery, Task
from celery.exceptions import Ignore

from ava.domain.job import LogLevel, Status
from ava.domain.messages import TASK
from ava.errors import JobCancelled, JobInterrupted
from ava.node.celery_internals.request import JobRequest
from ava.node.child.child import Child
from ava.node.child.run import Run
from ava.node.node import Node
from ava.node.outcome import Outcome, decide, format_traceback

__all__ = ["JobFailed", "register"]


class JobFailed(Exception):
    """What Celery is told of a handler that failed: one line, which can always be pickled."""


def register(app: Celery, node: Node) -> None:
    """Give a Celery application the task; `node` is this process's part in the fleet."""

    @app.task(name=TASK, Request=JobRequest, bind=True, throws=(JobFailed,))  # type: ignore[untyped-decorator]
    def run_job(_task: Task, *_message: Any) -> str:
        """Run the handler of the job that `task_prerun` has claimed, if it was to be had."""
        child = node.child
        if child is None or child.run is None:
            return "dropped"
        return _report(_run(child, child.run))


def _run(child: Child, run: Run) -> Outcome:
    child.perform(run)
    raised = run.raised
    if raised is not None and not isinstance(raised, JobCancelled | JobInterrupted | _cancelled_by(run)):
        run.log.add(LogLevel.ERROR, format_traceback(raised))
    run.outcome = decide(
        stop=run.stopped_for,
        raised=raised,
        output=run.output,
        timeout_seconds=run.handler.spec.timeout_seconds,
        attempt=run.job.attempt,
        max_attempts=run.job.max_attempts,
        chance=random.random(),  # noqa: S311 - it spreads retries, and guards nothing
    )
    return run.outcome


def _cancelled_by(run: Run) -> type[BaseException]:
    """What an async handler raises when it was asked to stop; an answer to that is no error."""
    return JobCancelled if run.stopped_for is None else asyncio.CancelledError


def _report(outcome: Outcome) -> str:
    """Tell Celery, whose signals have the end written and whose events show it to Flower."""
    if outcome.status is Status.COMPLETED:
        return "completed"
    if outcome.status in (Status.FAILED, Status.QUEUED):
        raise JobFailed(outcome.error or "failed; another attempt follows")
    raise Ignore
