"""Webhooks of real processes, sent to real receivers."""

from __future__ import annotations

import itertools
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from standardwebhooks.webhooks import Webhook

from ava.client.webhooks import verify
from ava.domain.webhooks.webhook import RETRY_SCHEDULE_SECONDS
from harness.polling import wait_until
from harness.running_process import RunningProcess
from harness.servers.receiver import Received, Receiver, Reply, SilentServer
from harness.servers.server import Server
from harness.system import System
from harness.timestamps import LATER
from tests.acceptance.conftest import running_system

ON_REDIS = pytest.mark.parametrize("module_broker_url", ["redis"], indirect=True)

SECRET = "whsec_b2YgdGhlIHRlc3RzIG9mIHdlYmhvb2tz"
NEW_SECRET = "whsec_dGhlIG5leHQgb25lIG9mIHRoZSB0ZXN0cw=="
ALL = ["ava.job.queued", "ava.job.started", "ava.job.completed", "ava.job.failed", "ava.job.cancelled"]
COMPLETED = ["ava.job.completed"]
ENVIRON = {
    "AVA_WEBHOOK_ALLOW_PRIVATE": "1",
    "AVA_NODE_DEAD_SECONDS": "2",
    "AVA_HEARTBEAT_SECONDS": "0.4",
    "AVA_WEBHOOK_NICENESS": "0",
}

Receive = Callable[..., Receiver]


