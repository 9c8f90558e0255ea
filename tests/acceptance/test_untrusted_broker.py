"""A stranger with access to the broker cannot end a node, and cannot choose the handler of a job or its tenant."""

from __future__ import annotations

import base64
import json
import pickle
import subprocess
import sys
import zlib
from typing import Any

import pytest
import redis
import requests
from celery import Celery
from kombu import Connection

from ava.broker.celery_app import make_app
from ava.domain.jobs.job import RunKey
from ava.domain.jobs.messages import SIGNATURE, TASK, sign, task_id
from ava.local.start import free_port
from ava.settings import load
from harness.polling import wait_until
from harness.running_process import RunningProcess
from harness.system import System

ENVIRON = {"AVA_HANDLERS": "tests.acceptance.untrusted_handlers"}
JOB_ID = "job_01h455vb4pex5vsknk084sn02q"


class _Forger:
    """A stranger who may write to the broker."""

    def __init__(self, system: System) -> None:
        self._is_redis = system.broker_url.startswith("redis")
        self._url = system.broker_url

    def send(self, body: bytes, *, headers: Any = None, content_type: str = "application/json", **rest: Any) -> None:
        """Publish a message to the default queue, before all of the service's own."""
        with Connection(self._url) as connection:
            if self._is_redis:
                properties = {"body_encoding": "base64", "delivery_tag": "x", "delivery_info": {}, **rest}
                message = {
                    "body": base64.b64encode(body).decode(),
                    "content-type": content_type,
                    "content-encoding": "utf-8",
                    "headers": headers,
                    "properties": properties,
                }
                self.push(json.dumps(message).encode())
            else:
                channel = connection.default_channel
                message = channel.prepare_message(
                    body, priority=10, content_type=content_type, content_encoding="utf-8", headers=headers or {}
                )
                channel.basic_publish(message, exchange="", routing_key="default")

    def run(self, run: RunKey, worker_id: str, *, signature: str = "") -> None:
        """Publish a message that says which handler is to run for a job."""
        body = json.dumps([[*run, worker_id], {}, {}]).encode()
        headers = {"task": TASK, "id": task_id(run), "lang": "py"}
        self.send(body, headers=headers | ({SIGNATURE: signature} if signature else {}))

    def lose_messages(self) -> bool:
        """Delete the messages of the default queue, on Redis. Returns False if there are none."""
        with redis.Redis.from_url(self._url) as client:
            lists = client.keys("default*")
            return bool(lists) and bool(client.delete(*lists))

    def push(self, item: bytes) -> None:
        """Put any bytes at the end of a queue's list that is read first, on Redis."""
        with redis.Redis.from_url(self._url) as client:
            client.rpush("default", item)

    def send_garbage(self) -> int:
        """Publish what no process of ours publishes. Returns the number of messages."""
        ours = json.dumps([["ten_a", JOB_ID, 1, "wkr_open"], {}, {}]).encode()
        headers = {"task": TASK, "id": f"{JOB_ID}.1"}
        messages: list[tuple[bytes, dict[str, Any]]] = [
            (b"\x00\xff", {"headers": headers}),
            (b"{", {"headers": headers}),
            (b"[" * 1_000, {"headers": headers}),
            (b"[[]]", {"headers": headers}),
            (b'[["ten_a", "a", 1, "wkr_open"], {}, {}]', {"headers": headers}),
            (ours, {"headers": {"task": ["ava.run_job"], "id": f"{JOB_ID}.1"}}),
            (ours, {"headers": {"task": "celery.backend_cleanup", "id": "1"}}),
            (ours, {"headers": {"task": TASK}}),
            (ours, {"headers": {"task": TASK, "id": f"{JOB_ID}.2"}}),
            (ours, {"headers": {}}),
            (pickle.dumps(JOB_ID), {"headers": headers, "content_type": "application/x-python-serialize"}),
            (ours, {"headers": headers, "content_type": "text/plain"}),
            (zlib.compress(b" " * 10_000_000), {"headers": {**headers, "compression": "application/x-gzip"}}),
            (b'[["' + b"x" * 3_000_000 + b'"]]', {"headers": headers}),
        ]
        for body, rest in messages:
            self.send(body, **rest)
        items = [
            b"no JSON",
            b"\xff\x00",
            b"null",
            b"[]",
            b"{}",
            b'{"properties": 1}',
            b'{"body": "%", "properties": {}}',
        ]
        items.append(b'{"body": "###", "headers": [], "properties": {"body_encoding": "base64", "delivery_tag": []}}')
        for item in items if self._is_redis else []:
            self.push(item)
        return len(messages) + (len(items) if self._is_redis else 0)

    def broadcast(self, app: Celery) -> int:
        """Send remote control what can block a node or end it. Returns the number of messages that a node drops."""
        with Connection(self._url) as connection:
            if self._is_redis:
                with redis.Redis.from_url(self._url) as client:
                    channel = f"/{self._url.rpartition('/')[2]}.celery.pidbox"
                    for item in (b"no JSON", b"\xff", b"[]", b'{"body": "e30=", "properties": {"delivery_tag": 1}}'):
                        client.publish(channel, item)
            producer = connection.Producer(serializer="json")
            # Each of the first six is not a command, could match for ever, or sends its reply elsewhere.
            bodies: list[Any] = [
                [],
                "text",
                {"method": ["ping"]},
                {"method": "ping", "arguments": 5},
                {"method": "ping", "pattern": "(a*)*b", "matcher": "pcre"},
                {"method": "ping", "reply_to": {"exchange": "", "routing_key": "default"}, "ticket": "t"},
                {"method": "shutdown"},
            ]
            exchange = app.control.mailbox.exchange
            for body in bodies:
                producer.publish(body, exchange=exchange, declare=[exchange], headers={"clock": 2**62})
        # `shutdown` is answered by a refusal.
        return len(bodies) - 1 + (4 if self._is_redis else 0)


