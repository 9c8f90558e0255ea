"""The receivers of Celery's signals.

In a child, `task_prerun` claims the job, and `task_postrun` writes the end of its run. Celery sends `task_postrun` for
each task, but neither `task_success` nor `task_failure` if it ends with `Ignore`, such as for a cancelled job.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from celery import Celery, signals

from ava.broker import untrusted_messages
from ava.broker.celery_app import make_queue
from ava.broker.untrusted_messages import DROPPED
from ava.domain.jobs.messages import CONCURRENT_QUEUE, DEFAULT_QUEUE, TASK, Message
from ava.errors import HandlerError, StartError
from ava.handler import registry
from ava.metrics.counters import MESSAGES_DROPPED
from ava.node import machine_use, outcome, task
from ava.node.celery_internals import remote_control, requirements
from ava.node.celery_internals.consumer import EventBatching, JobConsumer, SendOnce
from ava.node.celery_internals.job_request import JobRequest
from ava.node.celery_internals.pool_child import NoTakeAhead
from ava.node.celery_internals.queue_consumer import QueueConsumer
from ava.node.intake import Part
from ava.node.node import Node
from ava.settings import Settings
from ava.telemetry import logs, tracing

_log = logging.getLogger(__name__)


def install_node(
    app: Celery, settings: Settings, node: Node, part: Part, chosen: Sequence[str], on_ready: Callable[[Any], None]
) -> None:
    """Prepare a Celery application to consume as a node. Nothing connects yet.

    `part`: which queues it consumes, among those in `chosen` if any. `on_ready`: starts the node, with its consumer.
    """
    JobRequest.run_monitor = node.run_monitor
    JobRequest.pool_pids = staticmethod(node.pool_pids)
    JobRequest.is_acknowledged_on_arrival = settings.broker_is_redis
    JobConsumer.message_keys = settings.message_keys
    app.steps["consumer"].add(EventBatching)
    app.events.dispatcher_cls = SendOnce
    QueueConsumer.refusals = node.refusals
    QueueConsumer.intake = node.run_monitor.intake
    app.amqp.Consumer = QueueConsumer
    remote_control.restrict(app, is_redis=settings.broker_is_redis, on_revoke=node.run_monitor.check_now)
    untrusted_messages.refuse_compressed()
    DROPPED.on_drop = lambda reason: MESSAGES_DROPPED.labels(reason).inc()
    task.register(app, node)
    _connect(
        {
            signals.setup_logging: lambda **_: logs.configure(settings, "worker"),
            signals.celeryd_init: lambda options=None, **_: prepare(
                app, node, settings, part, chosen or _queues_of(options or {})
            ),
            signals.worker_ready: lambda sender, **_: on_ready(sender),
            signals.worker_shutdown: lambda **_: node.close(),
        }
    )


def _connect(receivers: Mapping[Any, Callable[..., object]]) -> None:
    for signal_, receiver in receivers.items():
        signal_.connect(receiver, weak=False)


def install(
    app: Celery, settings: Settings, *, part: Part = Part.ALL, chosen: Sequence[str] = (), node_id: str | None = None
) -> None:
    """Prepare a Celery application to run jobs in a pool, if a worker is started from it. Nothing connects yet.

    `part`, `chosen`: see `install_node`. `node_id`: if it is known.
    """
    node = Node(settings, node_id)
    install_node(app, settings, node, part, chosen, lambda consumer: start(node, consumer))
    if settings.pool == "celery" or requirements.describe_untested():
        # A worker on untested versions must be able to start, so that `prepare` can refuse it.
        app.conf.worker_pool = "prefork"
    parent_pid = os.getpid()
    receivers: dict[Any, Callable[..., object]] = {
        signals.celeryd_after_setup: lambda instance, **_: node.prepare_processes(instance.concurrency),
        signals.worker_shutting_down: lambda how, **_: node.shut_down(is_cold=how == "Cold"),
        signals.worker_process_shutdown: lambda **_: node.close_child(),
        # The child writes the run's outcome, or buffers it until the last run of the same claim has ended.
        signals.task_postrun: _of_job(lambda **_: _end(node)),
    }
    # The child claims the job, unless an earlier statement has claimed it, and creates the `Run`.
    if settings.pool == "celery":
        receivers[signals.worker_process_init] = lambda **_: _await_first_job(parent_pid)
        receivers[signals.task_prerun] = _of_job(lambda args=(), **_: _take_over_and_claim(node, parent_pid, args))
    else:
        receivers[signals.task_prerun] = _of_job(lambda args=(), **_: _claim(node, args))
    _connect(receivers)


def _of_job(receiver: Callable[..., None]) -> Callable[..., None]:
    """Return a receiver that ignores the signals of an author's own tasks, which run inside a handler."""

    def receive(sender: Any = None, **more: Any) -> None:
        if getattr(sender, "name", None) == TASK:
            receiver(**more)

    return receive


