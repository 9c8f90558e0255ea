"""A node that is cut off from PostgreSQL alone, again and again, starts jobs as soon as it is healed."""

from __future__ import annotations

import time
from urllib.parse import urlsplit

import pytest

from chaos.proxy import Proxy
from harness.polling import wait_until
from harness.system import System


def _fill(system: System) -> None:
    """Trigger brief jobs and long ones, more than the node runs while it is cut off.

    One is longer than a cut. There are so few that they never keep all processes busy for as long as the test waits.
    """
    seconds = [20 if n == 3 else 6 if n % 50 == 13 else 0.001 if n % 2 else 0.05 for n in range(500)]
    answer = system.post(
        "/v1/ava/jobs/bulk",
        json={"jobs": [{"worker_id": "wkr_t_work", "input": {"seconds": each}, "priority": 9} for each in seconds]},
    )
    assert answer.status_code == 201, answer.text


def _completed(system: System) -> int:
    ((count,),) = system.query("SELECT count(*) FROM jobs WHERE status = 'completed'")
    return int(count)


# `make chaos` does it on RabbitMQ as well.
@pytest.mark.parametrize("broker_url", ["redis"], indirect=True)
def test_a_node_that_was_cut_from_the_database_twice_starts_jobs_at_once(system: System) -> None:
    environ = {
        "AVA_HANDLERS": "workers,tests.acceptance.handlers",
        "AVA_NODE_DEAD_SECONDS": "6",
        "AVA_HEARTBEAT_SECONDS": "1",
        "AVA_DRAIN_SECONDS": "1",
    }
    system.start(workers=0, environ=environ)
    server = urlsplit(system.database_url)
    assert server.hostname
    assert server.port
    proxy = Proxy(server.hostname, server.port)
    proxied = server._replace(netloc=server.netloc.replace(f":{server.port}", f":{proxy.port}")).geturl()
    try:
        node = system.spawn("worker", "-c", "3", environ={"DATABASE_URL": proxied})
        system.workers.append(node)
        system.await_workers()
        for _ in range(2):
            _fill(system)
            before = _completed(system)
            wait_until(lambda before=before: _completed(system) > before + 20, what="jobs run")  # type: ignore[misc]
            proxy.cut()
            time.sleep(12)
            proxy.heal()
            before = _completed(system)
            wait_until(
                lambda before=before: _completed(system) > before + 20,  # type: ignore[misc]
                seconds=15,
                what=lambda: f"jobs run again:\n{node.output[-6000:]}",
            )
        assert "was taken by no job" not in node.output
    finally:
        proxy.heal()
        system.stop()
        proxy.close()
