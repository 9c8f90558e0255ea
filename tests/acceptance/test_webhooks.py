"""Webhooks by real processes, sent to real receivers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook

from tests.polling import wait_until
from tests.servers.receiver import Receiver
from tests.system import System

pytestmark = pytest.mark.parametrize("broker_url", ["redis"], indirect=True)

SECRET = "whsec_b2YgdGhlIHRlc3RzIG9mIHdlYmhvb2tz"
ALL = ["ava.job.queued", "ava.job.started", "ava.job.completed", "ava.job.failed", "ava.job.cancelled"]
ENVIRON = {"AVA_WEBHOOK_ALLOW_PRIVATE": "1", "AVA_WEBHOOK_TIME_SCALE": "0.01", "AVA_NODE_DEAD_SECONDS": "2",
           "AVA_HEARTBEAT_SECONDS": "0.4"}  # fmt: skip


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


def subscribe(system: System, url: str, events: list[str] | None = None, **fields: Any) -> dict[str, Any]:
    answer = system.post("/v1/webhooks", json={"url": url, "events": events or ALL, "secret": SECRET, **fields})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()["data"]
    return made


def test_every_move_of_a_job_is_told_in_order_and_signed(system: System, receiver: Receiver) -> None:
    system.start(webhooks=1, environ=ENVIRON)
    subscribe(system, receiver.url)
    job = system.trigger("wkr_sleep", input={"seconds": 0})
    record = system.wait_for(job["id"], "completed")
    wait_until(lambda: len(receiver.heard) == 3, what=lambda: str(receiver.events))
    queued, started, completed = receiver.events
    assert [event["type"] for event in receiver.events] == ["ava.job.queued", "ava.job.started", "ava.job.completed"]
    assert queued["data"] == job
    assert started["data"]["status"] == "running"
    assert started["data"]["output"] is None
    assert completed["data"] == record
    assert queued["sequence"] < started["sequence"] < completed["sequence"]
    for heard in receiver.heard:
        assert Webhook(SECRET).verify(heard.body, heard.headers)