# In the parent -----------------------------------------------------------------------------------------------------


def prepare(app: Celery, node: Node, settings: Settings, part: Part, chosen: Sequence[str]) -> None:
    """Check the versions, load the handlers and name the queues, before Celery's worker reads them."""
    try:
        requirements.require_tested(settings.pool)
        if settings.pool == "ava" and part is not Part.SLOTS:
            # An untested Celery may lack names that this imports.
            from ava.node.celery_internals.pool_child import PoolChild

            PoolChild.take_over = staticmethod(node.start_child)
        with node.handlers_app.noted():
            registry.load(settings.handler_modules)
            if settings.celery_apps:
                node.celery_workers = registry.celery_tasks("load")(settings)
        names = _queue_names(part, chosen)
        machine_use.check_memory_limits((each.spec for each in registry.handlers().values()), settings.max_memory_mb)
    except StartError as error:
        # Celery logs and ignores exceptions of receivers; only SystemExit ends the worker.
        print(logs.start_error_line("worker", str(error)), file=sys.stderr)  # noqa: T201 - there is no log yet
        raise SystemExit(1) from None
    tracing.preload(settings)
    requirements.reserve_shared_memory()
    app.conf.task_queues = [
        make_queue(name, no_ack=settings.broker_is_redis, queue_type=settings.rabbitmq_queue_type)
        for name in sorted(names)
    ]
    app.amqp.queues = app.conf.task_queues


def _queues_of(options: dict[str, Any]) -> Sequence[str]:
    named = options.get("queues") or []
    return named.split(",") if isinstance(named, str) else list(named)


def _queue_names(part: Part, chosen: Sequence[str]) -> Collection[str]:
    """Return the queues that a process consumes. Raises `HandlerError` if `chosen` has none of its kind."""
    concurrent = registry.concurrent_queues()
    all_names = {DEFAULT_QUEUE, *chosen, *(handler.spec.queue for handler in registry.handlers().values())}
    if part is Part.ALL:
        return all_names
    names = set(chosen) or all_names
    if part is Part.SLOTS:
        names = names & concurrent if chosen else set(concurrent or {CONCURRENT_QUEUE})
    else:
        names -= concurrent
    if not names:
        kind = "concurrent workers; leave out --slots" if part is Part.SLOTS else "other workers; use -c 0"
        raise HandlerError(f"-q names no queue of {kind}.")
    return names


def start(node: Node, consumer: Any) -> None:
    """Start the node when Celery's worker consumes its queues. Ends this process if that fails."""
    if problem := requirements.describe_untested():
        _log.warning("Celery's own pool runs on an untested version: %s.", problem)
    try:
        node.start(consumer)
    except Exception as error:
        # Celery logs and ignores exceptions of receivers, and would consume without run monitor, watchdog and row. The
        # children end with this process.
        _log.critical("Node cannot start: %s", outcome.explain(error))
        os._exit(1)


# In a child of Celery's own pool -----------------------------------------------------------------------------------

# There, billiard sets up its signals after Celery's last signal for a new process, but keeps ignored signals. The child
# takes over the process with its first job.


def _await_first_job(parent_pid: int) -> None:
    if os.getpid() != parent_pid:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _take_over_and_claim(node: Node, parent_pid: int, arguments: Sequence[Any]) -> None:
    if node.child is None and os.getpid() != parent_pid:
        node.start_child(NoTakeAhead())
    _claim(node, arguments)


# In a child --------------------------------------------------------------------------------------------------------


def _claim(node: Node, arguments: Sequence[Any]) -> None:
    """Claim the run of a task that begins, or defer its jobs if this node lacks their handler."""
    if node.child is not None:
        node.child.steps.claim(Message.of(arguments))


def _end(node: Node) -> None:
    """Write or buffer the outcome of the run, then end this process if it must not run another task."""
    if node.child is not None:
        node.child.steps.write_end()
        node.child.finish_task()
