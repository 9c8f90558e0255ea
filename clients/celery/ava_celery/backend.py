"""The result backend `ava://`: answers for Celery's results from the records of jobs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from celery import Celery, states
from celery.app.control import Control
from celery.backends.base import BaseBackend, DisabledBackend
from celery.exceptions import ChordError, TaskRevokedError
from celery.exceptions import TimeoutError as TimedOut
from celery.result import GroupResult, ResultBase

from ava.client import ApiConflict, ApiNotFound, Job, WaitTimeout
from ava.handler import configured_client
from ava_celery.entries import GROUP_ID, TASK_ID
from ava_celery.exceptions import exception_of

#: The prefix of a result's id while the relay has not yet created its job.
OUTBOX = "outbox_"
#: The id of a result within its block of `together`.
UNSENT = ""
_JOB = "job_"
#: Max seconds of one wait for the relay to send a job's row.
_POLL_SECONDS = 0.5


class AvaBackend(BaseBackend):  # type: ignore[misc]
    """Reads results of jobs. The backend `inner` has the results of tasks that stay on Celery."""

    thread_safe = True
    supports_native_join = False

    def __init__(self, app: Celery, *args: Any, inner: BaseBackend | None = None, **options: Any) -> None:
        options.pop("url", None)
        super().__init__(app, *args, **options)
        self._inner = None if isinstance(inner, DisabledBackend) else inner
        #: The ids of jobs, by the other ids of their results.
        self._job_ids: dict[str, str] = {}

    def as_uri(self, include_password: bool = False) -> str:
        """Return the backend's address."""
        return "ava://" if self._inner is None else f"ava://+{self._inner.as_uri(include_password)}"

    # States --------------------------------------------------------------------------------------------------------

    def get_task_meta(self, task_id: str, cache: bool = True) -> dict[str, Any]:
        """Return the state and the result of a task, `PENDING` for an unknown id."""
        job = self._find(task_id)
        if job is not None:
            return self._meta(job, task_id)
        if self._inner is not None and not task_id.startswith((_JOB, OUTBOX)):
            return self._inner.get_task_meta(task_id, cache)  # type: ignore[no-any-return]
        return {"status": states.PENDING, "result": None, "task_id": task_id}

    def task_result_exists(self, task_id: str) -> bool:
        """Return True if the task is known."""
        return self._find(task_id) is not None or (
            self._inner is not None and bool(self._inner.task_result_exists(task_id))
        )

    def wait_for(self, task_id: str, timeout: float | None = None, **options: Any) -> dict[str, Any]:
        """Wait until a task has ended. Raises Celery's `TimeoutError`."""
        on_interval: Callable[[], Any] | None = options.get("on_interval")
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            job = self._find(task_id)
            if job is not None and not job.is_final:
                job = self._wait(job, deadline, on_interval)
            if on_interval:
                # Raises the error of a task before this one, which is the cause of its failure.
                on_interval()
            if job is not None and job.is_final:
                return self._meta(job, task_id)
            left = _POLL_SECONDS if deadline is None else min(_POLL_SECONDS, deadline - time.monotonic())
            if left <= 0:
                raise TimedOut("The operation timed out.")
            if job is None:
                time.sleep(left)

    def wait_for_pending(self, result: Any, **options: Any) -> Any:
        """Wait for a result, of AVA Jobs or of the other backend."""
        if self._is_of_inner(result.id):
            assert self._inner is not None
            return self._inner.wait_for_pending(result, **options)
        options.pop("on_message", None)
        return super().wait_for_pending(result, **options)

    def _wait(self, job: Job, deadline: float | None, on_interval: Callable[[], Any] | None) -> Job:
        # A parent's failure ends the wait early, so each request waits for a few seconds only if there is one.
        longest = 2.0 if on_interval else 30.0
        left = longest if deadline is None else min(longest, deadline - time.monotonic())
        try:
            return configured_client.call("wait", job.id, max(0.0, left))  # type: ignore[no-any-return]
        except WaitTimeout:
            return job

    def _meta(self, job: Job, task_id: str) -> dict[str, Any]:
        task = self.app.tasks.get(self._task_name(job))
        state, result = self._state(job, task)
        request = (job.input or {}).get("request") or {}
        meta = {
            "status": state,
            "result": result,
            "task_id": task_id,
            "name": None if task is None else task.name,
            "args": (job.input or {}).get("args"),
            "kwargs": (job.input or {}).get("kwargs"),
            "retries": max(0, job.attempt - 1),
            "group_id": request.get("group"),
            "parent_id": job.parent_id,
            "date_done": None if job.completed_at is None else job.completed_at.isoformat(),
        }
        if job.is_final:
            meta["children"] = self._children(job)
        if job.status == "failed":
            meta["traceback"] = self._traceback(job)
        return meta

    def _state(self, job: Job, task: Any) -> tuple[str, Any]:
        """Return Celery's name of a job's state, and the result."""
        if job.status == "completed":
            return states.SUCCESS, job.output
        if job.status == "failed":
            return states.FAILURE, exception_of(job.error, task)
        if job.status == "cancelled":
            return self._cancelled(job)
        if job.progress is not None and (found := _reported(job.progress.get("message") or "")) is not None:
            return found
        if job.status == "queued":
            return (states.RETRY, exception_of(job.error, task)) if job.waits_for == "retry" else (states.PENDING, None)
        return (states.STARTED if self.app.conf.task_track_started else states.PENDING), None

    def _cancelled(self, job: Job) -> tuple[str, Any]:
        kind, _, reason = (job.error or "").partition(": ")
        if kind != "ConditionUnmet":
            return states.REVOKED, TaskRevokedError("expired" if kind == "Expired" else "terminated")
        tree = configured_client.call("tree", job.id)
        # As in Celery, it has the exception of the task before it that has failed.
        before, ids = {job.id}, {job.id}
        while ids := {edge.from_id for edge in tree.edges if edge.to_id in ids and edge.kind != "child"} - before:
            before |= ids
        failed = next((each for each in tree.jobs if each.id in before and each.status == "failed"), None)
        if failed is None:
            return states.FAILURE, ChordError(f"a task before it did not complete: {reason}")
        return states.FAILURE, exception_of(failed.error, self.app.tasks.get(self._task_name(failed)))

    def _task_name(self, job: Job) -> str:
        from ava.client.slugs import slug_of

        found = (name for name in self.app.tasks if f"wkr_{slug_of(name)}" == job.worker_id)
        return next(found, "")

    def _children(self, job: Job) -> list[ResultBase]:
        """Return the results of the jobs that it triggered, and of the jobs after it."""
        if job.tree_id is None:
            return []
        tree = configured_client.call("tree", job.id)
        return [self.app.AsyncResult(edge.to_id) for edge in tree.edges if edge.from_id == job.id]

    def _traceback(self, job: Job) -> str | None:
        lines = [line.msg for line in configured_client.call("logs", job.id, level="error", tail=5)]
        return next((line for line in reversed(lines) if line.startswith("Traceback")), None)

    # Ids -----------------------------------------------------------------------------------------------------------

    def _find(self, task_id: str) -> Job | None:
        """Return the job of a result; None if there is none. Raises `ValueError` for a call that was not sent."""
        if task_id == UNSENT:
            raise ValueError("this call has no id: ava_celery.together sends its calls at the end of the block")
        job_id = task_id if task_id.startswith(_JOB) else self._job_ids.get(task_id)
        if job_id is not None:
            try:
                return configured_client.call("get", job_id)  # type: ignore[no-any-return]
            except ApiNotFound:
                return None
        tags = {"outbox": task_id.removeprefix(OUTBOX)} if task_id.startswith(OUTBOX) else {TASK_ID: task_id}
        if not 0 < len(next(iter(tags.values()))) <= 64:
            return None
        # Retries of the job, and its children, have the same tag.
        found = configured_client.call("list", tags=tags, is_whole=True)
        job: Job | None = next((each for each in found if each.retry_of is None and each.parent_id is None), None)
        if job is not None:
            self._job_ids[task_id] = job.id
        return job

    def _is_of_inner(self, task_id: str) -> bool:
        if self._inner is None or task_id.startswith((_JOB, OUTBOX)):
            return False
        return task_id not in self._job_ids and self._find(task_id) is None

    # Cancelling ----------------------------------------------------------------------------------------------------

    def cancel(self, task_id: str, *, is_running_too: bool) -> bool:
        """Cancel a job that is queued; if requested, a running one too. Returns False if no job has the id."""
        job = self._find(task_id)
        if job is None:
            return False
        if not is_running_too:
            configured_client.call("cancel_all", id=job.id, status="queued")
            return True
        # A conflict: it has ended, so there is nothing to revoke.
        with suppress(ApiConflict):
            configured_client.call("cancel", job.id)
        return True

    # Groups, and the other backend -----------------------------------------------------------------------------------

    def save_group(self, group_id: str, result: GroupResult) -> GroupResult:
        """Save a group in the other backend; the tags of its jobs are enough otherwise."""
        if self._inner is not None:
            return self._inner.save_group(group_id, result)
        return result

    def restore_group(self, group_id: str, cache: bool = True) -> GroupResult | None:
        """Return the result of a group, in the order of its tasks."""
        if self._inner is not None and (found := self._inner.restore_group(group_id, cache)) is not None:
            return found
        jobs = configured_client.call("list", tags={GROUP_ID: group_id})
        ids = sorted(job.id for job in jobs if job.parent_id is None and job.retry_of is None)
        return self.app.GroupResult(group_id, [self.app.AsyncResult(id_) for id_ in ids]) if ids else None

    def delete_group(self, group_id: str) -> None:
        """Forget a saved group."""
        if self._inner is not None:
            self._inner.delete_group(group_id)

    def forget(self, task_id: str) -> None:
        """Forget a result of the other backend; retention deletes jobs."""
        if self._is_of_inner(task_id):
            assert self._inner is not None
            self._inner.forget(task_id)

    def store_result(self, task_id: str, result: Any, state: str, *args: Any, **options: Any) -> Any:
        """Store the result of a task that stays on Celery; a job's record is written by its node."""
        if self._inner is not None and not task_id.startswith(_JOB):
            return self._inner.store_result(task_id, result, state, *args, **options)
        return result

    def __getattr__(self, name: str) -> Any:
        """Return an attribute that only the other backend has, such as `result_consumer`."""
        inner = self.__dict__.get("_inner")
        if inner is None or name.startswith("__"):
            raise AttributeError(name)
        return getattr(inner, name)


