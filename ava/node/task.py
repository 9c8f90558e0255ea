"""The one Celery task: the body of a run, between the receivers that claim it and write its end."""

from __future__ import annotations

from typing import Any

from celery import Celery, Task
from celery.exceptions import Ignore

from ava.domain.job import RunEnd, Status
from ava.domain.messages import TASK
from ava.node.celery_internals.request import JobRequest
from ava.node.node import Node

__all__ = ["JobFailed", "register"]


class JobFailed(Exception):
    """How a failed handler ends for Celery: one line, which can always be pickled."""


def register(app: Celery, node: Node) -> None:
    """Register the task with a Celery application; `node` is the node of this process."""

    @app.task(name=TASK, Request=JobRequest, bind=True, throws=(JobFailed,))  # type: ignore[untyped-decorator]
    def run_job(_task: Task, *_message: Any) -> str:
        """Run the handler of the job that `task_prerun` has claimed, if it has claimed one."""
        child = node.child
        if child is None or child.run is None:
            return "dropped"
        child.call_handler(child.run)
        return _report(child.run.end)


def _report(run_end: RunEnd | None) -> str:
    """Report the end to Celery: its signals write it to the database, and its events show it in Flower."""
    if run_end is None or run_end.status is Status.CANCELLED:
        raise Ignore
    if run_end.status is Status.COMPLETED:
        return "completed"
    raise JobFailed(run_end.error or "failed; another attempt follows")
