"""The Celery application: `celery_config.py`, and the options that depend on the settings."""

from __future__ import annotations

from typing import Any

from celery import Celery
from celery.exceptions import ImproperlyConfigured
from kombu import Queue

from ava.broker import addresses, tls
from ava.broker.connectivity import make_connection
from ava.domain.jobs import priority
from ava.domain.jobs.messages import DEFAULT_QUEUE
from ava.settings import Settings

#: Longer than the longest job (an hour) and its clean-up. Recovery relies on neither broker's redelivery.
_LONGEST_RUN_SECONDS = 3 * 3600

#: Seconds without an answer after which a node gives a connection up, because its event loop waits for the answer.
#: Redis answers at once, or not; RabbitMQ may take longer to declare a queue in a cluster.
_REDIS_CONSUMER_SECONDS, _RABBITMQ_CONSUMER_SECONDS = 2, 4


class JobsApp(Celery):  # type: ignore[misc]  # Celery has no annotations
    """The Celery application of this service. It takes no tasks but its own, whose messages `Publisher` writes."""

    def send_task(self, name: str, *_: Any, **__: Any) -> Any:
        raise ImproperlyConfigured(
            f"the task {name} cannot be published: the queues of AVA Jobs hold messages of jobs alone; give the task a "
            "Celery application and a broker of its own, or trigger a job with `ava.client`"
        )


def make_app(settings: Settings, *, consumes: bool = False) -> Celery:
    """Build the Celery application of one process. Nothing connects yet.

    `consumes`: the process consumes messages. All others only send, with short timeouts, so that they fail soon.

    Raises `SettingsError` for a BROKER_URL that cannot be used.
    """
    if "?" in settings.broker_url:
        # Checks the options. The transport, which this loads, is otherwise loaded when it is needed.
        make_connection(settings).release()
    app = JobsApp(
        "ava",
        broker=addresses.plain_url(settings),
        control="ava.broker.reply_queue:AskingControl",
        # A task of an author's own must not bind to it.
        set_as_current=False,
    )
    app.config_from_object("celery_config")
    app.conf.update(
        broker_use_ssl=tls.options(settings),
        broker_transport_options=_transport_options(settings, consumes),
        broker_connection_timeout=3 if consumes else 1,
        task_default_queue=DEFAULT_QUEUE,
        task_queues=[make_queue(DEFAULT_QUEUE, queue_type=settings.rabbitmq_queue_type)],
    )
    return app


def make_queue(name: str, *, no_ack: bool = False, queue_type: str = "classic") -> Queue:
    """Returns a queue as publisher and consumer declare it; RabbitMQ refuses a second, different declaration.

    `no_ack`: the broker drops a message when it delivers it. On Redis that saves two round trips a message, and a
    message that dies with its node is found missing like any other. RabbitMQ needs the acknowledgement, because it
    delivers the next message when a process is free.

    `queue_type`: RabbitMQ's, `classic` or `quorum`. Other brokers ignore it.
    """
    # The default exchange routes by the queue's name, on Redis without a look-up.
    arguments = {
        # A virtual host may have another default. RabbitMQ accepts `classic` for a queue that was declared without it
        # where that is the default.
        "x-queue-type": queue_type,
        # Quorum queues have it from RabbitMQ 4.3 on (RabbitMQ's manual, "Quorum Queues", "Priorities").
        "x-max-priority": priority.LAST,
        "x-consumer-timeout": _LONGEST_RUN_SECONDS * 1000,
    }
    if queue_type == "quorum":
        # A message that is returned often is not dropped, because the job's row counts its runs.
        arguments["x-delivery-limit"] = -1
    return Queue(name, exchange="", routing_key=name, durable=True, queue_arguments=arguments, no_ack=no_ack or None)


def _transport_options(settings: Settings, consumes: bool) -> dict[str, Any]:
    options = _redis_options(consumes) if settings.broker_is_redis else _rabbitmq_options(consumes)
    if not consumes:
        # A process that only sends retries in the publisher, not in kombu.
        options |= {"max_retries": addresses.attempts(settings), "interval_start": 0, "interval_step": 0}
    return options | addresses.transport_options(settings)


def _redis_options(consumes: bool) -> dict[str, Any]:
    options = {
        "priority_steps": [priority.to_redis(p) for p in range(priority.FIRST, priority.LAST + 1)],
        # Of two queues with one priority the one that was served last goes last. kombu asks priority by priority, and
        # for each in the order of its queues, so priorities stay exact.
        "queue_order_strategy": "round_robin",
        "visibility_timeout": _LONGEST_RUN_SECONDS,
        "socket_connect_timeout": 3,
        "socket_keepalive": True,
        # A node whose blocking read gets no reply for a second longer than this has lost its connection.
        "health_check_interval": 3,
        # A node asks for messages without waiting: this limits all other commands, and answers of which a part came.
        "socket_timeout": _REDIS_CONSUMER_SECONDS,
    }
    return options if consumes else options | {"socket_connect_timeout": 1, "socket_timeout": 1.5}


def _rabbitmq_options(consumes: bool) -> dict[str, Any]:
    options: dict[str, Any] = {"confirm_publish": False}
    if consumes:
        return options | {"read_timeout": _RABBITMQ_CONSUMER_SECONDS, "write_timeout": _RABBITMQ_CONSUMER_SECONDS}
    return options | {"read_timeout": 2, "write_timeout": 2}
