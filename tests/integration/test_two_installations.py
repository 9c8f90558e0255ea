"""Two installations on one Redis database would take each other's messages: the second one is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import redis
from click.testing import CliRunner

from ava.broker.app import make_app
from ava.broker.publisher import Publisher
from ava.cli.main import cli
from ava.dispatcher import loop
from ava.errors import StartError
from ava.node import main as node
from ava.settings import Settings
from ava.store import installation
from harness.servers.server import Server

_ANOTHER = "00000000-0000-4000-8000-000000000001"


def _mark(settings: Settings, name: str) -> None:
    publisher = Publisher(make_app(settings), settings, installation=name)
    assert publisher.was_reset()
    publisher.close()


@pytest.mark.redis
@pytest.mark.parametrize("start", [loop.run, lambda settings: node.run(settings, 1, None)])
def test_a_process_refuses_the_redis_of_another_installation_in_one_line(
    database_settings: Settings, private_redis: Server, start: Callable[[Settings], object]
) -> None:
    settings = replace(database_settings, broker_url=private_redis.url)
    _mark(settings, _ANOTHER)
    with pytest.raises(StartError, match=f"belongs to another installation .{_ANOTHER}, ours is ") as refused:
        start(settings)
    assert "\n" not in str(refused.value)


@pytest.mark.redis
def test_the_doctor_and_a_reset_name_the_other_installation(
    database_settings: Settings, private_redis: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(database_settings, broker_url=private_redis.url)
    monkeypatch.setenv("DATABASE_URL", settings.database_url)
    monkeypatch.setenv("BROKER_URL", settings.broker_url)
    _mark(settings, installation.read_id(settings))
    assert "ok  broker: " in CliRunner().invoke(cli, ["doctor"]).output
    with redis.Redis.from_url(private_redis.url) as client:
        client.flushall()
    _mark(settings, _ANOTHER)
    refused = "this Redis database belongs to another installation"
    assert f"!!  broker: BROKER_URL: {refused}" in CliRunner().invoke(cli, ["doctor"]).output
    reset = CliRunner().invoke(cli, ["broker", "reset"])
    assert reset.exit_code == 1
    assert refused in reset.output + str(reset.exception)
