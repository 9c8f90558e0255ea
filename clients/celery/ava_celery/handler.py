"""Run a task as the handler of a job: Celery's tracer executes it once in each run."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from types import FrameType
from typing import Any

from celery import Celery, _state, states
from celery.app.task import Task
from celery.app.trace import build_tracer
from celery.canvas import Signature, _chain
from celery.exceptions import ImproperlyConfigured, Reject, Retry, SoftTimeLimitExceeded
from celery.utils.saferepr import saferepr
from celery.utils.time import maybe_make_aware

from ava.domain.jobs.trigger_options import MAX_EXPIRY_SECONDS
from ava.handler.env import Env
from ava.handler.errors import GiveUp, RetryLater
from ava.handler.retry_rules import NextAttempt
from ava.node.outcome import explain
from ava_celery import replacement, workers
from ava_celery.entries import priority_of
from ava_celery.results import StateReport, as_json, decoded

#: Seconds until a soft limit is raised again, because CPython may notice a signal just before a blocking call.
_REPEAT_SECONDS = 0.1
#: Seconds until a message that a task rejects for redelivery runs again.
_REQUEUE_SECONDS = 1.0
#: The modules of the frames between this one and the author's function.
_BETWEEN = ("celery.", "vine.", __name__)


class TaskHandler:
    """Calls one task of an author's application as the handler of a job."""

    def __init__(self, app: Celery, task: Task) -> None:
        self._app, self._task = app, task
        self._soft_limit = workers.soft_limit(app, task)
        self._hard_limit = workers.hard_limit(app, task)
        # Eager: it stores nothing in the author's result backend, because the record is the job's.
        task.store_eager_result = task.store_errors_even_if_ignored = False
        self._trace = build_tracer(task.name, task, app=app, eager=True)
        #: Requests of the current run, set by the task's methods below.
        self._retry: _NotSent | None = None
        self._report: StateReport | None = None
        self._replacement: Signature | None = None
        self.__module__, self.__qualname__, self.__doc__ = task.__module__, task.name, task.__doc__
        self._own_retry, self._own_update_state, self._own_replace = task.retry, task.update_state, task.replace
        self._own_signature = task.signature_from_request
        task.signature_from_request = self._keep_retry
        task.retry, task.update_state, task.replace = self._checked_retry, self._update_state, self._replace

    def __call__(self, input: Mapping[str, Any], env: Env) -> Any:
        """Run the task once. Return its result as a JSON value, or raise the error that ends the run."""
        if replacement.is_recorded(env):
            return replacement.run(env, self._app, self._task, Signature)
        args, kwargs = decoded(list(input.get("args", ()))), decoded(dict(input.get("kwargs", {})))
        request = self._request(env) | {"argsrepr": saferepr(args), "kwargsrepr": saferepr(kwargs)}
        request |= decoded(input.get("request", {}))
        self._retry, self._replacement, self._report = None, None, (report := StateReport(env))
        with self._in_app(), self._soft_limited():
            value, ended = self._trace(request["id"], args, kwargs, request)[:2]
        if (signature := self._asked_replacement()) is not None:
            return replacement.run(env, self._app, self._task, lambda: signature)
        retry = self._asked_retry()
        if retry is not None and not isinstance(getattr(ended, "retval", None), Reject):
            raise self._next_attempt(retry, ended, env.job["id"])
        if ended is None:
            return None if self._task.ignore_result or request.get("ignore_result") else as_json(value)
        return self._end(ended.state, ended.retval, report)

    def _end(self, state: str, raised: BaseException, report: StateReport) -> Any:
        if state == states.IGNORED:
            return report.ignored()
        if state == states.REJECTED:
            assert isinstance(raised, Reject)
            if raised.requeue:
                raise RetryLater(_REQUEUE_SECONDS, f"rejected: {raised.reason}")
            raise GiveUp(f"rejected: {raised.reason}")
        raise _of_author(raised)

    def _request(self, env: Env) -> dict[str, Any]:
        """Return the fields of `self.request`, without the arguments."""
        job = env.job
        return {
            "id": job["id"],
            "task": self._task.name,
            "root_id": job.get("tree_id") or job["id"],
            "parent_id": job.get("parent_id"),
            "correlation_id": job["id"],
            "retries": env.attempt - 1,
            "hostname": f"ava@{job['tenant_id']}",
            "delivery_info": {
                "exchange": "",
                "routing_key": workers.queue_of(self._app, self._task),
                "priority": priority_of(self._app, job["priority"]),
                "redelivered": _is_redelivered(env),
            },
            "timelimit": [self._hard_limit, self._soft_limit],
            "expires": job.get("expires_at"),
            "eta": job.get("scheduled_at"),
            "headers": {"tenant_id": job["tenant_id"]},
        }

    # Retries -------------------------------------------------------------------------------------------------------

    def _checked_retry(self, *given: Any, **named: Any) -> Any:
        """Replace `Task.retry`: fail if it asks for more retries than the task declares, and publish nothing."""
        asked, declared = named.get("max_retries"), workers.max_retries(self._task)
        if asked is not None and asked > declared:
            raise GiveUp(
                f"retry(max_retries={asked}) is more than max_retries={declared} of {self._task.name}; "
                "declare the larger number with the task"
            )
        return self._own_retry(*given, **named)

    def _keep_retry(self, request: Any = None, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """Replace `Task.signature_from_request`: a retry is the next attempt of this job, not a message."""
        request = self._task.request if request is None else request
        if request.is_eager:
            return self._own_signature(request, args, kwargs, **options)
        args, kwargs = request.args if args is None else args, request.kwargs if kwargs is None else kwargs
        if list(args) != list(request.args) or dict(kwargs) != dict(request.kwargs):
            raise GiveUp(f"{self._task.name} retries with other arguments, but a job keeps its input")
        return _NotSent(args, kwargs, _seconds(options, self._app), self._record_retry)

    def _record_retry(self, retry: _NotSent) -> None:
        self._retry = retry

    def _asked_retry(self) -> _NotSent | None:
        return self._retry

    def _next_attempt(self, retry: _NotSent, ended: Any, job_id: str) -> NextAttempt:
        raised = None if ended is None else ended.retval
        error = raised.exc if isinstance(raised, Retry) else raised
        if not isinstance(error, BaseException):
            exceeded = self._task.MaxRetriesExceededError(f"Can't retry {self._task.name}[{job_id}]")
            return NextAttempt(retry.seconds, exceeded, f"Retry in {retry.seconds:g} s")
        return NextAttempt(retry.seconds, _of_author(error), f"Retry in {retry.seconds:g} s: {explain(error)}")

    def _replace(self, sig: Signature) -> Any:
        """Replace `Task.replace`: children run the signature, and their output is the job's."""
        if self._task.request.is_eager:
            return self._own_replace(sig)
        if isinstance(sig, _chain) and not sig.tasks:
            raise ImproperlyConfigured("Cannot replace with an empty chain")
        found = sig.clone()
        for errback in self._task.request.errbacks or ():
            found.link_error(errback)
        found.options["replaced_task_nesting"] = self._task.request.get("replaced_task_nesting", 0) + 1
        # `on_replace`, which a task's class may override, calls it and raises `Ignore`.
        found.delay = lambda: setattr(self, "_replacement", found)
        return self._task.on_replace(found)

    def _asked_replacement(self) -> Signature | None:
        return self._replacement

    def _update_state(
        self, task_id: str | None = None, state: str | None = None, meta: Any = None, **more: Any
    ) -> None:
        """Replace `Task.update_state`: this job's state becomes its progress; another task's state is stored."""
        if self._report is None or task_id not in (None, self._task.request.id):
            self._own_update_state(task_id, state, meta, **more)
        else:
            self._report.record(state or "", meta)

    # The run's surroundings ------------------------------------------------------------------------------------------

    @contextmanager
    def _in_app(self) -> Iterator[None]:
        """Make the task's application the current one, through which the task publishes other tasks."""
        before = _state._tls.current_app
        _state._set_current_app(self._app)
        try:
            yield
        finally:
            _state._set_current_app(before)
            self._report = None

    @contextmanager
    def _soft_limited(self) -> Iterator[None]:
        """Raise `SoftTimeLimitExceeded` in the task after its soft limit."""
        if self._soft_limit is None:
            yield
            return
        before = signal.signal(signal.SIGALRM, _raise_soft_limit)
        signal.setitimer(signal.ITIMER_REAL, self._soft_limit, _REPEAT_SECONDS)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)


