"""How the queues of jobs are declared on RabbitMQ, and on which of its versions they may be quorum queues."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from ava.broker import connectivity
from ava.broker.celery_app import make_app, make_queue
from ava.errors import SettingsError, StartError
from ava.node.celery_internals.consumer import JobConsumer
from ava.settings import Settings, load


def _settings(**environ: str) -> Settings:
    return load({"DATABASE_URL": "postgresql://db/ava", "BROKER_URL": "amqp://h", **environ})


def _connection(version: str) -> Any:
    properties = SimpleNamespace(server_properties={"version": version} if version else {})
    return SimpleNamespace(transport=SimpleNamespace(driver_type="amqp"), connection=properties)


def test_a_queue_is_a_classic_one_unless_the_setting_says_otherwise() -> None:
    assert make_queue("q").queue_arguments == {
        "x-queue-type": "classic",
        "x-max-priority": 10,
        "x-consumer-timeout": 3 * 3600 * 1000,
    }
    (default,) = make_app(_settings()).conf.task_queues
    assert default.queue_arguments["x-queue-type"] == "classic"


def test_a_quorum_queue_has_ten_priorities_and_drops_no_message_that_is_returned_often() -> None:
    (default,) = make_app(_settings(AVA_RABBITMQ_QUEUE_TYPE="quorum")).conf.task_queues
    assert default.durable
    assert default.queue_arguments == {
        "x-queue-type": "quorum",
        "x-max-priority": 10,
        "x-consumer-timeout": 3 * 3600 * 1000,
        "x-delivery-limit": -1,
    }


def test_another_type_is_refused() -> None:
    with pytest.raises(SettingsError, match="classic, quorum"):
        _settings(AVA_RABBITMQ_QUEUE_TYPE="stream")


@pytest.mark.parametrize("version", ["4.3.0", "4.3.0-rc.1", "4.10.2", "5.0.0"])
def test_quorum_queues_may_be_used_where_they_have_priorities(version: str) -> None:
    connectivity.require_usable(_connection(version), queue_type="quorum")


@pytest.mark.parametrize("version", ["3.13.7", "4.0.5", "4.2.9", "", "unknown"])
def test_quorum_queues_are_refused_where_they_have_two_priorities(version: str) -> None:
    with pytest.raises(StartError, match="two priorities instead of ten"):
        connectivity.require_usable(_connection(version), queue_type="quorum")
    connectivity.require_usable(_connection(version))


def test_a_node_creates_no_queues_for_delayed_messages_beside_quorum_queues() -> None:
    steps = [step.rpartition(":")[2] for step in JobConsumer.Blueprint.default_steps]
    assert "DelayedDelivery" not in steps
    assert "Tasks" in steps
