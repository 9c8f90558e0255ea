"""What is done when Celery says that something happens.

Status, output and log lines are written by these receivers, in the child that runs the job: `task_prerun` claims it and
`task_success`, `task_failure` or `task_postrun`, whichever comes first, writes its end.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import Any

from celery import Celery, signals

from ava import logs, tracing
from ava.broker.app import make_queue
from ava.domain.messages import DEFAULT_QUEUE
from ava.errors import StartError
from ava.handler import registry
from ava.node import task
from ava.node.celery_internals.event_batching import EventBatching
from ava.node.celery_internals.pool_child import PoolChild
from ava.node.celery_internals.request import JobRequest
from ava.node.node import Node
from ava.settings import Settings

__all__ = ["install"]

_log = logging.getLogger(__name__)


def install(app: Celery, settings: Settings) -> None:
    """Make a Celery application one that runs jobs, once a worker is started from it. Nothing connects yet."""
    node = Node(settings)
    JobRequest.run_monitor = node.run_monitor
    JobRequest.pool_pids = staticmethod(node.pool_pids)
    PoolChild.take_over = staticmethod(node.start_child)
    JobRequest.is_acknowledged_on_arrival = settings.broker_is_redis
    app.steps["consumer"].add(EventBatching)
    task.register(app, node)
    receivers = {
        signals.setup_logging: lambda **_: logs.configure(settings, "worker"),
        signals.celeryd_init: lambda options=None, **_: _prepare(app, settings, options or {}),
        signals.worker_ready: lambda sender, **_: node.start(sender),
        signals.worker_shutting_down: lambda how, **_: node.shut_down(is_cold=how == "Cold"),
        signals.worker_shutdown: lambda **_: node.close(),
        signals.worker_process_shutdown: lambda **_: node.close_child(),
        signals.task_prerun: lambda args=(), **_: _claim(node, args),
        signals.task_success: lambda **_: _record(node),
        signals.task_failure: lambda **_: _record(node),
        signals.task_postrun: lambda **_: _leave(node),
    }
    for signal, receiver in receivers.items():
        signal.connect(receiver, weak=False)


def _prepare(app: Celery, settings: Settings, options: dict[str, Any]) -> None:
    """Load the handlers and name the queues, before Celery's worker looks at them."""
    try:
        registry.load(settings.worker_modules)
    except StartError as error:
        # What a receiver raises is logged and forgotten; only this ends the worker.
        print(f"ava: {error}", file=sys.stderr)  # noqa: T201 - there is no log yet
        raise SystemExit(1) from None
    tracing.preload(settings)
    chosen = options.get("queues") or []
    chosen = chosen.split(",") if isinstance(chosen, str) else chosen
    names = {DEFAULT_QUEUE, *chosen, *(handler.spec.queue for handler in registry.handlers().values())}
    app.conf.task_queues = [make_queue(name, no_ack=settings.broker_is_redis) for name in sorted(names)]
    app.amqp.queues = app.conf.task_queues


def _claim(node: Node, message: Sequence[Any]) -> None:
    if node.child is None:
        return
    job_id, run_no, worker_id = message
    if (handler := registry.find(worker_id)) is not None:
        node.child.claim(job_id=job_id, run_no=run_no, handler=handler)
    else:
        _log.warning("No handler here for a job's worker; it is put off.", extra={"job_id": job_id})
        node.child.defer(job_id=job_id, run_no=run_no)


def _record(node: Node) -> None:
    # The parent hears of lost processes under the same names; its run_monitor sees to those.
    if node.child is not None:
        node.child.record()


def _leave(node: Node) -> None:
    _record(node)
    if node.child is not None:
        node.child.leave()
