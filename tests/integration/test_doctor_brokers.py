"""What `ava doctor` says about queues of RabbitMQ and keys of Redis."""

from __future__ import annotations

import pytest
from kombu import Connection, Queue
from redis import Redis

from ava.broker import queues
from ava.broker.celery_app import make_queue
from ava.errors import StartError
from ava.settings import Settings
from harness.system import System
from tests.integration.test_doctor import found


@pytest.mark.parametrize("broker_url", ["rabbitmq"], indirect=True)
def test_a_rabbitmq_queue_without_priorities_is_reported_with_what_to_do(settings: Settings) -> None:
    names = ["theirs", "ours", "absent"]
    with Connection(settings.broker_url) as connection:
        make_queue("ours").bind(connection.default_channel).queue_declare()
        theirs = Queue("theirs", exchange="", durable=True).bind(connection.default_channel)
        theirs.queue_declare()
        with pytest.raises(StartError, match=r"'theirs'.*x-max-priority.*rabbitmqctl delete_queue theirs"):
            queues.check(settings, names)
        theirs.delete()
        # The check creates no queue.
        for _ in range(2):
            assert queues.check(settings, names).startswith("1 of 3 exist")


@pytest.mark.parametrize("broker_url", ["rabbitmq"], indirect=True)
def test_quorum_queues_are_refused_by_doctor_and_worker_where_they_have_two_priorities(system: System) -> None:
    line = "AVA_RABBITMQ_QUEUE_TYPE: RabbitMQ 4.0."
    lines = found(system, "broker", AVA_RABBITMQ_QUEUE_TYPE="quorum")
    assert lines["broker"].startswith(f"!!  broker: {line}")
    worker = system.spawn("worker", "-c", "1", environ={"AVA_RABBITMQ_QUEUE_TYPE": "quorum"})
    assert worker.wait(60) == 1
    last = worker.output.splitlines()[-1]
    assert last.startswith(f"ava: {line}")
    assert last.endswith("Upgrade RabbitMQ to 4.3 or later, or unset the variable.")
    assert "Traceback" not in worker.output


@pytest.mark.parametrize("broker_url", ["redis"], indirect=True)
def test_redis_reports_its_priority_steps_and_a_key_of_another_type(settings: Settings) -> None:
    assert queues.check(settings, ["one", "other"]) == "2, each with 10 steps of priority, 0 (first) to 9"
    with Redis.from_url(settings.broker_url) as client:
        client.set("other\x06\x167", "somebody's")
    with pytest.raises(StartError, match=r"the queue 'other' is refused \(WRONGTYPE Redis holds a string under"):
        queues.check(settings, ["one", "other"])
