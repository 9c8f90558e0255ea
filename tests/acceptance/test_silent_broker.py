"""A broker that goes silent, with its connections open: nodes finish what they run, and go on when it answers again."""

from __future__ import annotations

import time
from urllib.parse import urlsplit

import psutil
import pytest

from chaos.proxy import Proxy
from harness.system import System

#: Seconds for which the broker is silent, three times AVA_DEAF_SECONDS.
SILENT_SECONDS = 18


@pytest.mark.parametrize("broker_url", ["rabbitmq"], indirect=True)
def test_a_request_waits_for_a_silent_rabbitmq_no_longer_than_seconds(system: System) -> None:
    system.start(workers=0, dispatchers=0, environ={"AVA_API_PROCESSES": "1"})
    system.query(
        "INSERT INTO workers (id, name, description, timeout_seconds, max_retries, cancel_grace_seconds,"
        " queue, on_worker_lost)"
        " VALUES ('wkr_quiet', 'Quiet', '', 60, 0, 1, 'default', 'requeue')"
    )
    # Its connection to RabbitMQ is open from now on.
    system.trigger("wkr_quiet")
    assert system.api
    server = urlsplit(system.broker_url)
    assert server.port
    stopped = [
        psutil.Process(connection.pid)
        for connection in psutil.net_connections("tcp")
        if connection.laddr.port == server.port and connection.status == "LISTEN" and connection.pid
    ]
    assert len(stopped) == 1
    stopped[0].suspend()
    try:
        began = time.monotonic()
        response = system.post("/v1/ava/jobs/bulk", json={"jobs": [{"worker_id": "wkr_quiet"}] * 2}, timeout=20)
        assert response.status_code == 201
        assert time.monotonic() - began < 15
    finally:
        stopped[0].resume()


def test_a_job_finishes_while_the_broker_is_silent(system: System) -> None:
    environ = {"AVA_HANDLERS": "workers,tests.acceptance.handlers", "AVA_DEAF_SECONDS": "6", "AVA_DRAIN_SECONDS": "1"}
    system.start(workers=0, environ=environ)
    server = urlsplit(system.broker_url)
    assert server.hostname
    assert server.port
    proxy = Proxy(server.hostname, server.port)
    proxied = server._replace(netloc=server.netloc.replace(f":{server.port}", f":{proxy.port}")).geturl()
    try:
        node = system.spawn("worker", "-c", "2", environ={"BROKER_URL": proxied})
        system.workers.append(node)
        system.await_workers()
        job = system.trigger("wkr_t_work", input={"seconds": SILENT_SECONDS - 5})
        system.wait_for(job["id"], "running")
        proxy.cut()
        silent_since = time.monotonic()
        record = system.wait_for(job["id"], seconds=SILENT_SECONDS + 40)
        assert (record["status"], record["attempt"]) == ("completed", 1), node.output[-6000:]
        time.sleep(max(0, SILENT_SECONDS - (time.monotonic() - silent_since)))
        proxy.heal()
        assert node.exit_code is None, node.output[-6000:]
        assert "event loop is blocked" not in node.output
        after = system.trigger("wkr_t_nothing")
        assert system.wait_for(after["id"], seconds=30)["status"] == "completed"
        assert system.query("SELECT max(losses), max(run_no) FROM jobs") == [(0, 1)]
    finally:
        proxy.heal()
        system.stop()
        proxy.close()
