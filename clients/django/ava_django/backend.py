"""The backend of django.tasks: a task is a worker, and its result is the record of a job."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from django.apps import apps
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.tasks.backends.base import BaseTaskBackend
from django.tasks.base import Task, TaskResult
from django.tasks.exceptions import InvalidTask, TaskResultDoesNotExist
from django.tasks.signals import task_enqueued
from django.utils.json import normalize_json
from django.utils.module_loading import import_string

from ava.client import ApiNotFound, Client
from ava.client.outbox import new_row
from ava_django import priorities, results
from ava_django.connection import OPTIONS, client_of
from ava_django.discovery import worker_id_of

__all__ = ["AvaBackend"]

#: Prefix of a result's id while the relay has not yet created its job.
_OF_OUTBOX = "outbox_"
_ROW_ID = re.compile("[0-9a-f]{32}")


class AvaBackend(BaseTaskBackend):
    """Enqueues tasks as jobs, and reads their results.

    `OPTIONS`: `url` and `api_key`, or `secret`, `tenant` and `user` (by default `AVA_URL`, `AVA_API_KEY` and so on);
    `outbox: True` enqueues in the transaction of `database` (`default`); `modules` names more modules with tasks.
    """

    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    supports_priority = True

    def __init__(self, alias: str, params: Mapping[str, Any]) -> None:
        super().__init__(alias, params)
        if unknown := sorted(self.options.keys() - OPTIONS):
            raise ImproperlyConfigured(f"TASKS[{alias!r}]: OPTIONS has no {', '.join(unknown)}.")

    @cached_property
    def client(self) -> Client:
        """Return the API client, which offers more than this backend."""
        return client_of(self.options)

    def validate_task(self, task: Task) -> None:
        """Raise `InvalidTask` if the task cannot be enqueued here."""
        super().validate_task(task)
        path = f"{task.func.__module__}.{task.func.__qualname__}"
        try:
            declared = import_string(path)
        except ImportError:
            # It is being declared.
            return
        if isinstance(declared, Task) and declared.queue_name != task.queue_name:
            raise InvalidTask(
                f"{path} has the queue {declared.queue_name!r}: a worker has one queue, so using() keeps it."
            )

    def enqueue(self, task: Task, args: Sequence[Any], kwargs: Mapping[str, Any]) -> TaskResult:
        """Enqueue a task. With an outbox it is enqueued once the transaction commits.

        Raises `ApiError` of the client if the API refuses it or is unreachable.
        """
        self.validate_task(task)
        if task.run_after is not None:
            # Truncate like the API, so that the result equals the one that is read later.
            task = task.using(run_after=task.run_after.replace(microsecond=task.run_after.microsecond // 1000 * 1000))
        input = {"args": normalize_json(list(args)), "kwargs": normalize_json(dict(kwargs))}
        options = {
            "priority": priorities.job_priority(task.priority),
            "scheduled_at": task.run_after and results.aware(task.run_after),
            "tags": {priorities.TAG: str(task.priority)} if task.priority else None,
        }
        if self.options.get("outbox"):
            row = new_row(worker_id_of(task), input, **options)
            self._rows.create_from(row)
            result = results.waiting(task, f"{_OF_OUTBOX}{row.id}", input, alias=self.alias)
        else:
            job = self.client.jobs.trigger(worker_id_of(task), input, **options)
            result = results.of_job(job, task, alias=self.alias)
        task_enqueued.send(type(self), task_result=result)
        return result

    def get_result(self, result_id: str) -> TaskResult:
        """Return a result. Raises `TaskResultDoesNotExist`."""
        row, job = self._find(result_id)
        if job is not None:
            lines = self.client.jobs.logs(job.id, level="error") if job.status == "failed" else ()
            return results.of_job(job, None, alias=self.alias, id=result_id, lines=lines)
        return results.of_row(row, result_id, alias=self.alias)

    def cancel(self, result: TaskResult) -> TaskResult:
        """Cancel a task that is not finished; a running one is asked to stop. Returns its result.

        A task in the outbox is not enqueued any more, unless a relay is already sending it. Raises `ApiConflict` if the
        task is finished.
        """
        row, job = self._find(result.id)
        if job is None:
            self._rows.filter(pk=row.id).update(next_at=None, error=results.CANCELLED)
        else:
            self.client.jobs.cancel(job.id)
        return self.get_result(result.id)

    def retry(self, result: TaskResult) -> TaskResult:
        """Enqueue a finished task once more, with the same arguments. Returns the new result.

        Raises `ApiConflict` if it is not finished, and `InvalidTask` if it was never enqueued.
        """
        row, job = self._find(result.id)
        if job is None:
            raise InvalidTask(results.why_not_enqueued(row))
        return results.of_job(self.client.jobs.retry(job.id), result.task, alias=self.alias)

    def check(self, **_: Any) -> list[checks.CheckMessage]:
        """Return the errors of the settings."""
        found: list[checks.CheckMessage] = []
        try:
            client_of(self.options).close()
        except ImproperlyConfigured as error:
            found.append(checks.Error(str(error), id="ava_django.E001"))
        if self.options.get("outbox") and not apps.is_installed("ava_django"):
            found.append(checks.Error("An outbox needs 'ava_django' in INSTALLED_APPS.", id="ava_django.E002"))
        return found

    @property
    def _rows(self) -> Any:
        # Imported here, because a project without an outbox does not install the model's application.
        from ava_django.models import OutboxJob

        return OutboxJob.objects.using(self.options.get("database", "default"))

    def _find(self, result_id: str) -> tuple[Any, Any]:
        """Return the row of a result or its job. The job wins, because the relay deletes the row after it."""
        if not result_id.startswith(_OF_OUTBOX):
            try:
                return None, self.client.jobs.get(result_id)
            except ApiNotFound as error:
                raise TaskResultDoesNotExist(result_id) from error
        id_ = result_id.removeprefix(_OF_OUTBOX)
        if not _ROW_ID.fullmatch(id_):
            raise TaskResultDoesNotExist(result_id)
        row = self._rows.filter(pk=id_).first()
        # Retries of the job, and jobs that it created, have the same tag.
        found = self.client.jobs.list(tags={"outbox": id_}, root=True, per_page=10, is_whole=True)
        job = next((each for each in found if each.retry_of is None), None)
        if row is None and job is None:
            raise TaskResultDoesNotExist(result_id)
        return row, job
