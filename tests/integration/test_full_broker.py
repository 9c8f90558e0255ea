"""A broker that answers and takes no messages: `/readyz` and the doctor say so, and the breaker stays open."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace

import pytest
import redis
from click.testing import CliRunner

from ava.broker import connectivity
from ava.broker.celery_app import make_app
from ava.cli.main import cli
from ava.health.readiness import Check, Readiness
from ava.settings import Settings
from ava.store.engine.database import Database
from harness.polling import wait_until
from harness.servers.rabbitmq import running_rabbitmq
from harness.servers.server import Server
from tests.conftest import available


def _broker_check(settings: Settings) -> Check:
    with closing(Database.of(settings, name="test")) as database:
        report = Readiness(database, settings).report()
    [found] = [check for check in report.checks if check.name == "broker"]
    assert report.status == ("ok" if found.is_ok else "degraded")
    return found


def _line_of_the_doctor(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("DATABASE_URL", settings.database_url)
    monkeypatch.setenv("BROKER_URL", settings.broker_url)
    lines = CliRunner().invoke(cli, ["doctor"]).output.splitlines()
    [found] = [line for line in lines if " broker: " in line]
    return found


@contextmanager
def _without_memory(client: redis.Redis) -> Iterator[None]:
    client.config_set("maxmemory", "1")
    yield
    client.config_set("maxmemory", "0")


@contextmanager
def _as_a_replica(client: redis.Redis) -> Iterator[None]:
    client.replicaof("127.0.0.1", "1")
    yield
    client.replicaof("NO", "ONE")


@pytest.mark.redis
@pytest.mark.parametrize("full", [_without_memory, _as_a_replica])
def test_redis_that_takes_nothing_is_not_ok(
    database_settings: Settings, private_redis: Server, full: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(database_settings, broker_url=private_redis.url)
    app = make_app(settings)
    with redis.Redis.from_url(private_redis.url) as client:
        assert _broker_check(settings).is_ok
        with full(client):  # type: ignore[operator]
            assert not _broker_check(settings).is_ok
            assert not connectivity.ping(app)
            assert "!!  broker: BROKER_URL: Redis takes no messages" in _line_of_the_doctor(settings, monkeypatch)
        wait_until(lambda: connectivity.ping(app), what="RabbitMQ is ready")
        assert _broker_check(settings).is_ok
        # The checks leave nothing.
        assert client.keys("*") == []


@pytest.mark.rabbitmq
def test_rabbitmq_in_an_alarm_is_not_ok(database_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    with available(running_rabbitmq(in_alarm=True)) as server:
        settings = replace(database_settings, broker_url=server.url)
        app = make_app(settings)
        wait_until(lambda: not connectivity.ping(app), what="RabbitMQ is in an alarm")
        assert not _broker_check(settings).is_ok
        assert "!!  broker: BROKER_URL: RabbitMQ takes no messages" in _line_of_the_doctor(settings, monkeypatch)
        server.end_alarm()
        wait_until(lambda: connectivity.ping(app), what="RabbitMQ is ready")
        assert _broker_check(settings).is_ok