def _announce(system: System, worker_id: str) -> None:
    """Announce a worker as a node does, before any node starts."""
    system.query(
        "INSERT INTO workers"
        " (id, name, description, timeout_seconds, max_retries, cancel_grace_seconds, queue, on_worker_lost)"
        " VALUES (%s, 'x', '', 300, 0, 10, 'default', 'requeue')",
        worker_id,
    )


def _start_node(system: System) -> tuple[RunningProcess, int]:
    port = free_port()
    node = system.spawn("worker", "-c", "1", environ={"AVA_HEALTH_PORT": str(port)})
    system.workers.append(node)
    system.await_workers()
    return node, port


def _dropped(port: int, reason: str = "") -> int:
    """Returns how many messages a node has counted as dropped."""
    exposition = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=5).text
    lines = [line for line in exposition.splitlines() if line.startswith("ava_messages_dropped_total{")]
    return sum(int(float(line.split()[-1])) for line in lines if f'reason="{reason}' in line)


def test_what_a_stranger_writes_to_the_broker_ends_no_node_and_chooses_no_handler(system: System) -> None:
    system.start(workers=0, environ=ENVIRON)
    stranger = _Forger(system)
    _announce(system, "wkr_open")
    job = system.trigger("wkr_open", priority=10)
    stranger.run(RunKey(job["tenant_id"], job["id"], 1), "wkr_private")
    stranger.run(RunKey("ten_of_others", job["id"], 1), job["worker_id"])
    stranger.run(RunKey(job["tenant_id"], job["id"], 1), "wkr_unknown")
    foreign = stranger.send_garbage()
    node, port = _start_node(system)
    assert system.wait_for(job["id"])["output"] == {"ran": "open"}
    # One names another worker than the row. The other is deferred, which the row refuses as well.
    wait_until(lambda: _dropped(port, "worker") == 1, what=lambda: f"the forged message is counted: {_dropped(port)}")
    wait_until(lambda: _dropped(port) == foreign + 1, what=lambda: f"{foreign} are counted: {_dropped(port)}")
    app = make_app(load(system.environ), consumes=True)
    refused = stranger.broadcast(app)
    wait_until(lambda: _dropped(port, "control") == refused, what=lambda: f"they are counted: {_dropped(port)}")
    assert wait_until(lambda: app.control.ping(timeout=1), what="the node answers remote control")
    app.pool.force_close_all()
    job = system.trigger("wkr_open")
    assert system.wait_for(job["id"])["output"] == {"ran": "open"}
    assert node.exit_code is None


def _assert_the_refusals_are_shown(system: System) -> None:
    """Assert that the API, `ava nodes` and the doctor name the node that has refused messages, for a minute."""
    operator = {"x-platform-role": "platform-admin"}

    def shown(**headers: str) -> list[str]:
        [node] = system.get("/v1/ava/nodes", headers=headers).json()["data"]
        return list(node["refused_messages"])

    wait_until(lambda: shown(**operator) == ["unsigned"], what="the nodes of the API show it")
    assert shown() == []
    assert "refuses messages (unsigned)" in _ava(system, "nodes", "list", "-o", "table", "--role", "platform-admin")
    assert "!!  nodes: 1 of 1 live nodes refused messages" in _ava(system, "doctor")
    system.query("UPDATE nodes SET refused_messages_at = now() - interval '1 minute'")
    assert shown(**operator) == []
    assert "ok  nodes: 1 live" in _ava(system, "doctor")


def _ava(system: System, *arguments: str) -> str:
    environ = {**system.environ, "AVA_URL": system.url}
    command = (sys.executable, "-m", "ava.cli.main", *arguments)
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False).stdout


@pytest.mark.parametrize("broker_url", ["redis"], indirect=True)
def test_with_a_message_key_signed_messages_alone_start_jobs(system: System) -> None:
    system.start(workers=0, environ={**ENVIRON, "AVA_MESSAGE_KEY": "k" * 32})
    stranger = _Forger(system)
    _announce(system, "wkr_open")
    waiting = system.trigger("wkr_open")
    # Its message is lost, so a message is all that it needs to start. The dispatcher publishes another, half a minute
    # after its turn has come.
    wait_until(stranger.lose_messages, what="its message is in the broker")
    run = RunKey(waiting["tenant_id"], waiting["id"], 1)
    stranger.run(run, "wkr_open")
    stranger.run(run, "wkr_open", signature=sign(b"f" * 32, *run, "wkr_open"))
    _, port = _start_node(system)
    wait_until(lambda: _dropped(port, "unsigned") == 2, what=lambda: f"both are counted: {_dropped(port)}")
    assert system.show(waiting["id"])["status"] == "queued"
    job = system.trigger("wkr_open")
    assert system.wait_for(job["id"])["output"] == {"ran": "open"}
    assert _dropped(port) == 2
    _assert_the_refusals_are_shown(system)
