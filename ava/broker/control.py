"""Remote control of nodes: messages that stop a run sooner than its node would; and Celery's own, for Flower."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from celery import Celery
from celery.app import control
from kombu import Producer, Queue, pidbox
from kombu.exceptions import OperationalError

from ava.domain.jobs.job import RunKey
from ava.domain.jobs.messages import sign, task_id
from ava.errors import BrokerUnavailable

RELEASE_RUNS = "ava_release_runs"


class _Producer(Producer):  # type: ignore[misc]
    """Retries only as often as the application's transport options allow.

    If a connection was opened before the broker became unreachable, kombu retries endlessly and blocks the sender.
    """

    def publish(self, *args: Any, **options: Any) -> Any:
        of_application = self.connection.transport_options
        names = ("max_retries", "interval_start", "interval_step")
        policy = {name: of_application[name] for name in names if name in of_application}
        return super().publish(*args, **options, retry_policy=policy)


class _Mailbox(pidbox.Mailbox):  # type: ignore[misc]
    @contextmanager
    def producer_or_acquire(self, producer: Producer | None = None, channel: Any = None) -> Iterator[Producer]:
        yield producer or _Producer(channel, auto_declare=False)


class _RemoteControl(control.Control):  # type: ignore[misc]
    Mailbox = _Mailbox


class Control:
    """Sends remote control messages through one Celery application.

    They may be lost: a reconnecting node misses broadcasts. Nodes read the same requests from the database, too.
    """

    def __init__(self, app: Celery, keys: Sequence[bytes] = ()) -> None:
        """`keys`: the keys of AVA_MESSAGE_KEY; the first signs requests that could end a run.

        A revoke needs no signature, because the node reads from the database which runs to cancel.
        """
        self._app = app
        self._control = _RemoteControl(app)
        self._keys = keys

    def revoke_all(self, *, runs: Sequence[RunKey], node_name: str) -> None:
        """Ask a node to send SIGTERM to the processes of exactly these runs. Raises `BrokerUnavailable`."""
        task_ids = [task_id(run) for run in runs]
        try:
            self._control.revoke(task_ids, destination=[node_name], terminate=True, signal="SIGTERM")
        except (OSError, OperationalError, *self._app.pool.connection.recoverable_connection_errors) as error:
            raise BrokerUnavailable from error

    def release_runs(self, *, runs: Sequence[RunKey], node_name: str) -> None:
        """Ask a node to stop these runs, which will soon be rescued, if it cannot reach the database.

        Raises `BrokerUnavailable`.
        """
        task_ids = [task_id(run) for run in runs]
        arguments: dict[str, object] = {"task_ids": task_ids}
        if self._keys:
            arguments["signature"] = sign(self._keys[0], RELEASE_RUNS, node_name, *task_ids)
        # The transports' errors have no common class.
        try:
            self._control.broadcast(RELEASE_RUNS, arguments=arguments, destination=[node_name])
        except Exception as error:
            raise BrokerUnavailable from error


class ReplyMailbox(pidbox.Mailbox):  # type: ignore[misc]  # kombu has no annotations
    """Declares the reply queue before each command is sent.

    kombu declares a durable queue once per connection and name. The reply queue is deleted with each command, but its
    name, derived from an object's address, recurs. So in long-running clients such as Flower the queue would not exist
    until kombu reads it, and earlier replies would be dropped.
    """

    def get_reply_queue(self) -> Queue:
        queue = super().get_reply_queue()
        # kombu declares auto-delete queues each time (`Queue.can_cache_declaration`).
        queue.auto_delete = True
        return queue


class AskingControl(control.Control):  # type: ignore[misc]  # Celery has no annotations
    """Celery's remote control with this mailbox, for `celery -A ava.app inspect` and Flower."""

    Mailbox = ReplyMailbox
