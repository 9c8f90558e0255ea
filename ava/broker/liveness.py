"""Whether the broker is there: on a connection that we hold, and on a new one."""

from __future__ import annotations

import select
from contextlib import suppress
from typing import Any

from celery import Celery

__all__ = ["answers", "hear_end"]


def hear_end(connection: Any) -> None:
    """Hear what RabbitMQ has said on an idle connection, its end above all, which raises the transport's error.

    A message that is written to a connection which the other side has closed is lost without a word. Redis needs none
    of this, for it answers each command.
    """
    transport = getattr(connection._connection, "transport", None)
    sock = getattr(transport, "sock", None)
    while sock is not None and _is_readable(sock):
        with suppress(TimeoutError):
            connection.drain_events(timeout=0.1)


def _is_readable(sock: Any) -> bool:
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def answers(app: Celery) -> bool:
    """Whether the broker answers on a new connection."""
    try:
        with app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, timeout=2)
            channel = connection.default_channel
            client = getattr(channel, "client", None)
            if client is not None:
                client.ping()
            return True
    except Exception:
        # Each transport raises errors of its own, with no common class.
        return False