class AvaControl(Control):  # type: ignore[misc]
    """Revokes jobs, and on Celery all other tasks."""

    def revoke(self, task_id: Any, destination: Any = None, terminate: bool = False, *args: Any, **options: Any) -> Any:
        """Revoke one task or several; a running one only with `terminate`."""
        ids = list(map(str, task_id)) if isinstance(task_id, list | tuple | set) else [str(task_id)]
        others = [each for each in ids if not self.app.backend.cancel(each, is_running_too=terminate)]
        if not others:
            return [] if options.get("reply") else None
        return super().revoke(others if len(ids) > 1 else others[0], destination, terminate, *args, **options)


def _delegate(name: str) -> None:
    """Let the other backend handle a method that concerns only tasks on Celery."""
    own = getattr(BaseBackend, name)

    def method(self: AvaBackend, *args: Any, **options: Any) -> Any:
        target = own if self._inner is None else getattr(self._inner, name)
        return target(self, *args, **options) if self._inner is None else target(*args, **options)

    setattr(AvaBackend, name, method)


for _name in (
    "add_to_chord",
    "apply_chord",
    "chord_error_from_stack",
    "cleanup",
    "ensure_chords_allowed",
    "on_chord_part_return",
    "on_task_call",
    "process_cleanup",
    "set_chord_size",
):
    _delegate(_name)


def _reported(message: str) -> tuple[str, Any] | None:
    """Return the state and the meta data that a task has set by `update_state`."""
    state, _, meta = message.partition(" ")
    if not state.isupper():
        return None
    try:
        return state, json.loads(meta) if meta else None
    except ValueError:
        return state, meta
