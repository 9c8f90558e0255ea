"""Convert job records into results of tasks."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.tasks.base import Task, TaskError, TaskResult, TaskResultStatus
from django.tasks.exceptions import TaskResultDoesNotExist
from django.utils import timezone

from ava.client import Job, LogLine
from ava_django import priorities
from ava_django.discovery import tasks_by_worker

__all__ = ["CANCELLED", "TaskCancelled", "TaskNotEnqueued", "aware", "of_job", "of_row", "waiting", "why_not_enqueued"]

_STATUS = {
    "queued": TaskResultStatus.READY,
    "running": TaskResultStatus.RUNNING,
    "completed": TaskResultStatus.SUCCESSFUL,
    "failed": TaskResultStatus.FAILED,
    "cancelled": TaskResultStatus.FAILED,
}
#: The error of a row that was cancelled before it was sent.
CANCELLED = "cancelled"


class TaskCancelled(Exception):
    """The task was cancelled."""


class TaskNotEnqueued(Exception):
    """The API refused the task, or its process died: the error is not the task's own exception."""


def aware(timestamp: datetime) -> datetime:
    """Return a time with a time zone, by default Django's current one."""
    return timestamp if timezone.is_aware(timestamp) else timezone.make_aware(timestamp)


def waiting(task: Task, id: str, input: Mapping[str, Any], *, alias: str, error: TaskError | None = None) -> TaskResult:
    """Return the result of a task whose job does not exist yet, or was refused."""
    return TaskResult(
        task=task,
        id=id,
        status=TaskResultStatus.READY if error is None else TaskResultStatus.FAILED,
        enqueued_at=None,
        started_at=None,
        finished_at=None,
        last_attempted_at=None,
        args=input["args"],
        kwargs=input["kwargs"],
        backend=alias,
        errors=[] if error is None else [error],
        worker_ids=[],
    )


def of_row(row: Any, id: str, *, alias: str) -> TaskResult:
    """Return the result of a task that waits in the outbox."""
    body = json.loads(row.body)
    error = None
    if row.next_at is None:
        kind = TaskCancelled if row.error == CANCELLED else TaskNotEnqueued
        error = _error(f"{__name__}.{kind.__name__}", row.error)
    return waiting(_task(body["worker_id"], body.get("tags") or {}, None), id, body["input"], alias=alias, error=error)


def why_not_enqueued(row: Any) -> str:
    """Return why an outbox row has no job."""
    if row.next_at is not None:
        return "The task waits in the outbox; it has not been enqueued yet."
    if row.error == CANCELLED:
        return "The task was cancelled before it was enqueued; enqueue it again."
    return f"The API refused the task, so it was never enqueued: {row.error}"


def of_job(
    job: Job, task: Task | None, *, alias: str, id: str | None = None, lines: Iterable[LogLine] = ()
) -> TaskResult:
    """Return the result of a job; `lines` are the errors in its log, with the traceback."""
    input = job.input or {}
    result = TaskResult(
        task=task or _task(job.worker_id, job.tags, job.scheduled_at),
        id=id or job.id,
        status=_STATUS[job.status],
        enqueued_at=_time(job.created_at),
        started_at=_time(job.started_at),
        finished_at=_time(job.completed_at),
        last_attempted_at=_time(job.started_at),
        args=input.get("args", []),
        kwargs=input.get("kwargs", {}),
        backend=alias,
        errors=_errors(job, lines),
        worker_ids=[f"{job.id}.{number}" for number in range(1, job.attempt + 1)],
    )
    object.__setattr__(result, "_return_value", job.output)
    return result


def _task(worker_id: str, tags: Mapping[str, str], run_after: datetime | None) -> Task:
    task = tasks_by_worker().get(worker_id)
    if task is None:
        raise TaskResultDoesNotExist(f"No task of this project has the worker {worker_id}.")
    return task.using(priority=int(tags.get(priorities.TAG, 0)), run_after=_time(run_after))


def _time(timestamp: datetime | None) -> datetime | None:
    """Return a time in Django's form: naive in the current zone without `USE_TZ`."""
    if timestamp is None or settings.USE_TZ:
        return timestamp
    return timezone.make_naive(timestamp.astimezone(UTC))


def _errors(job: Job, lines: Iterable[LogLine]) -> list[TaskError]:
    if job.status == "cancelled":
        return [_error(f"{__name__}.TaskCancelled", job.error)]
    if job.status != "failed":
        return []
    kind = (job.error or "").partition(":")[0]
    named = re.compile(rf"^(?:([\w.]+)\.)?{re.escape(kind)}(?::|$)", re.MULTILINE)
    traceback = next((line.msg for line in reversed(list(lines)) if named.search(line.msg)), None)
    if not kind.isidentifier() or traceback is None:
        return [_error(f"{__name__}.TaskNotEnqueued", job.error)]
    # The last match is the error itself, after its causes.
    module = named.findall(traceback)[-1] or "builtins"
    return [_error(f"{module}.{kind}", traceback)]


def _error(path: str, traceback: str | None) -> TaskError:
    """Return an error with a traceback that ends with a line end, like Python's."""
    return TaskError(exception_class_path=path, traceback=f"{traceback}\n" if traceback else "")
