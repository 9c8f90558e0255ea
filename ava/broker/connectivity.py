"""Check that the broker can be reached, over an open connection and over a new one, and that it is safe to use."""

from __future__ import annotations

import re
import select
from contextlib import suppress
from typing import Any

from celery import Celery
from kombu import Connection
from kombu.transport import TRANSPORT_ALIASES

from ava.broker import broker_url, reset_marker
from ava.broker.broker_url import explain_tls, tls_options
from ava.domain.jobs.messages import DEFAULT_QUEUE
from ava.errors import SettingsError, StartError
from ava.settings import Settings

_CLUSTER = (
    "BROKER_URL: nodes cannot use a Redis Cluster, because one command reads all of a node's queues and their keys "
    "are in different slots. Use a single Redis (with or without replicas), or RabbitMQ."
)
_ANOTHERS = (
    "BROKER_URL: this {place} belongs to another installation ({owner}, ours is {ours}), and each would consume the "
    "other's messages. Use one that nothing else uses, such as {example}; if the other installation no longer "
    "exists, run `{cure}` there."
)
_TERMS_ON_REDIS = {
    "place": "Redis database",
    "example": "redis://host:6379/1",
    "cure": f"redis-cli DEL {reset_marker.NAME}",
}
_TERMS_ON_RABBITMQ = {
    "place": "virtual host of RabbitMQ",
    "example": "amqp://host:5672/jobs",
    "cure": f"rabbitmqctl delete_queue {reset_marker.NAME}",
}
#: The first RabbitMQ version with our priorities in quorum queues.
_QUORUM_SINCE = (4, 3)
_NO_PRIORITIES = (
    "AVA_RABBITMQ_QUEUE_TYPE: RabbitMQ {version} gives a quorum queue two priorities instead of ten, so the order of "
    "jobs would not be exact. Upgrade RabbitMQ to 4.3 or later, or unset the variable."
)
#: Timeout in seconds for reading the marker from RabbitMQ; the server that stores it may be down.
_ANSWER_SECONDS = 3
_CONFIRM_SECONDS = 1.5
#: A routing key without a queue: RabbitMQ drops the message.
_UNROUTABLE = "ava.unroutable"
_EVICTS = (
    "BROKER_URL: maxmemory-policy of this Redis is {policy}, so it evicts messages when memory is short, and their "
    "jobs wait until the dispatcher detects the loss. `CONFIG SET maxmemory-policy noeviction`, and the same in "
    "redis.conf."
)
_CLOSES = (
    "BROKER_URL: this Redis closes connections that are idle for {seconds} s (timeout), and a node with only busy "
    "processes has to reconnect. `CONFIG SET timeout 0`, and the same in redis.conf."
)


# These transports drop messages that they cannot decode.
TRANSPORT_ALIASES |= {
    "redis": "ava.broker.transports:GuardedTransport",
    "rediss": "ava.broker.transports:GuardedTransport",
    "sentinel": "ava.broker.transports:GuardedSentinelTransport",
    "amqp": "ava.broker.transports:NamedTransport",
    "amqps": "ava.broker.transports:NamedTransport",
    "pyamqp": "ava.broker.transports:NamedTransport",
}


def make_connection(settings: Settings) -> Connection:
    """Return a connection to the broker, not opened yet.

    Raises `SettingsError` if the transport rejects an option in the query of BROKER_URL.
    """
    try:
        return Connection(
            broker_url.plain_url(settings),
            ssl=tls_options(settings),
            connect_timeout=3,
            transport_options=broker_url.transport_options(settings),
        )
    except SettingsError:
        raise
    except Exception as problem:
        # kombu passes the options on, and each transport raises its own errors. They contain no passwords.
        raise SettingsError(
            "BROKER_URL",
            f"an option in its query cannot be used ({type(problem).__name__}: {problem}); options for TLS are "
            "ssl_ca_certs, ssl_certfile, ssl_keyfile, ssl_cert_reqs and ssl_check_hostname",
        ) from None


