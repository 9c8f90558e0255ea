"""Two installations on one broker would take each other's messages: the second one is refused."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import pytest
from click.testing import CliRunner

from ava.broker import connectivity
from ava.broker.celery_app import make_app
from ava.broker.publisher import Publisher
from ava.cli.main import cli
from ava.dispatcher import dispatcher_process
from ava.dispatcher.duties.lost_messages import LostMessages
from ava.errors import BrokerOfAnother, StartError
from ava.local.start import free_port
from ava.node import node_process as node
from ava.settings import Settings
from ava.store import installation
from ava.store.engine.database import Database

_ANOTHER = "00000000-0000-4000-8000-000000000001"


@contextmanager
def _publisher_of(settings: Settings, name: str) -> Iterator[Publisher]:
    with closing(Publisher(make_app(settings), settings, installation=name)) as publisher:
        yield publisher


@pytest.fixture
def others(settings: Settings) -> Settings:
    """A broker that another installation has marked."""
    with _publisher_of(settings, _ANOTHER) as publisher:
        assert publisher.was_reset()
    return settings


def _serve(settings: Settings) -> None:
    """Run `ava api`. Raises `StartError` with what it prints if it ends by itself."""
    environ = {
        "DATABASE_URL": settings.database_url,
        "DATABASE_POOL_URL": settings.database_pool_url,
        "BROKER_URL": settings.broker_url,
        "AVA_INTERNAL_SECRET": "of-all-the-tests",
    }
    arguments = (sys.executable, "-m", "ava.cli.main", "api", "--port", str(free_port()))
    done = subprocess.run(arguments, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    raise StartError((done.stdout + done.stderr).rstrip("\n"))


@pytest.mark.parametrize("start", [_serve, dispatcher_process.run, lambda settings: node.run(settings, 1, None)])
def test_each_process_refuses_the_broker_of_another_installation_in_one_line(
    others: Settings, start: Callable[[Settings], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The node starts in this process, whose later tests look into the servers of other accounts.
    monkeypatch.setattr(node, "give_up_tracing", lambda: None)
    with pytest.raises(StartError, match=f"belongs to another installation .{_ANOTHER}, ours is ") as refused:
        start(others)
    assert "\n" not in str(refused.value)


def test_the_doctor_and_a_reset_name_the_other_installation(others: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", others.database_url)
    monkeypatch.setenv("DATABASE_POOL_URL", others.database_pool_url)
    monkeypatch.setenv("BROKER_URL", others.broker_url)
    home = "Redis database" if others.broker_is_redis else "virtual host of RabbitMQ"
    refused = f"this {home} belongs to another installation"
    assert f"!!  broker: BROKER_URL: {refused}" in CliRunner().invoke(cli, ["doctor"]).output
    reset = CliRunner().invoke(cli, ["broker", "reset"])
    assert reset.exit_code == 1
    assert refused in reset.output + str(reset.exception)


def test_an_installation_takes_its_own_broker_and_one_of_nobody(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_id = installation.read_id(settings)
    connectivity.require_own(settings, own_id)
    # To look has not marked it.
    with _publisher_of(settings, own_id) as publisher:
        assert [publisher.was_reset(), publisher.was_reset()] == [True, False]
    connectivity.require_own(settings, own_id)
    monkeypatch.setenv("DATABASE_URL", settings.database_url)
    monkeypatch.setenv("DATABASE_POOL_URL", settings.database_pool_url)
    monkeypatch.setenv("BROKER_URL", settings.broker_url)
    assert "ok  broker: " in CliRunner().invoke(cli, ["doctor"]).output
    assert CliRunner().invoke(cli, ["broker", "reset"]).exit_code == 0
    connectivity.require_own(settings, own_id)


def test_a_dispatcher_that_started_before_the_other_one_says_so_and_publishes_nothing_lost(others: Settings) -> None:
    with (
        closing(Database.of(others, name="test")) as database,
        _publisher_of(others, installation.read_id(others)) as publisher,
        pytest.raises(BrokerOfAnother, match=f"belongs to another installation .{_ANOTHER}, "),
    ):
        LostMessages(database, publisher, node_dead_seconds=14).run_once(0)
