"""Check for Redis settings that harm a broker: eviction of messages and closing of idle connections."""

from __future__ import annotations

from typing import Any

from ava.broker import connectivity
from ava.errors import StartError
from ava.settings import Settings

_EVICTS = (
    "BROKER_URL: maxmemory-policy of this Redis is {policy}, so it drops messages when its memory is short, and their "
    "jobs wait until the dispatcher misses them. `CONFIG SET maxmemory-policy noeviction`, and the same in redis.conf."
)
_CLOSES = (
    "BROKER_URL: this Redis closes connections that are idle for {seconds} s (timeout), such as that of a node whose "
    "processes are all busy, which then has to connect again. `CONFIG SET timeout 0`, and the same in redis.conf."
)


def require_safe(settings: Settings) -> None:
    """Raise `StartError` if Redis may evict messages or closes idle connections. RabbitMQ has no such settings.

    Settings that the user of BROKER_URL may not read count as safe.
    """
    if not settings.broker_is_redis:
        return
    with connectivity.make_connection(settings) as connection:
        channel = connection.default_channel
        with channel.conn_or_acquire() as client:
            policy = _read(channel, lambda: client.info("memory").get("maxmemory_policy", ""))
            if policy.startswith("allkeys"):
                raise StartError(_EVICTS.format(policy=policy))
            seconds = _read(channel, lambda: client.config_get("timeout").get("timeout", ""))
            if seconds not in ("", "0"):
                raise StartError(_CLOSES.format(seconds=seconds))


def _read(channel: Any, ask: Any) -> str:
    """Return a setting; empty if the user may not read it. Managed servers have no CONFIG command."""
    try:
        return str(ask())
    except channel.ResponseError:
        return ""