def raise_if_closed(connection: Any) -> None:
    """Read pending frames from RabbitMQ on an idle connection. Raises the transport's error if RabbitMQ closed it.

    A message written to a connection that the peer has closed is lost without an error. Redis replies to each command.
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


def ping(app: Celery) -> bool:
    """Return True if the broker accepts messages over a new connection."""
    try:
        with app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=len(connection.alt) or 1, interval_start=0, timeout=2)
            _require_taking(connection)
            return True
    except Exception:
        # The transports' errors have no common class.
        return False


def require_usable(connection: Any, *, queue_type: str = "classic") -> None:
    """Raise `StartError` if nodes cannot consume from this kind of broker.

    `queue_type`: the type of our queues on RabbitMQ.
    """
    if connection.transport.driver_type != "redis":
        if queue_type == "quorum":
            _require_priorities(str(connection.connection.server_properties.get("version", "")))
        return
    channel = connection.default_channel
    with channel.conn_or_acquire() as client, suppress(channel.ResponseError):
        # Continue if the user has no right to this command.
        if client.info("cluster").get("cluster_enabled"):
            raise StartError(_CLUSTER)


def _require_priorities(version: str) -> None:
    """Raise `StartError` if quorum queues of this RabbitMQ version have no priorities."""
    found = re.match(r"(\d+)\.(\d+)", version)
    if found is None or (int(found[1]), int(found[2])) < _QUORUM_SINCE:
        raise StartError(_NO_PRIORITIES.format(version=version or "of an unknown version"))


def _require_taking(connection: Any) -> None:
    """Raise `StartError` if the broker accepts no messages. Leaves nothing in the broker.

    Redis refuses messages if it is out of memory, cannot save, or is a replica; RabbitMQ does not read them during an
    alarm.
    """
    channel = connection.default_channel
    if connection.transport.driver_type == "redis":
        _require_capacity(channel)
        return
    try:
        # During an alarm RabbitMQ reads only the first message of a connection.
        for _ in range(2):
            message = channel.prepare_message("", content_encoding="utf-8")
            channel.basic_publish_confirm(message, routing_key=_UNROUTABLE, confirm_timeout=_CONFIRM_SECONDS)
    except TimeoutError as silence:
        # RabbitMQ would not reply to a close request either.
        connection.collect()
        raise StartError(
            "BROKER_URL: RabbitMQ takes no messages, because of a memory or disk alarm: see `rabbitmqctl status`"
        ) from silence


def _require_capacity(channel: Any) -> None:
    # Imported only for Redis, because it loads many modules.
    from redis.exceptions import NoPermissionError

    client = channel.Client(connection_pool=channel.pool, single_connection_client=True)
    try:
        client.execute_command("MULTI")
        # Redis refuses this command as it would outside a transaction. The transaction is never executed.
        client.execute_command("LPUSH", DEFAULT_QUEUE, "")
    except NoPermissionError:
        # Without the right to this queue the check is inconclusive.
        pass
    except channel.ResponseError as refusal:
        raise StartError(f"BROKER_URL: Redis takes no messages: {refusal}") from refusal
    finally:
        client.connection.disconnect()
        client.close()


def require(settings: Settings, *, takes_messages: bool = False) -> None:
    """Connect to the broker of BROKER_URL once. Raises `StartError` with the reason if it is unreachable or unusable.

    `takes_messages`: also require that it accepts messages, which consumers do not need.
    """
    with make_connection(settings) as connection:
        try:
            connection.ensure_connection(max_retries=len(connection.alt) or 1, interval_start=0.1, timeout=5)
            require_usable(connection, queue_type=settings.rabbitmq_queue_type)
            if takes_messages:
                _require_taking(connection)
            connection.default_channel.close()
        except StartError:
            raise
        except Exception as problem:
            raise StartError(f"BROKER_URL: the broker cannot be reached: {explain(problem)}") from problem


def require_own(settings: Settings, installation: str) -> None:
    """Raise `StartError` if the broker's reset marker names another installation. Ignores an unreachable broker."""
    is_redis = settings.broker_is_redis
    try:
        with make_connection(settings) as connection:
            if not is_redis:
                connection.transport_options = {**connection.transport_options, "read_timeout": _ANSWER_SECONDS}
            connection.ensure_connection(max_retries=len(connection.alt) or 1, interval_start=0, timeout=2)
            owner = reset_marker.read_other_owner(connection, is_redis=is_redis, installation=installation)
    except SettingsError:
        raise
    except Exception:
        return
    if owner is not None:
        raise StartError(describe_other(owner, is_redis=is_redis, installation=installation))


def describe_other(owner: str, *, is_redis: bool, installation: str) -> str:
    """Return instructions for a broker that belongs to another installation, `owner`."""
    terms = _TERMS_ON_REDIS if is_redis else _TERMS_ON_RABBITMQ
    return _ANOTHERS.format(owner=owner, ours=installation, **terms)


def explain(problem: BaseException) -> str:
    """Return the reason of a transport's error in one line."""
    return explain_tls(problem) or str(problem.__cause__ or problem).strip() or type(problem).__name__


def require_safe_redis(settings: Settings) -> None:
    """Raise `StartError` if Redis may evict messages or closes idle connections. RabbitMQ has no such settings.

    Settings that the user of BROKER_URL may not read count as safe.
    """
    if not settings.broker_is_redis:
        return
    with make_connection(settings) as connection:
        channel = connection.default_channel
        with channel.conn_or_acquire() as client:
            policy = _read_setting(channel, lambda: client.info("memory").get("maxmemory_policy", ""))
            if policy.startswith("allkeys"):
                raise StartError(_EVICTS.format(policy=policy))
            seconds = _read_setting(channel, lambda: client.config_get("timeout").get("timeout", ""))
            if seconds not in ("", "0"):
                raise StartError(_CLOSES.format(seconds=seconds))


def _read_setting(channel: Any, ask: Any) -> str:
    """Return a setting; empty if the user may not read it. Managed servers have no CONFIG command."""
    try:
        return str(ask())
    except channel.ResponseError:
        return ""
