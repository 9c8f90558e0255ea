"""Restrict Celery's remote control: no commands that end a node, stop its consumers or change its registrations."""

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

from ava.node.celery_internals.inbound_messages import GuardedControlNode

_log = logging.getLogger(__name__)

#: What Flower needs, `ping`, the search for one job, and our revokes.
_ALLOWED = frozenset(
    {
        "active", "active_queues", "conf", "enable_events", "ping", "query_task", "registered", "reserved", "revoke",
        "revoked", "scheduled", "stats",
    }
)  # fmt: skip


def restrict(app: Celery, *, is_redis: bool, on_revoke: Callable[[], object]) -> None:
    """Refuse malformed messages and all other commands of Celery. Commands of handler modules stay.

    `is_redis`: given, because asking a connection would import the broker's library with `ava.app`. `on_revoke`: called
    with each revoke, because Celery identifies a message only by its first run.
    """
    mailbox = app.control.mailbox
    mailbox.node_cls = GuardedControlNode
    if not is_redis:
        mailbox.get_queue = partial(_new_queue, mailbox.get_queue)
    for name, command in control.Panel.data.items():
        is_of_celery = getattr(command, "__module__", "") == control.__name__
        if is_of_celery and command.__name__ not in _ALLOWED:
            control.Panel.data[name] = partial(_refuse, name)
    control.Panel.data["revoke"] = partial(_revoke, on_revoke)


def _revoke(on_revoke: Callable[[], object], _state: Any, task_id: str | Sequence[str] = (), **_: Any) -> Any:
    """Apply a revoke, without Celery's query of the result backend, which a node does not have."""
    on_revoke()
    for each in [task_id] if isinstance(task_id, str) else task_id:
        if (request := worker_state.requests.get(each)) is not None:
            request.terminate(None)
    return control.ok("the node reads cancels from the database")


def _new_queue(get_queue: Callable[[str], Queue], hostname: str) -> Queue:
    """Return a control queue with a name that no earlier connection has used.

    RabbitMQ does not reply to a second declaration while the queue's server of the cluster is down. An earlier queue
    expires within seconds.
    """
    return get_queue(f"{hostname}.{uuid4().hex[:12]}")


def _refuse(name: str, _state: Any, **_: Any) -> dict[str, str]:
    _log.warning("Remote control: the command %s is refused.", name)
    return {"error": f"this node refuses the command {name}; start nodes with other queues or more processes instead"}
