"""The one Celery task: the body of a run, between the receivers that claim it and write its end."""

from __future__ import annotations

from typing import Any

from celery import Celery, Task, signals
from celery.exceptions import Ignore

from ava.domain.jobs.messages import TASK, Message
from ava.domain.jobs.run_outcome import Ending, RunOutcome
from ava.node.celery_internals.job_request import JobRequest
from ava.node.child.child import Child
from ava.node.node import Node
from ava.node.runs.run import Run


class AttemptFailed(Exception):
    """The end of a failed handler for Celery: one line, which can always be pickled."""


def register(app: Celery, node: Node) -> None:
    @app.task(name=TASK, Request=JobRequest, bind=True, throws=(AttemptFailed,))  # type: ignore[untyped-decorator]
    def run_job(task: Task, *_message: Any) -> str:
        """Run the handler of the job that `task_prerun` has claimed, if any, and then the rest of its message."""
        child = node.child
        if child is None:
            return "dropped"
        last = _run_group(task, child)
        return "dropped" if last is None else _report(last.end)


def _run_group(task: Task, child: Child) -> Run | None:
    """Run the claimed run and the next ones of its message. Returns the last one; its outcome may still be unwritten.

    Celery sends its signals once per message. Between two runs this function sends them, so that each run is claimed
    and ended as if it had a separate message.
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
        # That statement claims no further run if a more urgent message is waiting.
        if (following := steps.following) is None:
            return run
        # `task_prerun` claims the next run, unless an earlier statement has claimed it.
        _send(signals.task_prerun, task, following)


def send_begin(task: Any, run: Run) -> None:
    _send(signals.task_prerun, task, Message(run.job.worker_id, (run.job.run,)))


def send_end(task: Any, run: Run) -> None:
    message = Message(run.job.worker_id, (run.job.run,))
    result: object
    try:
        result = _report(run.end)
        signals.task_success.send(sender=task, result=result)
    except AttemptFailed as error:
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
    """Report the end to Celery: its signals write the end to the database, and its events show it in Flower."""
    if run_end is None or run_end.ending is Ending.CANCELLED:
        raise Ignore
    if run_end.ending is Ending.COMPLETED:
        return "completed"
    if run_end.wait is not None:
        return "waits"
    raise AttemptFailed(run_end.error or "failed; another attempt follows")
