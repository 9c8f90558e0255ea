"""Celery's remote control, without the commands that end a node, make it deaf or change what it has registered."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

from celery.worker import control

__all__ = ["restrict"]

_log = logging.getLogger(__name__)

#: What Flower, `celery inspect` and our own revokes use.
_KEPT = frozenset(
    {
        "active", "active_queues", "clock", "conf", "enable_events", "heartbeat", "hello", "ping", "query_task",
        "registered", "report", "reserved", "revoke", "revoked", "scheduled", "stats",
    }
)  # fmt: skip


def restrict() -> None:
    """Refuse every other command of Celery's; those of handler modules stay."""
    for name, command in control.Panel.data.items():
        is_of_celery = getattr(command, "__module__", "") == control.__name__
        if is_of_celery and command.__name__ not in _KEPT:
            control.Panel.data[name] = partial(_refuse, name)


def _refuse(name: str, _state: Any, **_: Any) -> dict[str, str]:
    _log.warning("Remote control: the command %s is refused.", name)
    return {"error": f"this node refuses {name}; stop or start nodes with other queues or more processes instead"}
