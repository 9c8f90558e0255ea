"""Priorities: 1 (first) to 10 (last) for clients, and what each broker calls them."""

from __future__ import annotations

__all__ = ["DEFAULT", "FIRST", "HIGH", "LAST", "to_rabbitmq", "to_redis"]

FIRST = 1
LAST = 10
DEFAULT = 5
#: The last of the priorities that count as high in `GET /v1/ava/queues`.
HIGH = 3


def to_redis(priority: int) -> int:
    """Kombu's Redis transport takes 0 first (kombu, `kombu.transport.redis`, "priority")."""
    return priority - FIRST


def to_rabbitmq(priority: int) -> int:
    """RabbitMQ takes the largest first, up to the queue's `x-max-priority` (manual, "Priority Queues")."""
    return LAST - priority