class _NotSent:
    """The signature of a task's next attempt; Celery would publish it."""

    def __init__(self, args: Any, kwargs: Any, seconds: float, record: Callable[[_NotSent], None]) -> None:
        self.args, self.kwargs, self.seconds = args, kwargs, seconds
        self._record = record

    def apply_async(self) -> None:
        """Record that the task asks for another attempt."""
        self._record(self)


def _is_redelivered(env: Env) -> bool:
    """Return True if an earlier run of this attempt was lost, rejected or put back."""
    # Such a run uses no attempt.
    first = env._job.first_run_no
    return first is not None and env._job.run_no - first >= env.attempt


def _seconds(options: Mapping[str, Any], app: Celery) -> float:
    """Return the seconds until the next attempt, from a retry's `countdown` or `eta`."""
    if (eta := options.get("eta")) is not None:
        at = datetime.fromisoformat(eta) if isinstance(eta, str) else eta
        seconds = float((maybe_make_aware(at, app.timezone) - app.now()).total_seconds())
    else:
        seconds = float(options.get("countdown") or 0)
    if not seconds <= MAX_EXPIRY_SECONDS:
        raise GiveUp(f"a retry in {seconds:g} s is too late: at most {MAX_EXPIRY_SECONDS} s")
    return max(0.0, seconds)


def _raise_soft_limit(*_: int | FrameType | None) -> None:
    signal.setitimer(signal.ITIMER_REAL, 0)
    raise SoftTimeLimitExceeded


def _of_author(error: BaseException) -> BaseException:
    """Return the error with a traceback that begins in the author's code."""
    part = error.__traceback__
    while part is not None and str(part.tb_frame.f_globals.get("__name__")).startswith(_BETWEEN):
        part = part.tb_next
    return error.with_traceback(part or error.__traceback__)