@pytest.fixture(scope="module")
def _system(
    module_database_url: str, module_broker_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[System]:
    """An API, a dispatcher and a node for all tests here, which start their own senders."""
    folder = tmp_path_factory.mktemp("webhooks")
    with running_system(folder, module_database_url, module_broker_url, environ=ENVIRON) as system:
        yield system


@pytest.fixture
def shared(_system: System) -> Iterator[System]:
    """The running system, a tenant of the test's own, and no endpoint, event or sender of another test."""
    _system.session.headers["x-tenant-id"] = f"ten_{uuid.uuid4().hex}"
    yield _system
    for sender in _system.senders:
        sender.send(signal.SIGKILL)
        sender.child.wait(15)
    _system.senders.clear()
    _system.query("TRUNCATE webhook_deliveries, webhook_events, webhook_senders, webhook_endpoints CASCADE")


def _send(system: System, **environ: str) -> RunningProcess:
    """Start a sender. Returns it."""
    system.senders.append(system.spawn("webhooks", environ=environ))
    return system.senders[-1]


@pytest.fixture
def receive() -> Iterator[Receive]:
    """`receive(reply)` starts a receiver that is closed after the test."""
    receivers: list[Receiver] = []

    def start(reply: Callable[[Received], Reply] = lambda _: Reply()) -> Receiver:
        receivers.append(Receiver(reply))
        return receivers[-1]

    yield start
    for receiver in receivers:
        receiver.close()


@pytest.fixture
def deaf() -> Iterator[SilentServer]:
    deaf = SilentServer()
    yield deaf
    deaf.close()


def _subscribe(system: System, url: str, events: list[str] = ALL) -> str:
    response = system.post("/v1/webhooks", json={"url": url, "events": events, "secret": SECRET})
    assert response.status_code == 201, response.text
    webhook_id: str = response.json()["data"]["id"]
    return webhook_id


def _status(system: System, webhook_id: str) -> str:
    status: str = system.get(f"/v1/webhooks/{webhook_id}").json()["data"]["status"]
    return status


def _deliveries(system: System, webhook_id: str, status: str = "") -> list[dict[str, Any]]:
    parameters = {"per_page": 100} | ({"filter[status]": status} if status else {})
    found: list[dict[str, Any]] = system.get(f"/v1/webhooks/{webhook_id}/deliveries", params=parameters).json()["data"]
    return found


def _test_event(system: System, webhook_id: str) -> dict[str, Any]:
    response = system.post(f"/v1/webhooks/{webhook_id}/test")
    assert response.status_code == 201, response.text
    delivery: dict[str, Any] = response.json()["data"]
    return delivery


def _trigger_many(system: System, count: int) -> list[str]:
    jobs = [{"worker_id": "wkr_sleep", "input": {"seconds": 0}}] * count
    response = system.post("/v1/ava/jobs/bulk", json={"jobs": jobs})
    assert response.status_code == 201, response.text
    return [job["id"] for job in response.json()["data"]]


def _announce(system: System) -> None:
    """Announce a worker that takes any input and that no node has."""
    system.query(
        "INSERT INTO workers (id, name, timeout_seconds, max_retries, cancel_grace_seconds, queue, on_worker_lost)"
        " VALUES ('wkr_open', 'Open', 60, 0, 10, 'default', 'fail') ON CONFLICT DO NOTHING"
    )


def _completed(receiver: Receiver) -> set[str]:
    return {event["data"]["id"] for event in receiver.events}


@ON_REDIS
def test_every_transition_of_a_job_is_delivered_in_order_and_signed(shared: System, receive: Receive) -> None:
    receiver = receive()
    _send(shared)
    webhook_id = _subscribe(shared, receiver.url)
    job = shared.trigger("wkr_sleep", input={"seconds": 0})
    record = shared.wait_for(job["id"], "completed")
    wait_until(lambda: len(receiver.received) == 3, what=lambda: str(receiver.events))
    queued, started, completed = receiver.events
    assert [event["type"] for event in receiver.events] == ["ava.job.queued", "ava.job.started", "ava.job.completed"]
    assert queued["data"] == job
    assert started["data"]["status"] == "running"
    assert started["data"]["output"] is None
    assert completed["data"] == record
    assert queued["sequence"] < started["sequence"] < completed["sequence"]
    for received in receiver.received:
        assert Webhook(SECRET).verify(received.body, received.headers)
    # After a new secret is set, either of the two verifies for a time.
    shared.request("PATCH", f"/v1/webhooks/{webhook_id}", json={"secret": NEW_SECRET})
    _test_event(shared, webhook_id)
    wait_until(lambda: len(receiver.received) == 4)
    for secret in (SECRET, NEW_SECRET):
        assert Webhook(secret).verify(receiver.received[3].body, receiver.received[3].headers)
        assert verify(receiver.received[3].body, receiver.received[3].headers, secret)["type"] == "ava.webhook.test"
    assert SECRET not in shared.senders[0].output + shared.api.output  # type: ignore[union-attr]


@ON_REDIS
def test_a_delivery_follows_the_retry_schedule_and_a_success_ends_degraded(shared: System, receive: Receive) -> None:
    scale = 0.0005
    receiver = receive(lambda _: Reply(status=500, body=b"x" * 2000))
    _send(shared, AVA_WEBHOOK_TIME_SCALE=str(scale))
    webhook_id = _subscribe(shared, receiver.url)
    delivery = _test_event(shared, webhook_id)
    wait_until(lambda: _status(shared, webhook_id) == "degraded", seconds=20)
    assert len(receiver.received) == 1 + len(RETRY_SCHEDULE_SECONDS)
    assert len({(received.headers["webhook-id"], received.body) for received in receiver.received}) == 1
    waits = [after.at - before.at for before, after in itertools.pairwise(receiver.received)]
    assert all(wait >= 0.9 * seconds * scale for wait, seconds in zip(waits, RETRY_SCHEDULE_SECONDS, strict=True))
    (abandoned,) = _deliveries(shared, webhook_id, "abandoned")
    assert abandoned["id"] == delivery["id"]
    assert [attempt["status"] for attempt in abandoned["attempts"]] == [500] * 6
    assert abandoned["attempts"][0]["answer"] == "x" * 1024
    assert abandoned["next_attempt_at"] is None
    # All abandoned deliveries are sent again, and succeed.
    receiver.reply = lambda _: Reply()
    again = shared.post(f"/v1/webhooks/{webhook_id}/deliveries/redeliver", json={"since": delivery["created_at"]})
    assert again.json()["data"] == {"total": 1}
    wait_until(lambda: _status(shared, webhook_id) == "active")
    assert receiver.received[6].body == receiver.received[0].body
    (delivered,) = _deliveries(shared, webhook_id, "delivered")
    assert [attempt["number"] for attempt in delivered["attempts"]] == [1, 2, 3, 4, 5, 6, 7]


@ON_REDIS
def test_retry_after_410_and_redirects_are_honoured(shared: System, receive: Receive) -> None:
    busy, gone, moved, private = receive(), receive(), receive(), receive()
    busy.reply = lambda received: (
        Reply(status=429, headers={"Retry-After": "2"}) if len(busy.received) == 1 else Reply()
    )
    gone.reply = lambda _: Reply(status=410)
    moved.reply = lambda _: Reply(status=302, headers={"Location": private.url})
    _send(shared, AVA_WEBHOOK_TIME_SCALE="0.001")
    ids = [_subscribe(shared, receiver.url) for receiver in (busy, gone, moved)]
    for webhook_id in ids:
        _test_event(shared, webhook_id)
    pause = wait_until(lambda: shared.get(f"/v1/webhooks/{ids[1]}").json()["data"]["paused"])
    assert (pause["by"]["kind"], pause["reason"]) == ("system", "The endpoint responded 410 (Gone).")
    assert shared.post(f"/v1/webhooks/{ids[1]}/test").status_code == 409
    wait_until(lambda: len(busy.received) == 2)
    assert busy.received[1].at - busy.received[0].at >= 2
    wait_until(lambda: len(moved.received) > 1)
    assert private.received == []
    assert len(gone.received) == 1
    assert "redirect" in _deliveries(shared, ids[2])[0]["attempts"][0]["error"]


@ON_REDIS
def test_an_address_is_checked_when_it_is_called(shared: System, receive: Receive) -> None:
    receiver = receive()
    # The API accepts it, as it accepts a name whose address changes later. The sender refuses it.
    webhook_id = _subscribe(shared, receiver.url)
    _send(shared, AVA_WEBHOOK_ALLOW_PRIVATE="0")
    _test_event(shared, webhook_id)
    wait_until(lambda: _deliveries(shared, webhook_id)[0]["attempts"])
    (attempt,) = _deliveries(shared, webhook_id)[0]["attempts"]
    assert "only public addresses" in attempt["error"]
    assert receiver.received == []


@ON_REDIS
def test_endpoints_that_hang_delay_no_other_endpoint(shared: System, receive: Receive, deaf: SilentServer) -> None:
    receiver = receive()
    # Far longer than a busy machine takes for the first request to each endpoint.
    _send(shared, AVA_WEBHOOK_TIMEOUT_SECONDS="60")
    _announce(shared)
    webhook_id = _subscribe(shared, receiver.url, ["ava.job.queued"])
    # Copied in the database, because creating them through the API takes longer than the rest of the test.
    shared.query(
        "WITH made AS (INSERT INTO webhook_endpoints (tenant_id, url, events, secret)"
        " SELECT tenant_id, %s, events, secret FROM webhook_endpoints, generate_series(1, 150) RETURNING tenant_id, id)"
        " INSERT INTO webhook_lanes (tenant_id, endpoint_id) SELECT tenant_id, id FROM made",
        deaf.url,
    )
    delays = []
    for number in range(1, 11):
        start = time.time()
        shared.trigger("wkr_open", scheduled_at=LATER)
        wait_until(lambda number=number: len(receiver.received) == number, seconds=90)
        delays.append(receiver.received[-1].at - start)
    # A request that hangs takes 60 seconds.
    assert max(delays) < 30, delays
    wait_until(lambda: len(_deliveries(shared, webhook_id, "delivered")) == 10)
    assert shared.query("SELECT count(*) FROM webhook_deliveries WHERE status = 'pending'")[0][0] == 1500


@ON_REDIS
def test_a_killed_sender_loses_no_event_and_no_event_is_sent_twice_without_a_kill(
    shared: System, receive: Receive, deaf: SilentServer
) -> None:
    healthy = [receive(lambda _: Reply(after=0.01)) for _ in range(2)]
    failing = receive()
    failing.reply = lambda received: Reply(
        status=500 if failing.times_received()[received.headers["webhook-id"]] < 3 else 200
    )
    sender = _send(shared, AVA_WEBHOOK_TIME_SCALE="0.05")
    webhook_ids = [_subscribe(shared, receiver.url, COMPLETED) for receiver in (*healthy, failing)]
    _subscribe(shared, deaf.url, COMPLETED)
    first = _trigger_many(shared, 150)
    for receiver in healthy:
        wait_until(lambda receiver=receiver: _completed(receiver) == set(first), seconds=60)
        assert set(receiver.times_received().values()) == {1}
    # The sender is killed while it sends, and another one takes over.
    second = _trigger_many(shared, 150)
    wait_until(lambda: len(healthy[0].received) > 170, seconds=60)
    sender.send(signal.SIGKILL)
    _send(shared, AVA_WEBHOOK_TIME_SCALE="0.05")
    for receiver in healthy:
        wait_until(lambda receiver=receiver: _completed(receiver) == {*first, *second}, seconds=60)
    wait_until(lambda: not _deliveries(shared, webhook_ids[2], "pending"), seconds=60)
    assert _completed(failing) == {*first, *second}


@ON_REDIS
def test_large_payloads_do_not_fill_the_sender_s_memory(shared: System, receive: Receive) -> None:
    """It holds at most 24 MiB of large bodies three times, a batch of the fan-out, and what waits in its queues."""
    receiver = receive(lambda _: Reply(after=0.1))
    _announce(shared)
    _subscribe(shared, receiver.url, ["ava.job.queued"])
    jobs = [{"worker_id": "wkr_open", "input": {"text": "x" * 1_000_000}, "scheduled_at": LATER}]
    for _ in range(4):
        assert shared.post("/v1/ava/jobs/bulk", json={"jobs": jobs * 14}).status_code == 201
    sender = _send(shared)
    wait_until(lambda: len(receiver.received) == 56, seconds=60)
    assert _peak_memory(psutil.Process(sender.pid)) < 220 * 2**20


def _peak_memory(process: psutil.Process) -> int:
    """Returns the most bytes of memory that a process has used."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024


@pytest.mark.parametrize("broker_url", ["redis"], indirect=True)
def test_webhooks_are_delivered_without_a_broker(system: System, receive: Receive, private_redis: Server) -> None:
    receiver = receive()
    system.start(webhooks=1, environ=ENVIRON, broker_url=private_redis.url)
    webhook_id = _subscribe(system, receiver.url)
    private_redis.kill()
    assert system.post(f"/v1/webhooks/{webhook_id}/test").status_code == 201
    wait_until(lambda: len(receiver.events) == 1, what="the test event is delivered")
