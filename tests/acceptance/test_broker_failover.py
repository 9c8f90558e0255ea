"""BROKER_URL names several servers: jobs start again after the death of the one that is in use."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

import pytest

from chaos.proxy import Proxy
from harness.servers.sentinel import SentinelGroup, running_sentinels
from harness.system import System

#: Seconds from the death of a server until every job that was triggered meanwhile has run.
#: docs/operate/availability.md promises 10 on a quiet machine.
_MAX_SECONDS = 30.0


def _runs_jobs(system: System, number: int = 20) -> None:
    for id_ in [system.trigger("wkr_sleep", input={"seconds": 0})["id"] for _ in range(number)]:
        assert system.wait_for(id_)["status"] == "completed"


@pytest.fixture
def sentinels() -> Iterator[SentinelGroup]:
    """A master with a replica and three sentinels, which outlive the system."""
    with running_sentinels() as group:
        yield group


@pytest.mark.parametrize("broker_url", ["redis"], indirect=True)
def test_jobs_start_again_after_sentinel_promoted_a_replica(sentinels: SentinelGroup, system: System) -> None:
    # Rate limits are counted in the same Redis.
    system.start(broker_url=sentinels.url, environ={"AVA_RATE_LIMIT_READ": "100000/minute"})
    _runs_jobs(system, 1)
    sentinels.kill_master()
    killed = time.monotonic()
    _runs_jobs(system)
    assert time.monotonic() - killed < _MAX_SECONDS
    assert system.get("/v1/ava/jobs").headers["X-RateLimit-Limit"] == "100000"


@contextmanager
def _two_addresses(url: str) -> Iterator[tuple[list[Proxy], str]]:
    """Two addresses of one RabbitMQ, each of which can die, and the BROKER_URL of both."""
    server = urlsplit(url)
    assert server.hostname
    assert server.port
    with ExitStack() as closing:
        proxies = [Proxy(server.hostname, server.port) for _ in range(2)]
        for proxy in proxies:
            closing.callback(proxy.close)
        at = server.netloc.rpartition("@")[0]
        first, second = (server._replace(netloc=f"{at}@127.0.0.1:{proxy.port}").geturl() for proxy in proxies)
        yield proxies, f"{first};amqp://{second.rpartition('@')[2].partition('/')[0]}"


@pytest.mark.parametrize("broker_url", ["rabbitmq"], indirect=True)
def test_jobs_start_again_through_the_second_server_of_rabbitmq(system: System) -> None:
    with _two_addresses(system.broker_url) as (proxies, url):
        system.start(broker_url=url)
        _runs_jobs(system, 1)
        proxies[0].close()
        killed = time.monotonic()
        _runs_jobs(system)
        assert time.monotonic() - killed < _MAX_SECONDS
