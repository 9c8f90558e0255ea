"""Celery's remote control, without the commands that end a node, make it deaf or change what it has registered.

On RabbitMQ each connection of a node has a control queue of its own name.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any
from uuid import uuid4

from celery import Celery
from celery.worker import control
from celery.worker import state as worker_state
from kombu import Queue

from ava.node.celery_internals.inbound import GuardedControlNode

_log = logging.getLogger(__name__)

#: What Flower reads, `ping`, the search for one job, and our own revokes.
_KEPT = frozenset(
    {
        "active", "active_queues", "conf", "enable_events", "ping", "query_task", "registered", "reserved", "revoke",
        "revoked", "scheduled", "stats",
    }
)  # fmt: skip


def restrict(app: Celery, *, is_redis: bool, on_revoke: Callable[[], object]) -> None:
    """Refuse every other command of Celery's, and malformed messages; the commands of handler modules stay.

    `is_redis`: whether the broker is Redis; to ask a connection would import the broker's library with `ava.app`.
    `on_revoke` is called with each revoke, because Celery knows a message by the first of its runs alone.
    """
    mailbox = app.control.mailbox
    mailbox.node_cls = GuardedControlNode
    if not is_redis:
        mailbox.get_queue = partial(_new_queue, mailbox.get_queue)
    for name, command in control.Panel.data.items():
        is_of_celery = getattr(command, "__module__", "") == control.__name__
        if is_of_celery and command.__name__ not in _KEPT:
            control.Panel.data[name] = partial(_refuse, name)
    control.Panel.data["revoke"] = partial(_revoke, on_revoke)


def _revoke(on_revoke: Callable[[], object], _state: Any, task_id: str | Sequence[str] = (), **_: Any) -> Any:
    """Follow a revoke. Celery's own command also asks the result backend, which a node does not have."""
    on_revoke()
    for each in [task_id] if isinstance(task_id, str) else task_id:
        if (request := worker_state.requests.get(each)) is not None:
            request.terminate(None)
    return control.ok("the node asks the database what is cancelled")


def _new_queue(get_queue: Callable[[str], Queue], hostname: str) -> Queue:
    """Returns a control queue that no earlier connection has declared.

    A queue lives on one server of a cluster. While that server is down, RabbitMQ does not answer who declares the queue
    again. The queue of an earlier connection expires within seconds.
    """
    return get_queue(f"{hostname}.{uuid4().hex[:12]}")


def _refuse(name: str, _state: Any, **_: Any) -> dict[str, str]:
    _log.warning("Remote control: the command %s is refused.", name)
    return {"error": f"this node refuses {name}; stop or start nodes with other queues or more processes instead"}
