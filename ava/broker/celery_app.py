"""The Celery application: `celery_config.py`, and the options that depend on the settings."""

from __future__ import annotations

from typing import Any

from celery import Celery
from celery.exceptions import ImproperlyConfigured
from kombu import Queue

from ava.broker import broker_url
from ava.broker.broker_url import tls_options
from ava.broker.connectivity import make_connection
from ava.domain.jobs import priority
from ava.domain.jobs.messages import DEFAULT_QUEUE
from ava.settings import Settings

#: Longer than the longest job (one hour) with its cleanup. Recovery does not use the broker's redelivery.
_LONGEST_RUN_SECONDS = 3 * 3600

#: Timeout in seconds of a node's connections, because waiting for a reply blocks the node's event loop. Redis replies
#: immediately or never; a RabbitMQ cluster may need longer to declare a queue.
_REDIS_CONSUMER_SECONDS, _RABBITMQ_CONSUMER_SECONDS = 2, 4


class JobsApp(Celery):  # type: ignore[misc]  # Celery has no annotations
    """This service's application. It accepts no tasks from outside: `Publisher` writes its messages."""

    def send_task(self, name: str, *_: Any, **__: Any) -> Any:
        raise ImproperlyConfigured(
            f"the task {name} cannot be published: queues of AVA Jobs accept only messages of jobs; use a separate "
            "Celery application and broker for the task, or trigger a job with `ava.client`"
        )


def make_app(settings: Settings, *, consumes: bool = False) -> Celery:
    """Build the Celery application of one process. It does not connect yet.

    `consumes`: the process consumes messages. Other processes only send, with short timeouts, so that they fail
    quickly. Raises `SettingsError` if BROKER_URL is unusable.
    """
    if "?" in settings.broker_url:
        # Check the options. This loads the transport, which other processes load only when they need it.
        make_connection(settings).release()
    app = JobsApp(
        "ava",
        broker=broker_url.plain_url(settings),
        control="ava.broker.control:AskingControl",
        # Tasks of handler authors must not bind to this application.
        set_as_current=False,
    )
    app.config_from_object("celery_config")
    app.conf.update(
        broker_use_ssl=tls_options(settings),
        broker_transport_options=_transport_options(settings, consumes),
        broker_connection_timeout=3 if consumes else 1,
        task_default_queue=DEFAULT_QUEUE,
        task_queues=[make_queue(DEFAULT_QUEUE, queue_type=settings.rabbitmq_queue_type)],
    )
    return app


def make_queue(name: str, *, no_ack: bool = False, queue_type: str = "classic") -> Queue:
    """Return a queue. Publishers and consumers must declare it identically, or RabbitMQ refuses it.

    `no_ack`: the broker deletes a message on delivery. On Redis this saves two round trips per message, and a message
    lost with its node is detected like any other. RabbitMQ needs the acknowledgement to deliver the next message only
    to a free process.

    `queue_type`: `classic` or `quorum`; only RabbitMQ uses it.
    """
    # The default exchange routes by queue name; Redis then needs no lookup.
    arguments = {
        # A virtual host may have another default. Where the default is `classic`, RabbitMQ accepts it for a queue that
        # was declared without a type.
        "x-queue-type": queue_type,
        # Quorum queues support this since RabbitMQ 4.3 (RabbitMQ's manual, "Quorum Queues", "Priorities").
        "x-max-priority": priority.LAST,
        "x-consumer-timeout": _LONGEST_RUN_SECONDS * 1000,
    }
    if queue_type == "quorum":
        # Do not drop messages that are requeued often: the job's row counts its runs.
        arguments["x-delivery-limit"] = -1
    return Queue(name, exchange="", routing_key=name, durable=True, queue_arguments=arguments, no_ack=no_ack or None)


def _transport_options(settings: Settings, consumes: bool) -> dict[str, Any]:
    options = _redis_options(consumes) if settings.broker_is_redis else _rabbitmq_options(consumes)
    if not consumes:
        # In a process that only sends, the publisher retries, not kombu.
        options |= {"max_retries": broker_url.attempts(settings), "interval_start": 0, "interval_step": 0}
    return options | broker_url.transport_options(settings)


def _redis_options(consumes: bool) -> dict[str, Any]:
    options = {
        "priority_steps": [priority.to_redis(p) for p in range(priority.FIRST, priority.LAST + 1)],
        # kombu iterates over priorities first and then over queues, so priorities stay exact.
        "queue_order_strategy": "round_robin",
        "visibility_timeout": _LONGEST_RUN_SECONDS,
        "socket_connect_timeout": 3,
        "socket_keepalive": True,
        # A blocking read that gets no reply within this time plus one second has lost its connection.
        "health_check_interval": 3,
        # Nodes poll for messages without blocking: this limits all other commands, and partially received replies.
        "socket_timeout": _REDIS_CONSUMER_SECONDS,
    }
    return options if consumes else options | {"socket_connect_timeout": 1, "socket_timeout": 1.5}


def _rabbitmq_options(consumes: bool) -> dict[str, Any]:
    options: dict[str, Any] = {"confirm_publish": False}
    if consumes:
        return options | {"read_timeout": _RABBITMQ_CONSUMER_SECONDS, "write_timeout": _RABBITMQ_CONSUMER_SECONDS}
    return options | {"read_timeout": 2, "write_timeout": 2}
