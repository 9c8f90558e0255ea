"""The one Celery task: the body of a run, between the receivers that claim it and write its end."""

from __future__ import annotations

from typing import Any

from celery import Celery, Task, signals
from celery.exceptions import Ignore

from ava.domain.jobs.messages import TASK, Message
from ava.domain.jobs.run_outcome import Ending, RunOutcome
from ava.node.celery_internals.request import JobRequest
from ava.node.child.child import Child
from ava.node.child.run import Run
from ava.node.node import Node


class JobFailed(Exception):
    """How a failed handler ends for Celery: one line, which can always be pickled."""


def register(app: Celery, node: Node) -> None:
    """Register the task with a Celery application; `node` is the node of this process."""

    @app.task(name=TASK, Request=JobRequest, bind=True, throws=(JobFailed,))  # type: ignore[untyped-decorator]
    def run_job(task: Task, *_message: Any) -> str:
        """Run the handler of the job that `task_prerun` has claimed, if it has claimed one, and those of its group."""
        child = node.child
        if child is None:
            return "dropped"
        last = _run_group(task, child)
        return "dropped" if last is None else _report(last.end)


def _run_group(task: Task, child: Child) -> Run | None:
    """Run the claimed run, and those that follow it in its message. Returns the last one.

    Its outcome may still have to be written.

    Celery sends its signals around the message. Between two runs of the message they are sent here, so that each run is
    claimed and ended as one with a message of its own.
    """
    steps = child.steps
    while True:
        if (run := steps.run) is not None:
            child.call_handler(run)
        if not steps.decide_way():
            return run
        if run is not None:
            # `task_postrun` writes its outcome, and may claim the next run in the same statement.
            send_end(task, run)
        # That statement does not claim the next run if a more urgent message waits.
        if (following := steps.following) is None:
            return run
        # `task_prerun` claims the next run, unless an earlier statement has claimed it.
        _send(signals.task_prerun, task, following)


def send_begin(task: Any, run: Run) -> None:
    """Send Celery's signal of a run that begins."""
    _send(signals.task_prerun, task, Message(run.job.worker_id, (run.job.run,)))


def send_end(task: Any, run: Run) -> None:
    """Send Celery's signals of a run whose end is decided."""
    message = Message(run.job.worker_id, (run.job.run,))
    result: object
    try:
        result = _report(run.end)
        signals.task_success.send(sender=task, result=result)
    except JobFailed as error:
        result = error
        _send(signals.task_failure, task, message, exception=error, traceback=None, einfo=None)
    except Ignore as error:
        result = error
    _send(signals.task_postrun, task, message, retval=result, state=None)


def _send(signal: Any, task: Task, message: Message, **more: Any) -> None:
    if not signal.receivers:
        return
    signal.send(sender=task, task_id=message.task_id, task=task, args=message.arguments, kwargs={}, **more)


def _report(run_end: RunOutcome | None) -> str:
    """Report the end to Celery: its signals write it to the database, and its events show it in Flower."""
    if run_end is None or run_end.ending is Ending.CANCELLED:
        raise Ignore
    if run_end.ending is Ending.COMPLETED:
        return "completed"
    if run_end.wait is not None:
        return "waits"
    raise JobFailed(run_end.error or "failed; another attempt follows")
