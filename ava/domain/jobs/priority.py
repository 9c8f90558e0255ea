"""Priorities: 1 (first) to 10 (last) for clients, and their values in each broker."""

from __future__ import annotations

FIRST = 1
LAST = 10
DEFAULT = 5
#: Priorities from `FIRST` to this one count as high in `GET /v1/ava/queues`.
HIGH = 3
#: About the field of a record that creates jobs.
FACTS = {
    "description": f"The priority of the created jobs, {FIRST} (highest) to {LAST} (lowest).",
    "minimum": FIRST,
    "maximum": LAST,
}


def to_redis(priority: int) -> int:
    """Return the priority for Kombu's Redis transport, which delivers 0 first (`kombu.transport.redis`, "priority")."""
    return priority - FIRST


def to_rabbitmq(priority: int) -> int:
    """Return the priority for RabbitMQ, which delivers the largest first, up to the queue's `x-max-priority`.

    Source: RabbitMQ's manual, "Priority Queues".
    """
    return LAST - priority
