"""Remote control of nodes: messages to one node that stop a run sooner than the node would by itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from celery import Celery
from celery.app import control
from kombu import Producer, pidbox
from kombu.exceptions import OperationalError

from ava.domain.jobs.job import RunKey
from ava.domain.jobs.messages import sign, task_id
from ava.errors import BrokerUnavailable

#: The name of our own remote control command.
RELEASE_RUNS = "ava_release_runs"


class _Producer(Producer):  # type: ignore[misc]
    """Retries as often as the application's transport options say.

    kombu retries a remote control message without end if its connection was made before the broker became unreachable.
    Its sender would wait for the broker.
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

    A message may be lost, because remote control is a broadcast: a node that reconnects misses it. Each node reads
    the same from the database as well.
    """

    def __init__(self, app: Celery, keys: Sequence[str] = ()) -> None:
        """`keys`: those of AVA_MESSAGE_KEY; the first signs what could end a run.

        A revoke needs no signature, because the node asks the database what is to be cancelled.
        """
        self._app = app
        self._control = _RemoteControl(app)
        self._keys = keys

    def revoke_all(self, *, runs: Sequence[RunKey], node_name: str) -> None:
        """Ask a node to send SIGTERM to the processes that run exactly these runs, if they still do.

        Raises `BrokerUnavailable`.
        """
        task_ids = [task_id(run) for run in runs]
        try:
            self._control.revoke(task_ids, destination=[node_name], terminate=True, signal="SIGTERM")
        except (OSError, OperationalError, *self._app.pool.connection.recoverable_connection_errors) as error:
            raise BrokerUnavailable from error

    def release_runs(self, *, runs: Sequence[RunKey], node_name: str) -> None:
        """Ask a node to stop these runs if it cannot reach the database, because they are about to be rescued.

        Raises `BrokerUnavailable`.
        """
        task_ids = [task_id(run) for run in runs]
        arguments: dict[str, object] = {"task_ids": task_ids}
        if self._keys:
            arguments["signature"] = sign(self._keys[0], RELEASE_RUNS, node_name, *task_ids)
        # Each transport raises errors of its own, with no common class.
        try:
            self._control.broadcast(RELEASE_RUNS, arguments=arguments, destination=[node_name])
        except Exception as error:
            raise BrokerUnavailable from error
