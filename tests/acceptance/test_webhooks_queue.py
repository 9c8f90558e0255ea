"""The wake-up queue between real processes: it wakes senders, and webhooks go out without it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.polling import wait_until
from harness.servers.receiver import Receiver
from harness.servers.server import Server
from harness.system import System

ENVIRON = {"AVA_WEBHOOK_ALLOW_PRIVATE": "1", "AVA_WEBHOOK_NICENESS": "0"}
#: Senders that poll the database, for whatever reason, later than any test lasts.
NEVER_POLL = {"AVA_WEBHOOK_LOOK_SECONDS": "60", "AVA_HEARTBEAT_SECONDS": "60", "AVA_NODE_DEAD_SECONDS": "600"}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


def _subscribe(system: System, url: str) -> None:
    body = {"url": url, "events": ["ava.job.completed"], "secret": "whsec_b2YgdGhlIHRlc3RzIG9mIHdlYmhvb2tz"}
    answer = system.post("/v1/webhooks", json=body)
    assert answer.status_code == 201, answer.text


def _complete_job(system: System, receiver: Receiver) -> None:
    """Run a job to its end and wait until its event is delivered."""
    job = system.trigger("wkr_sleep", input={"seconds": 0})
    wait_until(
        lambda: job["id"] in {event["data"].get("id") for event in receiver.events},
        seconds=20,
        what=f"the event of {job['id']} is delivered",
    )


def test_senders_that_do_not_poll_are_woken_through_the_queue(system: System, receiver: Receiver) -> None:
    system.start(webhooks=1, environ={**ENVIRON, **NEVER_POLL})
    _subscribe(system, receiver.url)
    for _ in range(3):
        _complete_job(system, receiver)
    for sender in (system.start_sender(), system.start_sender()):
        wait_until(lambda sender=sender: "Webhook sender started" in sender.output)
    for _ in range(5):
        _complete_job(system, receiver)


@pytest.mark.parametrize("broker_url", ["redis"], indirect=True)
def test_without_a_broker_webhooks_are_delivered_and_wake_ups_return_with_it(
    system: System, receiver: Receiver, private_redis: Server
) -> None:
    system.start(webhooks=1, environ=ENVIRON, broker_url=private_redis.url)
    _subscribe(system, receiver.url)
    _complete_job(system, receiver)
    private_redis.kill()
    (webhook,) = system.get("/v1/webhooks").json()["data"]
    assert system.post(f"/v1/webhooks/{webhook['id']}/test").status_code == 201
    wait_until(lambda: len(receiver.events) == 2, what="the test event is delivered without a broker")
    sender = system.senders[0]
    wait_until(lambda: "queue is out of reach" in sender.output)
    private_redis.start()
    wait_until(lambda: "queue is back" in sender.output)
    _complete_job(system, receiver)
